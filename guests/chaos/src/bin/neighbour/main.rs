//! Lives beside others and must not notice: its memory, its registers, its timer and its share of the core stay its own.
//!
//! It looks again and again until it is sent an `o`, or for `for=MICROSECONDS`, then says what it saw. Memory, registers and early interrupts are judged
//! always; the share of time, in percent of what went by on its own counter, only where `share=P` says what it must be, and
//! the longest time without the core only where `gap=MICROSECONDS` does: those need a machine whose time is counted.
#![no_std]
#![no_main]

mod held;
mod ticks;

use guest_runtime::timer::{counter, microseconds, ticks as in_ticks};
use guest_runtime::{Machine, console, entry, println};

use held::Held;

entry!(main);

/// What goes by between two looks if nobody takes the core, in microseconds, with much to spare.
const LOOK: u64 = 400;

/// Time as it went by.
#[derive(Default)]
struct Time {
    own: u64,
    all: u64,
    longest: u64,
}

impl Time {
    /// So many ticks have gone by since the last look.
    fn pass(&mut self, gone: u64, limit: u64) {
        self.all += gone;
        self.own += gone.min(limit);
        self.longest = self.longest.max(gone);
    }

    fn share(&self) -> u64 {
        100 * self.own / self.all.max(1)
    }
}

fn main(machine: &Machine) {
    let held = Held::new(machine.argument("seed").unwrap_or(1) as u64);
    ticks::start(machine);
    println!("neighbour: looks");
    let (mut time, mut problems, mut looks) = (Time::default(), 0, 0u64);
    let (mut last, limit) = (counter(), in_ticks(LOOK));
    let most = machine.argument("for").map_or(u64::MAX, |most| in_ticks(most as u64));
    while console::read_byte() != Some(b'o') && time.all < most {
        if let Err(problem) = held.look(looks as usize) {
            println!("neighbour: FAIL {problem}");
            problems += 1;
        }
        looks += 1;
        let now = counter();
        time.pass(now - last, limit);
        last = now;
    }
    conclude(machine, &time, problems + ticks::early(), looks);
}

fn conclude(machine: &Machine, time: &Time, mut problems: u64, looks: u64) {
    let (share, gap) = (time.share(), microseconds(time.longest));
    println!("neighbour: {looks} looks, {} ticks, latest {} us", ticks::count(), microseconds(ticks::latest()));
    println!("neighbour: share {share} %, longest gap {gap} us");
    if machine.argument("share").is_some_and(|least| share < least as u64) {
        println!("neighbour: FAIL its share is too small");
        problems += 1;
    }
    if machine.argument("gap").is_some_and(|most| gap > most as u64) {
        println!("neighbour: FAIL it was kept waiting");
        problems += 1;
    }
    match problems {
        0 => println!("PASS: it noticed nothing"),
        _ => println!("FAIL: {problems} problems"),
    }
}
