//! A hostile guest: beside neighbours on its core and on another, at many restarts, and on a machine whose time is counted.

use std::fmt;

use super::*;

/// The kinds of processor it is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Processor {
    /// The Raspberry Pi's.
    #[value(name = "cortex-a72")]
    CortexA72,
    /// One with all that QEMU knows.
    Max,
}

impl fmt::Display for Processor {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::CortexA72 => "cortex-a72",
            Self::Max => "max",
        })
    }
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// Which actions.
    pub seed: u32,
    /// How many.
    pub actions: u64,
    /// The GIC's version.
    pub gic: u32,
    /// The processors.
    pub cpu: Processor,
}

/// Actions of each of the four runs, which make a million.
const ACTIONS: u64 = 250_000;
/// Actions from one line about progress to the next, at the most.
const LONGEST: u64 = 50_000;
/// How long it may do nothing that is seen, in seconds: long enough for a host that is busy.
const PATIENCE: u64 = 120;
/// Restarts over which no memory may be lost.
const RESTARTS: usize = 100;

/// The hostile guest with a core for itself and one with a neighbour; another neighbour has a core for itself.
pub fn case(chaos: &Chaos) -> Case {
    let Chaos { seed, actions, gic, cpu } = *chaos;
    let line = format!("seed={seed} actions={actions} resets=1");
    let system = "[machine]\ncpus = 3\n".to_owned()
        + &vm("chaos", "chaos", "0, 1", &line)
        + "restart-delay = \"1ms\"\n"
        + &vm("same", "neighbour", "0", "seed=1")
        + &vm("other", "neighbour", "2", "seed=2");
    // Not all of them: some drown in the line of noise that they end.
    let progress = (0..10.max(actions / LONGEST)).map(|_| "expect chaos:chaos: \\d+ of \\d+ actions".to_owned());
    let name = format!("a hostile guest beside its neighbours, {cpu}");
    let mut case = Case::new(&name, System::Inline(system)).steps(&["expect same:looks", "expect other:looks"]);
    case.steps.extend(progress);
    let case = case.steps(&["expect chaos:chaos: done", "expect tessera:chaos: off"]);
    let case = case.steps(&["send same:o", "expect same:^PASS", "send other:o", "expect other:^PASS"]).ends(0);
    let qemu: &[&str] = if cpu == Processor::Max { &["-cpu", "max"] } else { &[] };
    Case { gic, qemu, patience: Some(PATIENCE), ..case }
}

/// On both kinds of processor; all of them are run on either GIC.
pub(super) fn cases() -> Vec<Case> {
    [(Processor::CortexA72, 1), (Processor::Max, 2)]
        .map(|(cpu, seed)| case(&Chaos { seed, actions: ACTIONS, gic: 3, cpu }))
        .to_vec()
}

/// Where the kind of GIC matters less.
pub(super) fn others() -> Vec<Case> {
    vec![share(), restarts()]
}

/// The neighbour's share and period are judged where time is counted in instructions.
fn share() -> Case {
    let system = vm("chaos", "chaos", "0", "seed=3 actions=20000 resets=1")
        + &vm("same", "neighbour", "0", "seed=1 share=45 gap=8000");
    let case = Case::new("a hostile guest leaves its neighbour its share", System::Inline(system));
    let steps = ["expect chaos:chaos: done", "expect tessera:chaos: off", "send same:o", "expect same:^PASS"];
    // A recording of what is counted leaves out input.
    Case { qemu: &COUNTING_SEVERAL, patience: Some(PATIENCE), ..case.steps(&steps).ends(0) }
}

/// Nothing is lost over restarts. Their delays pass at once where time is counted.
fn restarts() -> Case {
    let line = "seed=4 actions=500 end=reset";
    let system = vm("chaos", "chaos", "0", line).replace("image =", "share-image = true\nimage =");
    let case = Case::new("a hostile guest restarts a hundred times", System::Inline(system));
    let steps = vec!["expect tessera:chaos: starts again, \\d+ KiB are free"; RESTARTS];
    Case { qemu: &COUNTING, patience: Some(PATIENCE), verify: loses_nothing, ..case.steps(&steps) }
}

fn loses_nothing(console: &str) -> Result<(), String> {
    let starts = console
        .lines()
        .filter_map(|line| line.split_once("chaos: starts again, ")?.1.split_once(" KiB").map(|(free, _)| free));
    let mut free: Vec<&str> = starts.collect();
    let count = free.len();
    free.dedup();
    match (count >= RESTARTS, free.as_slice()) {
        (true, [_]) => Ok(()),
        (false, _) => Err(format!("only {count} starts tell how much memory is free")),
        (true, different) => Err(format!("memory that is free changes over restarts: {different:?} KiB")),
    }
}

fn vm(name: &str, guest: &str, cores: &str, line: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = [{cores}]\nmemory = \"16M\"\nimage = \"tessera:guest/{guest}\"\n\
         command-line = \"{line}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_memory_is_noticed() {
        let starts = |count: usize, last: &str| {
            let line = "[tessera] chaos: starts again, 100 KiB are free\r\n";
            line.repeat(count) + &line.replace("100", last)
        };
        assert!(loses_nothing(&starts(99, "100")).is_ok());
        assert!(loses_nothing(&starts(99, "96")).is_err() && loses_nothing(&starts(98, "100")).is_err());
    }

    #[test]
    fn the_four_runs_make_a_million() {
        assert_eq!(cases().len() as u64 * 2 * ACTIONS, 1_000_000);
    }
}
