//! Lives, case by case.

use super::*;
use crate::manifest::Policy;

const POLICY: RestartPolicy = RestartPolicy {
    on_reset: Policy::Restart,
    on_crash: Policy::Stop,
    limit: None,
    delay: 10,
    longest_delay: 1_000,
    forgotten_after: 10_000,
};
const CRASH: StopReason = StopReason::Crashed(CrashReason::NoVector { address: 0x200 });
const BOOT: Order = Order::Start { entry: 0x4000_0000, context: 7 };

fn set(vcpus: &[usize]) -> VcpuSet {
    vcpus.iter().fold(VcpuSet::EMPTY, |set, vcpu| set.with(*vcpu))
}

fn rings(vcpus: &[usize]) -> Effects {
    Effects { ring: set(vcpus), event: None }
}

fn stopped(reason: StopReason, then: Then) -> Effects {
    let ring = if matches!(then, Then::Restarts { .. }) { set(&[FIRST]) } else { VcpuSet::EMPTY };
    Effects { ring, event: Some(Event::Stopped { reason, then }) }
}

fn started(vcpus: usize, policy: RestartPolicy) -> Life {
    let mut life = Life::new(vcpus, policy);
    assert_eq!(life.start(0x4000_0000, 7), rings(&[FIRST]));
    life
}

/// All vCPUs are on and held by their cores.
fn running(vcpus: usize, policy: RestartPolicy) -> Life {
    let mut life = started(vcpus, policy);
    assert_eq!(life.order(FIRST, 0), BOOT);
    for vcpu in 1..vcpus {
        assert_eq!(life.cpu_on(vcpu, 0x1000, vcpu as u64), Ok(rings(&[vcpu])));
        assert_eq!(life.order(vcpu, 0), Order::Start { entry: 0x1000, context: vcpu as u64 });
    }
    life
}

/// Two vCPUs, paused.
fn paused() -> Life {
    let mut life = running(2, POLICY);
    assert_eq!(life.pause(), Ok(rings(&[0, 1])));
    assert_eq!(life.parked(0), Effects::NONE);
    assert_eq!(life.parked(1), Effects { ring: VcpuSet::EMPTY, event: Some(Event::Paused) });
    life
}

/// Carries a restart out that may begin at once; the VM is starting then.
fn restart(life: &mut Life, now: u64) {
    assert_eq!(life.order(FIRST, now), Order::Work);
    assert_eq!(life.work_done(now), rings(&[FIRST]));
}

#[test]
fn starting_hands_the_first_vcpu_out_once_and_no_other() {
    let mut life = started(2, POLICY);
    assert_eq!((life.state(), life.affinity(0), life.affinity(1)), (State::Starting, Power::OnPending, Power::Off));
    assert_eq!(life.order(1, 0), Order::Nothing);
    assert_eq!(life.order(0, 0), BOOT);
    assert_eq!((life.order(0, 0), life.affinity(0)), (Order::Nothing, Power::On));
}

#[test]
fn a_vm_starts_once() {
    let mut life = started(1, POLICY);
    assert_eq!(life.start(1, 2), Effects::NONE);
    assert_eq!(life.order(0, 0), BOOT);
}

#[test]
fn cpu_on_is_refused_when_asked_for_or_on_or_out_of_range() {
    let mut life = started(2, POLICY);
    assert_eq!(life.cpu_on(0, 1, 1), Err(Refusal::OnPending));
    assert_eq!(life.cpu_on(1, 1, 1), Err(Refusal::Denied), "nobody of it runs");
    life.order(0, 0);
    assert_eq!(life.cpu_on(1, 0x1000, 5), Ok(rings(&[1])));
    assert_eq!((life.cpu_on(1, 2, 2), life.affinity(1)), (Err(Refusal::OnPending), Power::OnPending));
    assert_eq!(life.order(1, 0), Order::Start { entry: 0x1000, context: 5 });
    assert_eq!(life.cpu_on(1, 2, 2), Err(Refusal::AlreadyOn));
    assert_eq!(life.cpu_on(2, 2, 2), Err(Refusal::Denied));
    assert_eq!(life.cpu_on(64, 2, 2), Err(Refusal::Denied));
}

