//! The driver on plain memory: which bits it writes where, by the specification's own numbers.

use super::*;
use crate::span::Span;

const CPU_INTERFACE: usize = 0x1000;
const VIRTUAL_CONTROL: usize = 0x3000;
const VIRTUAL_CPU_INTERFACE: usize = 0x4000;
const SIZE: usize = 0x6000;

/// Memory that is laid out as a GICv2, as one core sees it.
struct FakeGic {
    words: Vec<u32>,
}

impl FakeGic {
    /// A GIC-400 with 96 interrupts, whose calling core has these bits in masks of targets.
    fn new(own_mask: u8) -> Self {
        let mut fake = Self { words: vec![0; SIZE / 4] };
        fake.set(0x004, 0x402);
        fake.set(0xfe8, 0x2b);
        // Private interrupts 0 to 3 are there, 4 to 7 are not.
        fake.set(0x800, u32::from(own_mask) * 0x0101_0101);
        fake.set(CPU_INTERFACE + 0xfc, 0x0202_143b);
        fake.set(VIRTUAL_CONTROL + 4, 0x9000_0003);
        fake.set(VIRTUAL_CPU_INTERFACE + 0xfc, 0x0202_143b);
        fake
    }

    fn set(&mut self, offset: usize, value: u32) {
        self.words[offset / 4] = value;
    }

    /// Reads as the device would, past what the compiler may think of the memory.
    fn get(&self, offset: usize) -> u32 {
        let word = &raw const self.words[offset / 4];
        // SAFETY: it is an element of the vector.
        unsafe { word.read_volatile() }
    }

    fn layout(&self) -> GicV2 {
        let start = self.words.as_ptr().expose_provenance() as u64;
        let part = |offset: usize, size| Span::new(start + offset as u64, size).unwrap();
        GicV2 {
            distributor: part(0, 0x1000),
            cpu_interface: part(CPU_INTERFACE, 0x2000),
            virtual_control: part(VIRTUAL_CONTROL, 0x1000),
            virtual_cpu_interface: part(VIRTUAL_CPU_INTERFACE, 0x2000),
            maintenance: crate::Interrupt { id: IntId::ppi(9).unwrap(), trigger: Trigger::Level },
        }
    }

    fn driver(&self) -> Driver {
        // SAFETY: all regions lie in the vector, which outlives the driver in these tests.
        unsafe { Driver::new(&self.layout()) }.unwrap()
    }
}

fn spi(number: u32) -> IntId {
    IntId::spi(number).unwrap()
}

fn ppi(number: u32) -> IntId {
    IntId::ppi(number).unwrap()
}

fn sgi(number: u32) -> IntId {
    IntId::sgi(number).unwrap()
}

/// The core that runs tests, as the driver sees it.
fn this_core() -> Affinity {
    Affinity::of_this_core()
}

macro_rules! assert_offsets {
    ($type:ty, $size:literal, $($field:ident: $offset:literal),*) => {
        for (found, specified) in [$((core::mem::offset_of!($type, $field), $offset)),*] {
            assert_eq!(found, specified);
        }
        assert_eq!(size_of::<$type>(), $size);
    };
}

#[test]
fn registers_are_where_the_specification_has_them() {
    assert_offsets!(DistributorRegisters, 0x1000, ctlr: 0, typer: 4, igroupr: 0x80, isenabler: 0x100, icenabler: 0x180,
        ispendr: 0x200, icpendr: 0x280, isactiver: 0x300, icactiver: 0x380, ipriorityr: 0x400, itargetsr: 0x800,
        icfgr: 0xc00, sgir: 0xf00, cpendsgir: 0xf10, icpidr2: 0xfe8);
    assert_offsets!(CpuInterfaceRegisters, 0x2000, ctlr: 0, pmr: 4, bpr: 8, iar: 0xc, eoir: 0x10, apr: 0xd0, iidr: 0xfc,
        dir: 0x1000);
    assert_offsets!(VirtualControlRegisters, 0x200, hcr: 0, vtr: 4, vmcr: 8, misr: 0x10, eisr0: 0x20, elrsr0: 0x30,
        apr: 0xf0, lr: 0x100);
}

#[test]
fn what_is_no_gicv2_is_refused_part_by_part() {
    for (register, value, part, start) in [
        (0xfe8, 0x3b, "distributor (GICD)", 0),
        (CPU_INTERFACE + 0xfc, 0x0201_043b, "CPU interface (GICC)", CPU_INTERFACE),
        (VIRTUAL_CONTROL + 4, 0, "virtual interface control (GICH)", VIRTUAL_CONTROL),
        (VIRTUAL_CONTROL + 4, 0x9000_0043, "virtual interface control (GICH)", VIRTUAL_CONTROL),
        (VIRTUAL_CONTROL + 4, 0x9400_0003, "virtual interface control (GICH)", VIRTUAL_CONTROL),
        (VIRTUAL_CPU_INTERFACE + 0xfc, 0, "virtual CPU interface (GICV)", VIRTUAL_CPU_INTERFACE),
    ] {
        let mut fake = FakeGic::new(1);
        fake.set(register, value);
        let layout = fake.layout();
        let address = layout.distributor.start() + start as u64;
        // SAFETY: as in `FakeGic::driver`.
        let error = unsafe { Driver::new(&layout) }.err();
        assert_eq!(error, Some(GicError::NotThere { part, version: 2, address }), "{register:#x}");
    }
}

