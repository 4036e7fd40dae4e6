//! Resets itself: at once, after `wait=` microseconds, or right after it has switched on its second core (`start=1`).
#![no_std]
#![no_main]

use guest_runtime::{Machine, delay, entry, println, psci, smp};

entry!(main);

fn main(machine: &Machine) {
    println!("restarter: here");
    delay::microseconds(machine.argument("wait").unwrap_or(0) as u64);
    if machine.argument("start") == Some(1) {
        smp::start(1, |_| {});
    }
    psci::call(psci::SYSTEM_RESET, [0; 3]);
}
