//! The driver on plain memory: which bits it writes where, by the specification's own numbers.

use super::*;
use crate::board::GicV3;
use crate::span::Span;
use crate::system_registers::Fake;

const DISTRIBUTOR_SIZE: usize = 0x1_0000;
const REDISTRIBUTOR_SIZE: usize = 0x2_0000;

/// Memory that is laid out as a GIC: the distributor, then redistributors.
struct FakeGic {
    words: Vec<u64>,
}

impl FakeGic {
    /// A GICv3 with `affinities` (packed) and 96 interrupts.
    fn new(affinities: &[u32]) -> Self {
        let size = DISTRIBUTOR_SIZE + affinities.len() * REDISTRIBUTOR_SIZE;
        let mut fake = Self { words: vec![0; size / 8] };
        fake.set(0x0004, 2);
        fake.set(0xffe8, 0x3b);
        for (index, affinity) in affinities.iter().enumerate() {
            let last = index + 1 == affinities.len();
            fake.set_redistributor(index, 0x8, u32::from(last) << 4);
            fake.set_redistributor(index, 0xc, *affinity);
            fake.set_redistributor(index, 0xffe8, 0x3b);
        }
        fake
    }

    fn set(&mut self, offset: usize, value: u32) {
        let shift = offset % 8 * 8;
        let word = &mut self.words[offset / 8];
        *word = *word & !(0xffff_ffff << shift) | u64::from(value) << shift;
    }

    fn set_redistributor(&mut self, index: usize, offset: usize, value: u32) {
        self.set(DISTRIBUTOR_SIZE + index * REDISTRIBUTOR_SIZE + offset, value);
    }

    /// Reads as the device would, past what the compiler may think of the memory.
    fn get(&self, offset: usize) -> u32 {
        let word = &raw const self.words[offset / 8];
        // SAFETY: it is an element of the vector.
        (unsafe { word.read_volatile() } >> (offset % 8 * 8)) as u32
    }

    fn get_redistributor(&self, index: usize, offset: usize) -> u32 {
        self.get(DISTRIBUTOR_SIZE + index * REDISTRIBUTOR_SIZE + offset)
    }

    fn layout(&self) -> GicV3 {
        let start = self.words.as_ptr().expose_provenance() as u64;
        let size = (self.words.len() * 8 - DISTRIBUTOR_SIZE) as u64;
        GicV3 {
            distributor: Span::new(start, DISTRIBUTOR_SIZE as u64).unwrap(),
            redistributors: vec![Span::new(start + DISTRIBUTOR_SIZE as u64, size).unwrap()],
            redistributor_stride: None,
            maintenance: crate::Interrupt { id: IntId::ppi(9).unwrap(), trigger: Trigger::Level },
        }
    }

    fn driver(&self) -> Driver {
        // SAFETY: all regions lie in the vector, which outlives the driver in these tests.
        unsafe { Driver::new(&self.layout()) }.unwrap()
    }

    /// The cores that the driver knows, and how far each redistributor is from the first.
    fn found(&self, layout: &GicV3) -> Vec<(u32, usize)> {
        // SAFETY: as above.
        let driver = unsafe { Driver::new(layout) }.unwrap();
        let first = layout.redistributors[0].start() as usize;
        driver.redistributors.iter().map(|each| (each.core, each.registers.address() - first)).collect()
    }
}

fn spi(number: u32) -> IntId {
    IntId::spi(number).unwrap()
}

fn ppi(number: u32) -> IntId {
    IntId::ppi(number).unwrap()
}

#[test]
fn distributor_registers_are_where_the_specification_has_them() {
    macro_rules! offsets {
        ($($field:ident: $offset:literal),*) => { [$((core::mem::offset_of!(DistributorRegisters, $field), $offset)),*] };
    }
    for (found, specified) in offsets![
        ctlr: 0x0, typer: 0x4, igroupr: 0x80, isenabler: 0x100, icenabler: 0x180, ispendr: 0x200, icpendr: 0x280,
        isactiver: 0x300, icactiver: 0x380, ipriorityr: 0x400, icfgr: 0xc00, igrpmodr: 0xd00, irouter: 0x6000,
        pidr2: 0xffe8
    ] {
        assert_eq!(found, specified);
    }
    assert_eq!(size_of::<DistributorRegisters>(), 0x10000);
}

