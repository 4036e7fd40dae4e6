//! The counter, and how its ticks become instructions.
//!
//! Under QEMU's `-icount shift=0` an instruction takes one nanosecond, so a 1 GHz counter ticks once for each. At
//! another frequency ticks are scaled to nanoseconds and the results are coarse.

use core::arch::asm;

use guest_runtime::{println, timer};

/// Ticks per second at which a tick is a nanosecond.
const EXACT: u64 = 1_000_000_000;
/// Instructions of the loop that [`report`] counts.
const LOOP: u64 = 10_000;

/// `ticks` as nanoseconds, which are instructions where the machine counts them.
pub fn instructions(ticks: u64) -> u64 {
    match timer::frequency() {
        EXACT | 0 => ticks,
        frequency => (u128::from(ticks) * u128::from(EXACT) / u128::from(frequency)) as u64,
    }
}

/// Nanoseconds as ticks.
pub fn ticks(nanoseconds: u64) -> u64 {
    (u128::from(nanoseconds) * u128::from(timer::frequency()) / u128::from(EXACT)) as u64
}

/// Says whether the counter counts instructions here.
pub fn report() {
    let took = instructions(count_loop());
    if timer::frequency() != EXACT {
        println!("bench: warning: the counter has {} Hz: figures are rounded to its ticks", timer::frequency());
    }
    if took.abs_diff(LOOP) > LOOP / 100 {
        println!("bench: warning: {LOOP} instructions took {took} ns: figures are times, not instructions");
    }
}

/// The ticks that a loop of [`LOOP`] instructions takes.
fn count_loop() -> u64 {
    let start = timer::counter();
    // SAFETY: only counts a register down.
    unsafe { asm!("2: subs {n}, {n}, #1", "b.ne 2b", n = inout(reg) LOOP / 2 => _, options(nomem, nostack)) };
    timer::counter() - start
}
