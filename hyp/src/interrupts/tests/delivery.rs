//! Interrupts on their way to a guest and back, one case each.

use super::*;
use crate::interrupts::{Maintenance, SgiRegister, VcpuSet};

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

#[test]
fn nothing_new_touches_no_list_register() {
    let (vgic, mut core) = with_hardware(4);
    flush(&vgic, &mut core);
    for offset in [0, 4, 0x84, 0x104, 0x184, 0x204, 0x304, 0x420, 0xc08, 0x6100] {
        let _ = vgic.read_distributor(0, &mut core, offset, 4);
    }
    for offset in [0x14, 0x1_0080, 0x1_0100, 0x1_0200, 0x1_0300, 0x1_0418, 0x1_0c04] {
        let _ = vgic.read_redistributor(0, &mut core, offset, 4);
    }
    let _ = write_bit(&vgic, 0, ISENABLER, 60);
    let _ = write_bit(&vgic, 0, ICENABLER, 60);
    let _ = set_priority(&vgic, 0, 60, 8);
    flush(&vgic, &mut core);
    assert_eq!(core.accesses, 0);
}

#[test]
fn an_sgi_to_oneself() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 5);
    for _ in 0..10 {
        assert!(vgic.send_sgi(0, SgiRegister::Group1, 5 << 24 | 1).is_empty());
        flush(&vgic, &mut core);
        assert_eq!(core.acknowledge(), Some(5));
        core.end(5);
        assert!(!core.calls());
    }
    assert!(core.listed().is_empty());
}

#[test]
fn an_sgi_to_oneself_goes_straight_into_a_list_register() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 5);
    flush(&vgic, &mut core);
    for accesses in [1, 2, 2] {
        core.accesses = 0;
        assert!(vgic.send_sgi_here(0, &mut core, SgiRegister::Group1, 5 << 24 | 1).is_empty());
        flush(&vgic, &mut core);
        assert_eq!(core.accesses, accesses);
        assert_eq!(core.acknowledge(), Some(5));
        core.end(5);
    }
    assert!(vgic.send_sgi_here(0, &mut core, SgiRegister::Group0, 5 << 24 | 1).is_empty());
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), None, "it is in the other group");
}

#[test]
fn an_sgi_to_another_kicks_it() {
    let (vgic, mut cores) = machine(64, 4);
    enable_groups(&vgic, 64);
    let _ = write_bit(&vgic, 63, ISENABLER, 9);
    let _ = vgic.set_control(3);
    cores.iter_mut().for_each(|core| flush(&vgic, core));
    assert_eq!(vgic.send_sgi(2, SgiRegister::Group1, 9 << 24 | 1 << 40), VcpuSet::from_bits(1 << 63));
    flush(&vgic, &mut cores[63]);
    assert_eq!(cores[63].acknowledge(), Some(9));
    assert_eq!(cores[0].best(), None);
}

#[test]
fn a_timer_interrupt_is_one_write() {
    let (vgic, mut core) = with_hardware(4);
    for _ in 0..5 {
        core.accesses = 0;
        fire(&vgic, &mut core, TIMER);
        flush(&vgic, &mut core);
        assert_eq!(core.accesses, 1);
        assert_eq!(core.acknowledge(), Some(TIMER));
        assert!(core.is_active(26));
        core.end(TIMER);
        assert!(!core.is_active(26) && !core.calls());
    }
    assert!(core.deactivated.is_empty());
}

#[test]
fn a_device_interrupt_is_one_write() {
    let (vgic, mut core) = with_hardware(4);
    for _ in 0..5 {
        core.accesses = 0;
        fire(&vgic, &mut core, DEVICE);
        flush(&vgic, &mut core);
        assert_eq!(core.accesses, 1);
        assert_eq!(core.acknowledge(), Some(DEVICE));
        core.end(DEVICE);
        assert!(!core.is_active(200));
    }
}

#[test]
fn without_hardware_deactivation_el2_lets_go() {
    let (vgic, mut cores) = machine_with(1, 4, false);
    let core = &mut cores[0];
    enable_groups(&vgic, 1);
    vgic.map_hardware(TIMER, 26).expect("exists");
    enable(&vgic, TIMER);
    for round in 1..4 {
        fire(&vgic, core, TIMER);
        flush(&vgic, core);
        assert_eq!(core.acknowledge(), Some(TIMER));
        core.end(TIMER);
        assert!(core.is_active(26));
        maintain(&vgic, core);
        assert_eq!(core.deactivated.len(), round);
    }
}

