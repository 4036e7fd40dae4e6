//! How VMs share the time of cores: what reaches the manifest, and each mistake with its place.

use std::time::Duration;

use tessera::manifest::{CoreFrame, FrameWindow, Restarts, Scheduling, TimeBudget};

use super::super::{Amount, Target};
use super::errors::{expect, expect_error};
use super::support::{Workshop, accepted, guest_vm};

/// `first` and `second` on the same core, with further lines each, and what follows them.
fn two(first: &str, second: &str, rest: &str) -> String {
    let vm = |name: &str, lines: &str| {
        let vm = guest_vm(&format!("image = \"raw.bin\"\n{lines}")).replace("cpus = 1", "cpus = [1]");
        vm.replace("guest", name)
    };
    format!("{}{}{rest}\n", vm("first", first), vm("second", second))
}

/// The same, with a frame of 20 ms that has these windows.
fn framed(windows: &str) -> String {
    two("", "", &format!("[[core]]\nnumber = 1\nframe = \"20ms\"\nwindows = [{windows}]"))
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[test]
fn all_that_is_said_reaches_the_manifest() {
    let lines =
        "priority = 20\nweight = 30\nbudget = \"2ms\"\nperiod = \"10ms\"\nrestart-limit = 7\nrestart-delay = \"1s\"";
    let core = r#"
        [[core]]
        number = 1
        frame = "20ms"
        lend = true
        windows = [
            { vm = "second", start = "10ms", length = "500us", lend = true },
            { vm = "first", start = "0ms", length = "5ms" },
        ]"#;
    let toml = format!("housekeeping = 3\n{}", two(lines, "restart-delay = \"0s\"", core));
    let (system, manifest) = accepted(&Workshop::new(), &toml);
    assert_eq!((system.machine.cpus, manifest.housekeeping), (4, Some(3)));
    let [first, second] = &manifest.vms[..] else { panic!("two VMs") };
    let budget = Some(TimeBudget { time: milliseconds(2), period: milliseconds(10) });
    assert_eq!(first.scheduling, Scheduling { priority: 20, weight: 30, budget, dedicated: false });
    assert_eq!(first.restarts, Restarts { limit: Some(7), delay: milliseconds(1000) });
    assert_eq!(second.scheduling, Scheduling::default());
    assert_eq!(second.restarts, Restarts { limit: None, delay: Duration::ZERO });
    let windows = vec![
        FrameWindow { vm: 0, start: milliseconds(0), length: milliseconds(5), lends: false },
        FrameWindow { vm: 1, start: milliseconds(10), length: Duration::from_micros(500), lends: true },
    ];
    assert_eq!(manifest.frames, [CoreFrame { core: 1, length: milliseconds(20), windows, lends: true }]);
    let (_, manifest) = accepted(&Workshop::new(), &guest_vm("image = \"raw.bin\"\ndedicated = true"));
    assert!(manifest.vms[0].scheduling.dedicated);
    let (_, manifest) = accepted(&Workshop::new(), &guest_vm("image = \"raw.bin\"\ndedicated = false"));
    assert_eq!((manifest.vms[0].scheduling, &manifest.frames[..]), (Scheduling::default(), &[][..]));
}

#[test]
fn numbers_and_times_are_bounded() {
    let cases = [
        ("priority = 32", "32", "`priority` must be 0 to 31, not 32", ""),
        ("weight = 0", "0", "`weight` must be 1 to 100, not 0", ""),
        ("restart-limit = 4294967296", "4294967296", "`restart-limit` must be 0 to 4294967295, not 4294967296", ""),
        ("restart-delay = \"11s\"", "\"11s\"", "`restart-delay` must be 0s to 10s, not 11s", ""),
        ("budget = \"19us\"", "\"19us\"", "`budget` must be 20us to 10s, not 19us", ""),
        ("budget = 2", "2", "`budget` must be a time such as \"5ms\", this is an integer", ""),
        ("period = \"2 ms\"", "\"2 ms\"", "`2 ms` is no time", "the unit us, ms or s"),
        ("dedicated = 1", "1", "`dedicated` must be true or false, this is an integer", ""),
    ];
    for (line, mark, message, help) in cases {
        let toml = guest_vm(&format!("image = \"raw.bin\"\n{line}"));
        expect(&toml, mark, message, help);
    }
}

#[test]
fn who_never_starts_again_is_not_told_how_often() {
    let with = |lines: &str| guest_vm(&format!("image = \"raw.bin\"\n{lines}"));
    let stops = "on-reset = \"stop\"\n";
    let message = |key| format!("a `{key}` for a VM that never starts again");
    expect(&with(&format!("{stops}restart-limit = 7")), "7\n", &message("restart-limit"), "`on-crash = \"restart\"`");
    let delay = with(&format!("{stops}on-crash = \"stop\"\nrestart-delay = \"1s\""));
    expect(&delay, "\"1s\"", &message("restart-delay"), "remove it");
    accepted(&Workshop::new(), &with(&format!("{stops}on-crash = \"restart\"\nrestart-limit = 7")));
    accepted(&Workshop::new(), &with("on-reset = \"restart\"\nrestart-limit = 7"));
}

#[test]
fn a_budget_has_a_period_that_is_no_shorter() {
    let with = |lines: &str| guest_vm(&format!("image = \"raw.bin\"\n{lines}"));
    expect(&with("budget = \"2ms\""), "\"2ms\"", "a `budget` without a `period`", "`period = \"10ms\"`");
    expect(&with("period = \"2ms\""), "\"2ms\"", "a `period` without a `budget`", "`budget = \"2ms\"`");
    let longer = with("budget = \"2ms\"\nperiod = \"1500us\"");
    expect(&longer, "\"2ms\"", "a budget of 2ms in a period of 1500us", "at most the period");
}

#[test]
fn budgets_are_no_more_than_a_core() {
    let third = "budget = \"1ms\"\nperiod = \"3ms\"";
    let toml = two(third, "budget = \"2001us\"\nperiod = \"3ms\"", "");
    expect(&toml, "\"2001us\"", "with the VMs before it, that makes more than all of core 1", "give them less");
    accepted(&Workshop::new(), &two(third, "budget = \"2ms\"\nperiod = \"3ms\"", ""));
    accepted(&Workshop::new(), &toml.replacen("cpus = [1]", "cpus = [0]", 1));
}

#[test]
fn windows_follow_each_other_within_the_frame() {
    let first = "{ vm = \"first\", start = \"0ms\", length = \"5ms\" }";
    let second = |start, length| format!("{{ vm = \"second\", start = \"{start}\", length = \"{length}\" }}");
    accepted(&Workshop::new(), &framed(&format!("{first}, {}", second("5ms", "15ms"))));
    expect(
        &framed(&format!("{}, {first}", second("4999us", "1ms"))),
        "{ vm = \"second",
        "this window begins at 4999us, the one in front of it ends at 5ms",
        "move or shorten",
    );
    expect(
        &framed(&format!("{first}, {}", second("5ms", "16ms"))),
        "{ vm = \"second",
        "this window ends at 21ms, the frame at 20ms",
        "make the frame longer",
    );
    expect(&framed(""), "[]", "a frame has 1 to 32 windows", "windows = [{ vm");
    expect(&framed("1, ".repeat(33).as_str()), "[1, ", "a frame has 1 to 32 windows", "windows = [{ vm");
    let none = framed("").replace("windows = []", "");
    expect(&none, "[[core]]", "a frame has 1 to 32 windows", "windows = [{ vm");
    let once = framed(first);
    let (_, core) = once.split_once("[[core]]").expect("there is a core");
    let twice = format!("{once}[[core]]{core}");
    expect(&twice.replace("frame = ", "lend = true\nframe = "), "1\nlend", "core 1 has a frame already", "into one");
}

#[test]
fn a_window_is_for_a_vm_that_is_there() {
    let window = |vm: &str| format!("{{ vm = \"{vm}\", start = \"0ms\", length = \"5ms\", lend = true }}");
    expect(&framed(&window("secnd")), "\"secnd\"", "there is no VM `secnd`", "did you mean `second`?");
    let elsewhere = framed(&window("second")).replace("number = 1", "number = 2");
    expect(&elsewhere, "\"second\"", "VM `second` is not on core 2", "`cpus = [2]`");
    let counts = framed(&window("second")).replace("cpus = [1]", "cpus = 1");
    expect(&counts, "\"second\"", "VM `second` is not on core 1", "`cpus = [1]`");
    let lacking = framed("{ vm = \"first\", start = \"0ms\" }");
    expect(&lacking, "{ vm", "a window lacks the key `length`", "add `length");
}

#[test]
fn who_would_never_run_is_refused() {
    let toml = framed("{ vm = \"first\", start = \"0ms\", length = \"5ms\" }");
    expect(&toml, "1\nframe", "VM `second` is on this core, and would never run", "`lend = true`");
    accepted(&Workshop::new(), &toml.replace("frame = ", "lend = true\nframe = "));
    accepted(&Workshop::new(), &toml.replace("\"5ms\" }", "\"5ms\", lend = true }"));
}

#[test]
fn a_dedicated_core_is_nobody_elses() {
    let toml = two("", "dedicated = true", "");
    expect(&toml, "true", "VM `first` is on core 1 too", "give it another core");
    let alone = toml.replacen("cpus = [1]", "cpus = [0]", 1);
    accepted(&Workshop::new(), &alone);
    let housekeeping = format!("housekeeping = 1\n{alone}");
    let error = Workshop::new().compile(&housekeeping).expect_err("it is dedicated");
    assert_eq!((error.message(), error.position()), ("core 1 is VM `second`'s alone", Some((1, 16))));
}

const FOUR_CORES: Target =
    Target { name: "the board", cpus: Amount::Exactly(4), memory: None, more_cpus: "", more_memory: "" };

#[test]
fn the_housekeeping_core_is_there_and_shared() {
    let with = |core: u64, cpus: &str| {
        let vm = guest_vm("image = \"raw.bin\"").replace("cpus = 1", &format!("cpus = {cpus}"));
        format!("housekeeping = {core}\n{vm}")
    };
    let on_board = |toml: &str| Workshop::new().compile_for(toml, FOUR_CORES, Vec::new());
    for (core, cpus) in [(3, "3"), (3, "[3]"), (0, "[0, 1, 2, 3]")] {
        on_board(&with(core, cpus)).expect("this is fine");
    }
    let refused = |toml: &str, mark: &str, message: &str, help: &str| {
        expect_error(on_board(toml).expect_err("this is wrong"), toml, mark, message, help);
    };
    refused(&with(4, "1"), "4\n", "there is no core 4: the board has cores 0 to 3", "choose another core");
    refused(&with(3, "4"), "3\n", "core 3 is needed by a VM that has its cores for itself", "`cpus = [3]`");
    refused(&with(3, "5"), "5\n", "with VM `guest` that makes 5 cores, but the board has 4", "give the VMs fewer");
    let toml = format!("{}[machine]\ncpus = 2\n", with(2, "1"));
    expect(&toml, "2\n[[vm]]", "there is no core 2: the machine has cores 0 to 1", "choose another core");
    expect(&with(70_000, "1"), "70000", "no machine has a core 70000", "");
    let (system, _) = accepted(&Workshop::new(), &with(0, "3"));
    assert_eq!(system.machine.cpus, 4, "beside the housekeeping core");
}