#[test]
fn shared_interrupts_start_off_and_go_to_the_calling_core() {
    let mut fake = FakeGic::new(0b100);
    for offset in [0x80, 0x84, 0x88, 0xc08, 0xc14] {
        fake.set(offset, 0x5555_5555);
    }
    let driver = fake.driver();
    assert_eq!(driver.initialize(), Ok(()));
    assert_eq!(driver.interrupt_count(), 96);
    assert_eq!(fake.get(0), 1);
    for register in [0x180, 0x280, 0x380] {
        assert_eq!([fake.get(register), fake.get(register + 4), fake.get(register + 8)], [0, u32::MAX, u32::MAX]);
    }
    // One group, level-sensitive, of one priority; private interrupts are not touched here.
    assert_eq!([0x80, 0x84, 0x88, 0xc08, 0xc14].map(|offset| fake.get(offset)), [0x5555_5555, 0, 0, 0, 0]);
    assert_eq!((fake.get(0x41c), fake.get(0x420), fake.get(0x45c), fake.get(0x460)), (0, 0xa0a0_a0a0, 0xa0a0_a0a0, 0));
    assert_eq!((fake.get(0x820), fake.get(0x85c), fake.get(0x860)), (0x0404_0404, 0x0404_0404, 0));
}

#[test]
fn a_core_takes_all_priorities_and_ends_in_two_steps() {
    let mut fake = FakeGic::new(1);
    fake.set(0x80, u32::MAX);
    fake.set(CPU_INTERFACE + 0xd0, 7);
    fake.set(VIRTUAL_CONTROL, 0xff);
    let driver = fake.driver();
    assert_eq!(driver.initialize_core(), Ok(()));
    assert_eq!((fake.get(0x180), fake.get(0x280), fake.get(0x380)), (u32::MAX, u32::MAX, u32::MAX));
    assert_eq!((fake.get(0x80), fake.get(0x84)), (0, 0));
    assert_eq!([0xf10, 0xf14, 0xf18, 0xf1c].map(|offset| fake.get(offset)), [u32::MAX; 4]);
    assert_eq!((fake.get(0x400), fake.get(0x41c), fake.get(0x420)), (0xa0a0_a0a0, 0xa0a0_a0a0, 0));
    assert_eq!((fake.get(CPU_INTERFACE), fake.get(CPU_INTERFACE + 4)), (0x201, 0xff));
    assert_eq!((fake.get(CPU_INTERFACE + 8), fake.get(CPU_INTERFACE + 0xd0)), (0, 0));
    assert_eq!(fake.get(VIRTUAL_CONTROL), 0);
}

#[test]
fn one_bit_is_written_for_one_interrupt() {
    let fake = FakeGic::new(1);
    let driver = fake.driver();
    driver.enable(spi(1));
    driver.disable(spi(31));
    driver.set_pending(spi(32));
    driver.clear_pending(ppi(2));
    driver.set_active(ppi(11));
    driver.clear_active(spi(987));
    for (offset, value) in
        [(0x104, 1 << 1), (0x184, 1 << 31), (0x208, 1), (0x280, 1 << 18), (0x300, 1 << 27), (0x3fc, 1 << 27)]
    {
        assert_eq!(fake.get(offset), value, "GICD + {offset:#x}");
    }
    assert!(driver.is_enabled(spi(1)) && !driver.is_enabled(spi(2)));
    assert!(driver.is_pending(spi(32)) && !driver.is_pending(spi(1)));
    assert!(driver.is_active(ppi(11)) && !driver.is_active(ppi(10)));
}

#[test]
fn priorities_and_targets_are_bytes_and_triggers_the_upper_of_two_bits() {
    let fake = FakeGic::new(0b10);
    let driver = fake.driver();
    assert_eq!(driver.initialize_core(), Ok(()));
    driver.set_priority(spi(2), 0x50);
    driver.set_priority(spi(987), 0x70);
    assert_eq!((fake.get(0x420), fake.get(0x7f8)), (0x0050_0000, 0x7000_0000));
    driver.route(spi(1), this_core());
    driver.route(spi(987), this_core());
    driver.route(ppi(3), this_core());
    driver.route(spi(3), Affinity::from_mpidr(7));
    assert_eq!((fake.get(0x820), fake.get(0xbf8), fake.get(0x810)), (0x0000_0200, 0x0200_0000, 0));
    driver.set_trigger(spi(0), Trigger::Edge);
    driver.set_trigger(spi(17), Trigger::Edge);
    driver.set_trigger(spi(0), Trigger::Level);
    assert_eq!((fake.get(0xc08), fake.get(0xc0c)), (0, 0b1000));
}

