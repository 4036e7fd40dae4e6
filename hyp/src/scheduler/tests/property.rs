//! Random events: the scheduler, asked only when something happens or when it wants to be, against the model, which
//! looks at each tick; and what a configuration promises, whatever happens.

use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::Model;
use crate::scheduler::{Budget, Claims, CoreSchedule, Decision, Frame, NEVER, Scheduler, Window};

/// What happens to a vCPU.
#[derive(Clone, Copy, Debug)]
enum Event {
    Wake,
    /// With a deadline so many ticks on.
    Block(Option<u64>),
    SwitchOff,
    /// Somebody wants the core's attention for nothing.
    Nothing,
}

fn event() -> impl Strategy<Value = Event> {
    let deadline = prop_oneof![Just(None), (0u64..30).prop_map(Some), Just(Some(u64::MAX - 5000)), Just(Some(0))];
    prop_oneof![
        6 => Just(Event::Wake),
        4 => deadline.prop_map(Event::Block),
        1 => Just(Event::SwitchOff),
        2 => Just(Event::Nothing),
    ]
}

/// Ticks until it happens, to which vCPU, and what.
type Happening = (u64, usize, Event);

fn happenings(vcpus: usize) -> impl Strategy<Value = Vec<Happening>> {
    vec((prop_oneof![2 => 0u64..4, 1 => 0u64..40], 0..vcpus, event()), 1..60)
}

fn budget() -> impl Strategy<Value = Budget> {
    (1u64..12).prop_flat_map(|period| (1..=period).prop_map(move |ticks| Budget { ticks, period }))
}

fn claims() -> impl Strategy<Value = Claims> {
    (0usize..3, 0u8..3, 1u64..8, prop::option::weighted(0.4, budget()))
        .prop_map(|(vm, priority, slice, budget)| Claims { vm, priority, slice, budget })
}

/// Windows and gaps in turn; each may be empty, and then is none.
fn frame() -> impl Strategy<Value = Frame> {
    let piece = (0u64..6, 0u64..6, 0usize..3, any::<bool>());
    (vec(piece, 1..4), any::<bool>(), 1u64..4).prop_map(|(pieces, lends, rest)| {
        let mut end = 0;
        let mut windows = Vec::new();
        for (gap, length, vm, lends) in pieces {
            let start = end + gap;
            end = start + length;
            windows.push(Window { start, end, vm, lends });
        }
        windows.retain(|window| window.start < window.end);
        Frame { length: end + rest - 1 + u64::from(end == 0), windows, lends }
    })
}

fn schedule() -> impl Strategy<Value = CoreSchedule> {
    (vec(claims(), 1..6), prop::option::weighted(0.4, frame())).prop_map(|(vcpus, frame)| CoreSchedule { vcpus, frame })
}

fn schedule_and_happenings() -> impl Strategy<Value = (CoreSchedule, Vec<Happening>)> {
    schedule().prop_flat_map(|schedule| {
        let happenings = happenings(schedule.vcpus.len());
        (Just(schedule), happenings)
    })
}

/// A core does not start at time 0.
const START: u64 = 1000;

/// Both, side by side; and who ran in each tick, by the model.
struct Pair {
    scheduler: Scheduler,
    model: Model,
    vcpus: usize,
    decision: Decision,
    ran: Vec<Option<usize>>,
}

impl Pair {
    fn new(schedule: &CoreSchedule) -> Self {
        let scheduler = Scheduler::new(START, schedule.clone());
        let decision = Decision { run: None, until: NEVER };
        Self { scheduler, model: Model::new(schedule), vcpus: schedule.vcpus.len(), decision, ran: Vec::new() }
    }

    fn now(&self) -> u64 {
        START + self.model.age
    }

    fn happen(&mut self, vcpu: usize, event: Event) {
        let now = self.now();
        match event {
            Event::Wake => {
                self.scheduler.wake(vcpu, now);
                self.model.wake(vcpu);
            }
            Event::Block(after) => {
                let deadline = after.map_or(NEVER, |after| now.saturating_add(after));
                // All at once, or what is known first and then the rest.
                let late = if deadline % 2 == 1 { 3 } else { 0 };
                self.scheduler.block(vcpu, deadline.saturating_add(late), now);
                self.scheduler.wait_until(vcpu, deadline);
                self.model.block(vcpu, after.map(|after| self.model.age.saturating_add(after)));
            }
            Event::SwitchOff => {
                self.scheduler.switch_off(vcpu, now);
                self.model.switch_off(vcpu);
            }
            Event::Nothing => {}
        }
    }