#[test]
fn cpu_on_is_refused_while_stopping_restarting_and_ended() {
    let mut life = running(2, POLICY);
    assert_eq!(life.went_off(1, 0), Effects::NONE);
    assert_eq!(life.stop(StopReason::Reset, 0), rings(&[0]));
    assert_eq!(life.cpu_on(1, 0, 0), Err(Refusal::Denied));
    assert_eq!((life.affinity(0), life.affinity(1)), (Power::On, Power::Off));
    let _ = life.went_off(0, 0);
    assert_eq!(life.cpu_on(1, 0, 0), Err(Refusal::Denied));
    let _ = life.stop(StopReason::Off, 0);
    assert_eq!((life.has_ended(), life.cpu_on(0, 0, 0)), (true, Err(Refusal::Denied)));
}

#[test]
fn cpu_off_then_cpu_on_starts_anew() {
    let mut life = running(2, POLICY);
    assert_eq!(life.went_off(1, 0), Effects::NONE);
    assert_eq!((life.affinity(1), life.order(1, 0)), (Power::Off, Order::Nothing));
    assert_eq!(life.cpu_on(1, 0x2000, 9), Ok(rings(&[1])));
    assert_eq!(life.order(1, 0), Order::Start { entry: 0x2000, context: 9 });
}

#[test]
fn all_vcpus_off_is_the_end() {
    let mut life = running(2, POLICY);
    assert_eq!(life.went_off(0, 0), Effects::NONE);
    let last = life.went_off(1, 0);
    assert_eq!(last, stopped(StopReason::Off, Then::Ends));
    assert!(last.has_ended() && life.has_ended() && !life.has_crashed());
}

#[test]
fn who_is_asked_for_keeps_the_vm_alive() {
    let mut life = running(1, POLICY);
    assert_eq!(life.cpu_on(0, 0, 0), Err(Refusal::AlreadyOn));
    let mut life = started(2, POLICY);
    life.order(0, 0);
    let _ = life.cpu_on(1, 0x1000, 1);
    assert_eq!(life.went_off(0, 0), Effects::NONE);
    assert_eq!(life.order(1, 0), Order::Start { entry: 0x1000, context: 1 });
}

#[test]
fn a_stop_forgets_who_was_only_asked_for() {
    let mut life = started(2, POLICY);
    life.order(0, 0);
    let _ = life.cpu_on(1, 0x1000, 1);
    assert_eq!(life.stop(StopReason::Reset, 0), rings(&[0]));
    assert_eq!((life.order(1, 0), life.affinity(1)), (Order::Nothing, Power::Off));
    assert_eq!(life.order(0, 0), Order::PutOut);
    assert_eq!(life.went_off(0, 0), stopped(StopReason::Reset, Then::Restarts { not_before: 0 }));
    restart(&mut life, 0);
    assert_eq!((life.order(1, 0), life.order(0, 0)), (Order::Nothing, BOOT));
}

#[test]
fn a_stop_waits_for_every_core_and_its_first_reason_counts() {
    let mut life = running(3, POLICY);
    assert_eq!(life.stop(CRASH, 0), rings(&[0, 1, 2]));
    assert_eq!(life.stop(StopReason::Reset, 0), Effects::NONE);
    for vcpu in [2, 0] {
        assert_eq!((life.order(vcpu, 0), life.order(vcpu, 0)), (Order::PutOut, Order::PutOut));
        assert_eq!((life.went_off(vcpu, 0), life.order(vcpu, 0)), (Effects::NONE, Order::Nothing));
    }
    assert_eq!(life.went_off(2, 0), Effects::NONE, "confirmed twice");
    assert_eq!(life.went_off(1, 0), stopped(CRASH, Then::Ends));
    assert!(life.has_ended() && life.has_crashed());
}

#[test]
fn a_stop_while_starting_ends_at_once() {
    let mut life = started(2, POLICY);
    assert_eq!(life.stop(StopReason::Off, 0), stopped(StopReason::Off, Then::Ends));
    assert_eq!(life.order(0, 0), Order::Nothing);
}

#[test]
fn a_stop_after_the_start_was_handed_out_waits_for_the_core() {
    let mut life = started(1, POLICY);
    assert_eq!(life.order(0, 0), BOOT);
    assert_eq!(life.stop(StopReason::Off, 0), rings(&[0]));
    assert_eq!(life.order(0, 0), Order::PutOut);
    assert!(life.went_off(0, 0).has_ended());
}

#[test]
fn a_vm_that_never_started_ends_whatever_its_policy() {
    let mut life = Life::new(1, POLICY);
    assert_eq!(life.order(0, 0), Order::Nothing);
    assert_eq!(life.stop(StopReason::Reset, 0), stopped(StopReason::Reset, Then::Ends));
    assert_eq!(life.start(0, 0), Effects::NONE);
}

