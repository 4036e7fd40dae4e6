//! Does at random whatever a guest can: calls, system registers, accesses, translation, interrupts, timers, power, returns.
//!
//! `seed=S actions=N` on its command line say which and how many; `end=reset` lets it start anew when it is done instead of
//! switching off, `resets=1` lets it do so at any time, and `only=KIND` leaves all but one kind of action out. What one core does
//! follows from the seed alone; when it resets, and how the cores' actions meet, does not. An action is one instruction, or one
//! access, call or interrupt of several that are made together.
//!
//! It finds out nothing by itself: what must not happen is seen from outside, by who is above it and by its neighbours.
#![no_std]
#![no_main]

mod actions;
mod gic;
mod ground;
mod leap;
mod pad;
mod random;

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use guest_runtime::{Machine, entry, machine, mmio, println, psci, read_register, smp, timer};

use actions::Actor;

entry!(main);

/// A line about progress comes twenty times from beginning to end, and after so many actions at the latest.
const LINES: u64 = 20;
const LONGEST: u64 = 50_000;

/// Of so many lives one is not reset, and the others before so much is done: one comes to its end.
const LIVES: u64 = 4;
const EARLY: u64 = 30_000;
/// SYSTEM_RESET2, whose type 0 is the architectural warm reset.
const SYSTEM_RESET2: u32 = 0xc400_0012;

static DONE: AtomicU64 = AtomicU64::new(0);
static STARTS: AtomicUsize = AtomicUsize::new(0);

/// What the translation's control registers are outside actions.
pub struct GroundControl {
    /// TCR_EL1.
    pub translation: u64,
    /// SCTLR_EL1.
    pub system: u64,
    /// MAIR_EL1.
    pub attributes: u64,
}

/// What they are now, outside actions.
pub fn ground_control() -> GroundControl {
    GroundControl {
        translation: read_register!("tcr_el1"),
        system: read_register!("sctlr_el1"),
        attributes: read_register!("mair_el1"),
    }
}

/// Counts actions.
pub fn count(actions: u64) {
    DONE.fetch_add(actions, Ordering::Relaxed);
}

/// What the command line said, read before actions write over it.
static SEED: AtomicU64 = AtomicU64::new(0);
static ONLY: AtomicUsize = AtomicUsize::new(usize::MAX);
static RESET_AT: AtomicU64 = AtomicU64::new(u64::MAX);

fn seed() -> u64 {
    SEED.load(Ordering::Relaxed)
}

/// Says when this life is to be reset. The machine's counter decides: what is random is the same in each life.
fn plan_reset() {
    let chance = timer::Timer::Physical.counter().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if !chance.is_multiple_of(LIVES) {
        RESET_AT.store(chance / LIVES % EARLY, Ordering::Relaxed);
    }
}

/// Does something, and resets this guest if it is time.
fn act(actor: &mut Actor) {
    count(actor.act(only()));
    let done = DONE.load(Ordering::Relaxed);
    if done >= RESET_AT.load(Ordering::Relaxed) {
        psci::call(if done.is_multiple_of(2) { psci::SYSTEM_RESET } else { SYSTEM_RESET2 }, [0; 3]);
    }
}

/// The only kind of action to be done, to find out which it was.
fn only() -> Option<usize> {
    let only = ONLY.load(Ordering::Relaxed);
    (only != usize::MAX).then_some(only)
}

fn main(machine: &Machine) {
    let limit = machine.argument("actions").unwrap_or(100_000) as u64;
    SEED.store(machine.argument("seed").unwrap_or(1) as u64, Ordering::Relaxed);
    let chosen = machine.text_argument("only").and_then(actions::index_of);
    ONLY.store(chosen.unwrap_or(usize::MAX), Ordering::Relaxed);
    if machine.argument("resets") == Some(1) {
        plan_reset();
    }
    let starts_anew = machine.text_argument("end") == Some("reset");
    println!("chaos: seed={} actions={limit} on {} cores", seed(), machine.cores);
    ground::fill();
    (1..machine.cores).for_each(|core| smp::set_job(core, other));
    prepare();
    let mut actor = Actor::new(seed(), 0, machine.cores);
    let mut next = 0;
    while DONE.load(Ordering::Relaxed) < limit {
        act(&mut actor);
        let done = DONE.load(Ordering::Relaxed).min(limit);
        if done >= next {
            say(format_args!("chaos: {done} of {limit} actions"));
            next += (limit / LINES).clamp(1, LONGEST);
        }
    }
    say(format_args!("chaos: done, {} starts of other cores", STARTS.load(Ordering::Relaxed)));
    if starts_anew {
        psci::call(psci::SYSTEM_RESET, [0; 3]);
    }
}

/// What the other cores do, each time they are switched on: until the first one ends it.
fn other(core: usize) {
    let start = STARTS.fetch_add(1, Ordering::Relaxed) as u64;
    prepare();
    let mut actor = Actor::new(seed().wrapping_add(start << 32), core, machine::get().cores);
    loop {
        act(&mut actor);
    }
}

fn prepare() {
    ground::enter();
    leap::settle();
}

/// Prints a line of its own, whatever the UART was left in.
fn say(line: core::fmt::Arguments) {
    const CONTROL: usize = 0x30;
    const INTERRUPTS: usize = 0x38;
    let uart = machine::get().uart.base;
    mmio::write32(uart + CONTROL, 0x301);
    mmio::write32(uart + INTERRUPTS, 0);
    println!("\n{line}");
}