    /// What the loop does whenever it has the core: deadlines first, then the decision.
    fn ask(&mut self) -> Result<(), TestCaseError> {
        let now = self.now();
        let mut told: Vec<usize> = core::iter::from_fn(|| self.scheduler.expire(now)).take(9).collect();
        told.sort();
        prop_assert_eq!(&told, &self.model.expired(), "each deadline is told once");
        for vcpu in told.into_iter().filter(|vcpu| vcpu % 2 == 0) {
            self.happen(vcpu, Event::Wake);
        }
        let mut short = self.scheduler.clone();
        let resumed = (0..self.vcpus).find(|vcpu| short.resume(*vcpu, now));
        self.decision = self.scheduler.decide(now);
        if resumed.is_some() {
            prop_assert_eq!((resumed, short.decide(now)), (self.decision.run, self.decision), "the short way");
        }
        prop_assert!(self.decision.until > now, "armed in the past: {:?}", self.decision);
        let again = self.scheduler.clone().decide(now);
        prop_assert_eq!(again, self.decision, "asked twice");
        prop_assert_eq!(self.decision.run, self.model.look(), "at {}: {:?}", now, self.decision);
        Ok(())
    }

    /// Lets time pass up to `end`, in ticks of the model.
    fn pass(&mut self, end: u64) -> Result<(), TestCaseError> {
        while self.model.age < end {
            if self.decision.until <= self.now() {
                self.ask()?;
            }
            let now = self.now();
            let ran = self.model.tick();
            prop_assert_eq!(self.decision.run, ran, "at {}: {:?}", now, self.decision);
            self.ran.push(ran);
        }
        Ok(())
    }
}

/// Both see all that happens, and agree on each tick.
fn compare(schedule: &CoreSchedule, happenings: &[Happening]) -> Result<Pair, TestCaseError> {
    let mut pair = Pair::new(schedule);
    for (index, (after, vcpu, event)) in happenings.iter().enumerate() {
        pair.pass(pair.model.age + after)?;
        pair.happen(*vcpu, *event);
        // More may happen before the loop looks, though no time passes.
        if index % 3 != 0 || happenings.get(index + 1).is_none_or(|(after, ..)| *after > 0) {
            pair.ask()?;
        }
    }
    pair.ask()?;
    pair.pass(pair.model.age + 100)?;
    for vcpu in 0..schedule.vcpus.len() {
        prop_assert_eq!(pair.scheduler.stolen(vcpu, pair.now()), pair.model.stolen(vcpu), "stolen from {}", vcpu);
    }
    Ok(pair)
}

/// No period has more of a vCPU than its budget.
fn budgets_hold(schedule: &CoreSchedule, ran: &[Option<usize>]) -> Result<(), TestCaseError> {
    for (index, claims) in schedule.vcpus.iter().enumerate() {
        let Some(Budget { ticks, period }) = claims.budget else { continue };
        for period in ran.chunks(period as usize) {
            let used = period.iter().filter(|ran| **ran == Some(index)).count();
            prop_assert!(used as u64 <= ticks, "vCPU {} has used {} in a period", index, used);
        }
    }
    Ok(())
}

/// Where nothing is lent nobody runs but whose window it is.
fn windows_hold(schedule: &CoreSchedule, ran: &[Option<usize>]) -> Result<(), TestCaseError> {
    let Some(frame) = &schedule.frame else { return Ok(()) };
    for (tick, ran) in ran.iter().enumerate() {
        let at = tick as u64 % frame.length;
        let window = frame.windows.iter().find(|window| (window.start..window.end).contains(&at));
        let (owner, lends) = window.map_or((None, frame.lends), |window| (Some(window.vm), window.lends));
        let vm = ran.and_then(|ran| schedule.vcpus.get(ran)).map(|claims| claims.vm);
        prop_assert!(lends || vm.is_none() || vm == owner, "VM {:?} runs at {}", vm, at);
    }
    Ok(())
}

