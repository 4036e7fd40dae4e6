//! How late the ticks of a system with a period of a millisecond are beside less urgent guests on its core, as
//! `cargo xtask bench --latency` has it, in fewer ticks.

use super::*;
use crate::bench::latency::{self, Beside};

/// Linux starts, works and restarts in so many ticks.
const LINUX: usize = 2000;
/// The hostile guest restarts several times in so many.
const CHAOS: usize = 400;

pub(super) fn cases() -> Vec<Case> {
    let case = |beside, system, verify: fn(&str) -> Result<(), String>| {
        let case = Case::new(&format!("ticks come in time beside {beside}"), System::Made(system));
        let case = Case { qemu: &COUNTING, memory_mib: Some(2048), verify, ..case };
        case.steps(&["expect bench:^bench: done"])
    };
    vec![
        case(
            "a linux that restarts",
            || latency::system(Beside::Linux, LINUX),
            |console| restarts("linux", console).and_then(|()| latency::check_console(console, LINUX)),
        ),
        case(
            "linux and a hostile guest",
            || latency::system(Beside::LinuxAndChaos, CHAOS),
            |console| restarts("chaos", console).and_then(|()| latency::check_console(console, CHAOS)),
        ),
    ]
}

/// Or less is tried than is meant to be.
fn restarts(vm: &str, console: &str) -> Result<(), String> {
    match console.contains(&format!("[tessera] {vm}: starts again")) {
        true => Ok(()),
        false => Err(format!("{vm} has not started again")),
    }
}
