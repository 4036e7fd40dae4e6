//! How the time of cores is shared.

use std::string::{String, ToString};
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use dtoolkit::model::DeviceTree;
use tessera_platform::timer::Clock;

use super::board::facts;
use super::sample::{add, archive, blob, good, remove, set, shared};
use crate::manifest::{CoreFrame, FrameWindow, Manifest, Placement, Restarts, Scheduling, TimeBudget};
use crate::scheduler::{Budget, Claims, CoreSchedule, Frame, Window};

const RTOS: &str = "VM `rtos`: ";

fn parsed(change: impl FnOnce(&mut DeviceTree)) -> Result<(Manifest, Vec<Placement>), String> {
    let mut tree = shared();
    change(&mut tree);
    let manifest = Manifest::parse(&blob(&tree), &archive()).map_err(|error| error.to_string())?;
    let placements = manifest.validate(&facts()).map_err(|error| error.to_string())?;
    Ok((manifest, placements))
}

#[track_caller]
fn expect(change: impl FnOnce(&mut DeviceTree), message: &str) {
    let error = parsed(change).expect_err("this does not fit together");
    assert_eq!(error, std::format!("manifest: {message}"));
}

#[track_caller]
fn expect_of_rtos(change: impl FnOnce(&mut DeviceTree), message: &str) {
    expect(change, &(RTOS.to_string() + message));
}

#[test]
fn who_never_starts_again_is_not_told_how_often() {
    let told = |key: &'static str, value: u32| {
        move |tree: &mut DeviceTree| {
            set(tree, &std::format!("/vm@1/{key}"), [value]);
            set(tree, "/vm@1/on-reset", "stop");
            set(tree, "/vm@1/on-crash", "stop");
        }
    };
    let message = |key| std::format!("{key}: it never starts again: remove it, or let `on-reset` be `restart`");
    expect_of_rtos(told("restart-limit", 7), &message("restart-limit"));
    assert!(parsed(|tree| set(tree, "/vm@1/restart-limit", [7u32])).is_ok());
}

