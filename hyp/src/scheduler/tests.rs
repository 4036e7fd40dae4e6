//! Rule by rule; random events against a model are in `property`.

mod model;
mod property;

use alloc::vec;
use alloc::vec::Vec;

use super::*;

fn claims(priority: u8) -> Claims {
    Claims { vm: 0, priority, slice: 10, budget: None }
}

fn core(vcpus: Vec<Claims>) -> Scheduler {
    Scheduler::new(0, CoreSchedule { vcpus, frame: None })
}

fn runs(slot: usize, until: u64) -> Decision {
    Decision { run: Some(slot), until }
}

#[test]
fn one_that_is_alone_needs_no_timer() {
    let mut core = core(vec![claims(0)]);
    assert_eq!(core.decide(5), Decision { run: None, until: NEVER });
    core.wake(0, 6);
    assert_eq!(core.decide(6), runs(0, NEVER));
    assert_eq!(core.decide(1000), runs(0, NEVER));
    assert!(!core.is_shared());
}

#[test]
fn equals_take_turns_in_slices() {
    let mut core = core(vec![claims(1); 2]);
    core.wake(0, 0);
    core.wake(1, 0);
    assert_eq!(core.decide(0), runs(0, 10));
    assert_eq!(core.decide(10), runs(1, 20));
    assert_eq!(core.decide(20), runs(0, 30));
    assert_eq!((core.stolen(0, 20), core.stolen(1, 25)), (10, 15));
}

#[test]
fn being_asked_costs_nobody_its_slice() {
    let mut core = core(vec![claims(1); 2]);
    core.wake(0, 0);
    core.wake(1, 0);
    core.decide(0);
    for now in 1..10 {
        assert_eq!(core.decide(now), runs(0, 10));
    }
}

#[test]
fn who_is_more_urgent_runs_at_once_and_the_rest_of_the_slice_remains() {
    let mut core = core(vec![claims(1), claims(1), claims(2)]);
    core.wake(0, 0);
    core.wake(1, 0);
    core.decide(0);
    core.wake(2, 4);
    assert_eq!(core.decide(4), runs(2, NEVER));
    core.block(2, NEVER, 50);
    assert_eq!(core.decide(50), runs(0, 56));
}

#[test]
fn to_wait_and_wake_gains_nothing() {
    let mut core = core(vec![claims(1); 2]);
    core.wake(0, 0);
    core.wake(1, 0);
    core.decide(0);
    core.block(0, NEVER, 7);
    assert_eq!(core.decide(7), runs(1, NEVER));
    core.wake(0, 8);
    // Behind the other, and with three ticks.
    assert_eq!(core.decide(8), runs(1, 17));
    assert_eq!(core.decide(17), runs(0, 20));
}

#[test]
fn a_budget_is_a_hard_cap_renewed_at_fixed_times() {
    let budget = Some(Budget { ticks: 3, period: 10 });
    let mut core = core(vec![Claims { budget, ..claims(5) }, claims(1)]);
    core.wake(0, 0);
    core.wake(1, 0);
    assert_eq!(core.decide(0), runs(0, 3));
    assert_eq!(core.decide(3), runs(1, 10));
    assert_eq!(core.decide(10), runs(0, 13));
    core.block(1, NEVER, 11);
    assert_eq!(core.decide(13), Decision { run: None, until: 20 });
    // Nothing is carried over from periods in which it slept.
    core.block(0, NEVER, 13);
    core.wake(0, 58);
    assert_eq!(core.decide(58), runs(0, 61));
    assert_eq!(core.decide(60), runs(0, 63));
}

#[test]
fn windows_are_their_vms() {
    let window = |start, end, vm, lends| Window { start, end, vm, lends };
    let frame = Frame { length: 100, windows: vec![window(0, 30, 0, true), window(40, 60, 1, false)], lends: false };
    let vcpus = vec![Claims { vm: 0, ..claims(1) }, Claims { vm: 1, ..claims(9) }];
    let mut core = Scheduler::new(1000, CoreSchedule { vcpus, frame: Some(frame) });
    core.wake(0, 1000);
    core.wake(1, 1000);
    assert_eq!(core.decide(1000), runs(0, 1030));
    assert_eq!(core.decide(1030), Decision { run: None, until: 1040 });
    assert_eq!(core.decide(1040), runs(1, 1060));
    core.block(1, NEVER, 1050);
    assert_eq!(core.decide(1050), Decision { run: None, until: 1060 });
    assert_eq!(core.decide(1060), Decision { run: None, until: 1100 });
    core.block(0, NEVER, 1065);
    core.wake(1, 1100);
    assert_eq!(core.decide(1100), runs(1, 1130), "lent");
    core.wake(0, 1110);
    assert_eq!(core.decide(1110), runs(0, 1130), "and taken back");
}

#[test]
fn a_deadline_is_told_once_and_never_armed_in_the_past() {
    let mut core = core(vec![claims(1); 3]);
    core.block(0, 50, 0);
    core.block(1, 30, 0);
    core.block(2, NEVER, 0);
    assert_eq!(core.decide(0), Decision { run: None, until: 30 });
    assert_eq!(core.decide(60), Decision { run: None, until: 61 }, "who did not ask what is due is told to");
    assert_eq!((core.expire(29), core.expire(60), core.expire(60), core.expire(60)), (None, Some(0), Some(1), None));
    assert_eq!(core.decide(60), Decision { run: None, until: NEVER });
    assert!(core.is_blocked(0) && core.is_blocked(1));
    core.block(1, 90, 60);
    core.wake(1, 70);
    assert_eq!(core.decide(70), runs(1, NEVER), "who runs waits for nothing");
}

#[test]
fn a_deadline_that_was_told_does_not_come_back_with_the_next() {
    let mut core = core(vec![claims(1)]);
    core.block(0, 5, 0);
    assert_eq!(core.expire(5), Some(0));
    core.wait_until(0, 50);
    assert_eq!((core.decide(6).until, core.expire(49), core.expire(50)), (50, None, Some(0)));
}

#[test]
fn who_is_off_does_not_run() {
    let mut core = core(vec![claims(1); 2]);
    core.wake(0, 0);
    core.decide(0);
    core.switch_off(0, 5);
    assert_eq!((core.decide(5).run, core.running()), (None, None));
    core.block(1, 9, 5);
    core.switch_off(1, 6);
    assert_eq!((core.decide(6).until, core.expire(20)), (NEVER, None));
}