#[test]
fn a_disabled_hardware_interrupt_waits_for_its_enable() {
    for intid in [TIMER, DEVICE] {
        let (vgic, mut core) = with_hardware(4);
        let _ = write_bit(&vgic, 0, ICENABLER, intid);
        fire(&vgic, &mut core, intid);
        flush(&vgic, &mut core);
        assert_eq!(core.acknowledge(), None);
        assert!(read_bit(&vgic, &mut core, ISPENDR, intid).0);
        enable(&vgic, intid);
        flush(&vgic, &mut core);
        assert_eq!(core.acknowledge(), Some(intid));
        core.end(intid);
        assert!(core.deactivated.is_empty());
    }
}

#[test]
fn a_pending_hardware_interrupt_is_taken_back_by_its_disable() {
    for intid in [TIMER, DEVICE] {
        let (vgic, mut core) = with_hardware(4);
        fire(&vgic, &mut core, intid);
        let _ = write_bit(&vgic, 0, ICENABLER, intid);
        flush(&vgic, &mut core);
        assert_eq!(core.acknowledge(), None);
        enable(&vgic, intid);
        flush(&vgic, &mut core);
        assert_eq!(core.acknowledge(), Some(intid));
    }
}

#[test]
fn clearing_a_hardware_interrupt_lets_the_physical_one_go() {
    for intid in [TIMER, DEVICE] {
        for disabled in [false, true] {
            let (vgic, mut core) = with_hardware(4);
            if disabled {
                let _ = write_bit(&vgic, 0, ICENABLER, intid);
            }
            fire(&vgic, &mut core, intid);
            let _ = write_bit(&vgic, 0, ICPENDR, intid);
            flush(&vgic, &mut core);
            assert_eq!(core.acknowledge(), None);
            assert_eq!(core.deactivated.len(), 1);
            // It can come again.
            enable(&vgic, intid);
            fire(&vgic, &mut core, intid);
            flush(&vgic, &mut core);
            assert_eq!(core.acknowledge(), Some(intid));
        }
    }
}

#[test]
fn deactivating_an_active_hardware_interrupt_lets_the_physical_one_go() {
    for intid in [TIMER, DEVICE] {
        let (vgic, mut core) = with_hardware(4);
        core.split = true;
        fire(&vgic, &mut core, intid);
        assert_eq!(core.acknowledge(), Some(intid));
        core.end(intid);
        let _ = write_bit(&vgic, 0, ICENABLER, intid);
        flush(&vgic, &mut core);
        assert!(core.is_active(26) || core.is_active(200), "disabling does not deactivate");
        let _ = write_bit(&vgic, 0, ICACTIVER, intid);
        flush(&vgic, &mut core);
        assert_eq!(core.deactivated.len(), 1);
        assert!(core.listed().is_empty());
    }
}

#[test]
fn a_level_is_sampled_at_its_end() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 33);
    assert!(vgic.set_line(0, 33, true).contains(0));
    for _ in 0..3 {
        flush(&vgic, &mut core);
        assert_eq!(core.acknowledge(), Some(33));
        core.end(33);
        maintain(&vgic, &mut core);
    }
    assert_eq!(core.acknowledge(), Some(33));
    let _ = vgic.set_line(0, 33, false);
    flush(&vgic, &mut core);
    core.end(33);
    maintain(&vgic, &mut core);
    assert_eq!(core.acknowledge(), None);
}

#[test]
fn a_lowered_level_is_retracted() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 33);
    let _ = vgic.set_line(0, 33, true);
    flush(&vgic, &mut core);
    assert_eq!(core.pending(), [33]);
    assert!(vgic.set_line(0, 33, false).contains(0));
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), None);
    assert!(!core.calls() && !read_bit(&vgic, &mut core, ISPENDR, 33).0);
}

#[test]
fn a_level_made_pending_by_software_comes_once() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 33);
    let _ = pend(&vgic, &mut core, 33);
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), Some(33));
    core.end(33);
    maintain(&vgic, &mut core);
    assert_eq!(core.acknowledge(), None);
}

