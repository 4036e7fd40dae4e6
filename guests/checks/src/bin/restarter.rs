//! Resets itself: at once, after `wait=` microseconds, or right after it has switched on its second core (`start=1`); or
//! switches that on where it cannot go on (`start=2`). Each time it says when it came, by the machine's counter.
#![no_std]
#![no_main]

use guest_runtime::timer::{self, Timer};
use guest_runtime::{Machine, delay, entry, println, psci, register, smp};

entry!(main);

fn main(machine: &Machine) {
    println!("restarter: here at {} us", timer::microseconds(Timer::Physical.counter()));
    delay::microseconds(machine.argument("wait").unwrap_or(0) as u64);
    match machine.argument("start") {
        Some(1) => _ = smp::start(1, |_| {}),
        Some(2) => start_oddly(machine),
        _ => {}
    }
    psci::call(psci::SYSTEM_RESET, [0; 3]);
}

/// Starts the second core at another odd place each time, as the counter says, and waits for what becomes of that.
fn start_oddly(machine: &Machine) {
    let memory = machine.memory;
    // No instruction; between two; zeros; the last word there is, and behind it nothing.
    let places = [memory.start, smp::entry_address() + 2, memory.end() - 4096, memory.end() - 4];
    let chance = Timer::Physical.counter().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let place = places[(chance >> 30) as usize % places.len()];
    println!("restarter: starts at {place:#x}: {}", psci::call(psci::CPU_ON, [1, place, 0]));
    loop {
        register::wait_for_interrupt();
    }
}
