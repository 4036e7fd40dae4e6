//! Guests that would take the time of others on their core: a meter beside them, on a machine whose time is counted, says what
//! share it gets and how long it waits at the most.

use super::*;

/// How long the meter looks, in microseconds of its own counter.
const LOOKS: u64 = 300_000;
/// The longest that a meter may wait for a guest that has the same right to the core, in microseconds: a slice and what it takes
/// to change.
const SLICE: u64 = 5_600;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = ["never", "past", "wrapping", "soon"].map(dozer).to_vec();
    cases.extend([refill(), one_core()]);
    cases.extend([("", &[][..]), (" of one thread", &["-accel", "tcg,thread=single"][..])].map(stop_while_starting));
    cases
}

fn vm(name: &str, guest: &str, cores: &str, memory: &str, line: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = [{cores}]\nmemory = \"{memory}\"\nimage = \"tessera:{guest}\"\n\
         command-line = \"{line}\"\n"
    )
}

fn meter(share: u64, gap: u64) -> String {
    vm("meter", "guest/neighbour", "0", "16M", &format!("seed=1 for={LOOKS} share={share} gap={gap}"))
}

/// What waits takes nothing, whatever its timer says.
fn dozer(mode: &str) -> Case {
    let system = meter(98, 600) + &vm("dozer", "guest/dozer", "0", "16M", &format!("mode={mode}"));
    let case = Case::new(&format!("a guest that waits takes no time, timer {mode}"), System::Inline(system));
    Case { qemu: &COUNTING, ..case.steps(&["expect dozer:^dozer: ", "expect meter:^PASS"]) }
}

/// A guest that resets again and again pays for that itself: most of its memory is written each time.
fn refill() -> Case {
    let system = meter(48, SLICE) + &vm("restarter", "guest/restarter", "0", "256M", "wait=1000");
    let case = Case::new("a guest that restarts in a loop takes no time of others", System::Inline(system));
    let steps = ["expect tessera:restarter: starts again", "expect meter:^PASS"];
    Case { qemu: &COUNTING, memory_mib: Some(1024), ..case.steps(&steps) }
}

/// A second core that was asked for, and has not started yet, keeps nobody from stopping.
fn stop_while_starting((how, qemu): (&str, &'static [&'static str])) -> Case {
    const TIMES: usize = 10;
    let system = vm("restarter", "guest/restarter", "0, 1", "16M", "start=1");
    let name = format!("a guest restarts while its second core starts, on a machine{how}");
    let steps = [["expect tessera:restarter: starts again", "expect restarter:here"]; TIMES].concat();
    Case { qemu, ..Case::new(&name, System::Inline(system)).steps(&steps) }
}

/// Linux and an RTOS have one core together: Linux comes to its shell, and the RTOS goes on.
fn one_core() -> Case {
    let linux = vm("linux", "linux", "0", "256M", "console=ttyAMA0 panic=-1")
        .replace("\ncommand", "\ninitrd = \"tessera:initramfs\"\ncommand");
    let system = linux + "[[vm]]\nname = \"rtos\"\ncpus = [0]\nmemory = \"16M\"\nimage = \"tessera:freertos\"\n";
    let steps = [
        "expect linux:linux# $",
        "send rtos:uptime\\n",
        "expect rtos:uptime: \\d+",
        "send linux:poweroff -f\\n",
        "expect tessera:linux: off",
        "send rtos:off\\n",
    ];
    Case::new("linux and an rtos share the only core", System::Inline(system)).steps(&steps).ends(0)
}