#[test]
fn an_edge_while_active_comes_again_once() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 40);
    make_edge(&vgic, 40);
    let _ = vgic.pulse(0, 40);
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), Some(40));
    for _ in 0..3 {
        let _ = vgic.pulse(0, 40);
        flush(&vgic, &mut core);
    }
    assert_eq!(core.acknowledge(), None, "it is active");
    core.end(40);
    assert_eq!(core.acknowledge(), Some(40));
    core.end(40);
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), None);
}

#[test]
fn edges_of_a_line_merge_while_pending() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 40);
    make_edge(&vgic, 40);
    for _ in 0..3 {
        let _ = vgic.set_line(0, 40, true);
        let _ = vgic.set_line(0, 40, false);
        flush(&vgic, &mut core);
    }
    assert_eq!(core.acknowledge(), Some(40));
    core.end(40);
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), None);
}

#[test]
fn a_hardware_interrupt_made_pending_while_active_comes_again() {
    let (vgic, mut core) = with_hardware(4);
    fire(&vgic, &mut core, DEVICE);
    assert_eq!(core.acknowledge(), Some(DEVICE));
    let _ = pend(&vgic, &mut core, DEVICE);
    flush(&vgic, &mut core);
    core.end(DEVICE);
    maintain(&vgic, &mut core);
    assert_eq!(core.acknowledge(), Some(DEVICE));
    core.end(DEVICE);
    flush(&vgic, &mut core);
    assert!(!core.is_active(200));
    assert_eq!(core.acknowledge(), None);
}

/// Twenty SPIs pending at once, 60 the most urgent.
fn flood(vgic: &Vgic) {
    for intid in 41..61 {
        enable(vgic, intid);
        make_edge(vgic, intid);
        let _ = set_priority(vgic, 0, intid, (61 - intid) as u8 * 8);
    }
    for word in [0xc08, 0xc0c] {
        let _ = configure(vgic, 0, word, 4, 0xaaaa_aaaa);
    }
    for intid in 41..61 {
        let _ = vgic.pulse(0, intid);
    }
}

#[test]
fn more_pending_than_list_registers_come_in_order() {
    for list_registers in [1, 2, 4, 16] {
        let (vgic, mut core) = single(list_registers);
        flood(&vgic);
        flush(&vgic, &mut core);
        for intid in (41..61).rev() {
            assert_eq!(core.acknowledge(), Some(intid));
            if core.calls() {
                maintain(&vgic, &mut core);
            }
            core.end(intid);
        }
        assert_eq!(core.acknowledge(), None);
        flush(&vgic, &mut core);
        assert_eq!(core.maintenance, Maintenance::NONE);
    }
}

#[test]
fn more_active_than_list_registers_end_in_order() {
    for list_registers in [1, 2, 4] {
        let (vgic, mut core) = single(list_registers);
        for intid in 41..61 {
            enable(&vgic, intid);
            let _ = set_priority(&vgic, 0, intid, (61 - intid) as u8 * 8);
        }
        for intid in 41..61 {
            let _ = vgic.set_line(0, intid, true);
            flush(&vgic, &mut core);
            assert_eq!(core.acknowledge(), Some(intid));
            let _ = vgic.set_line(0, intid, false);
            flush(&vgic, &mut core);
        }
        for intid in (41..61).rev() {
            core.end(intid);
            while core.calls() {
                vgic.maintain(0);
                flush(&vgic, &mut core);
            }
        }
        assert!(core.listed().is_empty());
        assert_eq!(core.maintenance, Maintenance::NONE);
        let (active, _) = vgic.read_distributor(0, &mut core, 0x304, 4);
        assert_eq!(active, 0);
    }
}

#[test]
fn a_more_urgent_one_displaces_and_the_displaced_comes_later() {
    let (vgic, mut core) = single(2);
    for (intid, priority) in [(32, 0x80), (33, 0x90), (34, 0x10)] {
        enable(&vgic, intid);
        let _ = set_priority(&vgic, 0, intid, priority);
        let _ = pend(&vgic, &mut core, intid);
        flush(&vgic, &mut core);
    }
    assert_eq!(core.listed().len(), 2);
    for intid in [34, 32, 33] {
        assert_eq!(core.acknowledge(), Some(intid));
        core.end(intid);
        if core.calls() {
            maintain(&vgic, &mut core);
        }
    }
    assert_eq!(core.acknowledge(), None);
}

