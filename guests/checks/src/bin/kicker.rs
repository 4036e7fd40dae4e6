//! Counts loops from `from=` for `for=` microseconds of the machine's counter: two of them on one core say how it was divided,
//! whatever else took time.
//!
//! With `kick=1` its second core sends an interrupt to the first one whenever that stands still: at each of them somebody might
//! take it for the one who is next.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guest_runtime::gic::current;
use guest_runtime::timer::{self, ENABLE, MASK, Timer, ticks};
use guest_runtime::vectors::{self, Frame};
use guest_runtime::{Machine, delay, entry, gic, machine, println, register, smp};

entry!(main);

/// The interrupt that is sent.
const SGI: u32 = 1;
/// Microseconds between two looks of the second core, and of a core's turn.
const TURN: u64 = 20;

static LOOPS: AtomicU64 = AtomicU64::new(0);
static KICKS: AtomicU64 = AtomicU64::new(0);
static IS_HERE: AtomicBool = AtomicBool::new(false);
static IS_OVER: AtomicBool = AtomicBool::new(false);

fn main(machine: &Machine) {
    let argument = |name, usual| ticks(machine.argument(name).unwrap_or(usual) as u64);
    let (from, time) = (argument("from", 60_000), argument("for", 60_000));
    vectors::on_interrupt(take);
    gic::start(machine);
    gic::enable(machine, SGI);
    register::unmask_interrupts();
    if machine.argument("kick") == Some(1) {
        smp::start(1, kick);
        delay::wait_for("the second core", || IS_HERE.load(Ordering::SeqCst));
    }
    println!("kicker: is here");
    let mut turn = 0;
    while Timer::Physical.counter() < from {}
    while Timer::Physical.counter() - from < time {
        take_turns(&mut turn);
        LOOPS.fetch_add(1, Ordering::Relaxed);
    }
    let (loops, kicks) = (LOOPS.load(Ordering::Relaxed), KICKS.load(Ordering::Relaxed));
    IS_OVER.store(true, Ordering::SeqCst);
    // The one beside it goes on counting, and is not to have the core for itself.
    while Timer::Physical.counter() - from < time * 2 {}
    println!("kicker: {loops} loops, {kicks} kicks");
}

/// Sets a timer that nobody waits for, when the last one is over: a machine that counts instructions lets its cores take turns
/// at each timer's time at the latest.
fn take_turns(next: &mut u64) {
    let now = timer::counter();
    if now >= *next {
        *next = now + ticks(TURN);
        Timer::Virtual.set_control(ENABLE | MASK);
        Timer::Virtual.set_compare(*next);
    }
}

fn take(_: &mut Frame) {
    let machine = machine::get();
    if let Some(taken) = gic::acknowledge(machine) {
        gic::end(machine, taken);
    }
}

/// What the second core does.
fn kick(_: usize) {
    IS_HERE.store(true, Ordering::SeqCst);
    let (mut last, mut turn) = (0, 0);
    while !IS_OVER.load(Ordering::SeqCst) {
        take_turns(&mut turn);
        delay::microseconds(TURN);
        let now = LOOPS.load(Ordering::SeqCst);
        if now == last {
            current::send_sgi(SGI, 0);
            KICKS.fetch_add(1, Ordering::Relaxed);
        }
        last = now;
    }
}
