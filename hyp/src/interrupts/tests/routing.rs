//! Interrupts of several virtual CPUs: where they go, and what one learns of what another holds.

use super::*;
use crate::interrupts::VcpuSet;

/// Two virtual CPUs, of which the first has taken the edge-triggered SPI 40.
fn taken_by_the_first() -> (Vgic, Vec<Core>) {
    let (vgic, mut cores) = machine(2, 4);
    enable_groups(&vgic, 2);
    enable(&vgic, 40);
    make_edge(&vgic, 40);
    let _ = vgic.pulse(0, 40);
    flush(&vgic, &mut cores[0]);
    assert_eq!(cores[0].acknowledge(), Some(40));
    (vgic, cores)
}

#[test]
fn a_route_takes_a_pending_interrupt_along() {
    let (vgic, mut cores) = machine(2, 4);
    enable_groups(&vgic, 2);
    enable(&vgic, 40);
    let _ = vgic.set_line(0, 40, true);
    flush(&vgic, &mut cores[0]);
    assert_eq!(cores[0].best(), Some((0, 40)));
    // Written by the one it goes to: the one that has it must look first.
    assert_eq!(configure(&vgic, 1, 0x6000 + 8 * 40, 8, 1), VcpuSet::from_bits(1));
    assert_eq!(vgic.flush(0, &mut cores[0]), VcpuSet::from_bits(2));
    flush(&vgic, &mut cores[1]);
    assert_eq!((cores[0].best(), cores[1].best()), (None, Some((0, 40))));
}

#[test]
fn an_active_interrupt_is_ended_where_it_was_taken() {
    let (vgic, mut cores) = machine(2, 4);
    enable_groups(&vgic, 2);
    enable(&vgic, 40);
    let _ = vgic.set_line(0, 40, true);
    flush(&vgic, &mut cores[0]);
    assert_eq!(cores[0].acknowledge(), Some(40));
    let _ = configure(&vgic, 0, 0x6000 + 8 * 40, 8, 1);
    flush(&vgic, &mut cores[0]);
    flush(&vgic, &mut cores[1]);
    assert_eq!(cores[1].best(), None, "it is active");
    cores[0].end(40);
    assert!(cores[0].calls());
    vgic.maintain(0);
    assert_eq!(vgic.flush(0, &mut cores[0]), VcpuSet::from_bits(2));
    flush(&vgic, &mut cores[1]);
    assert_eq!(cores[1].acknowledge(), Some(40));
}

#[test]
fn the_next_edge_goes_where_the_route_leads_by_then() {
    let (vgic, mut cores) = taken_by_the_first();
    let _ = configure(&vgic, 0, 0x6000 + 8 * 40, 8, 1);
    flush(&vgic, &mut cores[0]);
    cores[0].end(40);
    let _ = vgic.pulse(0, 40);
    assert_eq!(vgic.flush(0, &mut cores[0]), VcpuSet::from_bits(2));
    flush(&vgic, &mut cores[1]);
    assert_eq!((cores[0].best(), cores[1].acknowledge()), (None, Some(40)));
}

#[test]
fn an_interrupt_for_anybody_goes_to_one_that_is_on() {
    let (vgic, mut cores) = machine(3, 4);
    enable_groups(&vgic, 3);
    cores.iter_mut().for_each(|core| flush(&vgic, core));
    enable(&vgic, 40);
    let _ = configure(&vgic, 0, 0x6000 + 8 * 40, 8, 1 << 31);
    assert_eq!(vgic.set_line(0, 40, true), VcpuSet::from_bits(1));
    flush(&vgic, &mut cores[0]);
    let told = vgic.set_offline(0, &mut cores[0]);
    assert!(told.contains(1) && cores[0].listed().is_empty());
    for vcpu in told {
        flush(&vgic, &mut cores[vcpu]);
    }
    assert_eq!((cores[1].best(), cores[2].best()), (Some((0, 40)), None));
}

/// What [`Vgic::take_rerouted`] tells, sorted.
fn rerouted(vgic: &Vgic) -> Vec<(u32, Option<usize>)> {
    let mut told = Vec::new();
    vgic.take_rerouted(|physical, vcpu| told.push((physical, vcpu)));
    assert!(!vgic.is_rerouted());
    told.sort_unstable();
    told
}

#[test]
fn the_physical_interrupt_is_told_to_follow_the_route() {
    let (vgic, mut cores) = machine(3, 4);
    vgic.map_hardware(DEVICE, 200).expect("exists");
    vgic.map_hardware(51, 201).expect("exists");
    assert!(vgic.is_rerouted());
    assert_eq!(rerouted(&vgic), [(200, Some(0)), (201, Some(0))], "all, the first time");
    let _ = configure(&vgic, 0, 0x6000 + 8 * 52, 8, 1);
    assert!(!vgic.is_rerouted(), "nothing physical is behind it");
    let _ = configure(&vgic, 0, 0x6000 + 8 * 51, 8, 2);
    assert_eq!((vgic.target_of(51), vgic.target_of(DEVICE), vgic.target_of(300)), (Some(2), Some(0), None));
    assert_eq!(rerouted(&vgic), [(201, Some(2))]);
    let _ = configure(&vgic, 0, 0x6000 + 8 * 51, 8, 1 << 31);
    assert_eq!(rerouted(&vgic), [(201, Some(0))], "anybody: the first that is on");
    let _ = vgic.set_offline(0, &mut cores[0]);
    assert_eq!(rerouted(&vgic), [(201, Some(1))], "who went off takes it no more");
    let _ = configure(&vgic, 1, 0x6000 + 8 * 51, 8, 9);
    assert_eq!(rerouted(&vgic), [(201, None)]);
    vgic.reset(|_| {});
    assert_eq!(rerouted(&vgic), [(200, Some(0)), (201, Some(0))]);
}