/// With two list registers: `least`, the least urgent, is ended while 33 is inside and 34 outside; then it comes again.
fn comes_again_while_tight(least: u32, come: impl Fn(&Vgic, &mut Core)) {
    let (vgic, mut core) = with_hardware(2);
    enable(&vgic, least);
    let _ = set_priority(&vgic, 0, least, 0xa0);
    come(&vgic, &mut core);
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), Some(least));
    let _ = configure(&vgic, 0, 0xc08, 4, 0xaaaa_aaaa);
    for (intid, priority) in [(33, 0x10), (34, 0x20)] {
        enable(&vgic, intid);
        let _ = set_priority(&vgic, 0, intid, priority);
        let _ = pend(&vgic, &mut core, intid);
    }
    flush(&vgic, &mut core);
    core.end(least);
    assert!(!core.calls(), "33 is pending inside");
    come(&vgic, &mut core);
    flush(&vgic, &mut core);
    for intid in [33, 34, least] {
        assert_eq!(core.acknowledge(), Some(intid));
        if core.calls() {
            maintain(&vgic, &mut core);
        }
        core.end(intid);
        if core.calls() {
            maintain(&vgic, &mut core);
        }
    }
}

#[test]
fn a_hardware_interrupt_does_not_jump_the_queue() {
    for intid in [TIMER, DEVICE] {
        comes_again_while_tight(intid, |vgic, core| fire(vgic, core, intid));
    }
}

#[test]
fn an_sgi_to_oneself_does_not_jump_the_queue() {
    comes_again_while_tight(5, |vgic, core| {
        assert!(vgic.send_sgi_here(0, core, SgiRegister::Group1, 5 << 24 | 1).is_empty());
    });
}

#[test]
fn a_new_priority_reaches_the_list_register() {
    let (vgic, mut core) = single(4);
    for intid in [32, 33] {
        enable(&vgic, intid);
        let _ = set_priority(&vgic, 0, intid, 0x80);
        let _ = pend(&vgic, &mut core, intid);
    }
    flush(&vgic, &mut core);
    let _ = set_priority(&vgic, 0, 33, 0x40);
    flush(&vgic, &mut core);
    assert_eq!(core.best(), Some((0x40, 33)));
}

#[test]
fn groups_are_delivered_as_such_and_only_when_enabled() {
    let (vgic, mut core) = single(4);
    let _ = configure(&vgic, 0, 0x84, 4, 1 << 1);
    for intid in [32, 33] {
        enable(&vgic, intid);
        let _ = pend(&vgic, &mut core, intid);
    }
    for (control, expected) in [(0, vec![]), (1, vec![32]), (2, vec![33]), (3, vec![32, 33]), (0, vec![])] {
        let _ = configure(&vgic, 0, 0, 4, control);
        flush(&vgic, &mut core);
        let mut pending = core.pending();
        pending.sort_unstable();
        assert_eq!(pending, expected);
        for &register in core.registers.iter().filter(|&&register| register >> 62 != 0) {
            assert_eq!(register >> 60 & 1 != 0, register as u32 == 33);
        }
    }
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
    let (vgic, mut cores) = machine(2, 4);
    enable_groups(&vgic, 2);
    enable(&vgic, 40);
    make_edge(&vgic, 40);
    let _ = vgic.pulse(0, 40);
    flush(&vgic, &mut cores[0]);
    assert_eq!(cores[0].acknowledge(), Some(40));
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
    let (vgic, mut cores) = machine(2, 4);
    enable_groups(&vgic, 2);
    enable(&vgic, 40);
    make_edge(&vgic, 40);
    let _ = vgic.pulse(0, 40);
    flush(&vgic, &mut cores[0]);
    assert_eq!(cores[0].acknowledge(), Some(40));
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

#[test]
fn wake_up_looks_at_what_is_enabled_wherever_it_is() {
    let (vgic, mut core) = with_hardware(4);
    assert!(!vgic.has_pending(0, &mut core));
    let _ = pend(&vgic, &mut core, 60);
    assert!(!vgic.has_pending(0, &mut core), "disabled");
    enable(&vgic, 60);
    assert!(vgic.has_pending(0, &mut core));
    flush(&vgic, &mut core);
    assert!(vgic.has_pending(0, &mut core), "in a list register");
    assert_eq!(core.acknowledge(), Some(60));
    assert!(!vgic.has_pending(0, &mut core), "active");
    core.end(60);
    fire(&vgic, &mut core, TIMER);
    assert!(vgic.has_pending(0, &mut core));
    let _ = vgic.park(0, &mut core);
    assert!(vgic.has_pending(0, &mut core), "parked");
    let _ = configure(&vgic, 0, 0, 4, 0);
    assert!(!vgic.has_pending(0, &mut core), "groups disabled");
}

#[test]
fn parking_keeps_everything() {
    let (vgic, mut core) = with_hardware(4);
    enable(&vgic, 33);
    fire(&vgic, &mut core, TIMER);
    assert_eq!(core.acknowledge(), Some(TIMER));
    let _ = vgic.set_line(0, 33, true);
    flush(&vgic, &mut core);
    assert!(vgic.park(0, &mut core).is_empty());
    assert!(core.listed().is_empty() && !core.is_active(26));
    vgic.unpark(0, &mut core);
    assert!(core.is_active(26));
    flush(&vgic, &mut core);
    assert_eq!(core.best(), Some((0, 33)));
    core.end(TIMER);
    assert!(!core.is_active(26));
    assert_eq!(core.acknowledge(), Some(33));
}

#[test]
fn going_off_leaves_nothing_behind() {
    let (vgic, mut core) = with_hardware(4);
    fire(&vgic, &mut core, TIMER);
    assert_eq!(core.acknowledge(), Some(TIMER));
    assert!(vgic.send_sgi(0, SgiRegister::Group1, 1).is_empty());
    let _ = vgic.set_offline(0, &mut core);
    assert!(core.listed().is_empty() && !core.is_active(26));
    core.running.clear();
    let _ = vgic.set_online(0);
    flush(&vgic, &mut core);
    fire(&vgic, &mut core, TIMER);
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), Some(TIMER));
}

