//! The guests' cases: which system, what is said to it, how it must end. Only data; running them is `guests`.

pub mod chaos;
mod isolation;
mod latency;
mod limits;
mod policies;
mod real;
mod refused;
mod sharing;
mod small;
mod sub_page;
mod witness;

use dtoolkit::model::DeviceTree;

use crate::bench::budget;
use crate::bench::machine::{COUNTING, COUNTING_SEVERAL};
use crate::bench::operation::Kind;
use crate::card::Uart;
use crate::qemu::Board;
use crate::system::broken::{self, Broken};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is tested, in words.
    pub name: String,
    /// What runs.
    pub system: System,
    /// Cores; None for as many as the system needs.
    pub cpus: Option<usize>,
    /// RAM in MiB; None for as much as the system needs.
    pub memory_mib: Option<u64>,
    /// The board.
    pub board: Board,
    /// The GIC's version.
    pub gic: u32,
    /// Its guest uses registers that only a GICv3 has.
    pub needs_gicv3: bool,
    /// It is started from the files of a card's image, with this console and with the image as its SD card.
    pub from_card: Option<Uart>,
    /// What becomes of the archive on its way.
    pub archive: Archive,
    /// What becomes of the board's device tree on its way.
    pub tree: Option<fn(&mut DeviceTree)>,
    /// More boot arguments, a blank before each.
    pub arguments: &'static str,
    /// More arguments for QEMU.
    pub qemu: &'static [&'static str],
    /// `expect VM:REGEX` and `send VM:TEXT`, in order.
    pub steps: Vec<String>,
    /// How it must end.
    pub end: End,
    /// The longest it may take.
    pub seconds: u64,
    /// Instead, the longest that one step of it may take.
    pub patience: Option<u64>,
    /// It measures time: nothing else may run.
    pub alone: bool,
    /// What must hold of the whole console's text besides; the error says what does not.
    pub verify: fn(&str) -> Result<(), String>,
}

/// What runs.
#[derive(Clone, Debug)]
pub enum System {
    /// One of guests/systems.
    Named(&'static str),
    /// A system file's text.
    Inline(String),
    /// The same, of files that are made for it as the case begins.
    Made(fn() -> anyhow::Result<String>),
}

/// What becomes of the archive on its way to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// Nothing.
    AsItIs,
    /// There is none.
    Missing,
    /// It is damaged as the case of this name in `system::broken` says.
    Broken(&'static str),
}

/// How a case must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps are done; what then runs is stopped.
    Script,
    /// After all steps the machine ends by itself, with this verdict of Tessera's.
    Exit(i32),
    /// The machine ends by itself, but nobody hears what Tessera says.
    Unheard,
}

impl Case {
    fn new(name: &str, system: System) -> Self {
        Self {
            name: name.to_owned(),
            system,
            cpus: None,
            memory_mib: None,
            board: Board::Virt,
            gic: 3,
            needs_gicv3: false,
            from_card: None,
            archive: Archive::AsItIs,
            tree: None,
            arguments: "",
            qemu: &[],
            steps: Vec::new(),
            end: End::Script,
            seconds: 90,
            patience: None,
            alone: false,
            verify: |_| Ok(()),
        }
    }

    fn steps(mut self, steps: &[&str]) -> Self {
        self.steps.extend(steps.iter().map(|step| (*step).to_owned()));
        self
    }

    fn ends(self, status: i32) -> Self {
        Self { end: End::Exit(status), ..self }
    }

    /// The same on a machine with a GICv2, unless it needs a GICv3.
    fn on_gicv2(&self) -> Option<Self> {
        let name = format!("{} (GICv2)", self.name);
        (!self.needs_gicv3).then(|| Self { name, gic: 2, ..self.clone() })
    }

    /// The name as part of a file's name.
    pub fn file_name(&self) -> String {
        self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

/// The cases, the longest first: they decide when the last one ends. With a version of the GIC, all of them on that; else
/// all on a GICv3, what has to do with interrupts on a GICv2 too, and other boards.
pub fn all(gic: Option<u32>) -> Vec<Case> {
    let with_interrupts = [
        chaos::cases(),
        isolation::cases(),
        real::guests(),
        small::guests(),
        small::passthrough(),
        real::by_name(),
        small::containment(),
        small::budget(),
        limits::on_either_gic(),
    ]
    .concat();
    let others = [
        vec![real::eight_cores()],
        sharing::cases(),
        sub_page::cases(),
        chaos::others(),
        isolation::others(),
        refused::faults(),
        refused::refusals(),
        limits::cases(),
        policies::cases(),
        latency::cases(),
    ]
    .concat();
    match gic {
        Some(2) => with_interrupts.iter().chain(&others).filter_map(Case::on_gicv2).collect(),
        Some(_) => [with_interrupts, others].concat(),
        None => {
            let again = with_interrupts.iter().filter_map(Case::on_gicv2).collect();
            [with_interrupts, again, real::raspberry_pi(), others, refused::raspberry_pi()].concat()
        }
    }
}

/// A system file's text with VMs: (name, guest, cores).
fn system_of(vms: &[(&str, &str, usize)]) -> System {
    let vms = vms.iter().map(|(name, guest, cores)| {
        format!("[[vm]]\nname = \"{name}\"\ncpus = {cores}\nmemory = \"32M\"\nimage = \"tessera:{guest}\"\n")
    });
    System::Inline(vms.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_also_as_files() {
        let cases = all(None);
        let files: HashSet<_> = cases.iter().map(Case::file_name).collect();
        assert_eq!(files.len(), cases.len());
    }

    #[test]
    fn each_case_can_run_on_either_gic() {
        let names = |gic| all(gic).into_iter().map(|case| case.name).collect::<Vec<_>>();
        let needing = all(Some(3)).iter().filter(|case| case.needs_gicv3).count();
        assert_eq!(names(Some(2)).len() + needing, names(Some(3)).len());
        assert!(all(Some(2)).iter().all(|case| case.gic == 2) && all(Some(3)).iter().all(|case| case.gic == 3));
        let both = names(None);
        assert!(
            both.contains(&"interrupts on 2 cores".into()) && both.contains(&"interrupts on 2 cores (GICv2)".into())
        );
    }

    #[test]
    fn every_case_waits_for_something() {
        for case in all(None) {
            let waits = case.steps.iter().any(|step| step.starts_with("expect ")) || case.end != End::Script;
            assert!(waits, "{}", case.name);
        }
    }
}
