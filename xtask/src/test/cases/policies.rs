//! What a system file says of a shared core is what its guests get: windows, budgets, weights, priorities, a core for what is
//! everybody's, an end of restarts. Time is counted in instructions, so the host changes nothing.

use super::witness::{FRAME, Seen};
use super::*;

/// From when and for how long a guest looks when it has its core, in microseconds: all of them have started then.
const FROM: u64 = 60_000;
const LOOKS: u64 = 65_000;

pub(super) fn cases() -> Vec<Case> {
    let counted = |name: &str, system: String, verify| {
        let case = Case::new(name, System::Inline(system));
        Case { qemu: &COUNTING, verify, ..case }
    };
    let ends = ["expect a:^witness: done", "expect b:^witness: done"];
    vec![
        counted("windows that are kept", windows(false), windows_are_kept).steps(&ends),
        counted("windows whose core is lent", windows(true), lent_time_is_used).steps(&ends),
        counted("a budget is a cap on an idle core", capped(), budget_is_a_cap).steps(&ends[..1]),
        counted("a budget is a guarantee for the most urgent", guaranteed(), budget_is_kept).steps(&ends),
        counted("weights divide a core", weighted(), weights_divide).steps(&ends),
        counted("time is stolen that others had", robbed(), time_is_stolen).steps(&ends),
        counted("a reset loop ends at its limit", limited(), delays_double)
            .steps(&["expect tessera:restarter: reset"; 4])
            .steps(&["expect tessera:restarter: stays off: it has started again as often as `restart-limit` allows"])
            .steps(&["expect meter:^PASS"]),
        period(),
        housekeeping(),
    ]
}

/// A guest on the first core, with these keys besides.
fn vm(name: &str, guest: &str, line: &str, keys: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = [0]\nmemory = \"16M\"\nimage = \"tessera:{guest}\"\n\
         command-line = \"{line}\"\n{keys}\n"
    )
}

/// A guest that tells when it had its core.
fn witness(name: &str, keys: &str) -> String {
    vm(name, "guest/witness", &format!("from={FROM} for={LOOKS}"), keys)
}

/// One that never runs once it has begun.
fn dozer(name: &str) -> String {
    vm(name, "guest/dozer", "mode=never", "")
}

/// Windows of two that run and of two that do not, of which one lends its time.
fn windows(lends: bool) -> String {
    let core = format!(
        "[[core]]\nnumber = 0\nframe = \"{FRAME}us\"\nlend = {lends}\nwindows = [\n\
         {{ vm = \"a\", start = \"0ms\", length = \"4ms\" }},\n\
         {{ vm = \"b\", start = \"6ms\", length = \"4ms\" }},\n\
         {{ vm = \"keeps\", start = \"10ms\", length = \"3ms\" }},\n\
         {{ vm = \"lends\", start = \"14ms\", length = \"4ms\", lend = true }},\n]\n"
    );
    core + &witness("a", "priority = 17") + &witness("b", "") + &dozer("keeps") + &dozer("lends")
}

/// What is lent is the more urgent one's, the rest nobody's.
fn windows_are_kept(console: &str) -> Result<(), String> {
    let begin = Seen::of(console, "b")?.begins_at(6_000)?;
    Seen::of(console, "b")?.repeats(begin, &[(6_000, 4_000)])?;
    Seen::of(console, "a")?.repeats(begin, &[(0, 4_000), (14_000, 4_000)])
}

/// Time in no window is lent, too, and goes by priority; only the window that is kept is nobody's.
fn lent_time_is_used(console: &str) -> Result<(), String> {
    let begin = Seen::of(console, "b")?.begins_at(6_000)?;
    Seen::of(console, "b")?.repeats(begin, &[(6_000, 4_000)])?;
    // From the end of a frame into the next one.
    Seen::of(console, "a")?.repeats(begin, &[(13_000, 13_000)])
}

/// Nobody else wants the core, and yet.
fn capped() -> String {
    witness("a", &format!("budget = \"3ms\"\nperiod = \"{FRAME}us\"")) + &dozer("idle")
}

fn budget_is_a_cap(console: &str) -> Result<(), String> {
    let seen = Seen::of(console, "a")?;
    seen.repeats(seen.begins_at(0)?, &[(0, 3_000)])
}