#[test]
fn a_vm_that_restarts_has_not_ended() {
    let mut life = running(1, POLICY);
    let _ = life.stop(StopReason::Reset, 0);
    let last = life.went_off(0, 0);
    assert!(!last.has_ended() && !life.has_ended());
    assert_eq!(life.order(0, 0), Order::Work);
    assert_eq!(life.order(0, 0), Order::Work, "as long as it is not done");
    assert!(!life.has_ended());
    assert_eq!(life.work_done(0), rings(&[0]));
    assert_eq!((life.state(), life.order(0, 0)), (State::Starting, BOOT));
}

#[test]
fn only_the_first_vcpus_core_works_and_only_when_asked() {
    let mut life = running(2, POLICY);
    assert_eq!(life.work_done(0), Effects::NONE);
    let _ = life.stop(StopReason::Reset, 0);
    assert_eq!((life.work_done(0), life.went_off(0, 0)), (Effects::NONE, Effects::NONE));
    let _ = life.went_off(1, 0);
    assert_eq!((life.order(1, 0), life.work_done(0)), (Order::Nothing, Effects::NONE), "nobody works yet");
    assert_eq!(life.order(0, 0), Order::Work);
}

#[test]
fn a_stop_before_the_restarts_work_ends_at_once() {
    let mut life = running(1, POLICY);
    let _ = life.stop(StopReason::Reset, 0);
    let _ = life.went_off(0, 0);
    assert_eq!(life.stop(StopReason::Off, 0), stopped(StopReason::Off, Then::Ends));
    assert_eq!(life.order(0, 0), Order::Nothing);
}

#[test]
fn a_stop_during_the_restarts_work_has_it_dropped() {
    let mut life = running(2, POLICY);
    let _ = (life.stop(StopReason::Reset, 0), life.went_off(0, 0), life.went_off(1, 0));
    assert_eq!(life.order(0, 0), Order::Work);
    assert_eq!(life.stop(StopReason::Off, 0), rings(&[0]));
    assert_eq!((life.order(0, 0), life.order(1, 0)), (Order::PutOut, Order::Nothing));
    assert_eq!(life.work_done(0), Effects::NONE, "its last step came as it was stopped");
    assert!(life.went_off(0, 0).has_ended());
}

#[test]
fn work_that_fails_is_a_crash_that_does_not_restart() {
    let mut life = running(1, RestartPolicy { on_crash: Policy::Restart, ..POLICY });
    let _ = (life.stop(StopReason::Reset, 0), life.went_off(0, 0), life.order(0, 0));
    let failed = StopReason::Crashed(CrashReason::NotRestarted);
    assert_eq!(life.stop(failed, 0), rings(&[0]));
    assert_eq!(life.went_off(0, 0), stopped(failed, Then::Ends));
    assert!(life.has_crashed());
}

#[test]
fn what_follows_a_stop_is_the_policy() {
    let other = RestartPolicy { on_reset: Policy::Stop, on_crash: Policy::Restart, ..POLICY };
    let after = |policy, reason| {
        let mut life = running(1, policy);
        let _ = life.stop(reason, 0);
        life.went_off(0, 0).has_ended()
    };
    assert_eq!([after(POLICY, StopReason::Reset), after(POLICY, CRASH)], [false, true]);
    assert_eq!([after(other, StopReason::Reset), after(other, CRASH)], [true, false]);
    assert!(after(POLICY, StopReason::Off) && after(other, StopReason::Off));
}

#[test]
fn a_crash_that_restarts_is_remembered() {
    let mut life = running(1, RestartPolicy { on_crash: Policy::Restart, ..POLICY });
    let _ = (life.stop(CRASH, 0), life.went_off(0, 0));
    restart(&mut life, 0);
    assert!(life.has_crashed());
}

/// Resets a running VM of one vCPU at `now`; how long it has to wait, or `None` if it may not start again.
fn delay(life: &mut Life, now: u64) -> Option<u64> {
    let _ = life.stop(StopReason::Reset, now);
    let Some(Event::Stopped { then: Then::Restarts { not_before }, .. }) = life.went_off(0, now).event else {
        return None;
    };
    if now < not_before {
        assert_eq!(life.order(0, not_before - 1), Order::Wait { until: not_before });
    }
    restart(life, not_before);
    assert_eq!(life.order(0, not_before), BOOT);
    Some(not_before - now)
}

