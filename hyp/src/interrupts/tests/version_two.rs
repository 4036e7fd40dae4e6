//! What differs with GICv2: registers after IHI 0048 chapter 4, SGIs that know their senders, masks of targets.

use std::collections::BTreeSet;

use super::property::Random;
use super::*;
use crate::interrupts::{ConfigError, VcpuSet};

fn machine(vcpus: usize, list_registers: usize) -> (Vgic, Vec<Core>) {
    let affinities: Vec<_> = (0..vcpus).map(|index| Affinity::new(0, 0, 0, index as u8)).collect();
    let config = Config { affinities: &affinities, spis: 64, list_registers };
    let vgic = Vgic::new_v2(&config).expect("valid");
    (0..vcpus).for_each(|vcpu| assert!(vgic.set_online(vcpu).is_empty()));
    let cores = cores_of(&vgic, list_registers);
    (vgic, cores)
}

/// The same with both groups enabled, and that noted by all.
fn running(vcpus: usize, list_registers: usize) -> (Vgic, Vec<Core>) {
    let (vgic, mut cores) = machine(vcpus, list_registers);
    let _ = write(&vgic, 0, 0, 4, GROUPS);
    for core in &mut cores {
        assert!(vgic.flush(core.number, core).is_empty());
    }
    (vgic, cores)
}

fn read(vgic: &Vgic, core: &mut Core, offset: u64, size: usize) -> u64 {
    vgic.read_distributor_v2(core.number, core, offset, size).0
}

/// A write that is not of an SGI to oneself, and so touches no list register.
fn write(vgic: &Vgic, vcpu: usize, offset: u64, size: usize, value: u64) -> VcpuSet {
    let mut core = Core::alone(4);
    let told = vgic.write_distributor_v2(vcpu, &mut core, offset, size, value);
    assert_eq!(core.accesses, 0);
    told
}

fn write_sgir(vgic: &Vgic, core: &mut Core, value: u64) -> VcpuSet {
    vgic.write_distributor_v2(core.number, core, 0xf00, 4, value)
}

