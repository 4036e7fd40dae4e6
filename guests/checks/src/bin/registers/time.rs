//! Counters and timer registers.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guest_runtime::checks::Outcome;
use guest_runtime::register::{encode, write_encoded};
use guest_runtime::timer::{self, Timer};
use guest_runtime::{Machine, delay, ensure, ensure_equal, psci, skip, smp, write_register};

use crate::{failed_read, read};

pub fn counter_never_goes_back(_: &Machine) -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        let mut last = timer.counter();
        for round in 0..2000 {
            if round % 4 == 0 {
                psci::call(psci::VERSION, [0; 3]);
            }
            let now = timer.counter();
            ensure!(now >= last, "{timer:?} counter went from {last} to {now}");
            last = now;
        }
    }
    ensure!(timer::frequency() >= 1_000_000, "CNTFRQ_EL0 is {}", timer::frequency());
    Ok(())
}

static BALL: AtomicU64 = AtomicU64::new(0);
static BACKWARDS: AtomicBool = AtomicBool::new(false);

/// Hands the counter to and fro: nobody may see less than what was handed over.
fn play(core: usize) {
    for _ in 0..500 {
        let mine = delay::until(1_000_000, || BALL.load(Ordering::SeqCst) & 1 == core as u64);
        let seen = BALL.load(Ordering::SeqCst) >> 1;
        let now = timer::counter();
        if !mine || now < seen {
            BACKWARDS.store(true, Ordering::SeqCst);
        }
        BALL.store(now << 1 | (1 - core as u64), Ordering::SeqCst);
    }
}

pub fn counter_is_the_same_on_all_cores(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    ensure_equal!(smp::start(1, play), psci::SUCCESS, "CPU_ON");
    play(0);
    ensure!(smp::wait_until_off(1), "core 1 does not end");
    ensure!(!BACKWARDS.load(Ordering::SeqCst), "a core's counter is behind the other's");
    Ok(())
}

/// CVAL reads back; TVAL is the distance to it; CTL has what was written and a STATUS that is true.
pub fn timer_registers_read_back(_: &Machine) -> Outcome {
    for (timer, compare, distance) in [
        (Timer::Virtual, encode(3, 3, 14, 3, 2), encode(3, 3, 14, 3, 0)),
        (Timer::Physical, encode(3, 3, 14, 2, 2), encode(3, 3, 14, 2, 0)),
    ] {
        let far = timer.counter() + timer::ticks(1_000_000);
        timer.set_compare(far);
        timer.set_control(timer::ENABLE | timer::MASK);
        ensure_equal!(read(compare)?, far, "{timer:?} CVAL");
        let left = read(distance)?;
        ensure!(left > 0 && left <= timer::ticks(1_000_000), "{timer:?} TVAL is {left:#x}");
        ensure_equal!(timer.control(), timer::ENABLE | timer::MASK, "{timer:?} CTL before the time");
        write_encoded(distance, 0).map_err(|fault| failed_read(distance, fault))?;
        let fired = timer::ENABLE | timer::MASK | timer::STATUS;
        ensure_equal!(timer.control(), fired, "{timer:?} CTL after the time");
        timer.stop();
    }
    write_register!("cntkctl_el1", 0);
    Ok(())
}
