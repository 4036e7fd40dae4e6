//! GICv3: distributor, this core's redistributor, and the CPU interface by system registers (Arm IHI 0069).

use crate::machine::{self, GicVersion};
use crate::mmio::{read32, write32, write64};
use crate::{read_register, register, write_register};

/// The distributor of QEMU's `virt`.
pub const DISTRIBUTOR: usize = 0x0800_0000;
/// The first redistributor of QEMU's `virt`; each core's is `REDISTRIBUTOR_STRIDE` above the last.
pub const REDISTRIBUTORS: usize = 0x080a_0000;
/// Bytes of one core's redistributor: the RD frame and the SGI frame.
pub const REDISTRIBUTOR_STRIDE: usize = 0x2_0000;

/// Distributor registers, as offsets.
pub mod distributor {
    /// Control.
    pub const CTLR: usize = 0x0;
    /// Type.
    pub const TYPER: usize = 0x4;
    /// Groups, one bit each.
    pub const IGROUPR: usize = 0x80;
    /// Set-enable, one bit each.
    pub const ISENABLER: usize = 0x100;
    /// Clear-enable, one bit each.
    pub const ICENABLER: usize = 0x180;
    /// Set-pending, one bit each.
    pub const ISPENDR: usize = 0x200;
    /// Clear-pending, one bit each.
    pub const ICPENDR: usize = 0x280;
    /// Set-active, one bit each.
    pub const ISACTIVER: usize = 0x300;
    /// Clear-active, one bit each.
    pub const ICACTIVER: usize = 0x380;
    /// Priorities, one byte each.
    pub const IPRIORITYR: usize = 0x400;
    /// Configuration, two bits each: bit 1 is edge.
    pub const ICFGR: usize = 0xc00;
    /// Routes, eight bytes each.
    pub const IROUTER: usize = 0x6000;
    /// Peripheral identification 2.
    pub const PIDR2: usize = 0xffe8;
}

/// Redistributor registers, as offsets into the RD frame.
pub mod redistributor {
    /// Control.
    pub const CTLR: usize = 0x0;
    /// Type: affinity, last.
    pub const TYPER: usize = 0x8;
    /// Wake: bit 1 ProcessorSleep, bit 2 ChildrenAsleep.
    pub const WAKER: usize = 0x14;
    /// The SGI frame, with the distributor's layout for interrupts 0 to 31.
    pub const SGI_FRAME: usize = 0x1_0000;
}

/// The interrupt number that means there is none.
pub const SPURIOUS: u32 = 1023;
/// The priority that [`init_core`] and [`init_distributor`] give every interrupt.
pub const DEFAULT_PRIORITY: u8 = 0xa0;

/// This core's redistributor.
#[must_use]
pub fn redistributor() -> usize {
    redistributor_of(register::core_index())
}

/// The redistributor of core `index`.
#[must_use]
pub fn redistributor_of(index: usize) -> usize {
    REDISTRIBUTORS + index * REDISTRIBUTOR_STRIDE
}

/// Where the registers of `interrupt` are: this core's SGI frame below 32, else the distributor; of a GICv2, which has
/// the same registers there, always the distributor.
#[must_use]
pub fn frame_of(interrupt: u32) -> usize {
    if interrupt < 32 && machine::get().gic == GicVersion::V3 {
        redistributor() + redistributor::SGI_FRAME
    } else {
        DISTRIBUTOR
    }
}

/// Interrupts that the distributor has, SGIs and PPIs among them.
#[must_use]
pub fn interrupt_count() -> u32 {
    (32 * ((read32(DISTRIBUTOR + distributor::TYPER) & 0x1f) + 1)).min(1020)
}

/// Brings the distributor to a known state: affinity routing, group 1, everything disabled and inactive.
pub fn init_distributor() {
    // ARE and EnableGrp1, in the layout of a single security state (and of non-secure accesses).
    write32(DISTRIBUTOR + distributor::CTLR, 1 << 4);
    wait_for_writes(DISTRIBUTOR);
    for index in 1..interrupt_count() as usize / 32 {
        reset_bank(DISTRIBUTOR, index);
    }
    for interrupt in 32..interrupt_count() {
        set_priority(interrupt, DEFAULT_PRIORITY);
        route(interrupt, 0);
    }
    write32(DISTRIBUTOR + distributor::CTLR, 1 << 4 | 1 << 1);
    wait_for_writes(DISTRIBUTOR);
}

/// Brings this core's redistributor and CPU interface to a known state: group 1, PMR open, EOImode 0.
pub fn init_core() {
    let base = redistributor();
    write32(base + redistributor::WAKER, read32(base + redistributor::WAKER) & !(1 << 1));
    while read32(base + redistributor::WAKER) & 1 << 2 != 0 {}
    reset_bank(base + redistributor::SGI_FRAME, 0);
    for interrupt in 0..32 {
        set_priority(interrupt, DEFAULT_PRIORITY);
    }
    init_cpu_interface();
}

