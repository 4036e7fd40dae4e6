//! Waits with a timer that is due already, that comes soon, or that never comes: what beside it runs must not notice.
//!
//! `mode=` on its command line: `never` (the latest time there is), `past` (time zero), `wrapping` (a time that, with the offset
//! of its counter added, is early), `soon` (a few milliseconds, again and again, with its interrupt).
#![no_std]
#![no_main]

use guest_runtime::timer::{ENABLE, Timer};
use guest_runtime::{Machine, entry, gic, println, read_register, register};

entry!(main);

/// How long it sleeps in mode `soon`, in microseconds.
const SLEEP: u64 = 3_000;

fn main(machine: &Machine) {
    let mode = machine.text_argument("mode").unwrap_or("never");
    println!("dozer: {mode}");
    let offset = read_register!("cntpct_el0").wrapping_sub(read_register!("cntvct_el0"));
    match mode {
        "past" => doze_for_ever(0),
        "wrapping" => doze_for_ever(0u64.wrapping_sub(offset).wrapping_add(100_000)),
        "soon" => doze_again_and_again(machine),
        _ => doze_for_ever(u64::MAX),
    }
}

/// The interrupt is disabled at the controller: nothing ends the wait.
fn doze_for_ever(time: u64) {
    Timer::Virtual.set_compare(time);
    Timer::Virtual.set_control(ENABLE);
    loop {
        register::wait_for_interrupt();
    }
}

fn doze_again_and_again(machine: &Machine) {
    gic::start(machine);
    gic::enable(machine, Timer::Virtual.interrupt());
    loop {
        Timer::Virtual.start(SLEEP);
        register::wait_for_interrupt();
        Timer::Virtual.stop();
        if let Some(taken) = gic::acknowledge(machine) {
            gic::end(machine, taken);
        }
    }
}
