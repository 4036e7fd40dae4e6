//! What ticks, and what runs beside it.

use anyhow::{Result, anyhow};

use crate::bench::counter::{Counter, Length};
use crate::bench::machine::{NO_SEEDS, Ours, Timing};
use crate::bench::systems::{URGENT, vm_on};
use crate::bench::{linux, roles};
use crate::build::Hypervisor;
use crate::paths;

/// Ticks of a scenario: Linux restarts several times in them.
const TICKS: usize = 6_000;
/// Memory of the guest that ticks and of the one that does anything at random, in MiB.
const SMALL_MIB: u64 = 4;
const CHAOS_MIB: u64 = 16;
/// Memory of Linux, in MiB.
const LINUX_MIB: u64 = 256;
const LINUX_ARGUMENTS: &str = "console=ttyAMA0 quiet nokaslr panic=-1 rdinit=/reload";

/// What runs beside the guest that ticks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// It has the machine for itself.
    Nothing,
    /// Linux has the other core.
    LinuxOnAnotherCore,
    /// Linux shares its core.
    Linux,
    /// Linux and a guest that does anything at random share its core.
    LinuxAndChaos,
}

/// A scenario.
pub struct Scenario {
    /// What people read.
    pub label: &'static str,
    beside: Beside,
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 4] = [
    Scenario { label: "alone", beside: Beside::Nothing },
    Scenario { label: "beside Linux on another core", beside: Beside::LinuxOnAnotherCore },
    Scenario { label: "sharing its core with Linux", beside: Beside::Linux },
    Scenario { label: "sharing its core with Linux and chaos", beside: Beside::LinuxAndChaos },
];

/// How late each tick is.
pub fn run(scenario: &Scenario, gic: u32, hypervisor: &Hypervisor) -> Result<Vec<u64>, String> {
    let name = format!("bench-latency-gic{gic}");
    let ours = system(scenario.beside, TICKS)
        .map(|system| Ours { extra: NO_SEEDS.map(str::to_owned).to_vec(), ..Ours::counted(name, system, gic) });
    let late = ours.and_then(|ours| match scenario.beside {
        Beside::LinuxOnAnotherCore => by_stretches(ours, hypervisor),
        _ => by_the_guest(&ours, hypervisor),
    });
    late.map_err(|error| format!("{error:#}"))
}

/// The guest that ticks so often, and what runs beside it; files that Linux needs are made.
pub fn system(beside: Beside, ticks: usize) -> Result<String> {
    let priority = if beside == Beside::Nothing { "" } else { URGENT };
    let line = format!("role=ticker ticks={ticks}");
    // What counts there is what its core does: for ticks, and hardly for anything else.
    let (before, line) = match beside {
        Beside::LinuxOnAnotherCore => ("housekeeping = 1\n", line + " quiet=1"),
        _ => ("", line),
    };
    let ticker = before.to_owned() + &vm_on("[0]", "bench", SMALL_MIB, &line, priority);
    let other = match beside {
        Beside::Nothing => String::new(),
        Beside::LinuxOnAnotherCore => restarting_linux("[1]")?,
        Beside::Linux => restarting_linux("[0]")?,
        Beside::LinuxAndChaos => restarting_linux("[0]")? + &attacker(),
    };
    Ok(ticker + &other)
}

/// Linux that works and restarts.
fn restarting_linux(cores: &str) -> Result<String> {
    let script = paths::guests().join("bench/reload");
    let initrd = linux::initrd("reload", &format!("file /reload {} 0755 0 0\n", script.display()))?;
    Ok(format!(
        "[[vm]]\nname = \"linux\"\ncpus = {cores}\nmemory = \"{LINUX_MIB}M\"\nimage = \"tessera:linux\"\n\
         initrd = \"{}\"\ncommand-line = \"{LINUX_ARGUMENTS}\"\n",
        initrd.display()
    ))
}

/// The guest that does anything, for longer than the ticks take.
pub fn chaos() -> String {
    hostile("seed=1 actions=4000000000 end=reset")
}

/// The same, and it restarts again and again.
fn attacker() -> String {
    hostile("seed=1 actions=10000 end=reset resets=1") + "restart-delay = \"1ms\"\n"
}

fn hostile(line: &str) -> String {
    format!(
        "[[vm]]\nname = \"chaos\"\ncpus = [0]\nmemory = \"{CHAOS_MIB}M\"\nimage = \"tessera:guest/chaos\"\n\
         command-line = \"{line}\"\n"
    )
}

/// By the guest's own counter.
fn by_the_guest(ours: &Ours, hypervisor: &Hypervisor) -> Result<Vec<u64>> {
    let console = ours.run_until(hypervisor, "bench: done", 1).map_err(|why| anyhow!(why))?;
    Ok(read(&console))
}

/// What the guest that ticks has said: how late each tick was, in instructions.
pub fn read(console: &str) -> Vec<u64> {
    let lines = console.lines().map(str::trim).map(|line| line.strip_prefix("[bench] ").unwrap_or(line));
    let ticks = lines.filter_map(|line| line.strip_prefix("bench: late"));
    ticks.flat_map(str::split_whitespace).filter_map(|late| late.parse().ok()).collect()
}

/// By what EL2 executes on the first core each time it is entered: for the ticks, and for little else.
fn by_stretches(ours: Ours, hypervisor: &Hypervisor) -> Result<Vec<u64>> {
    let counter = Counter::new(&[])?.with_roles(&roles::locks(&hypervisor.elf)?)?.with_each_stretch_of(0);
    let extra = ours.extra.iter().cloned().chain(counter.arguments()).collect();
    let ours = Ours { timing: Timing::Real, extra, ..ours };
    ours.run_until(hypervisor, "bench: done", 1).map_err(|why| anyhow!(why))?;
    let longest = counter.longest()?;
    Ok(longest.iter().filter(|one| one.of == Length::Each).map(|one| one.instructions).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_the_console() {
        let console =
            "[bench] bench: late 410 187\r\n[linux] bench: late 1\r\n[bench] bench: late 186\r\n[bench] x 5\r\n";
        assert_eq!(read(console), [410, 187, 186]);
    }
}
