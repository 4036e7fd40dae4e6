//! Tests of the virtual GIC on the host.

mod core;
mod delivery;
mod forgetful;
mod life;
mod model;
mod property;
mod registers;
mod routing;
mod scarcity;
mod sharing;
mod version_two;

use self::core::{Core, Physical};
use super::{Affinity, Config, ListRegisters, Vgic};

/// Group 0 and Group 1 enabled.
const GROUPS: u64 = 3;

/// A virtual GIC with `vcpus` virtual CPUs of affinity 0.0.0.n, all on, and 96 SPIs; and their cores.
fn machine(vcpus: usize, list_registers: usize) -> (Vgic, Vec<Core>) {
    let affinities: Vec<_> = (0..vcpus).map(|index| Affinity::new(0, 0, 0, index as u8)).collect();
    let config = Config { affinities: &affinities, spis: 96, list_registers };
    let vgic = Vgic::new(&config).expect("a valid configuration");
    (0..vcpus).for_each(|vcpu| assert!(vgic.set_online(vcpu).is_empty()));
    let cores = cores_of(&vgic, list_registers);
    (vgic, cores)
}

/// A core for each virtual CPU, which has loaded it.
fn cores_of(vgic: &Vgic, list_registers: usize) -> Vec<Core> {
    let physical = Physical::default();
    let core = |number| {
        let mut core = Core::new(number, list_registers, physical.clone());
        vgic.unpark(number, &mut core);
        core
    };
    (0..vgic.vcpu_count()).map(core).collect()
}

/// The same with one virtual CPU, groups enabled, and everything in Group 1.
fn single(list_registers: usize) -> (Vgic, Core) {
    let (vgic, mut cores) = machine(1, list_registers);
    enable_groups(&vgic, 1);
    (vgic, cores.remove(0))
}

/// Puts all interrupts into Group 1 and enables the groups.
fn enable_groups(vgic: &Vgic, vcpus: u64) {
    let _ = configure(vgic, 0, 0, 4, GROUPS);
    for word in 1..4 {
        let _ = configure(vgic, 0, 0x80 + 4 * word, 4, 0xffff_ffff);
    }
    for vcpu in 0..vcpus {
        let _ = vgic.write_redistributor(0, vcpu * 0x2_0000 + 0x1_0080, 4, 0xffff_ffff);
    }
}

/// Configures the distributor, as `vcpu`, by a register whose writing does not touch list registers.
fn configure(vgic: &Vgic, vcpu: usize, offset: u64, size: usize, value: u64) -> super::VcpuSet {
    vgic.write_distributor(vcpu, &mut Core::alone(4), offset, size, value)
}

/// Makes `intid` pending by ISPENDR, on `core`.
fn pend(vgic: &Vgic, core: &mut Core, intid: u32) -> super::VcpuSet {
    pend_at(vgic, core.number, core, intid)
}

fn pend_at(vgic: &Vgic, vcpu: usize, registers: &mut impl ListRegisters, intid: u32) -> super::VcpuSet {
    let bit = 1 << (intid % 32);
    if intid < 32 {
        vgic.write_redistributor(vcpu, vcpu as u64 * 0x2_0000 + 0x1_0000 + ISPENDR, 4, bit)
    } else {
        vgic.write_distributor(vcpu, registers, ISPENDR + u64::from(intid / 32) * 4, 4, bit)
    }
}

/// Writes the bit of `intid` in the bit register that starts at `offset`, as `vcpu`. For ISPENDR see [`pend`].
fn write_bit(vgic: &Vgic, vcpu: usize, offset: u64, intid: u32) -> super::VcpuSet {
    assert_ne!(offset, ISPENDR);
    let bit = 1 << (intid % 32);
    if intid < 32 {
        vgic.write_redistributor(vcpu, vcpu as u64 * 0x2_0000 + 0x1_0000 + offset, 4, bit)
    } else {
        configure(vgic, vcpu, offset + u64::from(intid / 32) * 4, 4, bit)
    }
}

/// Reads it.
fn read_bit(vgic: &Vgic, core: &mut Core, offset: u64, intid: u32) -> (bool, super::VcpuSet) {
    read_bit_at(vgic, core.number, core, offset, intid)
}

fn read_bit_at(
    vgic: &Vgic,
    vcpu: usize,
    registers: &mut impl ListRegisters,
    offset: u64,
    intid: u32,
) -> (bool, super::VcpuSet) {
    let (word, told) = if intid < 32 {
        vgic.read_redistributor(vcpu, registers, vcpu as u64 * 0x2_0000 + 0x1_0000 + offset, 4)
    } else {
        vgic.read_distributor(vcpu, registers, offset + u64::from(intid / 32) * 4, 4)
    };
    (word >> (intid % 32) & 1 != 0, told)
}

fn set_priority(vgic: &Vgic, vcpu: usize, intid: u32, priority: u8) -> super::VcpuSet {
    let offset = 0x400 + u64::from(intid);
    if intid < 32 {
        vgic.write_redistributor(vcpu, vcpu as u64 * 0x2_0000 + 0x1_0000 + offset, 1, priority.into())
    } else {
        configure(vgic, vcpu, offset, 1, priority.into())
    }
}

const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const ISACTIVER: u64 = 0x300;
const ICACTIVER: u64 = 0x380;

/// An interrupt of the timer, and an SPI that stands for physical interrupt 200.
const TIMER: u32 = 27;
const DEVICE: u32 = 50;

fn enable(vgic: &Vgic, intid: u32) {
    let _ = write_bit(vgic, 0, ISENABLER, intid);
}

fn make_edge(vgic: &Vgic, intid: u32) {
    let _ = configure(vgic, 0, 0xc00 + u64::from(intid / 16) * 4, 4, 2 << (intid % 16 * 2));
}

/// One virtual CPU with the timer and the device mapped and enabled.
fn with_hardware(list_registers: usize) -> (Vgic, Core) {
    let (vgic, core) = single(list_registers);
    vgic.map_hardware(TIMER, 26).expect("exists");
    vgic.map_hardware(DEVICE, 200).expect("exists");
    enable(&vgic, TIMER);
    enable(&vgic, DEVICE);
    let mut core = core;
    let _ = vgic.flush(0, &mut core);
    core.accesses = 0;
    (vgic, core)
}

fn fire(vgic: &Vgic, core: &mut Core, intid: u32) {
    core.fire(if intid == TIMER { 26 } else { 200 });
    let told = vgic.deliver_hardware(core.number, core, intid);
    assert!(told.is_empty());
}

fn flush(vgic: &Vgic, core: &mut Core) {
    let told = vgic.flush(core.number, core);
    assert!(told.is_empty(), "{told:?}");
}

fn maintain(vgic: &Vgic, core: &mut Core) {
    assert!(core.calls(), "no maintenance is due");
    vgic.maintain(core.number);
    flush(vgic, core);
    assert!(!core.calls(), "maintenance does not cease");
}
