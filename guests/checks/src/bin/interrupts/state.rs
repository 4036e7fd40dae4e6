//! The states of an interrupt: pending, active, both, as registers show and change them.

use guest_runtime::checks::Outcome;
use guest_runtime::gic::current::{self, distributor};
use guest_runtime::timer::Timer;
use guest_runtime::{Machine, ensure, ensure_equal};

use crate::{FREE_SHARED, expect, expect_none, ready, reset, take};

/// An SGI, a PPI that nothing drives, and a shared interrupt.
const KINDS: [u32; 3] = [7, 20, FREE_SHARED];

fn is_pending(interrupt: u32) -> bool {
    current::bit(distributor::ISPENDR, interrupt)
}

fn is_active(interrupt: u32) -> bool {
    current::bit(distributor::ISACTIVER, interrupt)
}

/// Readies an interrupt of any kind; SGIs are edge-triggered by nature.
fn ready_any(interrupt: u32) {
    match interrupt {
        0..=15 => current::enable(interrupt),
        _ => ready(interrupt),
    }
}

/// ISPENDR makes pending and reads so, ICPENDR takes it back, and nothing is delivered then.
pub fn pending_set_and_clear(machine: &Machine) -> Outcome {
    for interrupt in KINDS {
        reset(machine);
        current::set_pending(interrupt);
        ensure!(is_pending(interrupt), "interrupt {interrupt} is not pending after ISPENDR");
        current::clear_pending(interrupt);
        ensure!(!is_pending(interrupt), "interrupt {interrupt} is pending after ICPENDR");
        ready_any(interrupt);
        expect_none()?;
        current::set_pending(interrupt);
        ensure_equal!(take(), interrupt, "interrupt {interrupt} after ISPENDR");
        ensure!(!is_pending(interrupt), "interrupt {interrupt} is pending while active");
        current::end(interrupt);
        expect_none()?;
    }
    Ok(())
}

/// A level-sensitive interrupt made pending by a write is so whatever its line (IHI 0048B, 4.3.7), and with its line high
/// it is active and pending.
pub fn timer_pending_by_write_and_while_active(machine: &Machine) -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        reset(machine);
        timer.stop();
        let interrupt = timer.interrupt();
        current::enable(interrupt);
        current::set_priority_mask(0);
        current::set_pending(interrupt);
        ensure!(is_pending(interrupt), "{timer:?} timer is not pending after ISPENDR");
        current::set_priority_mask(0xff);
        expect(interrupt)?;
        expect_none()?;
        timer.start(0);
        ensure_equal!(take(), interrupt, "{timer:?} timer");
        ensure!(is_active(interrupt) && is_pending(interrupt), "{timer:?} timer is not active and pending");
        timer.stop();
        ensure!(!is_pending(interrupt), "{timer:?} timer is pending with its line low");
        current::end(interrupt);
        expect_none()?;
    }
    Ok(())
}

/// ISACTIVER keeps an interrupt from being delivered until ICACTIVER, and both read as what is.
pub fn active_set_and_clear(machine: &Machine) -> Outcome {
    for interrupt in KINDS {
        reset(machine);
        ready_any(interrupt);
        current::set_bit(distributor::ISACTIVER, interrupt);
        ensure!(is_active(interrupt), "interrupt {interrupt} is not active after ISACTIVER");
        current::set_pending(interrupt);
        expect_none()?;
        current::set_bit(distributor::ICACTIVER, interrupt);
        ensure!(!is_active(interrupt), "interrupt {interrupt} is active after ICACTIVER");
        ensure_equal!(take(), interrupt, "interrupt {interrupt} after ICACTIVER");
        ensure!(is_active(interrupt), "interrupt {interrupt} is not active after its acknowledgement");
        current::end(interrupt);
        ensure!(!is_active(interrupt), "interrupt {interrupt} is active after its end");
    }
    Ok(())
}

/// Disabled between acknowledgement and end, an interrupt ends properly, keeps what came before and after that, and
/// brings it when it is enabled again.
pub fn disabled_while_active(machine: &Machine) -> Outcome {
    // The SGIs of a GICv2 may be enabled for good, as ours are.
    for interrupt in KINDS.into_iter().filter(|interrupt| *interrupt >= 16 || !current::is_v2()) {
        for pend_first in [true, false] {
            disable_while_active(machine, interrupt, pend_first)?;
        }
    }
    Ok(())
}

fn disable_while_active(machine: &Machine, interrupt: u32, pend_first: bool) -> Outcome {
    reset(machine);
    ready_any(interrupt);
    current::set_pending(interrupt);
    ensure_equal!(take(), interrupt, "interrupt {interrupt}");
    if pend_first {
        current::set_pending(interrupt);
    }
    current::disable(interrupt);
    ensure!(is_active(interrupt), "interrupt {interrupt} is not active once disabled");
    if !pend_first {
        current::set_pending(interrupt);
    }
    current::end(interrupt);
    ensure!(!is_active(interrupt), "interrupt {interrupt} is active after its end");
    expect_none()?;
    ensure!(is_pending(interrupt), "interrupt {interrupt} lost what came (before disabling: {pend_first})");
    current::enable(interrupt);
    expect(interrupt)?;
    expect_none()
}

/// The same for a timer, which hardware may have mapped through: Linux does this on CPU hotplug.
pub fn timer_disabled_while_active(machine: &Machine) -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        reset(machine);
        let interrupt = timer.interrupt();
        current::enable(interrupt);
        timer.start(100);
        ensure_equal!(take(), interrupt, "{timer:?} timer");
        current::disable(interrupt);
        timer.stop();
        current::end(interrupt);
        expect_none()?;
        timer.start(100);
        expect_none()?;
        current::enable(interrupt);
        ensure_equal!(take(), interrupt, "{timer:?} timer, enabled again");
        timer.stop();
        current::end(interrupt);
        expect_none()?;
    }
    Ok(())
}

/// EOImode 1: EOIR drops the priority, DIR deactivates.
pub fn separate_deactivation(machine: &Machine) -> Outcome {
    for interrupt in KINDS {
        reset(machine);
        ready_any(interrupt);
        current::set_two_steps(true);
        current::set_pending(interrupt);
        ensure_equal!(take(), interrupt, "interrupt {interrupt}");
        current::end(interrupt);
        ensure_equal!(current::running_priority(), 0xff, "running priority after the priority drop");
        ensure!(is_active(interrupt), "interrupt {interrupt} is not active after the priority drop");
        current::set_pending(interrupt);
        expect_none()?;
        current::deactivate(interrupt);
        ensure_equal!(take(), interrupt, "interrupt {interrupt} after its deactivation");
        current::end(interrupt);
        current::deactivate(interrupt);
        ensure!(!is_active(interrupt), "interrupt {interrupt} is active after its deactivation");
        expect_none()?;
    }
    reset(machine);
    Ok(())
}

/// Reading IAR and HPPIR without anything pending gives 1023; ending what is not active does no harm.
pub fn spurious_when_nothing_is_pending(machine: &Machine) -> Outcome {
    reset(machine);
    ensure_equal!(current::acknowledge(), 1023, "what IAR gives");
    ensure_equal!(current::highest_pending(), 1023, "what HPPIR gives");
    ensure_equal!(current::running_priority(), 0xff, "running priority");
    current::end(current::SPURIOUS);
    ready(FREE_SHARED);
    current::set_pending(FREE_SHARED);
    expect(FREE_SHARED)
}
