//! The guests' cases: which system, what is said to it, how it must end. Only data; running them is `guests`.

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
    /// The GIC's version.
    pub gic: u32,
    /// What becomes of the archive on its way.
    pub archive: Archive,
    /// More arguments for QEMU.
    pub qemu: &'static [&'static str],
    /// `expect VM:REGEX` and `send VM:TEXT`, in order.
    pub steps: Vec<String>,
    /// How it must end.
    pub end: End,
    /// The longest it may take.
    pub seconds: u64,
    /// It measures time: nothing else may run.
    pub alone: bool,
}

/// What runs.
#[derive(Clone, Debug)]
pub enum System {
    /// One of guests/systems.
    Named(&'static str),
    /// A system file's text.
    Inline(String),
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
    /// After all steps the machine ends by itself, with this exit status.
    Exit(i32),
}

impl Case {
    fn new(name: &str, system: System) -> Self {
        Self {
            name: name.to_owned(),
            system,
            cpus: None,
            memory_mib: None,
            gic: 3,
            archive: Archive::AsItIs,
            qemu: &[],
            steps: Vec::new(),
            end: End::Script,
            seconds: 90,
            alone: false,
        }
    }

    fn steps(mut self, steps: &[&str]) -> Self {
        self.steps.extend(steps.iter().map(|step| (*step).to_owned()));
        self
    }

    fn ends(self, status: i32) -> Self {
        Self { end: End::Exit(status), ..self }
    }

