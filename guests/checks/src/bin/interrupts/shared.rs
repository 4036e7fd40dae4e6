//! Shared interrupts: their routes, and raising them again while they are being handled.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use guest_runtime::checks::Outcome;
use guest_runtime::gic::current;
use guest_runtime::{Machine, delay, ensure_equal, psci, skip, smp};

use crate::{FREE_SHARED, expect, expect_none, ready, reset, take};

/// What the listening core took; 0 until it took something.
static TAKEN: AtomicU32 = AtomicU32::new(0);
/// The core that listens.
static LISTENING: AtomicUsize = AtomicUsize::new(0);

fn listen(core: usize) {
    current::init_core();
    LISTENING.store(core, Ordering::SeqCst);
    let taken = take();
    current::end(taken);
    TAKEN.store(taken, Ordering::SeqCst);
}

fn start_listening(core: usize) -> Outcome {
    TAKEN.store(0, Ordering::SeqCst);
    LISTENING.store(0, Ordering::SeqCst);
    ensure_equal!(smp::start(core, listen), psci::SUCCESS, "CPU_ON of core {core}");
    let listens = || LISTENING.load(Ordering::SeqCst) == core;
    delay::wait_for("the core that is to listen", listens);
    Ok(())
}

fn check_taken(core: usize, interrupt: u32) -> Outcome {
    smp::wait_until_off(core);
    ensure_equal!(TAKEN.load(Ordering::SeqCst), interrupt, "what core {core} took");
    expect_none()
}

/// GICD_IROUTER, or GICD_ITARGETSR, sends an interrupt to the core it names and to no other.
pub fn routed_to_each_core(machine: &Machine) -> Outcome {
    reset(machine);
    ready(FREE_SHARED);
    current::set_pending(FREE_SHARED);
    expect(FREE_SHARED)?;
    for core in 1..machine.cores {
        let interrupt = FREE_SHARED + core as u32;
        start_listening(core)?;
        ready(interrupt);
        current::route(interrupt, core);
        current::set_pending(interrupt);
        check_taken(core, interrupt)?;
    }
    Ok(())
}

/// An interrupt that is pending for one core, and then is sent to another.
pub fn rerouted_while_pending(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    reset(machine);
    start_listening(1)?;
    ready(FREE_SHARED);
    current::disable(FREE_SHARED);
    current::set_pending(FREE_SHARED);
    current::route(FREE_SHARED, 1);
    current::enable(FREE_SHARED);
    check_taken(1, FREE_SHARED)
}

/// Raised again while active, an edge-triggered interrupt comes again after its end: once.
pub fn pending_again_while_active(machine: &Machine) -> Outcome {
    reset(machine);
    ready(FREE_SHARED);
    current::set_pending(FREE_SHARED);
    ensure_equal!(take(), FREE_SHARED, "the first time");
    current::set_pending(FREE_SHARED);
    current::set_pending(FREE_SHARED);
    expect_none()?;
    current::end(FREE_SHARED);
    expect(FREE_SHARED)?;
    expect_none()
}
