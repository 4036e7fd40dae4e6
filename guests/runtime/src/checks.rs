//! The frame of a test guest: named checks, a line for each, and a last line that says how it went.
//!
//! Lines: `ok NAME`, `FAIL NAME: reason`, and at the end `PASS: N checks` or `FAIL: K of N checks`.

use alloc::string::String;

use crate::{Machine, println};

/// Why a check failed, or nothing.
pub type Outcome = Result<(), String>;

/// One named check.
#[derive(Clone, Copy)]
pub struct Check {
    /// What is checked, in a few words without spaces.
    pub name: &'static str,
    /// The check itself.
    pub run: fn(&Machine) -> Outcome,
}

/// Lists functions as checks under their own names.
#[macro_export]
macro_rules! checks {
    ($($check:path),* $(,)?) => {
        &[$($crate::checks::Check { name: stringify!($check), run: $check }),*]
    };
}

/// Runs all checks and reports; the guest's main function returns afterwards.
pub fn run(machine: &Machine, checks: &[Check]) {
    let failed = checks
        .iter()
        .filter(|check| !passes(machine, check))
        .count();
    match failed {
        0 => println!("PASS: {} checks", checks.len()),
        _ => println!("FAIL: {failed} of {} checks", checks.len()),
    }
}

fn passes(machine: &Machine, check: &Check) -> bool {
    match (check.run)(machine) {
        Ok(()) => println!("ok {}", check.name),
        Err(ref reason) => {
            println!("FAIL {}: {reason}", check.name);
            return false;
        }
    }
    true
}

/// Ends the check as failed with the formatted reason unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::format_reason(format_args!($($reason)+)));
        }
    };
}

/// Ends the check as failed unless both values are equal; `what` names them.
#[macro_export]
macro_rules! ensure_equal {
    ($actual:expr, $expected:expr, $($what:tt)+) => {{
        let (actual, expected) = ($actual, $expected);
        if actual != expected {
            return Err($crate::format_reason(format_args!(
                "{}: {actual:#x?}, expected {expected:#x?}", format_args!($($what)+)
            )));
        }
    }};
}