#[test]
fn redistributor_registers_are_where_the_specification_has_them() {
    macro_rules! offsets {
        ($($field:ident: $offset:literal),*) => { [$((core::mem::offset_of!(RedistributorRegisters, $field), $offset)),*] };
    }
    for (found, specified) in offsets![
        ctlr: 0x0, typer: 0x8, waker: 0x14, pidr2: 0xffe8, igroupr0: 0x10080, isenabler0: 0x10100,
        icenabler0: 0x10180, ispendr0: 0x10200, icpendr0: 0x10280, isactiver0: 0x10300, icactiver0: 0x10380,
        ipriorityr: 0x10400, icfgr: 0x10c00, igrpmodr0: 0x10d00
    ] {
        assert_eq!(found, specified);
    }
    assert_eq!(size_of::<RedistributorRegisters>(), 0x20000);
}

#[test]
fn redistributors_are_listed_up_to_the_last() {
    let mut fake = FakeGic::new(&[0, 1, 0x0102_0304, 7]);
    assert_eq!(fake.found(&fake.layout()), [(0, 0), (1, 0x2_0000), (0x0102_0304, 0x4_0000), (7, 0x6_0000)]);
    fake.set_redistributor(1, 0x8, 1 << 4);
    assert_eq!(fake.found(&fake.layout()).len(), 2);
}

#[test]
fn redistributors_end_with_their_region_or_where_there_is_none() {
    let mut fake = FakeGic::new(&[0, 1, 2, 3]);
    fake.set_redistributor(3, 0x8, 0);
    assert_eq!(fake.found(&fake.layout()).len(), 4, "none is the last");
    let mut short = fake.layout();
    short.redistributors[0] = Span::new(short.redistributors[0].start(), 0x5_ffff).unwrap();
    assert_eq!(fake.found(&short).len(), 2, "the third is not wholly in the region");
    fake.set_redistributor(2, 0xffe8, 0);
    assert_eq!(fake.found(&fake.layout()).len(), 2, "the third is none");
}

#[test]
fn redistributors_are_as_far_apart_as_they_or_the_tree_say() {
    let mut fake = FakeGic::new(&[0, 1, 2, 3, 4, 5]);
    let mut layout = fake.layout();
    layout.redistributor_stride = Some(0x6_0000);
    assert_eq!(fake.found(&layout), [(0, 0), (3, 0x6_0000)]);
    layout.redistributor_stride = Some(0);
    assert_eq!(fake.found(&layout).len(), 6, "a stride too small is not believed");
    layout.redistributor_stride = None;
    fake.set_redistributor(0, 0x8, 1 << 1);
    assert_eq!(fake.found(&layout)[1], (2, 0x4_0000), "the first is a GICv4's");
}

#[test]
fn redistributors_of_several_regions_are_listed() {
    let fake = FakeGic::new(&[0, 1, 2]);
    let mut layout = fake.layout();
    let start = layout.redistributors[0].start();
    layout.redistributors = vec![Span::new(start, 0x2_0000).unwrap(), Span::new(start + 0x4_0000, 0x2_0000).unwrap()];
    assert_eq!(fake.found(&layout), [(0, 0), (2, 0x4_0000)]);
}

#[test]
fn what_is_no_gicv3_is_refused() {
    let mut fake = FakeGic::new(&[0]);
    fake.set(0xffe8, 0x2b);
    let layout = fake.layout();
    // SAFETY: the regions lie in the vector.
    let error = unsafe { Driver::new(&layout) }.unwrap_err();
    let address = layout.distributor.start();
    assert_eq!(error, GicError::NotThere { part: "distributor (GICD)", version: 3, address });
}

#[test]
fn the_distributor_is_set_up_for_group_1_with_affinity_routing() {
    let mut fake = FakeGic::new(&[0]);
    fake.set(0xd04, 7);
    fake.set(0xc08, 0xaaaa_aaaa);
    fake.set(0x6100, 5);
    let driver = fake.driver();
    assert_eq!(driver.initialize(), Ok(()));
    assert_eq!(fake.get(0x0), 0b1_0010, "ARE_NS and EnableGrp1A");
    assert_eq!(driver.interrupt_count(), 96);
    for (offset, value) in [
        (0x184, u32::MAX),
        (0x188, u32::MAX),
        (0x18c, 0),
        (0x180, 0),
        (0x284, u32::MAX),
        (0x384, u32::MAX),
        (0x388, u32::MAX),
        (0x84, u32::MAX),
        (0x88, u32::MAX),
        (0x80, 0),
        (0x8c, 0),
        (0xd04, 0),
        (0xc08, 0),
        (0x6100, 0),
        (0x41c, 0),
        (0x420, 0xa0a0_a0a0),
        (0x45c, 0xa0a0_a0a0),
        (0x460, 0),
    ] {
        assert_eq!(fake.get(offset), value, "GICD + {offset:#x}");
    }
}

#[test]
fn a_distributor_that_never_gets_ready_is_given_up() {
    let mut fake = FakeGic::new(&[0]);
    fake.set(0x0, 1 << 31);
    assert!(!distributor::wait_for_writes(&fake.driver().distributor));
    fake.set(0x0, 0);
    assert!(distributor::wait_for_writes(&fake.driver().distributor));
}

