//! What each register reads as and does, with offsets and values from IHI 0069 chapter 12.

use super::*;
use crate::interrupts::{ConfigError, ListRegister, Maintenance, Origin, SgiRegister, VcpuSet};

const SGI_FRAME: u64 = 0x1_0000;

fn read(vgic: &Vgic, offset: u64, size: usize) -> u64 {
    vgic.read_distributor(0, &mut Core::alone(4), offset, size).0
}

fn write(vgic: &Vgic, offset: u64, size: usize, value: u64) {
    let _ = configure(vgic, 0, offset, size, value);
}

fn read_redistributor(vgic: &Vgic, offset: u64, size: usize) -> u64 {
    vgic.read_redistributor(0, &mut Core::alone(4), offset, size).0
}

fn write_redistributor(vgic: &Vgic, offset: u64, size: usize, value: u64) {
    let _ = vgic.write_redistributor(0, offset, size, value);
}

#[test]
fn distributor_says_what_it_is() {
    let (vgic, _) = machine(2, 4);
    // ITLinesNumber 3, ten bits of interrupt number, A3V; no LPIs, no second security state.
    assert_eq!(read(&vgic, 0x0004, 4), 0x0148_0003);
    assert_eq!(read(&vgic, 0x0008, 4), 0x43b);
    let identity: Vec<_> = (0..12).map(|index| read(&vgic, 0xffd0 + 4 * index, 4)).collect();
    assert_eq!(identity, [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    // TYPER2, STATUSR, SETSPI_NSR.
    for offset in [0x000c, 0x0010, 0x0040] {
        assert_eq!(read(&vgic, offset, 4), 0);
    }
}

#[test]
fn sgis_beyond_sixteen_of_a_cluster_are_announced() {
    let affinities = [Affinity::new(0, 0, 0, 0), Affinity::new(0, 0, 0, 16)];
    let config = Config { affinities: &affinities, spis: 32, list_registers: 4 };
    let vgic = Vgic::new(&config).expect("valid");
    assert_eq!(read(&vgic, 0x0004, 4), 0x0548_0001);
}

#[test]
fn control_keeps_the_two_group_enables() {
    let (vgic, _) = machine(1, 4);
    assert_eq!(read(&vgic, 0, 4), 0x50);
    write(&vgic, 0, 4, 2);
    assert_eq!(read(&vgic, 0, 4), 0x52);
    write(&vgic, 0, 4, 0xffff_ffff);
    assert_eq!(read(&vgic, 0, 4), 0x53);
    write(&vgic, 0, 4, 0);
    assert_eq!(read(&vgic, 0, 4), 0x50);
}

#[test]
fn bit_registers_of_the_distributor() {
    let (vgic, _) = machine(1, 4);
    for (word, value) in [(1, 0x8000_0001), (2, 0x0f0f_0f0f), (3, 0xdead_beef)] {
        write(&vgic, 0x080 + 4 * word, 4, value);
        assert_eq!(read(&vgic, 0x080 + 4 * word, 4), value, "IGROUPR");
        for (set, clear) in [(0x100, 0x180), (0x200, 0x280), (0x300, 0x380)] {
            write(&vgic, set + 4 * word, 4, value);
            write(&vgic, set + 4 * word, 4, 0x10);
            assert_eq!(read(&vgic, set + 4 * word, 4), value | 0x10);
            assert_eq!(read(&vgic, clear + 4 * word, 4), value | 0x10);
            write(&vgic, clear + 4 * word, 4, 0xffff);
            assert_eq!(read(&vgic, set + 4 * word, 4), value & 0xffff_0000);
        }
    }
    assert_eq!(read(&vgic, 0x104, 4), 0x8000_0000);
    assert_eq!(read(&vgic, 0x108, 4), 0x0f0f_0000);
}

#[test]
fn private_interrupts_and_those_beyond_are_not_in_the_distributor() {
    let (vgic, _) = machine(1, 4);
    for block in 1..8 {
        for word in [0, 4, 31] {
            let offset = block * 0x80 + word * 4;
            write(&vgic, offset, 4, 0xffff_ffff);
            assert_eq!(read(&vgic, offset, 4), 0, "{offset:#x}");
        }
    }
    for offset in [0x400, 0x41c, 0x480, 0x7fc, 0xc00, 0xc04, 0xc20, 0xcfc, 0x6000, 0x60f8, 0x6400, 0x7fd8] {
        write(&vgic, offset, 4, 0xffff_ffff);
        assert_eq!(read(&vgic, offset, 4), 0, "{offset:#x}");
    }
}

#[test]
fn special_numbers_do_not_exist() {
    let affinities = [Affinity::default()];
    let config = Config { affinities: &affinities, spis: 988, list_registers: 4 };
    let vgic = Vgic::new(&config).expect("valid");
    let _ = cores_of(&vgic, 4);
    let mut core = Core::alone(4);
    assert_eq!(read(&vgic, 0x0004, 4) & 0x1f, 31);
    write(&vgic, 0, 4, 3);
    for block in 1..8 {
        write(&vgic, block * 0x80 + 31 * 4, 4, 0xf000_0000);
        assert_eq!(read(&vgic, block * 0x80 + 31 * 4, 4), 0);
    }
    assert!(vgic.set_line(0, 1020, true).is_empty() && vgic.pulse(0, 1023).is_empty());
    write(&vgic, 0x6000 + 8 * 1021, 8, 0xff);
    assert_eq!(read(&vgic, 0x6000 + 8 * 1021, 8), 0);
    let _ = vgic.flush(0, &mut core);
    assert!(core.listed().is_empty());
    write(&vgic, 0x100 + 31 * 4, 4, 1 << 27);
    assert!(vgic.pulse(0, 1019).contains(0));
    let _ = vgic.flush(0, &mut core);
    assert_eq!(core.acknowledge(), Some(1019));
}

#[test]
fn priorities_are_bytes_with_five_bits() {
    let (vgic, _) = machine(2, 4);
    write(&vgic, 0x420, 4, 0xff80_4021);
    assert_eq!(read(&vgic, 0x420, 4), 0xf880_4020);
    write(&vgic, 0x421, 1, 0x17);
    assert_eq!(read(&vgic, 0x420, 4), 0xf880_1020);
    assert_eq!(read(&vgic, 0x423, 1), 0xf8);
    assert_eq!(read(&vgic, 0x422, 2), 0xf880);
    assert_eq!(read(&vgic, 0x47f, 1), 0);
    write_redistributor(&vgic, 0x2_0000 + SGI_FRAME + 0x41b, 1, 0xa7);
    assert_eq!(read_redistributor(&vgic, 0x2_0000 + SGI_FRAME + 0x418, 4), 0xa000_0000);
    assert_eq!(read_redistributor(&vgic, SGI_FRAME + 0x418, 4), 0);
}

#[test]
fn configuration_has_two_bits_each() {
    let (vgic, _) = machine(1, 4);
    write(&vgic, 0xc08, 4, 0xffff_fff3);
    assert_eq!(read(&vgic, 0xc08, 4), 0xaaaa_aaa2);
    write(&vgic, 0xc0c, 4, 0x8000_0000);
    assert_eq!((read(&vgic, 0xc08, 4), read(&vgic, 0xc0c, 4)), (0xaaaa_aaa2, 0x8000_0000));
    // SGIs are edge-triggered for ever, PPIs level-sensitive until changed.
    write_redistributor(&vgic, SGI_FRAME + 0xc00, 4, 0);
    assert_eq!(read_redistributor(&vgic, SGI_FRAME + 0xc00, 4), 0xaaaa_aaaa);
    assert_eq!(read_redistributor(&vgic, SGI_FRAME + 0xc04, 4), 0);
    write_redistributor(&vgic, SGI_FRAME + 0xc04, 4, 0x0080_0000);
    assert_eq!(read_redistributor(&vgic, SGI_FRAME + 0xc04, 4), 0x0080_0000);
}

#[test]
fn routes_are_read_and_written_whole_and_by_halves() {
    let (vgic, _) = machine(2, 4);
    let router = 0x6000 + 8 * 33;
    assert_eq!(read(&vgic, router, 8), 0);
    write(&vgic, router, 8, 0xffff_ffff_ffff_ffff);
    assert_eq!(read(&vgic, router, 8), 0x0000_00ff_80ff_ffff);
    write(&vgic, router, 4, 0x0001_0203);
    assert_eq!(read(&vgic, router, 8), 0x0000_00ff_0001_0203);
    write(&vgic, router + 4, 4, 0x0000_0704);
    assert_eq!(read(&vgic, router + 4, 4), 4);
    assert_eq!(read(&vgic, router, 4), 0x0001_0203);
    write(&vgic, router, 2, 0);
    assert_eq!(read(&vgic, router, 8), 0x0000_0004_0001_0203);
    assert_eq!(read(&vgic, router, 2), 0);
    assert_eq!(read(&vgic, router + 8, 8), 0);
}

#[test]
fn legacy_and_security_registers_read_as_zero() {
    let (vgic, _) = machine(1, 4);
    // ITARGETSR8, IGRPMODR1, NSACR2, SGIR, CPENDSGIR, SPENDSGIR.
    for offset in [0x820, 0xd04, 0xe08, 0xf00, 0xf10, 0xf20] {
        write(&vgic, offset, 4, 0xffff_ffff);
        assert_eq!(read(&vgic, offset, 4), 0, "{offset:#x}");
    }
    write(&vgic, 0x820, 1, 0xff);
    assert_eq!(read(&vgic, 0x820, 1), 0);
}

#[test]
fn wrong_sizes_and_alignments_do_nothing() {
    let (vgic, _) = machine(1, 4);
    write(&vgic, 0x104, 4, 0xf0);
    for (offset, size) in
        [(0x104, 1), (0x104, 2), (0x104, 8), (0x105, 4), (0x106, 4), (0x104, 3), (0x104, 16), (0x104, 0)]
    {
        write(&vgic, offset, size, 0xffff_ffff_ffff_ffff);
        assert_eq!(read(&vgic, offset, size), 0);
    }
    for (offset, size) in [(0x0, 1), (0x0, 8), (0x420, 8), (0x421, 4), (0x421, 2), (0xc08, 2), (0x6104, 8)] {
        write(&vgic, offset, size, 0xffff_ffff_ffff_ffff);
        assert_eq!(read(&vgic, offset, size), 0);
    }
    assert_eq!(read(&vgic, 0x104, 4), 0xf0);
    assert_eq!((read(&vgic, 0, 4), read(&vgic, 0x420, 4), read(&vgic, 0xc08, 4)), (0x50, 0, 0));
}

#[test]
fn no_access_anywhere_panics() {
    let (vgic, mut cores) = machine(3, 4);
    let core = &mut cores[1];
    let outside = [u64::MAX, u64::MAX - 7, 1 << 32, 0x8_0000, 0x20_0000 * 64];
    for offset in (0..0x6_0000 + 64).chain(outside) {
        for size in [0, 1, 2, 3, 4, 5, 8, 9, 16, usize::MAX] {
            for value in [0, u64::MAX, offset.wrapping_mul(0x9e37_79b9_7f4a_7c15)] {
                let _ = vgic.write_distributor(1, core, offset, size, value);
                let _ = vgic.write_redistributor(1, offset, size, value);
            }
            let _ = vgic.read_distributor(1, core, offset, size);
            let _ = vgic.read_redistributor(1, core, offset, size);
        }
        let _ = vgic.flush(1, core);
    }
}

#[test]
fn strangers_have_no_effect() {
    let (vgic, mut cores) = machine(1, 4);
    let core = &mut cores[0];
    for vcpu in [1, 63, 64, usize::MAX] {
        assert!(vgic.flush(vcpu, core).is_empty());
        assert!(vgic.deliver_hardware(vcpu, core, 27).is_empty());
        assert!(vgic.deliver_hardware(0, core, (vcpu as u32).wrapping_add(27)).is_empty());
        assert!(vgic.set_line(vcpu, 27, true).is_empty());
        assert!(vgic.set_line(0, u32::MAX, true).is_empty() && vgic.pulse(0, 128).is_empty());
        assert!(!vgic.has_pending(vcpu, core));
        assert!(vgic.park(vcpu, core).is_empty() && vgic.set_offline(vcpu, core).is_empty());
        assert!(vgic.set_online(vcpu).is_empty() && vgic.deactivate(vcpu, 5).is_empty());
        assert!(vgic.deactivate(0, u32::MAX).is_empty());
        vgic.unpark(vcpu, core);
        vgic.maintain(vcpu);
    }
}

#[test]
fn redistributors_say_whose_they_are() {
    let affinities = [Affinity::new(0, 0, 0, 0), Affinity::new(0, 0, 0, 1), Affinity::new(4, 3, 2, 1)];
    let config = Config { affinities: &affinities, spis: 32, list_registers: 4 };
    let vgic = Vgic::new(&config).expect("valid");
    let typer: Vec<_> = (0..4).map(|index| read_redistributor(&vgic, index * 0x2_0000 + 8, 8)).collect();
    assert_eq!(typer, [0, 0x0000_0001_0000_0100, 0x0403_0201_0000_0210, 0]);
    assert_eq!(read_redistributor(&vgic, 0x4_0008, 4), 0x210);
    assert_eq!(read_redistributor(&vgic, 0x4_000c, 4), 0x0403_0201);
    assert_eq!(read_redistributor(&vgic, 0x4, 4), 0x43b);
    assert_eq!(read_redistributor(&vgic, 0x2_ffe8, 4), 0x3b);
    assert_eq!(read_redistributor(&vgic, 0x2_ffe0, 4), 0x93);
    assert_eq!(read_redistributor(&vgic, 0x0, 4), 0);
    // LPIs there are none: PROPBASER, PENDBASER, SETLPIR, INVLPIR.
    for (offset, size) in [(0x70, 8), (0x78, 8), (0x40, 8), (0xa0, 8), (0xa0, 4), (0x0, 4)] {
        write_redistributor(&vgic, offset, size, u64::MAX);
        assert_eq!(read_redistributor(&vgic, offset, size), 0);
    }
}

#[test]
fn waker_follows_processor_sleep() {
    let (vgic, _) = machine(2, 4);
    assert_eq!(read_redistributor(&vgic, 0x2_0014, 4), 6);
    write_redistributor(&vgic, 0x2_0014, 4, 0);
    assert_eq!(read_redistributor(&vgic, 0x2_0014, 4), 0);
    assert_eq!(read_redistributor(&vgic, 0x14, 4), 6);
    write_redistributor(&vgic, 0x2_0014, 4, 0xffff_ffff);
    assert_eq!(read_redistributor(&vgic, 0x2_0014, 4), 6);
}

#[test]
fn redistributors_hold_private_interrupts_each_its_own() {
    let (vgic, _) = machine(2, 4);
    let other = 0x2_0000 + SGI_FRAME;
    for (set, clear) in [(0x100, 0x180), (0x200, 0x280), (0x300, 0x380)] {
        write_redistributor(&vgic, other + set, 4, 0x0800_8001);
        assert_eq!(read_redistributor(&vgic, other + clear, 4), 0x0800_8001);
        assert_eq!(read_redistributor(&vgic, SGI_FRAME + set, 4), 0);
        write_redistributor(&vgic, other + clear, 4, 1);
        assert_eq!(read_redistributor(&vgic, other + set, 4), 0x0800_8000);
        // There is one word only.
        write_redistributor(&vgic, other + set + 4, 4, 0xffff_ffff);
        assert_eq!(read_redistributor(&vgic, other + set + 4, 4), 0);
    }
    write_redistributor(&vgic, other + 0x80, 4, 0xffff_0000);
    assert_eq!(read_redistributor(&vgic, other + 0x80, 4), 0xffff_0000);
    // IGRPMODR0, NSACR.
    for offset in [0xd00, 0xe00] {
        write_redistributor(&vgic, other + offset, 4, 0xffff_ffff);
        assert_eq!(read_redistributor(&vgic, other + offset, 4), 0);
    }
}

/// Who gets SGI 3 when virtual CPU 0 writes `value`.
fn reached(affinities: &[Affinity], register: SgiRegister, value: u64) -> VcpuSet {
    let config = Config { affinities, spis: 32, list_registers: 4 };
    let vgic = Vgic::new(&config).expect("valid");
    let _ = cores_of(&vgic, 4);
    enable_groups(&vgic, affinities.len() as u64);
    let told = vgic.send_sgi(0, register, value);
    let mut reached = VcpuSet::EMPTY;
    for vcpu in 0..affinities.len() {
        let offset = vcpu as u64 * 0x2_0000 + SGI_FRAME + 0x200;
        if read_redistributor(&vgic, offset, 4) != 0 {
            assert_eq!(read_redistributor(&vgic, offset, 4), 8);
            reached.insert(vcpu);
        }
    }
    // Disabled: nobody has to look.
    assert!(told.is_empty());
    reached
}

#[test]
fn sgis_reach_whom_affinity_and_list_name() {
    const SGI_3: u64 = 3 << 24;
    let affinities: Vec<_> = (0..64).map(|index| Affinity::new(0, 0, index / 16, index % 16)).collect();
    let reach = |value| reached(&affinities, SgiRegister::Group1, SGI_3 | value).bits();
    assert_eq!(reach(0b0101), 0b0101);
    assert_eq!(reach(3 << 16 | 0x8001), 0x8001 << 48);
    assert_eq!(reach(4 << 16 | 0xffff), 0);
    assert_eq!(reach(1 << 32 | 0xffff), 0);
    assert_eq!(reach(1 << 48 | 0xffff), 0);
    assert_eq!(reach(1 << 44 | 0xffff), 0);
    assert_eq!(reach(1 << 40 | 3 << 16 | 0xf), !1);
}

#[test]
fn sgis_reach_all_levels_and_ranges() {
    const SGI_3: u64 = 3 << 24;
    let affinities = [Affinity::new(0, 0, 0, 0), Affinity::new(7, 6, 5, 0x4f), Affinity::new(7, 6, 5, 0xf)];
    let reach = |value| reached(&affinities, SgiRegister::Group1, SGI_3 | value).bits();
    let cluster = 7 << 48 | 6 << 32 | 5 << 16;
    assert_eq!(reach(cluster | 4 << 44 | 0x8000), 0b010);
    assert_eq!(reach(cluster | 0x8000), 0b100);
    assert_eq!(reach(cluster | 5 << 44 | 0x8000), 0);
    assert_eq!(reach(1 << 40), 0b110);
    assert_eq!(reached(&affinities, SgiRegister::Group0, SGI_3 | 1).bits(), 0);
    assert_eq!(reached(&affinities, SgiRegister::Other, SGI_3 | 1).bits(), 0);
}

#[test]
fn configurations_no_gic_has_are_refused() {
    let good = [Affinity::new(0, 0, 0, 0), Affinity::new(0, 0, 0, 1)];
    let config = Config { affinities: &good, spis: 32, list_registers: 4 };
    let refused = |config: Config| Vgic::new(&config).expect_err("refused");
    let many: Vec<_> = (0..65).map(|index| Affinity::new(0, 0, index, 0)).collect();
    assert_eq!(refused(Config { affinities: &[], ..config }), ConfigError::Vcpus);
    assert_eq!(refused(Config { affinities: &many, ..config }), ConfigError::Vcpus);
    assert_eq!(refused(Config { affinities: &[good[0], good[0]], ..config }), ConfigError::Affinity);
    assert_eq!(refused(Config { spis: 989, ..config }), ConfigError::Spis);
    assert_eq!(refused(Config { list_registers: 0, ..config }), ConfigError::ListRegisters);
    assert_eq!(refused(Config { list_registers: 17, ..config }), ConfigError::ListRegisters);
    let vgic = Vgic::new(&config).expect("valid");
    assert_eq!(vgic.map_hardware(5, 5), Err(ConfigError::Interrupt));
    assert_eq!(vgic.map_hardware(64, 64), Err(ConfigError::Interrupt));
    assert_eq!(vgic.map_hardware(33, 1020), Err(ConfigError::Interrupt));
    assert_eq!(vgic.map_hardware(33, 27), Err(ConfigError::Interrupt));
    assert_eq!(vgic.map_hardware(27, 33), Err(ConfigError::Interrupt));
    assert_eq!(vgic.map_hardware(27, 15), Err(ConfigError::Interrupt));
    assert_eq!(vgic.map_hardware(27, 27), Ok(()));
}

const TIMER: ListRegister = ListRegister {
    intid: 27,
    pending: true,
    active: false,
    priority: 0xa0,
    group_one: true,
    origin: Origin::Hardware(0x1e),
};
const LEVEL: ListRegister = ListRegister {
    intid: 0x3fb,
    pending: false,
    active: true,
    priority: 0xf8,
    group_one: false,
    origin: Origin::Software { notify_end: true, source: 0 },
};

#[test]
fn list_registers_of_version_three() {
    for (entry, raw) in [(TIMER, 0x70a0_001e_0000_001b), (LEVEL, 0x80f8_0200_0000_03fb)] {
        assert_eq!(entry.to_ich_lr(), raw);
        assert_eq!(ListRegister::from_ich_lr(raw), entry);
    }
}

#[test]
fn list_registers_of_version_two() {
    let sgi = ListRegister {
        intid: 7,
        pending: true,
        active: true,
        priority: 0x08,
        group_one: false,
        origin: Origin::Software { notify_end: false, source: 5 },
    };
    for (entry, raw) in [(TIMER, 0xda00_781b), (LEVEL, 0x2f88_03fb), (sgi, 0x3080_1407)] {
        assert_eq!(entry.to_gich_lr(), raw, "{raw:#x}");
        assert_eq!(ListRegister::from_gich_lr(raw), entry);
    }
}

#[test]
fn maintenance_bits() {
    let maintenance = |pending_outside, active_outside| Maintenance { pending_outside, active_outside }.ich_hcr();
    assert_eq!(maintenance(false, false), 0);
    assert_eq!(maintenance(true, false), 0x8);
    assert_eq!(maintenance(true, true), 0x400c);
}