#[test]
fn distributor_says_what_it_is() {
    let (vgic, mut cores) = machine(3, 4);
    let core = &mut cores[0];
    assert_eq!(read(&vgic, core, 0x004, 4), 0x42);
    assert_eq!(read(&vgic, core, 0x008, 4), 0x0200_143b);
    let identity: Vec<_> = (0..12).map(|index| read(&vgic, core, 0xfd0 + 4 * index, 4)).collect();
    assert_eq!(identity, [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    assert_eq!(read(&vgic, core, 0, 4), 0);
    assert_eq!(write(&vgic, 0, 0, 4, 0xffff_ffff), VcpuSet::from_bits(0b110));
    assert_eq!(read(&vgic, core, 0, 4), 3);
}

#[test]
fn private_registers_are_those_of_who_reads() {
    let (vgic, mut cores) = machine(2, 4);
    for (set, clear) in [(0x100, 0x180), (0x300, 0x380)] {
        let _ = write(&vgic, 1, set, 4, 0x0800_0000);
        assert_eq!(read(&vgic, &mut cores[1], clear, 4) & 0xffff_0000, 0x0800_0000);
        assert_eq!(read(&vgic, &mut cores[0], clear, 4) & 0xffff_0000, 0);
    }
    let _ = write(&vgic, 1, 0x41b, 1, 0xa7);
    assert_eq!(read(&vgic, &mut cores[1], 0x418, 4), 0xa000_0000);
    assert_eq!(read(&vgic, &mut cores[0], 0x418, 4), 0);
    let _ = write(&vgic, 1, 0xc04, 4, 0x0080_0000);
    assert_eq!((read(&vgic, &mut cores[1], 0xc00, 4), read(&vgic, &mut cores[1], 0xc04, 4)), (0xaaaa_aaaa, 0x80_0000));
    // SPIs are everybody's.
    let _ = write(&vgic, 1, 0x104, 4, 0xf0);
    assert_eq!(read(&vgic, &mut cores[0], 0x104, 4), 0xf0);
}

#[test]
fn sgis_are_always_enabled_and_pending_with_a_sender_only() {
    let (vgic, mut cores) = machine(2, 4);
    let _ = write(&vgic, 0, 0x180, 4, 0xffff_ffff);
    assert_eq!(read(&vgic, &mut cores[0], 0x100, 4), 0xffff);
    let _ = write(&vgic, 0, 0x200, 4, 0x1_ffff);
    assert_eq!(read(&vgic, &mut cores[0], 0x200, 4), 0x1_0000);
    let _ = write(&vgic, 0, 0xf20, 4, 0x02ff_0001);
    assert_eq!(read(&vgic, &mut cores[0], 0xf10, 4), 0x0203_0001);
    assert_eq!(read(&vgic, &mut cores[0], 0x200, 4), 0x1_000d);
    let _ = write(&vgic, 0, 0x280, 4, 0xffff_ffff);
    assert_eq!(read(&vgic, &mut cores[0], 0x200, 4), 0x000d);
    let _ = write(&vgic, 0, 0xf12, 1, 1);
    let _ = write(&vgic, 0, 0xf10, 4, 0x0200_0001);
    assert_eq!(read(&vgic, &mut cores[0], 0xf20, 4), 0x0002_0000);
    assert_eq!(read(&vgic, &mut cores[0], 0x200, 4), 0x4);
    assert_eq!(read(&vgic, &mut cores[1], 0xf20, 4), 0);
}

#[test]
fn targets_are_bytes() {
    let (vgic, mut cores) = machine(3, 4);
    assert_eq!(read(&vgic, &mut cores[2], 0x800, 4), 0x0404_0404);
    assert_eq!(read(&vgic, &mut cores[0], 0x81f, 1), 1);
    assert_eq!(read(&vgic, &mut cores[0], 0x820, 4), 0);
    let _ = write(&vgic, 0, 0x820, 4, 0xff06_0100);
    assert_eq!(read(&vgic, &mut cores[0], 0x820, 4), 0x0706_0100);
    let _ = write(&vgic, 0, 0x821, 1, 4);
    assert_eq!(read(&vgic, &mut cores[0], 0x820, 4), 0x0706_0400);
    let _ = write(&vgic, 0, 0x81c, 4, 0xffff_ffff);
    assert_eq!(read(&vgic, &mut cores[0], 0x81c, 4), 0x0101_0101);
    assert_eq!(read(&vgic, &mut cores[0], 0x860, 4), 0, "there are 96 interrupts");
}

#[test]
fn the_physical_interrupt_follows_the_targets() {
    let (vgic, mut cores) = machine(2, 4);
    vgic.map_hardware(40, 40).expect("exists");
    let mut told = Vec::new();
    vgic.take_rerouted(|physical, vcpu| told.push((physical, vcpu)));
    let _ = write(&vgic, 0, 0x800 + 40, 1, 2);
    assert!(vgic.is_rerouted());
    vgic.take_rerouted(|physical, vcpu| told.push((physical, vcpu)));
    let _ = vgic.set_offline(1, &mut cores[1]);
    vgic.take_rerouted(|physical, vcpu| told.push((physical, vcpu)));
    assert_eq!(told, [(40, None), (40, Some(1)), (40, None)]);
}

#[test]
fn one_virtual_cpu_needs_no_targets() {
    let (vgic, mut cores) = running(1, 4);
    let core = &mut cores[0];
    let _ = write(&vgic, 0, 0x820, 4, 0xffff_ffff);
    assert_eq!((read(&vgic, core, 0x800, 4), read(&vgic, core, 0x820, 4)), (0, 0));
    let _ = write(&vgic, 0, 0x104, 4, 1);
    assert!(vgic.set_line(0, 32, true).contains(0));
    let _ = vgic.flush(0, core);
    assert_eq!(core.acknowledge(), Some(32));
}

#[test]
fn an_spi_goes_to_one_of_its_targets_that_is_on() {
    let (vgic, mut cores) = running(3, 4);
    let _ = write(&vgic, 0, 0x104, 4, 1);
    assert!(vgic.set_line(0, 32, true).is_empty());
    assert_eq!(write(&vgic, 0, 0x820, 1, 0b110), VcpuSet::from_bits(0b010));
    let _ = vgic.flush(1, &mut cores[1]);
    assert_eq!(cores[1].best(), Some((0, 32)));
    let told = vgic.set_offline(1, &mut cores[1]);
    assert!(told.contains(2));
    let _ = vgic.flush(2, &mut cores[2]);
    assert_eq!(cores[2].acknowledge(), Some(32));
}

#[test]
fn sgir_names_a_list_or_all_others_or_the_sender() {
    for (value, reached) in
        [(0x0005_0003, 0b101), (0x0105_0003, 0b101), (0x0205_0003, 0b010), (0x0307_0003, 0), (0x00f8_0003, 0)]
    {
        let (vgic, mut cores) = machine(3, 4);
        let _ = write_sgir(&vgic, &mut cores[1], value);
        let got = cores.iter_mut().fold(0, |set, core| {
            let sent = read(&vgic, core, 0xf20, 4) == 0x0200_0000;
            set | u64::from(sent) << core.number
        });
        assert_eq!(got, reached, "{value:#x}");
    }
}

#[test]
fn sgis_of_two_senders_come_one_after_the_other() {
    let (vgic, mut cores) = running(3, 4);
    for sender in [2, 0, 2] {
        let _ = write_sgir(&vgic, &mut cores[sender], 0x0002_0005);
        let _ = vgic.flush(1, &mut cores[1]);
    }
    for sender in [0, 2] {
        assert_eq!(cores[1].acknowledge(), Some(5));
        assert_eq!(cores[1].sender(5), sender);
        let _ = vgic.flush(1, &mut cores[1]);
        cores[1].end(5);
        if cores[1].calls() {
            vgic.maintain(1);
            let _ = vgic.flush(1, &mut cores[1]);
        }
    }
    assert_eq!(cores[1].acknowledge(), None);
}

#[test]
fn an_sgi_to_oneself_is_at_most_one_read_and_one_write() {
    let (vgic, mut cores) = running(2, 4);
    let core = &mut cores[0];
    for (round, accesses) in [1, 2, 2].into_iter().enumerate() {
        core.accesses = 0;
        assert!(write_sgir(&vgic, core, 0x0200_0005).is_empty());
        assert!(vgic.flush(0, core).is_empty());
        assert_eq!(core.accesses, accesses, "round {round}");
        assert_eq!(core.acknowledge(), Some(5));
        core.end(5);
    }
    // While it is active, it waits for the end of the other.
    let _ = write_sgir(&vgic, core, 0x0200_0005);
    let _ = vgic.flush(0, core);
    assert_eq!(core.acknowledge(), Some(5));
    let _ = write_sgir(&vgic, core, 0x0200_0005);
    let _ = vgic.flush(0, core);
    assert_eq!(core.acknowledge(), None);
    core.end(5);
    vgic.maintain(0);
    let _ = vgic.flush(0, core);
    assert_eq!(core.acknowledge(), Some(5));
}

#[test]
fn exits_that_bring_no_interrupt_touch_no_list_register() {
    let (vgic, mut cores) = running(2, 4);
    let core = &mut cores[0];
    core.accesses = 0;
    for offset in [0, 4, 0x80, 0x100, 0x104, 0x204, 0x400, 0x820, 0xc04, 0xf20] {
        let _ = read(&vgic, core, offset, 4);
    }
    for (offset, value) in [(0x104, 2), (0x184, 2), (0x424, 0x80), (0x820, 1), (0xc08, 8)] {
        let _ = write(&vgic, 0, offset, 4, value);
    }
    let _ = vgic.flush(0, core);
    assert_eq!(core.accesses, 0);
}

/// What EL2 does besides: it reads GICC_IAR and writes GICC_EOIR.
#[test]
fn a_timer_interrupt_is_one_write_of_a_list_register() {
    let (vgic, mut cores) = running(1, 4);
    let core = &mut cores[0];
    vgic.map_hardware(27, 27).expect("exists");
    let _ = write(&vgic, 0, 0x100, 4, 1 << 27);
    for _ in 0..5 {
        core.accesses = 0;
        core.fire(27);
        assert!(vgic.deliver_hardware(0, core, 27).is_empty() && vgic.flush(0, core).is_empty());
        assert_eq!(core.accesses, 1);
        assert_eq!(core.acknowledge(), Some(27));
        core.end(27);
        assert!(!core.calls() && core.deactivated.is_empty());
    }
}

#[test]
fn no_access_anywhere_panics() {
    let (vgic, mut cores) = running(8, 4);
    for offset in (0..0x1010).chain([u64::MAX, u64::MAX - 3, 1 << 32]) {
        for size in [0, 1, 2, 3, 4, 8, 16, usize::MAX] {
            for value in [0, u64::MAX, offset.wrapping_mul(0x9e37_79b9_7f4a_7c15)] {
                for vcpu in [7, 8, usize::MAX] {
                    let _ = vgic.write_distributor_v2(vcpu, &mut cores[7], offset, size, value);
                }
            }
            let _ = read(&vgic, &mut cores[7], offset, size);
        }
        let _ = vgic.flush(7, &mut cores[7]);
    }
    let affinities: Vec<_> = (0..9).map(|index| Affinity::new(0, 0, 0, index)).collect();
    let config = Config { affinities: &affinities, spis: 64, list_registers: 4 };
    assert_eq!(Vgic::new_v2(&config).err(), Some(ConfigError::Vcpus));
}

/// SGIs of random senders, withdrawn, taken and ended at random: each comes once with its sender, none is lost.
#[test]
fn random_sgis_agree_with_a_set() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (vgic, mut cores) = running(3, random.pick(&[1, 2, 4]));
        // (target, number, sender)
        let mut pending = BTreeSet::new();
        let mut active: [Vec<u32>; 3] = Default::default();
        for intid in 0..16 {
            (0..3).for_each(|vcpu| drop_told(write(&vgic, vcpu, 0x400 + intid, 1, intid * 8)));
        }
        for _ in 0..300 {
            let (vcpu, intid) = (random.below(3), random.below(4) as u32);
            let mut told = VcpuSet::EMPTY;
            match random.below(8) {
                0..3 => {
                    let list = random.next() & 7;
                    (0..3).filter(|target| list >> target & 1 != 0).for_each(|target| {
                        pending.insert((target, intid, vcpu as u8));
                    });
                    told = write_sgir(&vgic, &mut cores[vcpu], list << 16 | u64::from(intid));
                }
                3 => {
                    let mask = random.next() as u8 & 7;
                    pending.retain(|&(target, number, sender)| {
                        target != vcpu || number != intid || mask >> sender & 1 == 0
                    });
                    told = write(&vgic, vcpu, 0xf10 + u64::from(intid), 1, mask.into());
                }
                4 => {
                    told = vgic.park(vcpu, &mut cores[vcpu]);
                    vgic.unpark(vcpu, &mut cores[vcpu]);
                }
                5 | 6 => {
                    if let Some(number) = cores[vcpu].acknowledge() {
                        let sender = cores[vcpu].sender(number);
                        assert!(pending.remove(&(vcpu, number, sender)), "{number} of {sender} without cause");
                        active[vcpu].push(number);
                    }
                }
                _ => {
                    if let Some(number) = active[vcpu].pop() {
                        cores[vcpu].end(number);
                    }
                }
            }
            told.insert(vcpu);
            settle(&vgic, &mut cores, told);
            for (vcpu, core) in cores.iter_mut().enumerate() {
                let ready =
                    |&&(target, number, _): &&(usize, u32, u8)| target == vcpu && !active[vcpu].contains(&number);
                let best = pending.iter().filter(ready).map(|&(_, number, _)| number).min();
                assert_eq!(core.best().map(|(_, number)| number), best, "seed {seed}");
            }
            // Seldom: reading takes list registers back.
            if random.below(16) != 0 {
                continue;
            }
            let expected =
                (0..3).fold(0, |byte, sender| byte | u64::from(pending.contains(&(vcpu, intid, sender))) << sender);
            assert_eq!(read(&vgic, &mut cores[vcpu], 0xf20 + u64::from(intid), 1), expected, "seed {seed}");
            settle(&vgic, &mut cores, VcpuSet::from_bits(1 << vcpu));
        }
    }
}

fn drop_told(_: VcpuSet) {}

fn settle(vgic: &Vgic, cores: &mut [Core], mut told: VcpuSet) {
    for _ in 0..20 {
        while let Some(vcpu) = told.next() {
            told = told.union(vgic.flush(vcpu, &mut cores[vcpu]));
        }
        for core in cores.iter().filter(|core| core.calls()) {
            vgic.maintain(core.number);
            told.insert(core.number);
        }
        if told.is_empty() {
            return;
        }
    }
    panic!("it does not come to rest");
}