#[test]
fn a_redistributor_is_woken_and_its_interrupts_quieted() {
    let mut fake = FakeGic::new(&[9, 0]);
    fake.set_redistributor(1, 0x14, 0b010);
    fake.set_redistributor(1, 0x10d00, 3);
    let registers = Fake::new();
    assert_eq!(fake.driver().initialize_core(), Ok(()));
    assert_eq!(fake.get_redistributor(1, 0x14), 0);
    for (offset, value) in [
        (0x10080, u32::MAX),
        (0x10180, u32::MAX),
        (0x10280, u32::MAX),
        (0x10380, u32::MAX),
        (0x10d00, 0),
        (0x10400, 0xa0a0_a0a0),
        (0x1041c, 0xa0a0_a0a0),
        (0x10420, 0),
    ] {
        assert_eq!(fake.get_redistributor(1, offset), value, "GICR + {offset:#x}");
    }
    assert_eq!(fake.get_redistributor(0, 0x10180), 0, "another core's");
    assert_eq!(registers.get("ICC_SRE_EL2"), 0b111);
    assert_eq!(registers.get("ICC_SRE_EL1"), 0b111);
    assert_eq!(registers.get("ICC_PMR_EL1"), 0xff);
    assert_eq!(registers.get("ICC_CTLR_EL1"), 0b10);
    assert_eq!(registers.get("ICC_IGRPEN1_EL1"), 1);
}

#[test]
fn a_core_without_or_with_a_sleeping_redistributor_is_refused() {
    let _registers = Fake::new();
    let fake = FakeGic::new(&[1]);
    let core = crate::Affinity::new(0).unwrap();
    assert_eq!(fake.driver().initialize_core(), Err(GicError::NoRedistributor(core)));
    let mut fake = FakeGic::new(&[0]);
    fake.set_redistributor(0, 0x14, 0b110);
    assert_eq!(fake.driver().initialize_core(), Err(GicError::NotReady("redistributor")));
}

#[test]
fn one_bit_is_written_for_one_interrupt() {
    let fake = FakeGic::new(&[9, 0]);
    let driver = fake.driver();
    driver.enable(spi(1));
    driver.disable(spi(31));
    driver.set_pending(spi(32));
    driver.clear_pending(spi(2));
    driver.set_active(spi(3));
    driver.clear_active(spi(987));
    assert_eq!(fake.get(0x104), 1 << 1);
    assert_eq!(fake.get(0x184), 1 << 31);
    assert_eq!(fake.get(0x208), 1);
    assert_eq!(fake.get(0x284), 1 << 2);
    assert_eq!(fake.get(0x304), 1 << 3);
    assert_eq!(fake.get(0x3fc), 1 << 27);
    assert!(driver.is_enabled(spi(1)) && !driver.is_enabled(spi(2)));
    assert!(driver.is_pending(spi(32)) && !driver.is_pending(spi(1)));
    assert!(driver.is_active(spi(3)) && !driver.is_active(spi(2)));
}

#[test]
fn private_interrupts_are_those_of_the_own_core() {
    let fake = FakeGic::new(&[9, 0]);
    let driver = fake.driver();
    driver.enable(ppi(11));
    driver.disable(ppi(10));
    driver.set_pending(IntId::sgi(3).unwrap());
    driver.clear_pending(IntId::sgi(4).unwrap());
    driver.set_active(ppi(0));
    driver.clear_active(ppi(15));
    for (offset, value) in
        [(0x10100, 1 << 27), (0x10180, 1 << 26), (0x10200, 8), (0x10280, 16), (0x10300, 1 << 16), (0x10380, 1 << 31)]
    {
        assert_eq!(fake.get_redistributor(1, offset), value, "GICR + {offset:#x}");
        assert_eq!(fake.get_redistributor(0, offset), 0, "another core's GICR + {offset:#x}");
        assert_eq!(fake.get(offset - 0x10000), 0, "GICD");
    }
    assert!(driver.is_enabled(ppi(11)) && driver.is_pending(IntId::sgi(3).unwrap()) && driver.is_active(ppi(0)));
}

#[test]
fn priorities_are_bytes() {
    let fake = FakeGic::new(&[9, 0]);
    let driver = fake.driver();
    driver.set_priority(spi(1), 0x40);
    driver.set_priority(spi(2), 0x50);
    driver.set_priority(ppi(11), 0x60);
    driver.set_priority(spi(987), 0x70);
    assert_eq!(fake.get(0x420), 0x0050_4000);
    assert_eq!(fake.get(0x7f8), 0x7000_0000);
    assert_eq!(fake.get_redistributor(1, 0x10418), 0x6000_0000);
}