/// The longest that a vCPU without budget, on a core without frame, waits for its turn once it is ready: a slice of each
/// equal, and in that time the budgets of who is more urgent; `None` if one of these has no budget, or they have it all.
fn promised_wait(schedule: &CoreSchedule, index: usize) -> Option<u64> {
    let own = schedule.vcpus.get(index).filter(|own| own.budget.is_none() && schedule.frame.is_none())?;
    let others = || schedule.vcpus.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other);
    let slices: u64 = others().filter(|other| other.priority == own.priority).map(|other| other.slice).sum();
    let urgent: Vec<&Claims> = others().filter(|other| other.priority > own.priority).collect();
    let mut wait = slices;
    for _ in 0..100 {
        let mut next = slices;
        for claims in &urgent {
            let Budget { ticks, period } = claims.budget?;
            next += (wait / period + 2) * ticks;
        }
        if next == wait || next > 10_000 {
            return Some(wait).filter(|_| next == wait);
        }
        wait = next;
    }
    None
}

/// Lets time pass tick by tick and measures how long each that is ready waits for its first tick.
fn waits_are_as_promised(schedule: &CoreSchedule, happenings: &[Happening]) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(schedule);
    let mut since: Vec<Option<u64>> = std::vec![None; schedule.vcpus.len()];
    let long = [(300, 0, Event::Nothing)];
    for (after, vcpu, event) in happenings.iter().chain(&long) {
        for _ in 0..*after {
            let age = pair.model.age;
            pair.pass(age + 1)?;
            for (index, since) in since.iter_mut().enumerate() {
                if pair.ran.last() == Some(&Some(index)) || !pair.model.is_ready(index) {
                    *since = None;
                } else if let (Some(promised), Some(since)) = (promised_wait(schedule, index), *since) {
                    prop_assert!(age - since < promised, "vCPU {} waits since {} at {}", index, since, age);
                }
            }
        }
        let was_ready = pair.model.is_ready(*vcpu);
        pair.happen(*vcpu, *event);
        if pair.model.is_ready(*vcpu) != was_ready {
            since[*vcpu] = Some(pair.model.age).filter(|_| !was_ready);
        }
        pair.ask()?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn each_tick_is_the_models((schedule, happenings) in schedule_and_happenings()) {
        let pair = compare(&schedule, &happenings)?;
        budgets_hold(&schedule, &pair.ran)?;
        windows_hold(&schedule, &pair.ran)?;
    }

    #[test]
    fn nobody_waits_longer_than_the_configuration_promises((schedule, happenings) in schedule_and_happenings()) {
        let schedule = CoreSchedule { frame: None, ..schedule };
        waits_are_as_promised(&schedule, &happenings)?;
    }

    /// Whatever else is on the core, and however often it is disturbed.
    #[test]
    fn equals_share_what_is_left_by_their_slices(slices in vec(1u64..20, 2..5), urgent in budget(), kicks in vec(1u64..9, 50)) {
        let equal = |slice: &u64| Claims { vm: 0, priority: 1, slice: *slice, budget: None };
        let mut vcpus: Vec<Claims> = slices.iter().map(equal).collect();
        vcpus.push(Claims { vm: 1, priority: 2, slice: 1, budget: Some(urgent) });
        let mut pair = Pair::new(&CoreSchedule { vcpus, frame: None });
        (0..=slices.len()).for_each(|vcpu| pair.happen(vcpu, Event::Wake));
        for kick in kicks.iter().cycle().take(400) {
            pair.ask()?;
            pair.pass(pair.model.age + kick)?;
        }
        let ticks = |index: usize| pair.ran.iter().filter(|ran| **ran == Some(index)).count() as u64;
        let all: u64 = (0..slices.len()).map(ticks).sum();
        let round: u64 = slices.iter().sum();
        for (index, slice) in slices.iter().enumerate() {
            let (least, most) = (all / round * slice, (all / round + 1) * slice);
            prop_assert!((least..=most).contains(&ticks(index)), "{} of {all} for a slice of {slice}", ticks(index));
        }
    }

    /// Timers fire late, and EL2 is busy: what is decided late costs no more than that.
    #[test]
    fn lateness_is_all_that_a_budget_is_exceeded_by(budget in budget(), late in vec(0u64..4, 100)) {
        let vcpus = std::vec![Claims { vm: 0, priority: 1, slice: 5, budget: Some(budget) }];
        let mut core = Scheduler::new(START, CoreSchedule { vcpus, frame: None });
        core.wake(0, START);
        let (mut now, mut ran) = (START, Vec::new());
        for late in late {
            let Decision { run, until } = core.decide(now);
            let next = if until == NEVER { now + 1 } else { until + late };
            ran.extend((now..next).map(|_| run.is_some()));
            now = next;
        }
        for period in ran.chunks(budget.period as usize) {
            let used = period.iter().filter(|ran| **ran).count() as u64;
            prop_assert!(used <= budget.ticks + 3, "{used} in a period");
        }
    }
}
