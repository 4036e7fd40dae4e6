//! A periodic interrupt of the virtual timer: counted, and never early.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::timer::{Timer, counter, ticks};
use guest_runtime::vectors::{self, Frame};
use guest_runtime::{Machine, gic, machine, register};

/// Microseconds from one to the next.
const PERIOD: u64 = 1000;

static DUE: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
static EARLY: AtomicU64 = AtomicU64::new(0);
static LATEST: AtomicU64 = AtomicU64::new(0);

/// Starts it.
pub fn start(machine: &Machine) {
    vectors::on_interrupt(tick);
    gic::start(machine);
    gic::enable(machine, Timer::Virtual.interrupt());
    DUE.store(Timer::Virtual.start(PERIOD), Ordering::Relaxed);
    register::unmask_interrupts();
}

/// How many came.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// How many came before their time, or were another interrupt.
pub fn early() -> u64 {
    EARLY.load(Ordering::Relaxed)
}

/// By how many ticks of the counter the latest was late.
pub fn latest() -> u64 {
    LATEST.load(Ordering::Relaxed)
}

fn tick(_: &mut Frame) {
    let machine = machine::get();
    let Some(taken) = gic::acknowledge(machine) else { return };
    let (due, now) = (DUE.load(Ordering::Relaxed), counter());
    if taken != Timer::Virtual.interrupt() || now < due {
        EARLY.fetch_add(1, Ordering::Relaxed);
    }
    LATEST.fetch_max(now.saturating_sub(due), Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
    // What was missed is not made up for.
    let next = (due + ticks(PERIOD)).max(now);
    Timer::Virtual.set_compare(next);
    DUE.store(next, Ordering::Relaxed);
    gic::end(machine, taken);
}
