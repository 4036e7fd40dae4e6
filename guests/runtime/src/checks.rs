//! The frame of a test guest: named checks, a line for each, and a last line that says how it went.
//!
//! Lines: `ok NAME`, `FAIL NAME: reason`, `skip NAME: reason`, and at the end `PASS: N checks` or
//! `FAIL: K of N checks`, with `, S skipped` behind it where checks were skipped. A check is skipped only for what the
//! machine lawfully lacks, or where plain QEMU is known to deviate from the architecture.

use alloc::string::String;
use core::fmt;

use crate::{Machine, println};

/// Why a check did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What is wrong.
    Failed(String),
    /// Why it cannot be checked here.
    Skipped(String),
}

impl Failure {
    /// What is wrong, formatted; for [`crate::ensure!`].
    #[must_use]
    pub fn failed(reason: fmt::Arguments) -> Self {
        Self::Failed(alloc::fmt::format(reason))
    }

    /// Why it cannot be checked, formatted; for [`crate::skip!`].
    #[must_use]
    pub fn skipped(reason: fmt::Arguments) -> Self {
        Self::Skipped(alloc::fmt::format(reason))
    }
}

/// How a check went.
pub type Outcome = Result<(), Failure>;

/// One named check.
#[derive(Clone, Copy)]
pub struct Check {
    /// The name of the function that checks.
    pub name: &'static str,
    /// The check itself.
    pub run: fn(&Machine) -> Outcome,
}

/// How many checks went how.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Lists functions as checks under their own names.
#[macro_export]
macro_rules! list {
    ($($check:path),* $(,)?) => {
        &[$($crate::checks::Check { name: stringify!($check), run: $check }),*]
    };
}

/// Runs all checks and reports; the guest's main function returns afterwards.
pub fn run(machine: &Machine, checks: &[Check]) {
    let mut tally = Tally::default();
    for check in checks {
        run_one(machine, check, &mut tally);
    }
    let Tally { passed, failed, skipped } = tally;
    let ran = passed + failed;
    match (failed, skipped) {
        (0, 0) => println!("PASS: {ran} checks"),
        (0, _) => println!("PASS: {ran} checks, {skipped} skipped"),
        (_, 0) => println!("FAIL: {failed} of {ran} checks"),
        _ => println!("FAIL: {failed} of {ran} checks, {skipped} skipped"),
    }
}

fn run_one(machine: &Machine, check: &Check, tally: &mut Tally) {
    match (check.run)(machine) {
        Ok(()) => {
            println!("ok {}", check.name);
            tally.passed += 1;
        }
        Err(Failure::Failed(reason)) => {
            println!("FAIL {}: {reason}", check.name);
            tally.failed += 1;
        }
        Err(Failure::Skipped(reason)) => {
            println!("skip {}: {reason}", check.name);
            tally.skipped += 1;
        }
    }
}

/// Ends the check as failed with the formatted reason unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::checks::Failure::failed(format_args!($($reason)+)));
        }
    };
}

/// Ends the check as failed unless both values are equal; the rest names them.
#[macro_export]
macro_rules! ensure_equal {
    ($actual:expr, $expected:expr, $($what:tt)+) => {{
        let (actual, expected) = ($actual, $expected);
        if actual != expected {
            return Err($crate::checks::Failure::failed(format_args!(
                "{}: {actual:x?}, expected {expected:x?} (hexadecimal)", format_args!($($what)+)
            )));
        }
    }};
}

/// Ends the check as skipped, with the formatted reason.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {
        return Err($crate::checks::Failure::skipped(format_args!($($reason)+)))
    };
}
