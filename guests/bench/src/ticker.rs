//! A system with a period of one millisecond: how late its interrupt reaches the vector, each time. The deadlines are
//! absolute, so a late tick makes no other one late.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use guest_runtime::{Machine, print, println, register, timer};

use crate::interrupts;
use crate::{clock, vectors};

/// From one deadline to the next, in nanoseconds.
const PERIOD: u64 = 1_000_000;
/// Ticks that can be kept.
const MOST: usize = 16_384;
/// Ticks unless `ticks=` says otherwise.
const USUAL: usize = 1_000;
/// Figures in a line.
const IN_A_LINE: usize = 16;

struct Ticks(UnsafeCell<[u32; MOST]>);

// SAFETY: only the boot core's handler writes, and it has come to its end when the ticks are read.
unsafe impl Sync for Ticks {}

static LATE: Ticks = Ticks(UnsafeCell::new([0; MOST]));
static COUNT: AtomicUsize = AtomicUsize::new(0);
static WANTED: AtomicUsize = AtomicUsize::new(0);
static DEADLINE: AtomicUsize = AtomicUsize::new(0);

/// Ticks as often as `ticks=` says, and says how late each one was, in instructions; with `quiet=1` only that it is done.
pub fn run(machine: &Machine) {
    let wanted = machine.argument("ticks").unwrap_or(USUAL).min(MOST);
    WANTED.store(wanted, Ordering::SeqCst);
    interrupts::begin(machine, tick);
    register::mask_interrupts();
    set(timer::counter() + clock::ticks(PERIOD));
    timer::Timer::Virtual.set_control(timer::ENABLE);
    register::unmask_interrupts();
    while COUNT.load(Ordering::SeqCst) < wanted {
        register::wait_for_interrupt();
    }
    if machine.argument("quiet") != Some(1) {
        say(wanted);
    }
    println!("bench: done");
}

fn say(wanted: usize) {
    // SAFETY: the handler has come to its end.
    let late = unsafe { &*LATE.0.get() };
    for line in late[..wanted].chunks(IN_A_LINE) {
        print!("bench: late");
        line.iter().for_each(|late| print!(" {late}"));
        println!();
    }
}

fn set(deadline: u64) {
    DEADLINE.store(deadline as usize, Ordering::Relaxed);
    timer::Timer::Virtual.set_compare(deadline);
}

extern "C" fn tick(entered: u64) {
    let deadline = DEADLINE.load(Ordering::Relaxed) as u64;
    let index = COUNT.load(Ordering::Relaxed);
    let late = clock::instructions(entered.saturating_sub(deadline)).saturating_sub(vectors::BEFORE_COUNTER);
    if let Some(place) = (index < MOST).then(|| LATE.0.get().cast::<u32>().wrapping_add(index)) {
        // SAFETY: one of the places that there are, and only this handler's.
        unsafe { place.write(late.min(u32::MAX.into()) as u32) };
    }
    if index + 1 < WANTED.load(Ordering::Relaxed) {
        set(deadline + clock::ticks(PERIOD));
    } else {
        timer::Timer::Virtual.stop();
    }
    interrupts::acknowledge_and_end();
    COUNT.store(index + 1, Ordering::Release);
}