    /// The name as part of a file's name.
    pub fn file_name(&self) -> String {
        self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

/// All cases, the longest first: they decide when the last one ends.
pub fn all() -> Vec<Case> {
    [real_guests(), sharing(), small_guests(), containment(), refusals()].concat()
}

const BOTH_READY: [&str; 3] = ["expect linux:2 CPUs online", "expect linux:linux# $", "expect freertos:freertos> $"];

/// Switches both guests of the default system off.
const BOTH_OFF: [&str; 5] = [
    "send linux:poweroff -f\\n",
    "expect tessera:linux: off",
    "send freertos:off\\n",
    "expect freertos:freertos: off",
    "expect tessera:freertos: off",
];

fn real_guests() -> Vec<Case> {
    let both = || System::Named("linux-freertos");
    let mut cases = vec![under_load(both())];
    for cores in [3, 4] {
        let name = format!("linux and freertos reach their prompts on {cores} cores");
        let case = Case { cpus: Some(cores), ..Case::new(&name, both()) };
        let questions = [
            "send linux:nproc\\n",
            "expect linux:^2$",
            "expect linux:linux# $",
            "send freertos:tasks\\n",
            "expect freertos:[1-9]\\d* sent, [1-9]\\d* received, 0 lost",
        ];
        cases.push(case.steps(&BOTH_READY).steps(&questions).steps(&BOTH_OFF).ends(0));
    }
    let one_off = [
        "send linux:poweroff -f\\n",
        "expect tessera:linux: off",
        "send freertos:uptime\\n",
        "expect freertos:uptime: \\d+",
        "send freertos:off\\n",
    ];
    let name = "freertos goes on when linux is switched off";
    cases.push(Case::new(name, both()).steps(&BOTH_READY).steps(&one_off).ends(0));
    cases
}

/// The median period is the time's truth; the extremes are those of a shared host.
fn under_load(system: System) -> Case {
    let case = Case::new("freertos keeps its period beside a linux under load", system);
    let steps = [
        "send freertos:reset\\n",
        "expect freertos:freertos> $",
        "send linux:load 20\\n",
        "expect linux:load: done [1-9]\\d* rounds",
        "send freertos:hist\\n",
        "expect freertos:period: \\d{3,} samples, min/median/max \\d+/(99\\d\\d|100\\d\\d)/\\d+ us",
        "send freertos:tasks\\n",
        "expect freertos:received, 0 lost",
        "expect freertos:float registers lost: 0",
    ];
    Case { seconds: 180, alone: true, ..case.steps(&BOTH_READY).steps(&steps).steps(&BOTH_OFF).ends(0) }
}

fn sharing() -> Vec<Case> {
    let steps = [
        "expect linux-a:linux# $",
        "expect linux-b:linux# $",
        "expect hello:hello> $",
        "send linux-a:md5sum /bin/busybox && poweroff -f\\n",
        "expect tessera:linux-a: off.*pages shared",
        "send linux-b:md5sum /bin/busybox && poweroff -f\\n",
        "expect tessera:linux-b: off.*pages copied",
        "send hello:off\\n",
    ];
    vec![Case {
        seconds: 150,
        ..Case::new("two linux guests share their kernel", System::Named("two-linux-shared")).steps(&steps).ends(0)
    }]
}

/// A system file's text with VMs: (name, guest, cores).
fn system_of(vms: &[(&str, &str, usize)]) -> System {
    let vms = vms.iter().map(|(name, guest, cores)| {
        format!("[[vm]]\nname = \"{name}\"\ncpus = {cores}\nmemory = \"32M\"\nimage = \"tessera:{guest}\"\n")
    });
    System::Inline(vms.collect())
}

fn small_guests() -> Vec<Case> {
    let hello =
        ["expect hello:hello: 1 cores, 32 MiB", "send hello:abc\\n", "expect hello:echo: abc", "send hello:off\\n"];
    let mut cases =
        vec![Case::new("a small guest says hello", system_of(&[("hello", "guest/hello", 1)])).steps(&hello).ends(0)];
    for (guest, cores) in
        [("psci", 1), ("psci", 2), ("psci", 4), ("registers", 2), ("interrupts", 1), ("interrupts", 2)]
    {
        let name = format!("{guest} on {cores} cores");
        let image = format!("guest/{guest}");
        let pass = format!("expect {guest}:^PASS: \\d+ checks");
        cases.push(Case::new(&name, system_of(&[(guest, &image, cores)])).steps(&[&pass]).ends(0));
    }
    cases
}

/// Guests that misbehave, each beside one that must not notice.
fn containment() -> Vec<Case> {
    let beside = |guest: &str| system_of(&[(guest, &format!("guest/{guest}"), 1), ("hello", "guest/hello", 1)]);
    let unharmed =
        ["send hello:still here\\n", "expect hello:echo: still here", "send hello:off\\n", "expect hello:hello: off"];
    let reaching =
        ["expect hello:hello> $", "expect containment:^PASS: \\d+ checks$", "expect tessera:containment: off"];
    let crashing = ["expect hello:hello> $", "expect crash:crash: now", "expect tessera:crash: crashed"];
    vec![
        Case::new("a guest that reaches for everything gets faults", beside("containment"))
            .steps(&reaching)
            .steps(&unharmed)
            .ends(0),
        Case::new("a guest that crashes is stopped alone", beside("crash")).steps(&crashing).steps(&unharmed).ends(1),
    ]
}

/// Whatever is wrong is said in one line, and the machine stops with an exit status.
fn refusals() -> Vec<Case> {
    const BROKEN: &[Broken] = &broken::CASES;
    let hellos = |names: &[&str]| system_of(&names.iter().map(|name| (*name, "guest/hello", 1)).collect::<Vec<_>>());
    let refused = |name: &str, message: &str| {
        let case = Case::new(name, hellos(&["hello"])).steps(&[&format!("expect tessera:{}", regex::escape(message))]);
        Case { seconds: 30, ..case.ends(1) }
    };
    let mut cases: Vec<_> = BROKEN
        .iter()
        .map(|broken| Case {
            archive: Archive::Broken(broken.name),
            ..refused(&format!("refused: {}", broken.name), broken.message)
        })
        .collect();
    cases.push(Case { archive: Archive::Missing, ..refused("refused: no initrd", "initrd") });
    let system = hellos(&["one", "two"]);
    cases.push(Case {
        cpus: Some(1),
        system,
        ..refused("refused: a board with too few cores", "cpus: wants 1, but of")
    });
    let system = hellos(&["one", "two", "three"]);
    cases.push(Case {
        memory_mib: Some(64),
        system,
        ..refused("refused: a board with too little memory", "memory: wants")
    });
    let qemu = &["-M", "virt,virtualization=off,gic-version=3"];
    cases.push(Case { qemu, ..refused("refused: a start at EL1", "entered at EL1") });
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_also_as_files() {
        let cases = all();
        let files: HashSet<_> = cases.iter().map(Case::file_name).collect();
        assert_eq!(files.len(), cases.len());
    }

    #[test]
    fn every_case_waits_for_something() {
        for case in all() {
            assert!(case.steps.iter().any(|step| step.starts_with("expect ")), "{}", case.name);
        }
    }
}
