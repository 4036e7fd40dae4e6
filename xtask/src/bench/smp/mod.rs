//! `cargo xtask bench --smp`: Linux on two vCPUs under Tessera beside Linux on two plain cores, under two loads.
//!
//! Each load is measured twice over: in executed instructions on cores that take turns (the same in every run), and in
//! time on cores that run at once (QEMU's MTTCG; the host's business too). Runs of their own tell why guests exit. The
//! parts: `run` starts machines, `console` reads what the guest says, `exits` reads QEMU's log of exceptions, `show` and
//! `json` show the results. What the loads do, guests/bench/loads says.

mod console;
mod exits;
pub mod json;
mod run;
pub mod show;

use crate::bench::counter::Executed;
use crate::bench::figures::Figures;
use crate::build::Hypervisor;
use crate::progress::Step;
use exits::Exits;
use run::{Machines, Side};

/// A load: its name in files, and what people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its name in guests/bench/loads.
    pub name: &'static str,
    /// What it is.
    pub label: &'static str,
}

/// All loads, in the order in which the guest does them.
pub const LOADS: [Load; 2] = [
    Load { name: "switches", label: "pipes and short processes" },
    Load { name: "faults", label: "fresh memory touched" },
];

/// How often a load is timed on each side.
pub const TIMED_RUNS: usize = 5;

/// The same of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Both<T> {
    /// Two plain cores.
    pub plain: T,
    /// Two vCPUs.
    pub ours: T,
}

impl<T> Both<T> {
    /// Ours for each one of the plain machine's.
    pub fn ratio(&self, number: impl Fn(&T) -> u64) -> f64 {
        number(&self.ours) as f64 / number(&self.plain).max(1) as f64
    }
}

/// What is known of a load; in one line, why something is not.
#[derive(Clone, Debug)]
pub struct Row {
    /// The load.
    pub load: Load,
    /// The GIC's version.
    pub gic: u32,
    /// Executed instructions of both cores.
    pub counted: Result<Both<Executed>, String>,
    /// Microseconds: the least, the middle and the most of [`TIMED_RUNS`] runs.
    pub timed: Result<Both<Figures>, String>,
    /// Exits on cores that take turns.
    pub exits_counted: Result<Exits, String>,
    /// Exits on cores that run at once.
    pub exits_parallel: Result<Exits, String>,
}

/// Measures all loads with each version of the GIC.
pub fn measure(gics: &[u32], hypervisor: &Hypervisor) -> Vec<Row> {
    gics.iter().flat_map(|gic| measure_one(*gic, hypervisor)).collect()
}

fn measure_one(gic: u32, hypervisor: &Hypervisor) -> Vec<Row> {
    let machines = Machines { gic, hypervisor };
    let counted = step(format!("GICv{gic}: two cores, instructions"), |_| both(|side| machines.counted(side)));
    let timed = step(format!("GICv{gic}: two cores, time"), |step| timed(&machines, step));
    let [exits_counted, exits_parallel] = [("taking turns", run::TURNS), ("at once", run::PARALLEL)]
        .map(|(how, timing)| step(format!("GICv{gic}: two cores {how}, exits"), |_| machines.exits(timing)));
    let row = |(index, load): (usize, Load)| Row {
        load,
        gic,
        counted: pick(&counted, |both| Some(Both { plain: *both.plain.get(index)?, ours: *both.ours.get(index)? })),
        timed: pick(&timed, |both| Some(Both { plain: *both.plain.get(index)?, ours: *both.ours.get(index)? })),
        exits_counted: pick(&exits_counted, |all| all.get(index).cloned()),
        exits_parallel: pick(&exits_parallel, |all| all.get(index).cloned()),
    };
    LOADS.into_iter().enumerate().map(row).collect()
}

/// A step that shows as failed if it fails, and goes on.
fn step<T>(name: String, measure: impl FnOnce(&Step) -> Result<T, String>) -> Result<T, String> {
    let step = Step::start(name);
    let result = measure(&step);
    match &result {
        Ok(_) => step.done(),
        Err(_) => drop(step),
    }
    result
}

fn both<T>(measure: impl Fn(Side) -> Result<T, String>) -> Result<Both<T>, String> {
    Ok(Both { plain: measure(Side::Plain)?, ours: measure(Side::Ours)? })
}

/// What all loads' result says of one.
fn pick<A, T>(all: &Result<A, String>, of: impl FnOnce(&A) -> Option<T>) -> Result<T, String> {
    let all = all.as_ref().map_err(Clone::clone)?;
    of(all).ok_or_else(|| "the guest did not come so far".to_owned())
}

/// Both sides by turns, so that what the host does besides falls on both.
fn timed(machines: &Machines, step: &Step) -> Result<Both<Vec<Figures>>, String> {
    let mut times = Both { plain: Vec::new(), ours: Vec::new() };
    for run in 1..=TIMED_RUNS {
        step.shown()(&format!("run {run} of {TIMED_RUNS}"));
        times.plain.push(machines.timed(Side::Plain)?);
        times.ours.push(machines.timed(Side::Ours)?);
    }
    Ok(Both { plain: spreads(&times.plain), ours: spreads(&times.ours) })
}

/// Of each load the least, the middle and the most; `runs` has the loads of each run.
fn spreads(runs: &[Vec<u64>]) -> Vec<Figures> {
    let of_load = |index: usize| {
        let mut times: Vec<u64> = runs.iter().filter_map(|run| run.get(index).copied()).collect();
        times.sort_unstable();
        Some(Figures { min: *times.first()?, median: *times.get(times.len() / 2)?, max: *times.last()? })
    };
    (0..LOADS.len()).map_while(of_load).collect()
}

/// Rows for tests of what shows them.
#[cfg(test)]
pub fn sample() -> Vec<Row> {
    let figures = |median| Figures { min: median - 100_000, median, max: median + 200_000 };
    let exits = Exits { seconds: 0.5, by_reason: [("virtual timer".to_owned(), 200), ("UART".to_owned(), 1)].into() };
    let good = Row {
        load: LOADS[0],
        gic: 3,
        counted: Ok(Both {
            plain: Executed { all: 1_000_000, el2: 0 },
            ours: Executed { all: 1_010_000, el2: 20_200 },
        }),
        timed: Ok(Both { plain: figures(800_000), ours: figures(1_000_000) }),
        exits_counted: Ok(exits),
        exits_parallel: Err("QEMU was killed".to_owned()),
    };
    let why = || "the guest did not come so far".to_owned();
    let bad = Row {
        load: LOADS[1],
        gic: 3,
        counted: Err(why()),
        timed: Err(why()),
        exits_counted: Err(why()),
        exits_parallel: Err(why()),
    };
    vec![good, bad]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_of_each_load() {
        let runs = [vec![5, 50], vec![1, 70], vec![3, 60]];
        let expected = [Figures { min: 1, median: 3, max: 5 }, Figures { min: 50, median: 60, max: 70 }];
        assert_eq!(spreads(&runs), expected);
        assert_eq!(spreads(&[]), []);
    }

    #[test]
    fn a_load_that_was_not_reached_says_so() {
        let all = Ok(vec![1]);
        assert_eq!(pick(&all, |all: &Vec<i32>| all.first().copied()), Ok(1));
        assert!(pick(&all, |all: &Vec<i32>| all.get(1).copied()).expect_err("none").contains("not come so far"));
        let failed: Result<Vec<i32>, _> = Err("why".to_owned());
        assert_eq!(pick(&failed, |all| all.first().copied()), Err("why".to_owned()));
    }
}
