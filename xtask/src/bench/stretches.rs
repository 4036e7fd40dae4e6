//! How long EL2 keeps interrupts waiting, and how long it holds its locks, in scenarios that make it do its longest work.
//!
//! QEMU's counter (`xtask/counter`) follows each core: a stretch goes from where EL2 takes interrupts, or returns to a guest,
//! to where it does so again; a hold from the look that found a lock free to the lock's release. Both are counted in
//! instructions of the core's own, so neither depends on the host. How long another core really waits for a lock does, since
//! the host may run the one that waits and not the one that holds it; with ticket locks it is at most one hold for each core
//! before it, which is why the hold stands for it.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::attribution::Symbols;
use super::counter::{Counter, Length, Longest};
use super::figures::Figures;
use super::machine::{NO_SEEDS, Ours, Timing};
use super::systems::{idle_vms, restarting, vm_on};
use super::table::{columns, grouped};
use super::{latency, linux, roles};
use crate::build::Hypervisor;
use crate::paths;
use crate::progress::Step;

/// Places that are shown of the longest stretch.
const PLACES: usize = 4;
/// Memory of a small guest, in MiB.
const SMALL_MIB: u64 = 4;

/// What makes EL2 work.
struct Scenario {
    label: &'static str,
    /// Its system, or why there is none.
    system: fn() -> Result<String>,
    /// How its time goes: one core is counted, and gives the same figures again.
    timing: Timing,
    /// The line of the VM `bench` that ends it, and how often it comes; none if the machine ends by itself.
    until: Option<(&'static str, usize)>,
}

const DONE: Option<(&str, usize)> = Some(("bench: done", 1));

const SCENARIOS: [Scenario; 6] = [
    Scenario { label: "Linux boots", system: linux::booting, timing: Timing::Counted, until: None },
    Scenario {
        label: "a guest restarts, 256 MiB",
        system: restarting,
        timing: Timing::Counted,
        until: Some(("bench: started", 4)),
    },
    Scenario { label: "copies on write", system: copying, timing: Timing::Counted, until: DONE },
    Scenario { label: "two guests write to the console", system: talking, timing: Timing::Counted, until: DONE },
    Scenario { label: "16 VMs on a core", system: crowd, timing: Timing::Counted, until: DONE },
    Scenario { label: "two guests' SGIs on two cores", system: storm, timing: Timing::Real, until: DONE },
];

/// Two guests that write to all pages of their one image.
fn copying() -> Result<String> {
    Ok(std::fs::read_to_string(paths::guests().join("systems/bench-shared.toml"))?.replace("cpus = [1]", "cpus = [0]"))
}

fn talking() -> Result<String> {
    Ok(["bench", "other"].map(|name| vm_on("[0]", name, SMALL_MIB, "role=talker", "")).concat())
}

fn crowd() -> Result<String> {
    Ok(vm_on("[0]", "bench", SMALL_MIB, "ops=vtimer_wfi", "") + &idle_vms())
}

fn storm() -> Result<String> {
    Ok(["bench", "other"].map(|name| vm_on("[0, 1]", name, SMALL_MIB, "role=storm", "")).concat())
}

/// The guest that does anything, beside one that ticks.
fn chaos() -> Option<Scenario> {
    let system = || Ok(vm_on("[0]", "bench", SMALL_MIB, "role=ticker ticks=3000", "") + &latency::chaos());
    let scenario = Scenario { label: "chaos", system, timing: Timing::Counted, until: DONE };
    paths::guests().join("chaos").is_dir().then_some(scenario)
}

/// What one scenario shows.
pub struct Shown {
    label: &'static str,
    timing: Timing,
    longest: Result<Vec<Longest>, String>,
}

impl Shown {
    fn longest(&self, of: Length) -> Result<u64, String> {
        let all = self.longest.as_ref().map_err(|why| format!("{}: {why}", self.label))?;
        let found = all.iter().filter(|longest| longest.of == of).map(|longest| longest.instructions).max();
        found.ok_or_else(|| format!("{}: nothing was seen", self.label))
    }
}

/// Runs all scenarios.
pub fn measure(gic: u32, hypervisor: &Hypervisor, step: &Step) -> Result<Vec<Shown>> {
    let locks = roles::locks(&hypervisor.elf)?;
    let shown = step.shown();
    let run = |scenario: &Scenario| {
        shown(scenario.label);
        let longest = follow(scenario, gic, hypervisor, &locks).map_err(|error| format!("{error:#}"));
        Shown { label: scenario.label, timing: scenario.timing, longest }
    };
    Ok(SCENARIOS.iter().chain(chaos().as_ref()).map(run).collect())
}

fn follow(scenario: &Scenario, gic: u32, hypervisor: &Hypervisor, locks: &str) -> Result<Vec<Longest>> {
    let counter = Counter::new(&[])?.with_roles(locks)?.with_stretches();
    let extra = NO_SEEDS.map(str::to_owned).into_iter().chain(counter.arguments()).collect();
    let name = format!("bench-stretch-gic{gic}");
    let ours = Ours { name, system: (scenario.system)()?, gic, timing: scenario.timing, extra };
    let console = match scenario.until {
        Some((line, times)) => ours.run_until(hypervisor, line, times),
        None => ours.run(hypervisor),
    };
    console.map_err(anyhow::Error::msg)?;
    counter.longest()
}

/// The figures of a kind: the least of all scenarios, the most of those that are counted, the most of all.
pub fn figures(shown: &[Shown], of: Length) -> Result<Figures, String> {
    let lengths = |wanted: fn(Timing) -> bool| {
        let wanted = shown.iter().filter(move |shown| wanted(shown.timing));
        wanted.map(|shown| shown.longest(of)).collect::<Result<Vec<_>, _>>()
    };
    let (all, counted) = (lengths(|_| true)?, lengths(|timing| timing == Timing::Counted)?);
    let figures = |all: &[u64], counted: &[u64]| {
        Some(Figures { min: *all.iter().min()?, median: *counted.iter().max()?, max: *all.iter().max()? })
    };
    figures(&all, &counted).ok_or_else(|| "no scenario was run".to_owned())
}

/// The table of all scenarios, with where the longest stretches were spent.
pub fn render(shown: &[Shown], gic: u32, elf: &Path) -> Result<String> {
    let mut symbols = Symbols::load(elf)?;
    let headings = ["", "longest stretch", "hold of a lock"].map(str::to_owned).to_vec();
    let (mut lines, mut where_spent) = (vec![headings], String::new());
    for scenario in shown {
        let length = |of| scenario.longest(of).map_or_else(|why| format!("not measured: {why}"), grouped);
        lines.push(vec![scenario.label.to_owned(), length(Length::Stretch), length(Length::Hold)]);
        let _ = writeln!(where_spent, "  {}: {}", scenario.label, places(scenario, &mut symbols));
    }
    let table = columns(&lines);
    Ok(format!("\nEL2 at its longest, GICv{gic}, in instructions\n{table}Stretches by function:\n{where_spent}"))
}

/// The functions that took the most of the longest stretch.
fn places(shown: &Shown, symbols: &mut Symbols) -> String {
    let mut stretches = shown.longest.iter().flatten().filter(|longest| longest.of == Length::Stretch);
    let Some(longest) = stretches.next_back() else { return String::new() };
    let mut sums: Vec<(String, u64)> = Vec::new();
    for (address, count) in &longest.places {
        let function = symbols.function(*address).unwrap_or("assembly").to_owned();
        match sums.iter_mut().find(|(known, _)| *known == function) {
            Some((_, sum)) => *sum = sum.saturating_add(*count),
            None => sums.push((function, *count)),
        }
    }
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let mut text = String::new();
    for (function, sum) in sums.iter().take(PLACES) {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{} {function}", grouped(*sum));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(timing: Timing, lengths: &[u64]) -> Shown {
        let longest =
            |instructions: &u64| Longest { of: Length::Hold, instructions: *instructions, places: Vec::new() };
        Shown { label: "a scenario", timing, longest: Ok(lengths.iter().map(longest).collect()) }
    }

    #[test]
    fn the_most_of_counted_scenarios_stands_beside_the_most_of_all() {
        let all =
            [shown(Timing::Counted, &[5, 30]), shown(Timing::Real, &[7, 40]), shown(Timing::Counted, &[1, 2, 10])];
        assert_eq!(figures(&all, Length::Hold), Ok(Figures { min: 10, median: 30, max: 40 }));
        assert!(figures(&all, Length::Stretch).expect_err("none").contains("a scenario"));
    }

    #[test]
    fn a_scenario_that_failed_is_the_reason() {
        let failed = Shown { label: "x", timing: Timing::Counted, longest: Err("QEMU was killed".into()) };
        let all = [shown(Timing::Counted, &[5]), failed];
        assert_eq!(figures(&all, Length::Hold), Err("x: QEMU was killed".to_owned()));
    }
}
