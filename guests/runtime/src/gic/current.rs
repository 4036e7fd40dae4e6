//! The machine's own interrupt controller, of whichever version: what the checks of interrupts call.
//!
//! The distributor's registers are mostly alike; what is not goes to the version's module.

use crate::machine::{self, GicVersion};
use crate::{read_register, write_register};

use super::{v2, v3};

pub use super::v3::{
    DEFAULT_PRIORITY, DISTRIBUTOR, SPURIOUS, bit, disable, distributor, enable, frame_of, interrupt_count, set_bit,
    set_edge, set_priority,
};

/// Whether it is a GICv2.
#[must_use]
pub fn is_v2() -> bool {
    machine::get().gic == GicVersion::V2
}

/// Brings this core's own part to a known state: everything disabled, all priorities let through.
pub fn init_core() {
    super::start_core(machine::get());
}

/// Makes `interrupt` pending by software.
pub fn set_pending(interrupt: u32) {
    match is_v2() {
        true => v2::set_pending(interrupt),
        false => v3::set_pending(interrupt),
    }
}

/// Makes `interrupt` no longer pending.
pub fn clear_pending(interrupt: u32) {
    match is_v2() {
        true => v2::clear_pending(interrupt),
        false => set_bit(distributor::ICPENDR, interrupt),
    }
}

/// Sends shared interrupt `interrupt` to core `index`.
pub fn route(interrupt: u32, index: usize) {
    match is_v2() {
        true => v2::route(interrupt, index),
        false => v3::route(interrupt, index as u64),
    }
}

/// Sends SGI `number` to core `index`.
pub fn send_sgi(number: u32, index: usize) {
    match is_v2() {
        true => v2::send_sgi(number, index),
        false => v3::send_sgi(number, index),
    }
}

/// Sends SGI `number` to all other cores.
pub fn send_sgi_to_others(number: u32) {
    match is_v2() {
        true => v2::send_sgi_to_others(number),
        false => v3::send_sgi_to_others(number),
    }
}

/// Takes the most urgent pending interrupt: it becomes active. [`SPURIOUS`] if there is none.
#[must_use]
pub fn acknowledge() -> u32 {
    match is_v2() {
        true => v2::acknowledge(),
        false => v3::acknowledge(),
    }
}

/// Ends `interrupt`: drops its priority and, unless that takes two steps, deactivates it.
pub fn end(interrupt: u32) {
    match is_v2() {
        true => v2::end(interrupt),
        false => v3::end(interrupt),
    }
}

/// Deactivates `interrupt`; for ends in two steps.
pub fn deactivate(interrupt: u32) {
    match is_v2() {
        true => v2::deactivate(interrupt),
        false => v3::deactivate(interrupt),
    }
}

/// Makes the end of interrupts take two steps (EOImode 1) or one.
pub fn set_two_steps(two_steps: bool) {
    match is_v2() {
        true => v2::set_two_steps(two_steps),
        false => write_register!("icc_ctlr_el1", u64::from(two_steps) << 1),
    }
}

/// Lets only more urgent interrupts than `priority` through.
pub fn set_priority_mask(priority: u8) {
    match is_v2() {
        true => v2::set_priority_mask(priority),
        false => write_register!("icc_pmr_el1", u64::from(priority)),
    }
}

/// The priority of the most urgent active interrupt; 0xff if there is none.
#[must_use]
pub fn running_priority() -> u8 {
    match is_v2() {
        true => v2::running_priority(),
        false => read_register!("icc_rpr_el1") as u8,
    }
}

/// The interrupt that would be taken now; [`SPURIOUS`] if there is none.
#[must_use]
pub fn highest_pending() -> u32 {
    match is_v2() {
        true => v2::highest_pending(),
        false => read_register!("icc_hppir1_el1") as u32,
    }
}
