//! Counters and timer registers.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guest_runtime::checks::Outcome;
use guest_runtime::register::{encode, write_encoded};
use guest_runtime::timer::{self, Timer};
use guest_runtime::{Machine, delay, ensure, ensure_equal, psci, skip, smp, write_register};

use crate::{end_of_hold, failed_read, read};

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
        delay::wait_for("the other core's counter", || BALL.load(Ordering::SeqCst) & 1 == core as u64);
        let seen = BALL.load(Ordering::SeqCst) >> 1;
        let now = timer::counter();
        if now < seen {
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
    smp::wait_until_off(1);
    ensure!(!BACKWARDS.load(Ordering::SeqCst), "a core's counter is behind the other's");
    Ok(())
}

/// A guest's virtual counter starts near zero when the guest does.
pub fn counter_starts_with_the_machine(machine: &Machine) -> Outcome {
    if machine.is_plain_qemu {
        skip!("without a hypervisor both counters are one");
    }
    let is_apart = (0..100).any(|_| virtual_offset().0 > 0);
    ensure!(is_apart, "CNTVCT_EL0 is CNTPCT_EL0: {}", timer::counter());
    Ok(())
}

/// Between which values CNTPCT_EL0 - CNTVCT_EL0 is. The core may be taken away between the reads, for longer than the
/// machine ran before the guest did: the lower one is negative then.
fn virtual_offset() -> (i64, i64) {
    let before = Timer::Physical.counter();
    let now = timer::counter();
    let after = Timer::Physical.counter();
    (before.wrapping_sub(now).cast_signed(), after.wrapping_sub(now).cast_signed())
}

/// The distance of the two counters never changes, though the core is taken away meanwhile.
pub fn counter_keeps_its_offset(_: &Machine) -> Outcome {
    let (mut least, mut most) = virtual_offset();
    let end = end_of_hold();
    while timer::counter() < end {
        let (low, high) = virtual_offset();
        ensure!(low <= most && high >= least, "CNTPCT - CNTVCT: {least} to {most}, then {low} to {high}");
        (least, most) = (least.max(low), most.min(high));
    }
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
