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

/// Where the kind of GIC matters less.
pub(super) fn others() -> Vec<Case> {
    vec![kicker(false), kicker(true), refill_elsewhere(), odd_entries()]
}

/// Writes of pages of a shared image, so many, in a time in which a guest on another core restarts again and again.
const WRITES: usize = 500;

/// A restart works with memory of its own, and holds nothing that others wait for.
fn refill_elsewhere() -> Case {
    let writer = vm("writer", "guest/writer", "0", "16M", &format!("timed={WRITES}")) + "share-image = true\n";
    let restarter = vm("restarter", "guest/restarter", "1", "256M", "") + "restart-delay = \"20us\"\n";
    let case = Case::new("a restart on another core delays no first write", System::Inline(writer + &restarter));
    let steps = ["expect writer:writes for a time", "expect writer:the longest of \\d+ writes took \\d+ us$"];
    Case { qemu: &COUNTING_SEVERAL, memory_mib: Some(1024), verify: writes_at_once, ..case.steps(&steps) }
}

/// In so many microseconds a first write is done, though cores that are counted take turns, and in so many restarts.
fn writes_at_once(console: &str) -> Result<(), String> {
    const AT_ONCE: u64 = 100;
    const RESTARTS: usize = 2;
    let said = console.split_once("writer: writes for a time").and_then(|(_, after)| after.split_once(" writes took "));
    let (meanwhile, longest) = said.ok_or("the writer has said nothing")?;
    let restarts = meanwhile.matches("restarter: starts again").count();
    let longest = longest.split_once(" us").and_then(|(longest, _)| longest.parse::<u64>().ok());
    match longest {
        Some(longest) if longest <= AT_ONCE && restarts >= RESTARTS => Ok(()),
        longest => Err(format!("the longest write took {longest:?} us, in {restarts} restarts")),
    }
}

/// A second core that starts where it cannot go on is the end of its own guest, again and again.
fn odd_entries() -> Case {
    let keys = "on-crash = \"restart\"\nrestart-limit = 5\nrestart-delay = \"1ms\"\n";
    let system = meter(45, SLICE) + &vm("restarter", "guest/restarter", "0, 1", "16M", "start=2") + keys;
    let case = Case::new("a core that starts at an odd place is its own guest's end", System::Inline(system));
    let case = case.steps(&["expect tessera:restarter: crashed"; 6]).steps(&["expect meter:^PASS"]).ends(1);
    Case { qemu: &COUNTING_SEVERAL, ..case }
}

/// Who is kicked all the time from another core gains nothing by it: two on a core that count the same count as much.
fn kicker(kicks: bool) -> Case {
    let line = if kicks { "kick=1" } else { "kick=0" };
    let system = vm("meter", "guest/kicker", "0", "16M", "") + &vm("kicker", "guest/kicker", "0, 1", "16M", line);
    let how = if kicks { "sends" } else { "does not send" };
    let case = Case::new(&format!("a guest that {how} itself interrupts has its share"), System::Inline(system));
    let steps = ["expect meter:\\d+ kicks$", "expect kicker:\\d+ kicks$"];
    let verify = if kicks {
        |console: &str| shares_by_halves(console, 1000)
    } else {
        |console: &str| shares_by_halves(console, 0)
    };
    Case { qemu: &COUNTING_SEVERAL, verify, ..case.steps(&steps) }
}

/// A half each, but for a slice at the begin and at the end.
fn shares_by_halves(console: &str, least_kicks: u64) -> Result<(), String> {
    let said = |vm: &str| {
        let start = format!("[{vm}] kicker: ");
        let line = console.lines().find_map(|line| line.trim().strip_prefix(&start)?.strip_suffix(" kicks"))?;
        let (loops, kicks) = line.split_once(" loops, ")?;
        Some((loops.parse::<u64>().ok()?, kicks.parse::<u64>().ok()?))
    };
    let (meter, kicker) = (said("meter"), said("kicker"));
    let ((own, _), (others, kicks)) = meter.zip(kicker).ok_or("not both have counted")?;
    let share = 100 * own / (own + others).max(1);
    match (46..=54).contains(&share) && kicks >= least_kicks {
        true => Ok(()),
        false => Err(format!("one has {share} % of the loops, beside one that was sent {kicks} interrupts")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_is_not_half_is_noticed() {
        let console = |own: u64, kicks: u64| {
            format!("[meter] kicker: {own} loops, 0 kicks\r\n[kicker] kicker: 1000 loops, {kicks} kicks\r\n")
        };
        assert_eq!(shares_by_halves(&console(980, 2000), 1000), Ok(()));
        for wrong in [console(700, 2000), console(1400, 2000), console(1000, 10), String::new()] {
            assert!(shares_by_halves(&wrong, 1000).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_write_that_waits_is_noticed() {
        let console = |restarts: usize, longest: u64| {
            let restarts = "[tessera] restarter: starts again\r\n".repeat(restarts);
            format!(
                "[writer] writer: writes for a time\r\n{restarts}[writer] writer: the longest of 9 writes took {longest} us\r\n"
            )
        };
        assert_eq!(writes_at_once(&console(3, 20)), Ok(()));
        assert!(writes_at_once(&console(3, 1000)).is_err() && writes_at_once(&console(1, 20)).is_err());
    }
}
