//! One core sleeps with its virtual timer set, and the other switches all off before that fires: nothing of it may remain.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, Ordering};

use guest_runtime::timer::Timer;
use guest_runtime::{Machine, delay, entry, println, psci, smp};

entry!(main);

/// How long after it fell asleep the core would be woken, in microseconds.
const SLEEP: u64 = 60_000;

static IS_ASLEEP: AtomicBool = AtomicBool::new(false);

fn sleep(_: usize) {
    Timer::Virtual.start(SLEEP);
    IS_ASLEEP.store(true, Ordering::SeqCst);
    loop {
        // SAFETY: only waits.
        unsafe { core::arch::asm!("wfi", options(nostack)) };
    }
}

fn main(_: &Machine) {
    let started = smp::start(1, sleep) == psci::SUCCESS;
    let asleep = started && delay::until(SLEEP, || IS_ASLEEP.load(Ordering::SeqCst));
    // Its core must have given it up, and its timer be about to fire.
    delay::microseconds(SLEEP / 4 * 3);
    println!("sleeper: {}", if asleep { "the other core sleeps" } else { "FAIL: the other core does not come" });
}