#[test]
fn reset_forgets_all_but_what_belongs_to_the_machine() {
    let (vgic, mut core) = with_hardware(4);
    fire(&vgic, &mut core, DEVICE);
    let _ = set_priority(&vgic, 0, 60, 0x40);
    let _ = configure(&vgic, 0, 0x6000 + 8 * 60, 8, 9);
    let _ = vgic.write_redistributor(0, 0x14, 4, 0);
    let _ = vgic.set_offline(0, &mut core);
    vgic.reset(&mut core);
    assert!(!core.is_active(200), "the device would be silent for ever");
    for (offset, expected) in [(0, 0x50), (0x84, 0), (0x104, 0), (0x204, 0), (0x304, 0), (0x43c, 0), (0x61e0, 0)] {
        assert_eq!(vgic.read_distributor(0, &mut core, offset, 4).0, expected, "{offset:#x}");
    }
    assert_eq!(vgic.read_redistributor(0, &mut core, 0x14, 4).0, 6);
    let _ = vgic.set_online(0);
    enable_groups(&vgic, 1);
    enable(&vgic, DEVICE);
    flush(&vgic, &mut core);
    fire(&vgic, &mut core, DEVICE);
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), Some(DEVICE));
}

/// SGIs between cores that run at the same time: each is answered, none is lost.
#[test]
fn sgis_between_threads_are_not_lost() {
    const ROUNDS: usize = 2000;
    let (vgic, cores) = machine(3, 4);
    enable_groups(&vgic, 3);
    for vcpu in 0..3 {
        let _ = write_bit(&vgic, vcpu, ISENABLER, 4);
    }
    let _ = vgic.send_sgi(2, SgiRegister::Group1, 4 << 24 | 1);
    let vgic = &vgic;
    std::thread::scope(|scope| {
        for mut core in cores {
            scope.spawn(move || {
                let started = std::time::Instant::now();
                let next = 1 << ((core.number + 1) % 3);
                for _ in 0..ROUNDS {
                    while core.acknowledge().is_none() {
                        let _ = vgic.flush(core.number, &mut core);
                        assert!(started.elapsed().as_secs() < 60, "an SGI was lost");
                        std::thread::yield_now();
                    }
                    core.end(4);
                    // A neighbour in the same word and the SPIs are busy, too.
                    let _ = pend(vgic, &mut core, 33);
                    let _ = write_bit(vgic, core.number, ICPENDR, 33);
                    let _ = vgic.send_sgi(core.number, SgiRegister::Group1, 4 << 24 | next);
                }
            });
        }
    });
}
