//! Interrupts on their way to one guest core and back, one case each.

use super::*;
use crate::interrupts::{SgiRegister, VcpuSet};

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
    assert!(!core.calls(), "a line that is low need not be sampled");
    assert_eq!(core.acknowledge(), None);
}

#[test]
fn a_list_register_is_not_reused_before_what_came_again_is_seen_to() {
    let (vgic, mut core) = single(2);
    (1..4).for_each(|sgi| enable(&vgic, sgi));
    let sgi = |intid: u64| intid << 24 | 1;
    for intid in [1, 2] {
        let _ = vgic.send_sgi_here(0, &mut core, SgiRegister::Group1, sgi(intid));
        flush(&vgic, &mut core);
        assert_eq!(core.acknowledge(), Some(intid as u32));
        core.end(intid as u32);
    }
    // As if another had sent it.
    let _ = vgic.send_sgi(0, SgiRegister::Group1, sgi(1));
    let _ = vgic.send_sgi_here(0, &mut core, SgiRegister::Group1, sgi(3));
    flush(&vgic, &mut core);
    assert_eq!(core.pending(), [1, 3]);
}

#[test]
fn a_level_that_rises_while_active_comes_at_its_end() {
    let (vgic, mut core) = single(4);
    enable(&vgic, 33);
    let _ = pend(&vgic, &mut core, 33);
    flush(&vgic, &mut core);
    assert_eq!(core.acknowledge(), Some(33));
    let accesses = core.accesses;
    assert!(vgic.set_line(0, 33, true).contains(0));
    flush(&vgic, &mut core);
    assert_eq!(core.accesses - accesses, 2, "its list register is amended");
    core.end(33);
    maintain(&vgic, &mut core);
    assert_eq!(core.acknowledge(), Some(33));
}

#[test]
fn an_active_interrupt_keeps_the_priority_that_its_end_drops() {
    for intid in [5, 20, 40] {
        let (vgic, mut core) = single(4);
        enable(&vgic, intid);
        let _ = set_priority(&vgic, 0, intid, 0x80);
        let _ = pend(&vgic, &mut core, intid);
        flush(&vgic, &mut core);
        assert_eq!(core.acknowledge(), Some(intid));
        let _ = set_priority(&vgic, 0, intid, 0x40);
        let _ = pend(&vgic, &mut core, intid);
        flush(&vgic, &mut core);
        core.end(intid);
        maintain(&vgic, &mut core);
        assert_eq!(core.best(), Some((0x40, intid)));
        assert_eq!(core.acknowledge(), Some(intid));
        core.end(intid);
        assert!(core.listed().is_empty());
    }
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
    assert!(!core.calls(), "its line is low");
    assert_eq!(core.acknowledge(), None);
    for _ in 0..3 {
        let accesses = core.accesses;
        assert!(pend(&vgic, &mut core, 33).is_empty());
        assert_eq!(core.accesses - accesses, 2, "it comes again as an edge would");
        assert_eq!(core.acknowledge(), Some(33));
        core.end(33);
    }
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
