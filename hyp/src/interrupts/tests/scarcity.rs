//! More interrupts than list registers: which are listed, which wait, and that none jumps the queue.

use super::*;
use crate::interrupts::{Maintenance, SgiRegister};

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
