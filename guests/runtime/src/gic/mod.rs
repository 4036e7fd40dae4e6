//! The interrupt controllers as a guest drives them, and the few calls that are alike for both.
//!
//! Small on purpose: what only one guest checks lives in that guest.

pub mod current;
pub mod v2;
pub mod v3;

use crate::Machine;
use crate::machine::GicVersion;

/// Brings the machine's controller and this core's interface to a known state, everything disabled.
pub fn start(machine: &Machine) {
    match machine.gic {
        GicVersion::V2 => v2::init(),
        GicVersion::V3 => {
            v3::init_distributor();
            v3::init_core();
        }
    }
}

/// Brings another core's interface to a known state, on that core.
pub fn start_core(machine: &Machine) {
    match machine.gic {
        GicVersion::V2 => v2::init_core(),
        GicVersion::V3 => v3::init_core(),
    }
}

/// Lets `interrupt` through.
pub fn enable(machine: &Machine, interrupt: u32) {
    if machine.gic == GicVersion::V2 && interrupt >= 32 {
        v2::route(interrupt, crate::register::core_index());
    }
    v3::enable(interrupt);
}

/// Whether `interrupt` is pending at the distributor.
#[must_use]
pub fn is_pending(machine: &Machine, interrupt: u32) -> bool {
    let _ = machine;
    v3::bit(v3::distributor::ISPENDR, interrupt)
}

/// Takes the most urgent pending interrupt; `None` if there is none.
#[must_use]
pub fn acknowledge(machine: &Machine) -> Option<u32> {
    let interrupt = match machine.gic {
        GicVersion::V2 => v2::acknowledge(),
        GicVersion::V3 => v3::acknowledge(),
    };
    (interrupt & 0x3ff < 1020).then_some(interrupt)
}

/// Ends an interrupt as [`acknowledge`] gave it.
pub fn end(machine: &Machine, interrupt: u32) {
    match machine.gic {
        GicVersion::V2 => v2::end(interrupt),
        GicVersion::V3 => v3::end(interrupt),
    }
}