#[test]
fn triggers_are_the_upper_of_two_bits() {
    let fake = FakeGic::new(&[9, 0]);
    let driver = fake.driver();
    driver.set_trigger(spi(0), Trigger::Edge);
    driver.set_trigger(spi(17), Trigger::Edge);
    driver.set_trigger(spi(18), Trigger::Edge);
    driver.set_trigger(spi(17), Trigger::Level);
    driver.set_trigger(ppi(15), Trigger::Edge);
    assert_eq!((fake.get(0xc08), fake.get(0xc0c)), (0b10, 0b10_0000));
    assert_eq!(fake.get_redistributor(1, 0x10c04), 1 << 31);
}

#[test]
fn shared_interrupts_are_routed_to_a_core() {
    let fake = FakeGic::new(&[0]);
    let driver = fake.driver();
    let core = crate::Affinity::from_mpidr(0x12_8034_0056);
    driver.route(spi(0), core);
    driver.route(spi(987), core);
    driver.route(ppi(3), core);
    assert_eq!((fake.get(0x6100), fake.get(0x6104)), (0x34_0056, 0x12));
    assert_eq!((fake.get(0x7fd8), fake.get(0x7fdc)), (0x34_0056, 0x12));
    assert_eq!(fake.get(0x6098), 0);
}

#[test]
fn interrupts_are_taken_ended_and_deactivated() {
    let fake = FakeGic::new(&[0]);
    let driver = fake.driver();
    let registers = Fake::new();
    registers.set("ICC_IAR1_EL1", 45);
    let taken = driver.acknowledge().unwrap();
    assert_eq!(taken.id(), spi(13));
    driver.end(taken);
    assert_eq!((registers.get("ICC_EOIR1_EL1"), registers.get("ICC_DIR_EL1")), (45, 0));
    driver.deactivate(taken);
    assert_eq!(registers.get("ICC_DIR_EL1"), 45);
    for special in 1020..=1023 {
        registers.set("ICC_IAR1_EL1", special);
        assert_eq!(driver.acknowledge(), None);
    }
}

#[test]
fn sgis_go_to_one_core() {
    let fake = FakeGic::new(&[0]);
    let driver = fake.driver();
    let registers = Fake::new();
    driver.send_sgi(IntId::sgi(0xa).unwrap(), crate::Affinity::from_mpidr(0x12_0034_5603));
    assert_eq!(registers.get("ICC_SGI1R_EL1"), 0x0012_0034_0a56_0008);
    driver.send_sgi(IntId::sgi(1).unwrap(), crate::Affinity::from_mpidr(0xff));
    assert_eq!(registers.get("ICC_SGI1R_EL1"), 0x0000_f000_0100_8000, "RS 15");
    driver.send_sgi(ppi(0), crate::Affinity::from_mpidr(0));
    assert_eq!(registers.get("ICC_SGI1R_EL1"), 0x0000_f000_0100_8000, "no SGI");
}

#[test]
fn the_virtual_interface_says_how_large_it_is() {
    use virtual_interface::*;
    let registers = Fake::new();
    for (vtr, lists, priority, active) in
        [(0x9000_0003_u64, 4, 5, 1), (0xb400_000f, 16, 6, 2), (0xd800_0000, 1, 7, 4), (0xfc00_001f, 32, 8, 4)]
    {
        registers.set("ICH_VTR_EL2", vtr);
        assert_eq!((list_register_count(), priority_bits(), active_priority_count()), (lists, priority, active));
        assert_eq!(has_many_active_priorities(), active > 1);
    }
}

#[test]
fn every_list_and_priority_register_is_one_of_its_own() {
    use virtual_interface::*;
    let registers = Fake::new();
    (0..17).for_each(|index| set_list_register(index, 100 + index as u64));
    (0..5).for_each(|index| set_group0_active_priorities(index, 200 + index as u64));
    (0..5).for_each(|index| set_group1_active_priorities(index, 300 + index as u64));
    for index in 0..16 {
        assert_eq!(registers.get(&format!("ICH_LR{index}_EL2")), 100 + index as u64);
        assert_eq!(list_register(index), 100 + index as u64);
    }
    for index in 0..4 {
        assert_eq!(registers.get(&format!("ICH_AP0R{index}_EL2")), 200 + index as u64);
        assert_eq!(registers.get(&format!("ICH_AP1R{index}_EL2")), 300 + index as u64);
        assert_eq!(group0_active_priorities(index), 200 + index as u64);
        assert_eq!(group1_active_priorities(index), 300 + index as u64);
    }
    assert_eq!((list_register(16), group0_active_priorities(4), group1_active_priorities(4)), (0, 0, 0));
}
