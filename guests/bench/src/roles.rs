//! What else the guest can be, by `role=NAME` on its command line: a neighbour of the one that measures, or a part in what
//! QEMU's counter measures from outside. What they do lies between marks: instructions that do nothing, of which the
//! counter tells (xtask/counter).

use core::arch::asm;

use guest_runtime::{Machine, println, psci, register, smp, timer, write_register};

use crate::gic::{Controller, SGIS};
use crate::{clock, interrupts, ticker};

/// How often the waiter gives its core away.
const WAITS: u32 = 32;
/// How long it then sleeps, in nanoseconds.
const WAIT: u64 = 50_000;
/// Lines of the talker.
const LINES: u32 = 2000;
/// SGIs that each core sends in a storm.
const STORM: u32 = 20_000;

/// The part of this name.
pub fn named(name: &str) -> Option<fn(&Machine)> {
    Some(match name {
        "idle" => idle,
        "busy" => busy,
        "waiter" => wait_again_and_again,
        "resetter" => reset,
        "talker" => talk,
        "storm" => storm,
        "ticker" => ticker::run,
        _ => return None,
    })
}

/// Sleeps for ever.
fn idle(machine: &Machine) {
    register::mask_interrupts();
    timer::Timer::Virtual.stop();
    Controller::new(machine.gic_frames).reset();
    loop {
        register::wait_for_interrupt();
    }
}

/// Spins for ever, on marks: of seventeen instructions, sixteen say that it has the core.
fn busy(_: &Machine) {
    register::mask_interrupts();
    // SAFETY: does nothing, for ever.
    unsafe { asm!("2:", ".rept 16", "hint #114", ".endr", "b 2b", options(noreturn, nomem, nostack)) };
}

/// Gives its core to whoever else can run, until its timer is due; again and again.
fn wait_again_and_again(machine: &Machine) {
    register::mask_interrupts();
    let controller = Controller::new(machine.gic_frames);
    controller.reset();
    for _ in 0..WAITS {
        let deadline = timer::counter() + clock::ticks(WAIT);
        timer::Timer::Virtual.set_compare(deadline);
        timer::Timer::Virtual.set_control(timer::ENABLE);
        // SAFETY: a mark, and the wait for the timer.
        unsafe { asm!("hint #113", "wfi", options(nomem, nostack)) };
        while timer::counter() < deadline {
            register::wait_for_interrupt();
        }
        timer::Timer::Virtual.stop();
        controller.end(controller.acknowledge());
    }
    println!("bench: done");
}

/// Starts again as soon as it has started.
fn reset(_: &Machine) {
    // SAFETY: a mark.
    unsafe { asm!("hint #114", options(nomem, nostack)) };
    println!("bench: started");
    // SAFETY: a mark.
    unsafe { asm!("hint #113", options(nomem, nostack)) };
    psci::call(psci::SYSTEM_RESET, [0; 3]);
}

/// Writes as much as it can.
fn talk(_: &Machine) {
    for line in 0..LINES {
        println!("bench: a line that is as long as lines are on a console, one after the other: {line}");
    }
    println!("bench: done");
}

/// All cores send SGIs of all numbers to all cores.
fn storm(machine: &Machine) {
    interrupts::begin_storm(machine);
    for core in 1..machine.cores {
        smp::start(core, |_| {
            interrupts::join_storm();
            send_storm();
        });
    }
    send_storm();
    (1..machine.cores).for_each(smp::wait_until_off);
    println!("bench: done");
}

fn send_storm() {
    for count in 0..STORM {
        interrupts::send_in_storm(count % SGIS);
    }
    register::mask_interrupts();
    write_register!("cntv_ctl_el0", 0);
}