fn guaranteed() -> String {
    witness("a", &format!("priority = 20\nbudget = \"5ms\"\nperiod = \"{FRAME}us\"")) + &witness("b", "")
}

/// All of the budget at the period's begin, and the rest for who is less urgent.
fn budget_is_kept(console: &str) -> Result<(), String> {
    let seen = Seen::of(console, "a")?;
    let begin = seen.begins_at(0)?;
    seen.repeats(begin, &[(0, 5_000)])?;
    Seen::of(console, "b")?.repeats(begin, &[(5_000, FRAME - 5_000)])
}

fn weighted() -> String {
    witness("a", "weight = 10") + &witness("b", "weight = 30")
}

fn weights_divide(console: &str) -> Result<(), String> {
    let [light, heavy] = ["a", "b"].map(|vm| Seen::of(console, vm));
    let (light, heavy) = (light?, heavy?);
    match light.all_take(5_000) && heavy.all_take(15_000) {
        true => Ok(()),
        false => Err(format!("slices of 5 and 15 ms are seen as {light:?} and {heavy:?}")),
    }
}

/// Two that take turns, and a more urgent one that mostly rests.
fn robbed() -> String {
    let line = format!("from={FROM} for=1000 rests=10");
    vm("urgent", "guest/witness", &line, "priority = 20") + &witness("a", "") + &witness("b", "")
}

/// Who is ready and does not run is robbed of just that; who waits, or runs as soon as it is ready, of nothing.
fn time_is_stolen(console: &str) -> Result<(), String> {
    // Each change of the guest, and what is too short for a guest to see.
    const UNSEEN: u64 = 500;
    for vm in ["a", "b"] {
        let (gone, stolen) = stolen(console, vm, "gone")?;
        if gone < 20_000 || stolen.abs_diff(gone) > UNSEEN {
            return Err(format!("of {vm}'s time {gone} us were gone, and {stolen} us stolen"));
        }
    }
    match stolen(console, "urgent", "rested")? {
        (50_000, ..=UNSEEN) => Ok(()),
        (rested, stolen) => Err(format!("{stolen} us were stolen from one that rested {rested} us")),
    }
}

/// What the guest `vm` says of how long it was `gone` or has `rested`, and how much of that was stolen, in microseconds.
fn stolen(console: &str, vm: &str, kind: &str) -> Result<(u64, u64), String> {
    let start = format!("[{vm}] witness: {kind} ");
    let numbers = |line: &str| {
        let (time, stolen) = line.trim().strip_prefix(&start)?.strip_suffix(" us")?.split_once(" us, stolen ")?;
        Some((time.parse().ok()?, stolen.parse().ok()?))
    };
    console.lines().find_map(numbers).ok_or(format!("{vm} does not say what was stolen"))
}

/// It restarts three times and no more; who is beside it has nearly all of the core.
fn limited() -> String {
    let keys = "restart-limit = 3\nrestart-delay = \"20ms\"";
    vm("meter", "guest/neighbour", "seed=1 for=300000 share=90 gap=5600", "")
        + &vm("restarter", "guest/restarter", "", keys)
}

/// The first restart comes at once, the second after the delay, the third after twice that.
fn delays_double(console: &str) -> Result<(), String> {
    let time =
        |line: &str| line.trim().strip_prefix("[restarter] restarter: here at ")?.strip_suffix(" us")?.parse().ok();
    let times: Vec<u64> = console.lines().filter_map(time).collect();
    let between: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
    // It starts as soon as the one beside it has spent its slice, and its own work is done.
    const LATE: u64 = 15_000;
    let is_right = |(gone, wanted): (&u64, u64)| (wanted..wanted + LATE).contains(gone);
    match between.len() == 3 && between.iter().zip([0, 20_000, 40_000]).all(is_right) {
        true => Ok(()),
        false => Err(format!("it started at {times:?} us: the second and the third restart wait for 20 and 40 ms")),
    }
}

/// FreeRTOS is more urgent than one that always runs.
fn period() -> Case {
    let system = "[[vm]]\nname = \"rtos\"\ncpus = [0]\nmemory = \"16M\"\nimage = \"tessera:freertos\"\npriority = 20\n"
        .to_owned()
        + &vm("busy", "guest/neighbour", "seed=1 for=1500000 share=70", "");
    let steps =
        ["expect busy:^PASS", "send rtos:hist\\n", "expect rtos:period: \\d+ samples", "expect rtos:freertos> $"];
    let case = Case::new("an rtos keeps its period beside a busy guest", System::Inline(system)).steps(&steps);
    // A recording of what is counted leaves out input.
    Case { qemu: &COUNTING_SEVERAL, verify: period_is_kept, ..case }
}