/// Brings this core's CPU interface to a known state: system registers on, PMR open, EOImode 0, group 1 on.
pub fn init_cpu_interface() {
    write_register!("icc_sre_el1", read_register!("icc_sre_el1") | 1);
    write_register!("icc_pmr_el1", 0xff);
    write_register!("icc_bpr1_el1", 0);
    write_register!("icc_ctlr_el1", 0);
    write_register!("icc_igrpen1_el1", 1);
}

/// Puts 32 interrupts into group 1, disabled, neither pending nor active.
fn reset_bank(frame: usize, index: usize) {
    let all = u32::MAX;
    write32(frame + distributor::ICENABLER + 4 * index, all);
    wait_for_writes(if frame == DISTRIBUTOR { frame } else { frame - redistributor::SGI_FRAME });
    write32(frame + distributor::ICPENDR + 4 * index, all);
    write32(frame + distributor::ICACTIVER + 4 * index, all);
    write32(frame + distributor::IGROUPR + 4 * index, all);
}

/// Waits until a distributor or redistributor has taken note of writes (RWP: bit 31 or bit 3).
pub fn wait_for_writes(base: usize) {
    let bit = if base == DISTRIBUTOR { 31 } else { 3 };
    while read32(base) & 1 << bit != 0 {}
}

/// Sets the bit of `interrupt` in the one-bit-each register at `offset` (ISENABLER, ICPENDR, ...).
pub fn set_bit(offset: usize, interrupt: u32) {
    write32(frame_of(interrupt) + offset + 4 * (interrupt as usize / 32), 1 << (interrupt % 32));
}

/// Reads the bit of `interrupt` in the one-bit-each register at `offset`.
#[must_use]
pub fn bit(offset: usize, interrupt: u32) -> bool {
    read32(frame_of(interrupt) + offset + 4 * (interrupt as usize / 32)) & 1 << (interrupt % 32) != 0
}

/// Lets `interrupt` through.
pub fn enable(interrupt: u32) {
    set_bit(distributor::ISENABLER, interrupt);
}

/// Holds `interrupt` back and waits until that holds.
pub fn disable(interrupt: u32) {
    set_bit(distributor::ICENABLER, interrupt);
    if machine::get().gic == GicVersion::V3 {
        wait_for_writes(if interrupt < 32 { redistributor() } else { DISTRIBUTOR });
    }
}

/// Makes `interrupt` pending by software.
pub fn set_pending(interrupt: u32) {
    set_bit(distributor::ISPENDR, interrupt);
}

/// Gives `interrupt` a priority; lower is more urgent.
pub fn set_priority(interrupt: u32, priority: u8) {
    crate::mmio::write8(frame_of(interrupt) + distributor::IPRIORITYR + interrupt as usize, priority);
}

/// Makes `interrupt` edge-triggered or level-sensitive; SGIs are always edge-triggered.
pub fn set_edge(interrupt: u32, edge: bool) {
    let address = frame_of(interrupt) + distributor::ICFGR + 4 * (interrupt as usize / 16);
    let bit = 1 << (2 * (interrupt % 16) + 1);
    let old = read32(address);
    write32(address, if edge { old | bit } else { old & !bit });
}

/// Sends shared interrupt `interrupt` to the core with this affinity.
pub fn route(interrupt: u32, affinity: u64) {
    write64(DISTRIBUTOR + distributor::IROUTER + 8 * interrupt as usize, affinity);
}

/// Sends SGI `number` to the core with affinity level 0 = `index`.
pub fn send_sgi(number: u32, index: usize) {
    barrier();
    write_register!("icc_sgi1r_el1", u64::from(number) << 24 | 1 << index);
}

/// Sends SGI `number` to all other cores.
pub fn send_sgi_to_others(number: u32) {
    barrier();
    write_register!("icc_sgi1r_el1", u64::from(number) << 24 | 1 << 40);
}

/// Takes the most urgent pending interrupt: it becomes active. [`SPURIOUS`] if there is none.
#[must_use]
pub fn acknowledge() -> u32 {
    let interrupt = read_register!("icc_iar1_el1") as u32 & 0xff_ffff;
    barrier();
    interrupt
}

/// Ends `interrupt`: drops its priority and, in EOImode 0, deactivates it.
pub fn end(interrupt: u32) {
    barrier();
    write_register!("icc_eoir1_el1", u64::from(interrupt));
}

/// Deactivates `interrupt`; for EOImode 1.
pub fn deactivate(interrupt: u32) {
    write_register!("icc_dir_el1", u64::from(interrupt));
}

/// Makes earlier device and memory writes visible before what follows.
pub fn barrier() {
    // SAFETY: only waits.
    unsafe { core::arch::asm!("dsb sy", "isb", options(nostack)) };
}
