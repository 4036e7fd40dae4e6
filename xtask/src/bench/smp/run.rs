//! The machines with two cores: what they load, how their time goes, what is asked of each run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::LOADS;
use super::console::{self, Said};
use super::exits::{self, Exits};
use crate::bench::counter::{self, BEGIN, Counter, END, Executed, Reached};
use crate::bench::linux;
use crate::bench::machine::{NO_SEEDS, Ours, Plain, Timing, folder};
use crate::build::{self, Hypervisor};
use crate::paths;
use crate::setup;

/// Cores that take turns, in counted time.
pub const TURNS: Timing = Timing::Counted;
/// Cores that run at once, in the host's time.
pub const PARALLEL: Timing = Timing::Real;
/// Cores and vCPUs.
pub const CPUS: usize = 2;
const MEMORY_MIB: u64 = 256;
/// Small pages: huge ones would leave few faults.
const ARGUMENTS: &str = "console=ttyAMA0 quiet nokaslr panic=-1 transparent_hugepage=never rdinit=/loads";
/// What QEMU's log has of exceptions: all, and which interrupt was taken.
const LOGGED: &str = "int,tid,trace:gicv3_icc_iar1_read,trace:gic_acknowledge_irq";

/// With or without a hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Two plain cores.
    Plain,
    /// Two vCPUs under Tessera.
    Ours,
}

/// The machines of one version of the GIC.
pub struct Machines<'a> {
    /// The version.
    pub gic: u32,
    /// Ours.
    pub hypervisor: &'a Hypervisor,
}

impl Machines<'_> {
    /// The instructions that each load takes on all cores together.
    pub fn counted(&self, side: Side) -> Result<Vec<Executed>, String> {
        let why = |error: anyhow::Error| format!("{error:#}");
        let counter = Counter::new(&[BEGIN, END]).map_err(why)?;
        self.said(side, TURNS, counter.arguments())?;
        Ok(spans(&counter.reached().map_err(why)?))
    }

    /// The microseconds that each load takes.
    pub fn timed(&self, side: Side) -> Result<Vec<u64>, String> {
        let said = self.said(side, PARALLEL, Vec::new())?;
        Ok(said.spans.iter().map(|span| span.microseconds()).collect())
    }

    /// The exits of each load under Tessera.
    pub fn exits(&self, timing: Timing) -> Result<Vec<Exits>, String> {
        let why = |error: anyhow::Error| format!("{error:#}");
        let logs = log_folder().map_err(why)?;
        let pattern = logs.path().join("%d").display().to_string();
        let arguments = ["-d", LOGGED, "-D", &pattern].map(str::to_owned).to_vec();
        let said = self.said(Side::Ours, timing, arguments)?;
        exits::read(logs.path(), &said).map_err(why)
    }

    /// Runs a machine to its end; what the guest said.
    fn said(&self, side: Side, timing: Timing, extra: Vec<String>) -> Result<Said, String> {
        let initrd = initrd().map_err(|error| format!("{error:#}"))?;
        let text = match side {
            Side::Plain => self.plain(timing, extra, &initrd),
            Side::Ours => self.ours(timing, extra, &initrd),
        };
        console::read(&text?)
    }

    fn plain(&self, timing: Timing, extra: Vec<String>, initrd: &Path) -> Result<String, String> {
        let kernel = setup::linux::kernel();
        let machine = Plain {
            memory_mib: MEMORY_MIB,
            initrd: Some(initrd),
            timing,
            ..Plain::bench(self.gic, CPUS, &kernel, ARGUMENTS)
        };
        let tree = linux::plain_tree(&machine).map_err(|error| format!("{error:#}"))?;
        Plain { tree: Some(&tree), extra, ..machine }.run()
    }

    fn ours(&self, timing: Timing, mut extra: Vec<String>, initrd: &Path) -> Result<String, String> {
        extra.extend(NO_SEEDS.map(str::to_owned));
        let name = format!("bench-smp-gic{}", self.gic);
        let system = linux::system(CPUS, MEMORY_MIB, initrd, ARGUMENTS);
        Ours { name, system, gic: self.gic, timing, extra }.run(self.hypervisor)
    }
}

fn initrd() -> Result<PathBuf> {
    let loads = paths::guests().join("bench/loads");
    let mark = build::guest("bench-mark")?;
    let files = format!("file /loads {} 0755 0 0\nfile /bin/bench-mark {} 0755 0 0\n", loads.display(), mark.display());
    linux::initrd("loads", &files)
}

/// A folder for logs, which may be hundreds of megabytes; gone when dropped.
fn log_folder() -> Result<tempfile::TempDir> {
    tempfile::tempdir_in(folder()?).context("no folder for logs")
}

/// What was executed in each load: from its mark on the last core to begin to that on the first to end.
fn spans(reached: &[Reached]) -> Vec<Executed> {
    let span = |marks: &[Reached]| match marks {
        [_, begin, end, _] if begin.mark == BEGIN && end.mark == END => counter::difference(begin, end),
        _ => None,
    };
    reached.chunks(2 * CPUS).map_while(span).take(LOADS.len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_lies_between_the_last_begin_and_the_first_end() {
        let marks =
            [(BEGIN, 10), (BEGIN, 20), (END, 120), (END, 150), (BEGIN, 200), (BEGIN, 300), (END, 301), (END, 302)];
        let executed = |all| Executed { all, el2: all / 10 };
        let reached = marks.map(|(mark, all)| Reached { mark, executed: executed(all) });
        assert_eq!(spans(&reached), [Executed { all: 100, el2: 10 }, Executed { all: 1, el2: 0 }]);
        assert_eq!(spans(&reached[..7]).len(), 1);
        assert!(spans(&reached[1..]).is_empty());
    }
}
