//! Interrupts as exceptions, and WFI.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use guest_runtime::checks::Outcome;
use guest_runtime::gic::current;
use guest_runtime::register::{mask_interrupts, unmask_interrupts, wait_for_interrupt};
use guest_runtime::timer::Timer;
use guest_runtime::vectors::{self, Frame};
use guest_runtime::{Machine, delay, ensure_equal, psci, read_register, skip, smp, write_register};

use crate::{FREE_SHARED, expect, ready, reset};

/// The interrupts that the handler took, oldest in the uppermost byte.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// How deep handlers are nested, and how deep they have been.
static DEPTH: AtomicU32 = AtomicU32::new(0);
static DEEPEST: AtomicU32 = AtomicU32::new(0);

/// Notes each interrupt. The first shared one raises two more, lets others in, and so shows preemption.
fn handle(_: &mut Frame) {
    let interrupt = current::acknowledge();
    if interrupt >= 1020 {
        return;
    }
    TAKEN.store(TAKEN.load(Ordering::SeqCst) << 8 | u64::from(interrupt), Ordering::SeqCst);
    let depth = DEPTH.fetch_add(1, Ordering::SeqCst) + 1;
    DEEPEST.fetch_max(depth, Ordering::SeqCst);
    if interrupt == FREE_SHARED {
        raise_others_from_handler();
    }
    DEPTH.fetch_sub(1, Ordering::SeqCst);
    current::end(interrupt);
}

/// One less and one more urgent interrupt; only the latter may come before this handler ends.
fn raise_others_from_handler() {
    let (link, state) = (read_register!("elr_el1"), read_register!("spsr_el1"));
    current::set_pending(FREE_SHARED + 1);
    current::set_pending(FREE_SHARED + 2);
    unmask_interrupts();
    delay::microseconds(2_000);
    mask_interrupts();
    write_register!("elr_el1", link);
    write_register!("spsr_el1", state);
}

fn begin(machine: &Machine) {
    reset(machine);
    vectors::on_interrupt(handle);
    TAKEN.store(0, Ordering::SeqCst);
    DEEPEST.store(0, Ordering::SeqCst);
}

fn wait_for(taken: u64) -> Outcome {
    unmask_interrupts();
    let count = |taken: u64| (u64::BITS - taken.leading_zeros()).div_ceil(8);
    delay::wait_for("exceptions", || count(TAKEN.load(Ordering::SeqCst)) >= count(taken));
    mask_interrupts();
    ensure_equal!(TAKEN.load(Ordering::SeqCst), taken, "what was taken, a byte each");
    Ok(())
}

/// An unmasked interrupt is taken as an exception; a masked one waits, and ISR_EL1 shows it.
pub fn exception_is_taken(machine: &Machine) -> Outcome {
    begin(machine);
    ready(FREE_SHARED + 9);
    current::set_pending(FREE_SHARED + 9);
    let waits = || read_register!("isr_el1") & 1 << 7 != 0;
    delay::wait_for("ISR_EL1 to show a masked interrupt", waits);
    ensure_equal!(TAKEN.load(Ordering::SeqCst), 0, "taken while masked");
    wait_for(u64::from(FREE_SHARED) + 9)?;
    ensure_equal!(read_register!("isr_el1") & 1 << 7, 0, "ISR_EL1 afterwards");
    Ok(())
}

/// A handler that lets interrupts in is interrupted by the more urgent one only.
pub fn preemption(machine: &Machine) -> Outcome {
    begin(machine);
    for (index, priority) in [0x80, 0xa0, 0x40].into_iter().enumerate() {
        ready(FREE_SHARED + index as u32);
        current::set_priority(FREE_SHARED + index as u32, priority);
    }
    current::set_pending(FREE_SHARED);
    let [first, less, more] = [0, 1, 2].map(|index| u64::from(FREE_SHARED) + index);
    wait_for(first << 16 | more << 8 | less)?;
    ensure_equal!(DEEPEST.load(Ordering::SeqCst), 2, "deepest nesting");
    Ok(())
}

/// WFI with interrupts masked ends when the timer fires, and not much later.
pub fn wait_wakes_for_timer(machine: &Machine) -> Outcome {
    reset(machine);
    for timer in [Timer::Virtual, Timer::Physical] {
        current::enable(timer.interrupt());
        for _ in 0..20 {
            let deadline = timer.start(1_000);
            while timer.counter() < deadline {
                wait_for_interrupt();
            }
            ensure_equal!(crate::take(), timer.interrupt(), "{timer:?} timer");
            timer.stop();
            current::end(timer.interrupt());
        }
    }
    Ok(())
}

/// The SGI of this guest's other core.
fn wake_core_0(_: usize) {
    for _ in 0..20 {
        delay::microseconds(1_000);
        current::send_sgi(9, 0);
    }
}

/// WFI ends for another core's SGI.
pub fn wait_wakes_for_other_core(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    reset(machine);
    current::enable(9);
    ensure_equal!(smp::start(1, wake_core_0), psci::SUCCESS, "CPU_ON");
    wait_for_interrupt();
    expect(9)?;
    smp::wait_until_off(1);
    reset(machine);
    Ok(())
}