/// Ten milliseconds, a hundredth more or less.
fn period_is_kept(console: &str) -> Result<(), String> {
    let line = console.lines().find_map(|line| line.split_once("[rtos] period: ").map(|(_, line)| line.trim()));
    let line = line.ok_or("it has said nothing of its period")?;
    let number = |text: &str| text.trim().split(' ').next().and_then(|number| number.parse::<u64>().ok());
    let (samples, rest) = line.split_once(" samples, min/median/max ").ok_or(line)?;
    let extremes: Vec<_> = rest.split_once(" us").ok_or(line)?.0.split('/').map(number).collect();
    match (number(samples), extremes.as_slice()) {
        (Some(samples), [Some(least), Some(_), Some(most)]) if samples > 100 && *least > 9_900 && *most < 10_100 => {
            Ok(())
        }
        _ => Err(format!("ten milliseconds are wanted of each period: {line}")),
    }
}

/// Bytes that are sent one by one.
const BYTES: usize = 20;

/// The boot core is given away, and another one takes the console's interrupts.
fn housekeeping() -> Case {
    let system = "housekeeping = 1\n[machine]\ncpus = 2\n[[vm]]\nname = \"hello\"\ncpus = [1]\nmemory = \"16M\"\n\
                  image = \"tessera:guest/hello\"\n"
        .to_owned()
        + &vm("busy", "guest/bench", "role=busy", "dedicated = true");
    let echoes = vec!["send hello:x\\n", "expect hello:echo: x", "expect hello:hello> $"];
    let case = Case::new("the console's interrupt keeps to its core", System::Inline(system));
    let case = case.steps(&["expect hello:hello> $"]).steps(&vec![echoes; BYTES].concat());
    // QEMU tells of each exception, and on which core.
    Case { qemu: &["-d", "int"], verify: only_the_second_core_is_interrupted, ..case }
}

fn only_the_second_core_is_interrupted(console: &str) -> Result<(), String> {
    let on = |core: usize| console.matches(&format!("[IRQ] on CPU {core}")).count();
    // What there is to do at the begin.
    const FEW: usize = BYTES / 4;
    match (on(0), on(1)) {
        (first, second) if first <= FEW && second >= BYTES => Ok(()),
        (first, second) => {
            Err(format!("{first} interrupts on the first core, {second} on the second, for {BYTES} bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_period_is_noticed() {
        let line = |samples: u64, least: u64, most: u64| {
            format!("[rtos] period: {samples} samples, min/median/max {least}/10000/{most} us, late > 1 ms: 0\r\n")
        };
        assert_eq!(period_is_kept(&line(150, 9_990, 10_010)), Ok(()));
        for wrong in [line(50, 9_990, 10_010), line(150, 9_800, 10_010), line(150, 9_990, 10_200), String::new()] {
            assert!(period_is_kept(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn delays_that_do_not_double_are_noticed() {
        let starts = |times: &[u64]| {
            times.iter().map(|time| format!("[restarter] restarter: here at {time} us\r\n")).collect::<String>()
        };
        assert_eq!(delays_double(&starts(&[10_000, 15_000, 36_000, 80_000])), Ok(()));
        for wrong in
            [&[10_000, 15_000, 30_000, 80_000][..], &[10_000, 15_000, 36_000, 60_000], &[10_000, 15_000, 36_000]]
        {
            assert!(delays_double(&starts(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn interrupts_are_counted_by_core() {
        let console = |first, second| {
            ["Taking exception 5 [IRQ] on CPU 0\n".repeat(first), "Taking exception 5 [IRQ] on CPU 1\n".repeat(second)]
                .concat()
        };
        assert_eq!(only_the_second_core_is_interrupted(&console(1, 25)), Ok(()));
        assert!(only_the_second_core_is_interrupted(&console(25, 25)).is_err());
        assert!(only_the_second_core_is_interrupted(&console(0, 5)).is_err());
    }
}
