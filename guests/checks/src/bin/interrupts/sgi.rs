//! Software-generated interrupts: to oneself, to one other, to all others.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use guest_runtime::checks::Outcome;
use guest_runtime::gic::{current, v2};
use guest_runtime::{MAX_CORES, Machine, delay, ensure, ensure_equal, machine, psci, skip, smp};

use crate::{expect, expect_none, reset, take};

/// SGIs 0 to 15.
const SGIS: u32 = 16;

/// Lets all SGIs through to this core.
fn enable_all() {
    (0..SGIS).for_each(current::enable);
}

/// Every SGI to oneself arrives, once.
pub fn to_self(machine: &Machine) -> Outcome {
    reset(machine);
    enable_all();
    for number in 0..SGIS {
        current::send_sgi(number, 0);
        expect(number)?;
    }
    expect_none()
}

/// What each core has received: a bit for each SGI.
static RECEIVED: [AtomicU32; MAX_CORES] = [const { AtomicU32::new(0) }; MAX_CORES];
/// How many cores listen.
static LISTENING: AtomicUsize = AtomicUsize::new(0);
/// How many interrupts a listening core waits for.
static EXPECTED: AtomicU32 = AtomicU32::new(0);
/// Interrupts that came twice or were no SGIs.
static SURPLUS: AtomicU32 = AtomicU32::new(0);

/// Takes as many interrupts as expected and notes them.
fn listen(core: usize) {
    current::init_core();
    enable_all();
    LISTENING.fetch_add(1, Ordering::SeqCst);
    let expected = EXPECTED.load(Ordering::SeqCst);
    let mut count = 0;
    delay::wait_for("SGIs", || {
        let taken = current::acknowledge();
        if taken < 1020 {
            note(core, taken);
            current::end(taken);
            count += 1;
        }
        count == expected
    });
}

fn note(core: usize, interrupt: u32) {
    let bit = 1u32.checked_shl(interrupt).unwrap_or(0);
    let before = RECEIVED[core].fetch_or(bit, Ordering::SeqCst);
    if bit == 0 || before & bit != 0 {
        SURPLUS.fetch_add(1, Ordering::SeqCst);
    }
}

/// Starts `cores` listening for `expected` interrupts each.
fn start_listening(cores: impl Iterator<Item = usize> + Clone, expected: u32) -> Outcome {
    LISTENING.store(0, Ordering::SeqCst);
    SURPLUS.store(0, Ordering::SeqCst);
    EXPECTED.store(expected, Ordering::SeqCst);
    let count = cores.clone().count();
    for core in cores {
        RECEIVED[core].store(0, Ordering::SeqCst);
        ensure_equal!(smp::start(core, listen), psci::SUCCESS, "CPU_ON of core {core}");
    }
    let all = || LISTENING.load(Ordering::SeqCst) == count;
    delay::wait_for("every core to listen", all);
    Ok(())
}

fn check_received(core: usize, expected: u32) -> Outcome {
    smp::wait_until_off(core);
    ensure_equal!(RECEIVED[core].load(Ordering::SeqCst), expected, "SGIs that core {core} got");
    ensure_equal!(SURPLUS.load(Ordering::SeqCst), 0, "surplus interrupts");
    Ok(())
}

/// Every SGI number to every other core, one core at a time; nobody else gets it.
pub fn to_each_other_core(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    reset(machine);
    enable_all();
    for core in 1..machine.cores {
        start_listening(core..core + 1, SGIS)?;
        (0..SGIS).for_each(|number| current::send_sgi(number, core));
        check_received(core, 0xffff)?;
    }
    expect_none()
}

/// Without a list of targets: all but oneself.
pub fn to_all_others(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    reset(machine);
    enable_all();
    start_listening(1..machine::get().cores, 2)?;
    current::send_sgi_to_others(3);
    current::send_sgi_to_others(12);
    for core in 1..machine.cores {
        check_received(core, 1 << 3 | 1 << 12)?;
    }
    expect_none()
}

fn send_from_another(_: usize) {
    current::send_sgi(6, 0);
}

/// A GICv2 keeps the SGIs of two senders apart, and says whose each is (IHI 0048B 2.2.1).
pub fn of_two_senders_are_two(machine: &Machine) -> Outcome {
    if machine.cores < 2 || !current::is_v2() {
        skip!("one core, or SGIs without senders");
    }
    reset(machine);
    ensure!(smp::run_on_others(2, send_from_another), "core 1 does not start");
    current::send_sgi(6, 0);
    let mut senders = 0;
    for _ in 0..2 {
        ensure_equal!(take(), 6, "an SGI of two");
        senders |= 1 << v2::sender(6);
        current::end(6);
    }
    ensure_equal!(senders, 0b11, "the senders");
    expect_none()
}

/// An SGI sent twice before it is taken is one interrupt.
pub fn while_pending_is_one(machine: &Machine) -> Outcome {
    reset(machine);
    current::send_sgi(5, 0);
    current::send_sgi(5, 0);
    current::enable(5);
    expect(5)?;
    expect_none()
}
