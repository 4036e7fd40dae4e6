//! `cargo xtask test`: the checks, the crates' own tests on the host, and the guests in QEMU, counted together.
//! The guests' cases are in `cases`; how a case is run is `guests`, how host tests are counted is `host`.
//! `interactive` is the one case with a terminal.

pub mod cases;
pub mod guests;
mod host;
mod interactive;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::check;
use crate::setup;

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Format, lints, documentation, as `cargo xtask check` has them.
    Checks,
    /// The crates' own tests.
    Hosts,
    /// Systems in QEMU.
    Guests,
}

/// What `cargo xtask test` was asked for.
#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    /// Only this part.
    pub only: Option<Part>,
    /// Only tests whose names contain this.
    pub filter: Option<String>,
    /// The guests' tests on machines with this version of the GIC only.
    pub gic: Option<u32>,
    /// Name the tests instead of running them.
    pub list: bool,
}

impl TestOptions {
    /// Whether a part is wanted. The checks have no names: a filter leaves them out.
    fn wants(&self, part: Part) -> bool {
        let by_filter = part == Part::Checks && self.filter.is_some();
        self.only.map_or(!by_filter, |only| only == part)
    }

    fn selects(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
    }
}

/// How many tests passed, and the names of those that did not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: Vec<String>,
}

impl Tally {
    /// Counts one test.
    pub fn count(&mut self, name: &str, passed: bool) {
        if passed {
            self.passed = self.passed.saturating_add(1);
        } else {
            self.failed.push(name.to_owned());
        }
    }

    /// Adds another tally.
    pub fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed.extend(other.failed);
    }

    /// The last line: readers and CI rely on its form.
    fn summary(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed.len())
    }
}

/// Runs what is asked for; the last line says `N passed, N failed`.
pub fn test(options: &TestOptions) -> Result<ExitCode> {
    if options.list {
        return list(options);
    }
    let started = Instant::now();
    let toolchain = setup::ensure(setup::toolchain::Choice::Auto)?;
    setup::packages::ensure_for_tests()?;
    let mut tally = Tally::default();
    if options.wants(Part::Checks) {
        tally.add(check::steps(&toolchain)?);
    }
    if options.wants(Part::Hosts) {
        tally.add(host::test(options.filter.as_deref())?);
    }
    if options.wants(Part::Guests) {
        let hypervisor = build::all(&toolchain, Profile::Release)?;
        let cases = cases::all(options.gic).into_iter().filter(|case| options.selects(&case.name));
        tally.add(guests::test(cases.collect(), &hypervisor));
        if options.selects(interactive::NAME) {
            tally.count(&format!("guest: {}", interactive::NAME), interactive::test());
        }
    }
    report(&tally, started);
    Ok(if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(tally: &Tally, started: Instant) {
    println!();
    for name in &tally.failed {
        println!("failed: {name}");
    }
    println!("after {} s:", started.elapsed().as_secs());
    println!("{}", tally.summary());
}

fn list(options: &TestOptions) -> Result<ExitCode> {
    if options.wants(Part::Checks) {
        check::NAMES.iter().for_each(|name| println!("check: {name}"));
    }
    if options.wants(Part::Hosts) {
        host::list(options.filter.as_deref())?;
    }
    if options.wants(Part::Guests) {
        let cases = cases::all(options.gic);
        let cases = cases.iter().filter(|case| options.selects(&case.name));
        cases.for_each(|case| println!("guest: {}", case.name));
        if options.selects(interactive::NAME) {
            println!("guest: {}", interactive::NAME);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_both_kinds() {
        let mut tally = Tally::default();
        tally.count("a", true);
        tally.count("b", false);
        tally.add(Tally { passed: 3, failed: vec!["c".into()] });
        assert_eq!(tally.summary(), "4 passed, 2 failed");
    }

    #[test]
    fn a_filter_leaves_the_checks_out_unless_they_are_asked_for() {
        let filtered = TestOptions { filter: Some("linux".into()), ..Default::default() };
        assert!(!filtered.wants(Part::Checks) && filtered.wants(Part::Guests));
        assert!(filtered.selects("two linux") && !filtered.selects("hello"));
        let only = TestOptions { only: Some(Part::Checks), ..filtered };
        assert!(only.wants(Part::Checks) && !only.wants(Part::Hosts));
        assert!(TestOptions::default().wants(Part::Checks));
    }
}