/// `linux` is on core 0, too.
fn both_on_core_0(tree: &mut DeviceTree) {
    remove(tree, "/vm@0/cpus");
    set(tree, "/vm@0/cores", [0u32]);
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[test]
fn what_is_said_is_read() {
    let (manifest, _) = parsed(|_| ()).expect("good");
    assert_eq!(manifest.housekeeping, Some(3));
    let rtos = &manifest.vms[1];
    assert_eq!(rtos.restarts, Restarts { limit: Some(5), delay: milliseconds(20) });
    let budget = Some(TimeBudget { time: milliseconds(2), period: milliseconds(10) });
    assert_eq!(rtos.scheduling, Scheduling { priority: 20, weight: 30, budget, dedicated: false });
    let window =
        |start, length, lends| FrameWindow { vm: 1, start: milliseconds(start), length: milliseconds(length), lends };
    let windows = vec![window(0, 5, false), window(10, 10, true)];
    assert_eq!(manifest.frames, [CoreFrame { core: 0, length: milliseconds(20), windows, lends: true }]);
}

#[test]
fn what_is_not_said_is_the_default() {
    let manifest = Manifest::parse(&blob(&good()), &archive()).expect("good");
    assert_eq!((manifest.housekeeping, &manifest.frames[..]), (None, &[][..]));
    let usual = Scheduling { priority: 16, weight: 10, budget: None, dedicated: false };
    assert_eq!(manifest.vms[0].scheduling, usual);
    assert_eq!(manifest.vms[0].restarts, Restarts { limit: None, delay: milliseconds(10) });
}

#[test]
fn a_schedule_is_the_manifests_in_ticks() {
    let (manifest, _) = parsed(|_| ()).expect("good");
    let clock = Clock::new(1_000_000).expect("a tick is a microsecond");
    let vcpus = manifest.vms.iter().map(|vm| &vm.scheduling).enumerate();
    let schedule = CoreSchedule::new(vcpus, manifest.frames.first(), clock);
    let linux = Claims { vm: 0, priority: 16, slice: 5_000, budget: None };
    let budget = Some(Budget { ticks: 2_000, period: 10_000 });
    let rtos = Claims { vm: 1, priority: 20, slice: 15_000, budget };
    let window = |start, end, lends| Window { start, end, vm: 1, lends };
    let windows = vec![window(0, 5_000, false), window(10_000, 20_000, true)];
    let frame = Some(Frame { length: 20_000, windows, lends: true });
    assert_eq!(schedule, CoreSchedule { vcpus: vec![linux, rtos], frame });
}

#[test]
fn numbers_and_times_are_bounded() {
    expect_of_rtos(|t| set(t, "/vm@1/priority", 32u32), "priority: 32: give 0 to 31");
    expect_of_rtos(|t| set(t, "/vm@1/priority", 256u32), "priority: 256: give 0 to 31");
    expect_of_rtos(|t| set(t, "/vm@1/weight", 0u32), "weight: 0: give 1 to 100");
    expect_of_rtos(|t| set(t, "/vm@1/weight", 101u32), "weight: 101: give 1 to 100");
    let range = "give 20000 to 10000000000 ns";
    expect_of_rtos(|t| set(t, "/vm@1/budget", 19_999u64), &std::format!("budget: 19999 ns: {range}"));
    expect_of_rtos(|t| set(t, "/vm@1/period", 10_000_000_001u64), &std::format!("period: 10000000001 ns: {range}"));
    expect_of_rtos(
        |t| set(t, "/vm@1/restart-delay", u64::MAX),
        "restart-delay: 18446744073709551615 ns: give 0 to 10000000000 ns",
    );
    expect(|t| set(t, "/core@0/frame", 0u64), &std::format!("core@0/frame: 0 ns: {range}"));
    expect(|t| set(t, "/core@0/window@0/length", 1u64), &std::format!("window@0/length: 1 ns: {range}"));
    expect(|t| remove(t, "/core@0/frame"), "core@0/frame: missing");
    expect(|t| remove(t, "/core@0/core"), "core@0/core: missing");
    expect(|t| remove(t, "/core@0/window@0/start"), "window@0/start: missing");
    expect(|t| set(t, "/core@0/window@0/colour", "red"), "window@0/colour: unknown property");
}

#[test]
fn a_budget_has_a_period_that_is_no_shorter() {
    let both = "give both or none";
    expect_of_rtos(|t| remove(t, "/vm@1/period"), &std::format!("budget: given without `period`: {both}"));
    expect_of_rtos(|t| remove(t, "/vm@1/budget"), &std::format!("period: given without `budget`: {both}"));
    let longer = "budget: longer than `period`: give at most that";
    expect_of_rtos(|t| set(t, "/vm@1/budget", 10_000_001u64), longer);
    parsed(|t| set(t, "/vm@1/budget", 10_000_000u64)).expect("all of the core");
}

#[test]
fn budgets_are_no_more_than_a_core() {
    let with_linux = |tree: &mut DeviceTree, budget: u64, period: u64| {
        both_on_core_0(tree);
        set(tree, "/vm@0/budget", budget);
        set(tree, "/vm@0/period", period);
    };
    let more = "budget: with those before it that makes more than all of core 0: give them less";
    expect_of_rtos(|t| with_linux(t, 8_000_001, 10_000_000), more);
    parsed(|t| with_linux(t, 8_000_000, 10_000_000)).expect("all of the core");
    let thirds = |t: &mut DeviceTree| {
        with_linux(t, 4_000_000, 6_000_000);
        set(t, "/vm@1/budget", 2_000_000u64);
        set(t, "/vm@1/period", 6_000_000u64);
    };
    parsed(thirds).expect("a third and two");
    let elsewhere = |t: &mut DeviceTree| {
        with_linux(t, 10_000_000, 10_000_000);
        set(t, "/vm@0/cores", [1u32]);
    };
    parsed(elsewhere).expect("not on the same core");
}

#[test]
fn windows_follow_each_other_within_the_frame() {
    let overlap = "core@0/window@4c4b3f/start: begins before the window in front of it ends: move it";
    expect(|t| set(t, "/core@0/window@989680/start", 4_999_999u64), overlap);
    parsed(|t| set(t, "/core@0/window@989680/start", 5_000_000u64)).expect("right behind");
    let beyond = "core@0/window@989680/length: goes beyond the frame: shorten it or move it";
    expect(|t| set(t, "/core@0/window@989680/length", 10_000_001u64), beyond);
    let twice = |t: &mut DeviceTree| {
        add(t, "/core@1");
        set(t, "/core@1/core", 0u32);
        set(t, "/core@1/frame", 1_000_000u64);
    };
    expect(twice, "core@0/core: this core has a frame already: give it one");
    let none = |t: &mut DeviceTree| {
        remove(t, "/core@0/window@0");
        remove(t, "/core@0/window@989680");
    };
    expect(none, "core@0/window: there is none: describe at least one, or remove the frame");
}

#[test]
fn a_window_is_for_a_vm_that_is_there() {
    expect(|t| set(t, "/core@0/window@0/vm", "qnx"), "window@0/vm: there is no VM `qnx`: name one that there is");
    expect(
        |t| set(t, "/core@0/window@0/vm", "linux"),
        "core@0/window@0/vm: this VM has no vCPU on core 0: list that core among its `cores`",
    );
    expect(
        |t| set(t, "/core@0/core", 9u32),
        "core@9/window@0/vm: this VM has no vCPU on core 9: list that core among its `cores`",
    );
    parsed(|t| {
        both_on_core_0(t);
        set(t, "/core@0/window@0/vm", "linux");
    })
    .expect("it is there now");
}

#[test]
fn who_would_never_run_is_refused() {
    let nothing_is_lent = |t: &mut DeviceTree| {
        both_on_core_0(t);
        remove(t, "/core@0/lend");
        remove(t, "/core@0/window@989680/lend");
    };
    expect(nothing_is_lent, "core@0/window: VM `linux` has no window and nothing is lent, so it never runs: do either");
    parsed(|t| {
        both_on_core_0(t);
        remove(t, "/core@0/lend");
    })
    .expect("a window is lent");
}

#[test]
fn a_dedicated_core_is_nobody_elses() {
    let dedicated = |t: &mut DeviceTree| set(t, "/vm@1/dedicated", [0u32; 0]);
    parsed(dedicated).expect("it is alone");
    expect_of_rtos(
        |t| {
            dedicated(t);
            both_on_core_0(t);
        },
        "dedicated: VM `linux` is on core 0 too: give it another",
    );
    expect_of_rtos(
        |t| {
            dedicated(t);
            set(t, "/housekeeping", 0u32);
        },
        "dedicated: core 0 is the `housekeeping` core: choose another",
    );
}

#[test]
fn the_housekeeping_core_is_there_and_given_to_none_that_counts() {
    expect(|t| set(t, "/housekeeping", 4u32), "housekeeping: there is no core 4: this board has cores 0 to 3");
    let (_, placements) = parsed(|t| set(t, "/housekeeping", 1u32)).expect("fits");
    assert_eq!(placements[0].cores, [2, 3]);
    expect(
        |t| set(t, "/vm@0/cpus", 3u32),
        "VM `linux`: cpus: wants 3, but of the board's 4 cores only 2 are left: give the VMs fewer or the machine more",
    );
}