#[test]
fn an_interrupt_for_nobody_stays_pending() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 40);
    let _ = configure(&vgic, 0, 0x6000 + 8 * 40, 8, 7);
    assert!(vgic.set_line(0, 40, true).is_empty());
    flush(&vgic, &mut core);
    assert_eq!(core.best(), None);
    assert!(read_bit(&vgic, &mut core, ISPENDR, 40).0);
    let _ = configure(&vgic, 0, 0x6000 + 8 * 40, 8, 0);
    flush(&vgic, &mut core);
    assert_eq!(core.best(), Some((0, 40)));
}

#[test]
fn disabling_what_another_has_kicks_it() {
    let (vgic, mut cores) = machine(2, 4);
    enable_groups(&vgic, 2);
    enable(&vgic, 40);
    let _ = vgic.set_line(0, 40, true);
    flush(&vgic, &mut cores[0]);
    assert_eq!(write_bit(&vgic, 1, ICENABLER, 40), VcpuSet::from_bits(1));
    flush(&vgic, &mut cores[0]);
    assert_eq!(cores[0].best(), None);
    assert_eq!(write_bit(&vgic, 1, ISENABLER, 40), VcpuSet::from_bits(1));
    flush(&vgic, &mut cores[0]);
    assert_eq!(cores[0].best(), Some((0, 40)));
}

#[test]
fn a_physical_interrupt_on_the_wrong_core_is_passed_on() {
    let (vgic, mut cores) = machine(2, 4);
    enable_groups(&vgic, 2);
    cores.iter_mut().for_each(|core| flush(&vgic, core));
    vgic.map_hardware(DEVICE, 200).expect("exists");
    enable(&vgic, DEVICE);
    for target in [1, 0, 1] {
        let _ = configure(&vgic, 0, 0x6000 + 8 * u64::from(DEVICE), 8, target);
        let (wrong, right) = (1 - target as usize, target as usize);
        cores[wrong].fire(200);
        assert!(vgic.deliver_hardware(wrong, &mut cores[wrong], DEVICE).contains(right));
        // Whoever had it before has to look first.
        let _ = vgic.flush(wrong, &mut cores[wrong]);
        flush(&vgic, &mut cores[right]);
        assert_eq!(cores[wrong].best(), None);
        assert_eq!(cores[right].acknowledge(), Some(DEVICE));
        cores[right].end(DEVICE);
        assert!(!cores[right].is_active(200));
    }
}

#[test]
fn a_physical_interrupt_may_come_before_its_holder_has_looked() {
    let (vgic, mut cores) = machine(2, 4);
    enable_groups(&vgic, 2);
    for (intid, physical) in [(TIMER, 26), (DEVICE, 200)] {
        vgic.map_hardware(intid, physical).expect("exists");
        (0..2).for_each(|vcpu| assert!(write_bit(&vgic, vcpu, ISENABLER, intid).is_empty()));
    }
    cores.iter_mut().for_each(|core| flush(&vgic, core));
    fire(&vgic, &mut cores[0], DEVICE);
    assert_eq!(cores[0].acknowledge(), Some(DEVICE));
    cores[0].end(DEVICE);
    fire(&vgic, &mut cores[1], TIMER);
    // Routed to the other, where it fires before the first has looked.
    assert_eq!(configure(&vgic, 1, 0x6000 + 8 * u64::from(DEVICE), 8, 1), VcpuSet::from_bits(1));
    cores[1].fire(200);
    assert_eq!(vgic.deliver_hardware(1, &mut cores[1], DEVICE), VcpuSet::from_bits(1));
    assert_eq!(vgic.flush(0, &mut cores[0]), VcpuSet::from_bits(2));
    flush(&vgic, &mut cores[1]);
    for intid in [TIMER, DEVICE] {
        assert_eq!(cores[1].acknowledge(), Some(intid));
        cores[1].end(intid);
    }
    assert!(!cores[1].is_active(26) && !cores[1].is_active(200));
}

#[test]
fn active_state_elsewhere_is_seen_when_its_holder_has_looked() {
    let (vgic, mut cores) = taken_by_the_first();
    for expected in [true, false] {
        let (_, told) = read_bit(&vgic, &mut cores[1], ISACTIVER, 40);
        assert_eq!(told, VcpuSet::from_bits(1));
        flush(&vgic, &mut cores[0]);
        assert_eq!(read_bit(&vgic, &mut cores[1], ISACTIVER, 40).0, expected);
        assert!(!read_bit(&vgic, &mut cores[1], ISPENDR, 40).0);
        if expected {
            cores[0].end(40);
        }
    }
}
