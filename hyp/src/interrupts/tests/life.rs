//! What parking, switching off and reset keep and forget; and virtual CPUs on threads.

use super::*;
use crate::interrupts::SgiRegister;

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
    vgic.unpark(0, &mut core);
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
    vgic.reset(|physical| core.deactivate(physical));
    assert!(!core.is_active(200), "the device would be silent for ever");
    for (offset, expected) in [(0, 0x50), (0x84, 0), (0x104, 0), (0x204, 0), (0x304, 0), (0x43c, 0), (0x61e0, 0)] {
        assert_eq!(vgic.read_distributor(0, &mut core, offset, 4).0, expected, "{offset:#x}");
    }
    assert_eq!(vgic.read_redistributor(0, &mut core, 0x14, 4).0, 6);
    let _ = vgic.set_online(0);
    vgic.unpark(0, &mut core);
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
