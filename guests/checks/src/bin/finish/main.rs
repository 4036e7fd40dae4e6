//! What an instruction that EL2 carried out leaves behind besides its results: the address of the next one, also behind
//! instructions of two bytes, the rest of an IT block, a software step that is due, no branch type.
//!
//! WFI traps where a vCPU shares its core: two of these guests do.
#![no_std]
#![no_main]

mod branches;
mod changed;
mod steps;
mod thumb;
mod window;

use guest_runtime::timer::Timer;
use guest_runtime::{Machine, checks, entry, gic, list};

entry!(main);

/// How soon a wait for an interrupt ends, in microseconds.
const WAIT: u64 = 2_000;

fn main(machine: &Machine) {
    gic::start(machine);
    gic::enable(machine, Timer::Virtual.interrupt());
    checks::run(
        machine,
        list![
            steps::over_what_does_not_trap,
            steps::over_device_accesses,
            steps::over_registers,
            steps::over_calls,
            steps::over_a_wait,
            branches::no_branch_type_is_left,
            changed::rights_are_those_of_what_is_carried_out,
            thumb::short_loads_and_stores,
            thumb::long_loads_and_stores,
            thumb::in_a_block_of_conditions,
            thumb::waits,
            thumb::steps,
            thumb::physical_timer,
            thumb::big_endian_data,
            thumb::in_a32,
        ],
    );
}

/// Runs `code` with the virtual timer about to fire and its interrupt masked: what ends a wait.
fn with_timer<T>(machine: &Machine, code: impl FnOnce() -> T) -> T {
    Timer::Virtual.start(WAIT);
    let result = code();
    Timer::Virtual.stop();
    if let Some(taken) = gic::acknowledge(machine) {
        gic::end(machine, taken);
    }
    result
}
