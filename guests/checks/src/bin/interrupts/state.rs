//! The states of an interrupt: pending, active, both, as registers show and change them.

use guest_runtime::checks::Outcome;
use guest_runtime::gic::v3::{self, distributor};
use guest_runtime::timer::Timer;
use guest_runtime::{Machine, ensure, ensure_equal, read_register, write_register};

use crate::{FREE_SHARED, expect, expect_none, ready, reset, take};

/// An SGI, a PPI that nothing drives, and a shared interrupt.
const KINDS: [u32; 3] = [7, 20, FREE_SHARED];

fn is_pending(interrupt: u32) -> bool {
    v3::bit(distributor::ISPENDR, interrupt)
}

fn is_active(interrupt: u32) -> bool {
    v3::bit(distributor::ISACTIVER, interrupt)
}

/// Readies an interrupt of any kind; SGIs are edge-triggered by nature.
fn ready_any(interrupt: u32) {
    match interrupt {
        0..=15 => v3::enable(interrupt),
        _ => ready(interrupt),
    }
}

/// ISPENDR makes pending and reads so, ICPENDR takes it back, and nothing is delivered then.
pub fn pending_set_and_clear(machine: &Machine) -> Outcome {
    for interrupt in KINDS {
        reset(machine);
        v3::set_pending(interrupt);
        ensure!(is_pending(interrupt), "interrupt {interrupt} is not pending after ISPENDR");
        v3::set_bit(distributor::ICPENDR, interrupt);
        ensure!(!is_pending(interrupt), "interrupt {interrupt} is pending after ICPENDR");
        ready_any(interrupt);
        expect_none()?;
        v3::set_pending(interrupt);
        ensure_equal!(take(), Some(interrupt), "interrupt {interrupt} after ISPENDR");
        ensure!(!is_pending(interrupt), "interrupt {interrupt} is pending while active");
        v3::end(interrupt);
        expect_none()?;
    }
    Ok(())
}

/// ISACTIVER keeps an interrupt from being delivered until ICACTIVER, and both read as what is.
pub fn active_set_and_clear(machine: &Machine) -> Outcome {
    for interrupt in KINDS {
        reset(machine);
        ready_any(interrupt);
        v3::set_bit(distributor::ISACTIVER, interrupt);
        ensure!(is_active(interrupt), "interrupt {interrupt} is not active after ISACTIVER");
        v3::set_pending(interrupt);
        expect_none()?;
        v3::set_bit(distributor::ICACTIVER, interrupt);
        ensure!(!is_active(interrupt), "interrupt {interrupt} is active after ICACTIVER");
        ensure_equal!(take(), Some(interrupt), "interrupt {interrupt} after ICACTIVER");
        ensure!(is_active(interrupt), "interrupt {interrupt} is not active after its acknowledgement");
        v3::end(interrupt);
        ensure!(!is_active(interrupt), "interrupt {interrupt} is active after its end");
    }
    Ok(())
}

/// Disabled between acknowledgement and end, an interrupt ends properly, keeps what came before and after that, and
/// brings it when it is enabled again.
pub fn disabled_while_active(machine: &Machine) -> Outcome {
    for interrupt in KINDS {
        for pend_first in [true, false] {
            disable_while_active(machine, interrupt, pend_first)?;
        }
    }
    Ok(())
}

fn disable_while_active(machine: &Machine, interrupt: u32, pend_first: bool) -> Outcome {
    reset(machine);
    ready_any(interrupt);
    v3::set_pending(interrupt);
    ensure_equal!(take(), Some(interrupt), "interrupt {interrupt}");
    if pend_first {
        v3::set_pending(interrupt);
    }
    v3::disable(interrupt);
    ensure!(is_active(interrupt), "interrupt {interrupt} is not active once disabled");
    if !pend_first {
        v3::set_pending(interrupt);
    }
    v3::end(interrupt);
    ensure!(!is_active(interrupt), "interrupt {interrupt} is active after its end");
    expect_none()?;
    ensure!(is_pending(interrupt), "interrupt {interrupt} lost what came (before disabling: {pend_first})");
    v3::enable(interrupt);
    expect(interrupt)?;
    expect_none()
}

/// The same for a timer, which hardware may have mapped through: Linux does this on CPU hotplug.
pub fn timer_disabled_while_active(machine: &Machine) -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        reset(machine);
        let interrupt = timer.interrupt();
        v3::enable(interrupt);
        timer.start(100);
        ensure_equal!(take(), Some(interrupt), "{timer:?} timer");
        v3::disable(interrupt);
        timer.stop();
        v3::end(interrupt);
        expect_none()?;
        timer.start(100);
        expect_none()?;
        v3::enable(interrupt);
        ensure_equal!(take(), Some(interrupt), "{timer:?} timer, enabled again");
        timer.stop();
        v3::end(interrupt);
        expect_none()?;
    }
    Ok(())
}

/// ICC_CTLR_EL1.EOImode: EOIR drops the priority, DIR deactivates.
pub fn separate_deactivation(machine: &Machine) -> Outcome {
    for interrupt in KINDS {
        reset(machine);
        ready_any(interrupt);
        write_register!("icc_ctlr_el1", 1 << 1);
        v3::set_pending(interrupt);
        ensure_equal!(take(), Some(interrupt), "interrupt {interrupt}");
        v3::end(interrupt);
        ensure_equal!(read_register!("icc_rpr_el1") & 0xff, 0xff, "running priority after the priority drop");
        ensure!(is_active(interrupt), "interrupt {interrupt} is not active after the priority drop");
        v3::set_pending(interrupt);
        expect_none()?;
        v3::deactivate(interrupt);
        ensure_equal!(take(), Some(interrupt), "interrupt {interrupt} after its deactivation");
        v3::end(interrupt);
        v3::deactivate(interrupt);
        ensure!(!is_active(interrupt), "interrupt {interrupt} is active after its deactivation");
        expect_none()?;
    }
    reset(machine);
    Ok(())
}

/// Reading IAR and HPPIR without anything pending gives 1023; ending what is not active does no harm.
pub fn spurious_when_nothing_is_pending(machine: &Machine) -> Outcome {
    reset(machine);
    ensure_equal!(read_register!("icc_iar1_el1"), 1023, "ICC_IAR1_EL1");
    ensure_equal!(read_register!("icc_hppir1_el1"), 1023, "ICC_HPPIR1_EL1");
    ensure_equal!(read_register!("icc_rpr_el1") & 0xff, 0xff, "ICC_RPR_EL1");
    v3::end(v3::SPURIOUS);
    ready(FREE_SHARED);
    v3::set_pending(FREE_SHARED);
    expect(FREE_SHARED)
}
