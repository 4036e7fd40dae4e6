//! Every order in which two cores ring a third one, with everything that the memory model lets them reorder.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

use super::{Doorbell, Rung};

/// A core with two vCPUs, each with something to find.
struct Core {
    doorbell: Doorbell,
    /// An SGI is on its way. Sending it comes after a DSB; taking it comes before one.
    interrupt: AtomicBool,
    found: [AtomicU64; 2],
}

impl Core {
    fn new() -> Arc<Self> {
        let found = [AtomicU64::new(0), AtomicU64::new(0)];
        Arc::new(Self { doorbell: Doorbell::new(), interrupt: AtomicBool::new(false), found })
    }

    /// Leaves something for a vCPU, and rings.
    fn call(&self, slot: usize, ring: fn(&Doorbell, usize) -> bool) {
        self.found[slot].store(1, Ordering::Relaxed);
        if ring(&self.doorbell, slot) {
            // A swap, as loom takes a store for one that may come before a swap that did not see it.
            self.interrupt.swap(true, Ordering::Release);
        }
    }

    /// Takes what was rung: what was left before must be there.
    fn look(&self) -> Rung {
        let rung = self.doorbell.take(u64::MAX);
        for slot in (0..2).filter(|slot| (rung.news | rung.orders) >> slot & 1 != 0) {
            assert_eq!(self.found[slot].load(Ordering::Relaxed), 1, "rung for nothing");
        }
        rung
    }

    /// Takes an interrupt if there is one.
    fn take_interrupt(&self) -> Rung {
        if self.interrupt.swap(false, Ordering::Acquire) { self.look() } else { Rung::default() }
    }
}

/// Two ring at once while the core looks by itself, and afterwards only as it is interrupted.
fn two_ring(rings: [fn(&Doorbell, usize) -> bool; 2], expected: Rung) {
    loom::model(move || {
        let core = Core::new();
        let [first, second] = [0, 1].map(|slot| {
            let (core, ring) = (core.clone(), rings[slot]);
            thread::spawn(move || core.call(slot, ring))
        });
        let mut taken = [core.look(), core.take_interrupt(), Rung::default()];
        assert!(first.join().is_ok() && second.join().is_ok());
        taken[2] = core.take_interrupt();
        // Each ring is taken, and once.
        assert_eq!(taken.iter().map(|rung| rung.news).sum::<u64>(), expected.news, "news: {taken:?}");
        assert_eq!(taken.iter().map(|rung| rung.orders).sum::<u64>(), expected.orders, "orders: {taken:?}");
    });
}

#[test]
fn no_news_are_lost() {
    two_ring([Doorbell::ring_news; 2], Rung { news: 0b11, orders: 0 });
}

#[test]
fn no_orders_are_lost() {
    two_ring([Doorbell::ring_orders; 2], Rung { news: 0, orders: 0b11 });
}

#[test]
fn news_do_not_swallow_orders() {
    two_ring([Doorbell::ring_news, Doorbell::ring_orders], Rung { news: 0b01, orders: 0b10 });
}

#[test]
fn one_interrupt_serves_many_rings() {
    loom::model(|| {
        let doorbell = Doorbell::new();
        assert!(doorbell.ring_news(3) && doorbell.ring_orders(0) && doorbell.ring_news(63));
        assert!(!doorbell.ring_news(63) && !doorbell.ring_news(3) && !doorbell.ring_orders(0));
        assert_eq!(doorbell.take(u64::MAX), Rung { news: 1 << 63 | 1 << 3, orders: 0b1 });
        assert_eq!(doorbell.take(u64::MAX), Rung::default());
        assert!(doorbell.ring_news(3));
    });
}

#[test]
fn who_does_not_listen_is_rung_for_once() {
    loom::model(|| {
        let doorbell = Doorbell::new();
        assert!(doorbell.ring_news(2) && doorbell.ring_news(5));
        assert_eq!(doorbell.take(!(1 << 2)), Rung { news: 1 << 5, orders: 0 });
        assert!(!doorbell.is_rung(!(1 << 2)) && doorbell.is_rung(1 << 2));
        assert!(!doorbell.ring_news(2), "it would cost whoever runs");
        assert!(doorbell.ring_news(5));
        assert_eq!(doorbell.take(1 << 2), Rung { news: 1 << 2, orders: 0 });
        assert!(doorbell.ring_news(2));
    });
}

#[test]
fn a_slot_out_of_range_rings_all() {
    loom::model(|| {
        let doorbell = Doorbell::new();
        assert!(doorbell.ring_orders(64));
        assert_eq!(doorbell.take(u64::MAX), Rung { news: 0, orders: u64::MAX });
    });
}
