//! Registers: what the ID registers promise is there and nothing else, and nothing is lost over exits to EL2, WFI and
//! the other cores' doings. Two of them on one core, `odd=0` and `odd=1` on their command lines, hold opposite values in
//! each register, so that what a switch between them does not carry is seen.
#![no_std]
#![no_main]

mod general;
mod identification;
mod interface;
mod patterns;
mod reach;
mod step;
mod time;
mod user;
mod vectors;

use core::sync::atomic::{AtomicUsize, Ordering};

use guest_runtime::catch::Fault;
use guest_runtime::checks::{self, Failure, Outcome};
use guest_runtime::register::read_encoded;
use guest_runtime::timer::{self, Timer};
use guest_runtime::{Machine, delay, ensure_equal, entry, gic, list, machine, println, psci, smp};

entry!(main);

/// A register of the distributor that is only ever read: GICD_TYPER.
const HARMLESS_DEVICE: usize = 0x0800_0004;
/// How often each kind of exit is made while registers hold patterns.
const EXITS: usize = 200;
/// How long they then hold them, busily, in microseconds: a guest that shares its core loses it meanwhile, and gets it
/// back.
const HOLD: u64 = 25_000;

/// How long one of two guests stays when it is done, in microseconds.
const STAY: u64 = 2_000_000;

/// Whether this guest is the one of two that holds the complement of what the other holds.
fn is_odd() -> bool {
    machine::get().argument("odd") == Some(1)
}

/// `value`, or its complement in the odd one of two guests.
fn own(value: u64) -> u64 {
    if is_odd() { !value } else { value }
}

/// When a hold that begins now ends, in ticks.
fn end_of_hold() -> u64 {
    timer::counter() + timer::ticks(HOLD)
}

/// Lets other guests have the core, without an exit of our own.
fn hold() {
    delay::microseconds(HOLD);
}

fn main(machine: &Machine) {
    gic::start(machine);
    gic::enable(machine, Timer::Virtual.interrupt());
    checks::run(
        machine,
        list![
            identification::id_registers_are_readable,
            identification::id_registers_are_the_same_on_all_cores,
            identification::levels_are_sane,
            identification::absent_features_are_undefined,
            identification::registers_of_higher_levels_are_undefined,
            identification::affinity_of_each_core,
            reach::only_what_is_offered_can_be_read,
            reach::what_cannot_be_read_cannot_be_written,
            reach::only_what_is_offered_can_be_carried_out,
            reach::system_registers_stay_enabled,
            user::nothing_more_is_reached_from_el0,
            patterns::patterns_survive,
            patterns::patterns_survive_on_all_cores,
            patterns::par_survives_device_accesses,
            vectors::vector_registers_survive,
            vectors::vector_registers_survive_on_all_cores,
            vectors::condition_flags_survive,
            step::single_step,
            time::counter_never_goes_back,
            time::counter_is_the_same_on_all_cores,
            time::timer_registers_read_back,
            time::counter_starts_with_the_machine,
            time::counter_keeps_its_offset,
            general::general_registers_survive,
            general::general_registers_survive_on_all_cores,
            interface::interface_survives,
            interface::active_interrupt_survives,
        ],
    );
    if machine.argument("odd").is_some() {
        // The other one may be behind: without us nothing would take its core from it.
        delay::microseconds(STAY);
    }
}

fn failed_read(encoding: u32, fault: Fault) -> Failure {
    Failure::failed(format_args!("register {encoding:#x}: {fault}"))
}

/// Reads a register that must be there.
fn read(encoding: u32) -> Result<u64, Failure> {
    read_encoded(encoding).map_err(|fault| failed_read(encoding, fault))
}

static FAILURES: AtomicUsize = AtomicUsize::new(0);
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Runs `check` on all cores at once and fails if it fails on any.
fn on_all_cores(machine: &Machine, job: smp::Job) -> Outcome {
    FAILURES.store(0, Ordering::SeqCst);
    RUNNING.store(machine.cores, Ordering::SeqCst);
    let started = (1..machine.cores).filter(|&core| smp::start(core, job) == psci::SUCCESS).count();
    ensure_equal!(started + 1, machine.cores, "cores that started");
    job(0);
    (1..machine.cores).for_each(smp::wait_until_off);
    ensure_equal!(FAILURES.load(Ordering::SeqCst), 0, "cores that failed");
    Ok(())
}

/// Waits until all cores are here, so that they disturb each other as much as they can.
fn meet() {
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    delay::wait_for("all cores to meet", || RUNNING.load(Ordering::SeqCst) == 0);
}

/// Counts a failure and says what it is.
fn report(core: usize, outcome: &Outcome) {
    if let Err(failure) = outcome {
        println!("core {core}: {failure:?}");
        FAILURES.fetch_add(1, Ordering::SeqCst);
    }
}