#[test]
fn an_sgi_goes_to_a_core_that_is_known() {
    let fake = FakeGic::new(0b1000);
    let driver = fake.driver();
    driver.send_sgi(sgi(5), this_core());
    assert_eq!(fake.get(0xf00), 0, "nobody is known yet");
    assert_eq!(driver.initialize_core(), Ok(()));
    driver.send_sgi(sgi(5), this_core());
    assert_eq!(fake.get(0xf00), 0x0008_0005);
    driver.send_sgi(sgi(6), Affinity::from_mpidr(1));
    driver.send_sgi(ppi(6), this_core());
    assert_eq!(fake.get(0xf00), 0x0008_0005);
}

#[test]
fn a_gic_of_one_core_has_no_masks_and_core_0() {
    let fake = FakeGic::new(0);
    let driver = fake.driver();
    assert_eq!(driver.initialize(), Ok(()));
    assert_eq!(driver.initialize_core(), Ok(()));
    driver.send_sgi(sgi(0), this_core());
    assert_eq!(fake.get(0xf00), 0x0001_0000);
}

#[test]
fn interrupts_are_taken_ended_and_deactivated_with_their_sender() {
    let mut fake = FakeGic::new(1);
    fake.set(CPU_INTERFACE + 0xc, 0x1403);
    let driver = fake.driver();
    let taken = driver.acknowledge().unwrap();
    assert_eq!(taken.id(), sgi(3));
    driver.end(taken);
    assert_eq!((fake.get(CPU_INTERFACE + 0x10), fake.get(CPU_INTERFACE + 0x1000)), (0x1403, 0));
    driver.deactivate(taken);
    assert_eq!(fake.get(CPU_INTERFACE + 0x1000), 0x1403);
    for special in 1020..=1023 {
        fake.set(CPU_INTERFACE + 0xc, special);
        assert_eq!(driver.acknowledge(), None);
    }
}

#[test]
fn the_virtual_interface_is_its_registers() {
    let mut fake = FakeGic::new(1);
    fake.set(VIRTUAL_CONTROL + 0x20, 0b10);
    fake.set(VIRTUAL_CONTROL + 0x30, 0b1101);
    let driver = fake.driver();
    let interface = driver.virtual_interface();
    assert_eq!((interface.list_register_count(), interface.ended(), interface.empty()), (4, 0b10, 0b1101));
    interface.set_control(0x9);
    interface.set_guest_control(0x1234);
    interface.set_active_priorities(0x80);
    (0..65).for_each(|index| interface.set_list_register(index, 100 + index as u32));
    assert_eq!((interface.control(), interface.guest_control(), interface.active_priorities()), (0x9, 0x1234, 0x80));
    for (offset, value) in [(0, 0x9), (8, 0x1234), (0xf0, 0x80), (0x100, 100), (0x1fc, 163), (0x200, 0)] {
        assert_eq!(fake.get(VIRTUAL_CONTROL + offset), value, "GICH + {offset:#x}");
    }
    assert_eq!((interface.list_register(63), interface.list_register(64)), (163, 0));
}

#[test]
fn the_probe_finds_a_gic_that_forgets_and_leaves_nothing_behind() {
    use crate::system_registers::Fake;
    let registers = Fake::new();
    let mut fake = FakeGic::new(1);
    let timer = ppi(10);
    fake.set(CPU_INTERFACE + 0xc, 26);
    fake.set(VIRTUAL_CPU_INTERFACE + 0xc, 26);
    let driver = fake.driver();
    let raised = core::cell::Cell::new(0);
    let raise = || raised.set(raised.get() + 1);
    let lower = || raised.set(raised.get() - 1);
    assert!(!driver.ends_in_hardware(timer, raise, lower), "ISR_EL1 shows nothing");
    registers.set("ISR_EL1", 1 << 7);
    assert!(driver.ends_in_hardware(timer, raise, lower));
    assert_eq!(raised.get(), 0);
    // Ended as the guest, taken and ended as EL2; then off, inactive, and nothing virtual.
    assert_eq!((fake.get(VIRTUAL_CPU_INTERFACE + 0x10), fake.get(CPU_INTERFACE + 0x10)), (26, 26));
    assert_eq!((fake.get(0x180), fake.get(0x380)), (1 << 26, 1 << 26));
    assert_eq!([0, 8, 0xf0, 0x100].map(|offset| fake.get(VIRTUAL_CONTROL + offset)), [0; 4]);
    let mut other = FakeGic::new(1);
    other.set(CPU_INTERFACE + 0xc, 27);
    other.set(VIRTUAL_CPU_INTERFACE + 0xc, 26);
    assert!(!other.driver().ends_in_hardware(timer, || {}, || {}), "another interrupt came");
}