#[test]
fn the_delay_doubles_up_to_the_longest() {
    let mut life = running(1, POLICY);
    let delays: Vec<_> = (0..10).filter_map(|_| delay(&mut life, 50)).collect();
    assert_eq!(delays, [0, 10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
}

#[test]
fn the_delay_is_forgotten_after_a_long_life() {
    let mut life = running(1, POLICY);
    assert_eq!([delay(&mut life, 50), delay(&mut life, 60), delay(&mut life, 100)], [Some(0), Some(10), Some(20)]);
    // This life began at 120.
    assert_eq!(delay(&mut life, 120 + 9_999), Some(40));
    assert_eq!(delay(&mut life, 120 + 9_999 + 40 + 10_000), Some(0));
    assert_eq!(delay(&mut life, 120 + 9_999 + 40 + 10_001), Some(10));
}

#[test]
fn the_limit_counts_all_restarts() {
    let mut life = running(1, RestartPolicy { limit: Some(2), ..POLICY });
    assert_eq!([delay(&mut life, 50), delay(&mut life, 50_000)], [Some(0), Some(0)]);
    assert_eq!(life.stop(StopReason::Reset, 500_000), rings(&[0]));
    let last = life.went_off(0, 500_000);
    assert_eq!(last, stopped(StopReason::Reset, Then::EndsAtLimit));
    assert!(last.has_ended() && life.has_ended());
}

#[test]
fn a_limit_of_none_at_all_ends_the_first_time() {
    let mut life = running(1, RestartPolicy { limit: Some(0), ..POLICY });
    assert_eq!(delay(&mut life, 50), None);
    assert!(life.has_ended());
}

#[test]
fn times_at_the_end_of_the_clock_do_not_wrap() {
    let mut life = running(1, RestartPolicy { delay: u64::MAX, longest_delay: u64::MAX, ..POLICY });
    assert_eq!(delay(&mut life, 50), Some(0));
    assert_eq!(delay(&mut life, 60), Some(u64::MAX - 60));
    assert_eq!(delay(&mut life, 70), Some(u64::MAX - 70));
}

#[test]
fn a_pause_waits_for_every_core() {
    let mut life = running(2, POLICY);
    assert_eq!(life.pause(), Ok(rings(&[0, 1])));
    assert_eq!((life.order(0, 0), life.order(1, 0)), (Order::Park, Order::Park));
    assert_eq!((life.parked(1), life.order(1, 0)), (Effects::NONE, Order::Nothing));
    assert!(matches!(life.state(), State::Pausing(_)));
    assert_eq!(life.parked(0).event, Some(Event::Paused));
    assert!(matches!(life.state(), State::Paused(_)));
    assert_eq!((life.order(0, 0), life.affinity(0)), (Order::Nothing, Power::On));
}

#[test]
fn a_resume_unparks_each_once() {
    let mut life = paused();
    assert_eq!(life.resume(), Ok(rings(&[0, 1])));
    assert_eq!((life.order(0, 0), life.order(0, 0)), (Order::Unpark, Order::Nothing));
    assert_eq!((life.order(1, 0), life.order(1, 0)), (Order::Unpark, Order::Nothing));
    assert_eq!(life.resume(), Err(NotNow));
}

#[test]
fn a_resume_between_the_order_to_park_and_its_confirmation_is_not_lost() {
    let mut life = running(1, POLICY);
    let _ = life.pause();
    assert_eq!(life.order(0, 0), Order::Park);
    assert_eq!(life.resume(), Ok(Effects::NONE));
    assert_eq!(life.parked(0), rings(&[0]));
    assert_eq!(life.order(0, 0), Order::Unpark);
}

#[test]
fn a_pause_before_all_are_unparked_takes_only_the_others_out() {
    let mut life = paused();
    let _ = life.resume();
    assert_eq!(life.order(1, 0), Order::Unpark);
    assert_eq!(life.pause(), Ok(rings(&[1])));
    assert_eq!((life.order(0, 0), life.order(1, 0)), (Order::Nothing, Order::Park));
    assert_eq!(life.parked(1).event, Some(Event::Paused));
}

#[test]
fn a_pause_while_starting_starts_nobody_until_the_resume() {
    let mut life = started(2, POLICY);
    assert_eq!(life.pause().map(|effects| effects.event), Ok(Some(Event::Paused)));
    assert_eq!((life.order(0, 0), life.affinity(0)), (Order::Nothing, Power::OnPending));
    assert_eq!((life.resume(), life.state()), (Ok(rings(&[0])), State::Starting));
    assert_eq!(life.order(0, 0), BOOT);
}

#[test]
fn cpu_on_while_pausing_starts_after_the_resume_and_is_refused_when_paused() {
    let mut life = started(3, POLICY);
    life.order(0, 0);
    let _ = life.pause();
    assert_eq!(life.cpu_on(1, 0x1000, 1), Ok(Effects::NONE));
    assert_eq!((life.order(1, 0), life.cpu_on(1, 0, 0)), (Order::Nothing, Err(Refusal::OnPending)));
    assert_eq!(life.parked(0).event, Some(Event::Paused));
    assert_eq!(life.cpu_on(2, 0, 0), Err(Refusal::Denied));
    assert_eq!(life.resume(), Ok(rings(&[0, 1])));
    assert_eq!(life.order(1, 0), Order::Start { entry: 0x1000, context: 1 });
}

#[test]
fn cpu_off_while_pausing_counts_as_out() {
    let mut life = running(2, POLICY);
    let _ = (life.pause(), life.parked(0));
    assert_eq!(life.went_off(1, 0), Effects { ring: VcpuSet::EMPTY, event: Some(Event::Paused) });
    let mut life = running(2, POLICY);
    let _ = life.pause();
    assert_eq!(life.went_off(1, 0), Effects::NONE);
    assert_eq!(life.went_off(0, 0), stopped(StopReason::Off, Then::Ends), "all are off");
}

#[test]
fn a_crash_while_pausing_puts_out_who_is_parked_too() {
    let mut life = running(2, POLICY);
    let _ = (life.pause(), life.parked(0));
    assert_eq!(life.stop(CRASH, 0), rings(&[0, 1]));
    assert_eq!((life.order(0, 0), life.order(1, 0)), (Order::PutOut, Order::PutOut));
    assert_eq!(life.parked(1), Effects::NONE, "it was about to");
    assert_eq!((life.pause(), life.resume()), (Err(NotNow), Err(NotNow)));
    assert_eq!(life.went_off(1, 0), Effects::NONE);
    assert_eq!(life.went_off(0, 0), stopped(CRASH, Then::Ends));
}

#[test]
fn a_paused_vm_restarts() {
    let mut life = paused();
    assert_eq!(life.stop(StopReason::Reset, 0), rings(&[0, 1]));
    let _ = life.went_off(0, 0);
    assert!(matches!(life.went_off(1, 0).event, Some(Event::Stopped { then: Then::Restarts { .. }, .. })));
    restart(&mut life, 0);
    assert_eq!((life.order(0, 0), life.order(1, 0)), (BOOT, Order::Nothing));
}

#[test]
fn a_vm_paused_while_starting_ends_at_once() {
    let mut life = started(1, POLICY);
    let _ = life.pause();
    assert!(life.stop(StopReason::Off, 0).has_ended());
}

#[test]
fn who_does_not_run_is_not_paused() {
    let mut life = Life::new(1, POLICY);
    assert_eq!((life.pause(), life.resume()), (Err(NotNow), Err(NotNow)));
    let mut life = running(1, POLICY);
    let _ = (life.stop(StopReason::Reset, 0), life.went_off(0, 0));
    assert_eq!(life.pause(), Err(NotNow));
}

#[test]
fn pausing_twice_is_pausing_once() {
    let mut life = running(1, POLICY);
    let _ = life.pause();
    assert_eq!(life.pause(), Ok(Effects::NONE));
    let _ = life.parked(0);
    assert_eq!(life.pause().map(|effects| effects.event), Ok(Some(Event::Paused)));
}

#[test]
fn sixty_four_vcpus_stop_and_start_again() {
    let mut life = running(64, POLICY);
    assert_eq!(life.stop(StopReason::Reset, 0).ring, VcpuSet::from_bits(u64::MAX));
    assert!((1..64).all(|vcpu| life.went_off(vcpu, 0) == Effects::NONE));
    assert!(life.went_off(0, 0).event.is_some());
    restart(&mut life, 0);
    assert_eq!(life.order(0, 0), BOOT);
}

#[test]
fn vcpus_out_of_range_have_no_life() {
    let mut life = running(2, POLICY);
    for vcpu in [2, 64, usize::MAX] {
        assert_eq!((life.affinity(vcpu), life.order(vcpu, 0)), (Power::Off, Order::Nothing));
        assert_eq!((life.went_off(vcpu, 0), life.parked(vcpu)), (Effects::NONE, Effects::NONE));
    }
}

#[test]
fn reasons_read_as_the_log_says_them() {
    assert_eq!(StopReason::Off.to_string(), "off");
    assert_eq!(StopReason::Reset.to_string(), "reset");
    assert_eq!(CRASH.to_string(), "crashed: no code at its exception vector 0x200");
}
