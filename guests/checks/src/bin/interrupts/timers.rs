//! Both timers of EL1: on time, level-sensitive, and as FreeRTOS and Linux use them.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use guest_runtime::checks::Outcome;
use guest_runtime::gic::current::{self, distributor};
use guest_runtime::timer::{self, Timer};
use guest_runtime::{Machine, delay, ensure, ensure_equal, println, psci, register, skip, smp};

use crate::{ABSENCE, expect, expect_none, reset, take};

const BOTH: [Timer; 2] = [Timer::Virtual, Timer::Physical];
fn begin(machine: &Machine) {
    BOTH.iter().for_each(|timer| timer.stop());
    reset(machine);
}

/// Not before the time, and after it: how late depends on whoever else uses the host.
pub fn fire_after_the_time(machine: &Machine) -> Outcome {
    for timer in BOTH {
        begin(machine);
        current::enable(timer.interrupt());
        for wait in [0, 100, 1_000, 20_000] {
            let deadline = timer.start(wait);
            ensure_equal!(take(), timer.interrupt(), "{timer:?} timer after {wait} us");
            let now = timer.counter();
            ensure!(now >= deadline, "{timer:?} timer is {} ticks early", deadline - now);
            timer.stop();
            current::end(timer.interrupt());
            expect_none()?;
        }
    }
    Ok(())
}

/// As long as the condition holds, ending the interrupt brings it again; when it ends, the interrupt does.
pub fn are_level_sensitive(machine: &Machine) -> Outcome {
    for timer in BOTH {
        begin(machine);
        current::enable(timer.interrupt());
        timer.start(0);
        for _ in 0..5 {
            expect(timer.interrupt())?;
        }
        ensure_equal!(take(), timer.interrupt(), "{timer:?} timer, still on");
        timer.stop();
        current::end(timer.interrupt());
        expect_none()?;
        ensure!(!current::bit(distributor::ISPENDR, timer.interrupt()), "{timer:?} timer is pending after it stopped");
    }
    Ok(())
}

/// A timer that fired and then is masked, or moved into the future, before anybody took its interrupt: it stops being
/// pending, and once the register says so, nothing comes.
pub fn masked_or_moved_are_not_delivered(machine: &Machine) -> Outcome {
    for timer in BOTH {
        begin(machine);
        current::enable(timer.interrupt());
        fire_behind_mask(timer);
        timer.set_control(timer::ENABLE | timer::MASK);
        expect_withdrawn(timer)?;
        timer.stop();
        fire_behind_mask(timer);
        timer.set_compare(timer.counter() + timer::ticks(60_000_000));
        expect_withdrawn(timer)?;
        timer.stop();
    }
    Ok(())
}

/// Lets the timer fire while the priority mask lets nothing through.
fn fire_behind_mask(timer: Timer) {
    current::set_priority_mask(0);
    timer.start(0);
    let pending = || current::bit(distributor::ISPENDR, timer.interrupt());
    delay::wait_for("a timer to get pending", pending);
}

fn expect_withdrawn(timer: Timer) -> Outcome {
    let withdrawn = || !current::bit(distributor::ISPENDR, timer.interrupt());
    delay::wait_for("a timer's interrupt to be withdrawn", withdrawn);
    current::set_priority_mask(0xff);
    expect_none()
}

/// Disabled at the distributor, a timer's interrupt is pending but not delivered; enabled, it comes.
pub fn disabled_stay_pending(machine: &Machine) -> Outcome {
    for timer in BOTH {
        begin(machine);
        timer.start(0);
        let pending = || current::bit(distributor::ISPENDR, timer.interrupt());
        delay::wait_for("a timer to get pending", pending);
        expect_none()?;
        current::enable(timer.interrupt());
        ensure_equal!(take(), timer.interrupt(), "{timer:?} timer, enabled");
        timer.stop();
        current::end(timer.interrupt());
    }
    Ok(())
}

/// A tick that never touches CTL: each interrupt only moves CVAL on, as FreeRTOS does.
pub fn rewriting_the_compare_value_is_enough(machine: &Machine) -> Outcome {
    for timer in BOTH {
        begin(machine);
        current::enable(timer.interrupt());
        let mut deadline = timer.start(500);
        for tick in 0..100 {
            ensure_equal!(take(), timer.interrupt(), "{timer:?} timer's tick {tick}");
            ensure!(timer.counter() >= deadline, "{timer:?} timer's tick {tick} is early");
            deadline += timer::ticks(500);
            timer.set_compare(deadline);
            current::end(timer.interrupt());
        }
        timer.stop();
    }
    Ok(())
}

static FAILED: AtomicUsize = AtomicUsize::new(0);

fn tick_here(core: usize) {
    current::init_core();
    for timer in BOTH {
        timer.stop();
        current::enable(timer.interrupt());
        for _ in 0..20 {
            let deadline = timer.start(300);
            let taken = take();
            if taken != timer.interrupt() || timer.counter() < deadline {
                println!("core {core}: {timer:?} timer: {taken}");
                FAILED.fetch_add(1, Ordering::SeqCst);
            }
            timer.stop();
            current::end(timer.interrupt());
        }
    }
    delay::microseconds(ABSENCE);
}

/// The timers are each core's own.
pub fn fire_on_every_core(machine: &Machine) -> Outcome {
    begin(machine);
    ensure!(smp::run_on_others(machine.cores, tick_here), "not every core starts");
    ensure_equal!(FAILED.load(Ordering::SeqCst), 0, "failures on other cores");
    expect_none()
}

/// Another core sends this SGI without end, to the core whose index is in `TARGET`, until `ENOUGH`.
const DISTURBANCE: u32 = 5;
static TARGET: AtomicUsize = AtomicUsize::new(0);
static ENOUGH: AtomicBool = AtomicBool::new(false);

fn disturb(_: usize) {
    while !ENOUGH.load(Ordering::SeqCst) {
        current::send_sgi(DISTURBANCE, TARGET.load(Ordering::SeqCst));
        delay::microseconds(20);
    }
}

/// No tick is lost however often something else interrupts just when it is due.
pub fn tick_beside_interrupts_of_another_core(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    let me = register::core_index();
    let other = usize::from(me == 0);
    for timer in BOTH {
        begin(machine);
        current::enable(DISTURBANCE);
        current::enable(timer.interrupt());
        TARGET.store(me, Ordering::SeqCst);
        ENOUGH.store(false, Ordering::SeqCst);
        ensure_equal!(smp::start(other, disturb), psci::SUCCESS, "starting the other core");
        (0..200).for_each(|_| tick_once(timer));
        ENOUGH.store(true, Ordering::SeqCst);
        smp::wait_until_off(other);
        timer.stop();
    }
    reset(machine);
    Ok(())
}

/// The timer fires, whatever else does meanwhile.
fn tick_once(timer: Timer) {
    timer.start(500);
    delay::wait_for("a tick", || {
        let taken = current::acknowledge();
        if taken == timer.interrupt() {
            timer.stop();
        }
        if taken < 1020 {
            current::end(taken);
        }
        taken == timer.interrupt()
    });
}
