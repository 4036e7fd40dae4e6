//! Which vCPU of a core runs, and until when. Nothing here knows registers, clocks or VMs: events come in, a decision goes
//! out, and time is an argument, in ticks of the counter.
//!
//! The rules, the first that says something decides:
//! 1. A vCPU runs only if it is on and does not wait, its [`Budget`] for the period is not spent, and the [`Window`] that
//!    the core is in is its VM's, or lent.
//! 2. The most urgent runs, at once.
//! 3. Of equals, the one whose turn came first. It keeps its turn until its slice is spent and an equal can run, also if a
//!    more urgent one takes the core meanwhile. One that wakes comes last, with what is left of its slice: to wait and wake
//!    gains nothing.
//!
//! So a vCPU that is ready and has budget left runs after at most the slices of its equals, one each, besides the time of
//! more urgent ones and of windows that are not its own.
//!
//! A core that has one vCPU without budget and windows needs no timer and no decision but one.

mod configured;
mod frame;
mod parameters;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;

pub use parameters::{Budget, Claims, CoreSchedule, Frame, MAXIMUM_SLOTS, Window};

/// No deadline: nothing comes that late.
const NEVER: u64 = u64::MAX;

/// What a core shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The slot of the vCPU that runs; none: the core is idle.
    pub run: Option<usize>,
    /// When to ask again even if nothing happens, in ticks: later than now.
    pub until: Option<u64>,
}

/// One vCPU.
#[derive(Clone, Debug)]
struct Entity {
    claims: Claims,
    /// What is left of its slice; zero: a new one begins, at the end of the queue.
    slice_left: u64,
    /// What is left of its budget.
    budget_left: u64,
    /// When its budget is renewed.
    period_end: u64,
    /// Its place in the queue of its equals: the lower, the sooner.
    turn: u64,
    /// While it waits: when to look at it.
    deadline: u64,
    /// Since when it is ready and does not run.
    ready_since: u64,
    /// For how long it was so, in all.
    stolen: u64,
}

/// One core's vCPUs by slot, and whose turn it is.
#[derive(Clone, Debug)]
pub struct Scheduler {
    entities: Box<[Entity]>,
    frame: Option<Frame>,
    /// When the core started: frame and periods are counted from here.
    start: u64,
    /// Those that could run.
    ready: u64,
    /// Those that wait for something...
    blocked: u64,
    /// ... and of them those that wait for a time, too.
    timed: u64,
    /// Those that have a budget.
    budgeted: u64,
    /// The earliest deadline of those that wait.
    earliest: u64,
    running: Option<usize>,
    /// Its bit.
    running_bit: u64,
    /// Until when the one that runs is charged.
    charged: u64,
    /// The next place in a queue.
    turns: u64,
}

/// The slots in a mask, lowest first.
fn slots(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let slot = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(slot)
    })
}

/// The bit of a slot; none for a slot that there cannot be.
#[inline(always)]
fn bit(slot: usize) -> u64 {
    if slot < MAXIMUM_SLOTS { 1 << slot } else { 0 }
}

impl Scheduler {
    /// All off, at `now`.
    #[must_use]
    pub fn new(now: u64, schedule: CoreSchedule) -> Self {
        let entity = |claims: Claims| Entity {
            slice_left: claims.slice.max(1),
            budget_left: claims.budget.map_or(0, |budget| budget.ticks),
            period_end: claims.budget.map_or(NEVER, |budget| now.saturating_add(budget.period)),
            turn: 0,
            deadline: NEVER,
            ready_since: now,
            stolen: 0,
            claims,
        };
        let entities: Box<[Entity]> = schedule.vcpus.into_iter().take(MAXIMUM_SLOTS).map(entity).collect();
        let with_budget = |(_, entity): &(usize, &Entity)| entity.claims.budget.is_some();
        let budgeted = entities.iter().enumerate().filter(with_budget).fold(0, |set, (slot, _)| set | bit(slot));
        Self {
            entities,
            frame: schedule.frame,
            start: now,
            ready: 0,
            blocked: 0,
            timed: 0,
            budgeted,
            earliest: NEVER,
            running: None,
            running_bit: 0,
            charged: now,
            turns: 0,
        }
    }

    /// The vCPU in `slot` could run from `now` on, be it off or waiting before. If it is ready already, nothing happens.
    pub fn wake(&mut self, slot: usize, now: u64) {
        let Some(entity) = self.entities.get_mut(slot).filter(|_| self.ready & bit(slot) == 0) else { return };
        entity.turn = self.turns;
        entity.ready_since = now;
        if entity.slice_left == 0 {
            entity.slice_left = entity.claims.slice.max(1);
        }
        self.turns += 1;
        self.forget(slot);
        self.ready |= bit(slot);
    }

    /// The vCPU in `slot` waits from `now` on, until `deadline` at most. [`Self::expire`] tells of that; only
    /// [`Self::wake`] ends the wait.
    pub fn block(&mut self, slot: usize, deadline: Option<u64>, now: u64) {
        self.leave(slot, now);
        let deadline = deadline.unwrap_or(NEVER);
        let Some(entity) = self.entities.get_mut(slot) else { return };
        entity.deadline = deadline;
        self.blocked |= bit(slot);
        if deadline != NEVER {
            self.timed |= bit(slot);
            self.earliest = self.earliest.min(deadline);
        }
    }

    /// The vCPU in `slot` is off from `now` on.
    pub fn switch_off(&mut self, slot: usize, now: u64) {
        self.leave(slot, now);
    }

    /// A vCPU that waits and whose deadline has come by `now`; each deadline is told once. It goes on waiting.
    #[inline]
    pub fn expire(&mut self, now: u64) -> Option<usize> {
        if now < self.earliest { None } else { self.pop(now) }
    }

    #[inline(never)]
    fn pop(&mut self, now: u64) -> Option<usize> {
        let due = |slot: &usize| self.entities.get(*slot).is_some_and(|entity| entity.deadline <= now);
        let found = slots(self.timed).find(due);
        self.timed &= !found.map_or(0, bit);
        self.find_earliest();
        found
    }

    /// Who runs from `now` on, after all events up to now; whoever ran is charged.
    pub fn decide(&mut self, now: u64) -> Decision {
        self.charge(now);
        self.renew(now);
        let (allowed, window_left) = self.allowed(now);
        let run = self.next_turn(allowed);
        self.run(run, now);
        Decision { run, until: self.until(run, allowed, window_left, now) }
    }

    /// The slot of the vCPU that runs by the last decision, and neither waits nor is off since.
    #[must_use]
    pub fn running(&self) -> Option<usize> {
        self.running
    }

    /// The slots of those that wait: one bit each.
    #[must_use]
    #[inline(always)]
    pub fn blocked(&self) -> u64 {
        self.blocked
    }

    /// The slots of those for whom news matter at once: one bit each. Who is ready and does not run sees them in its turn.
    #[must_use]
    #[inline(always)]
    pub fn listening(&self) -> u64 {
        !self.ready | self.running_bit
    }

    /// Whether the vCPU in `slot` waits.
    #[must_use]
    pub fn is_blocked(&self, slot: usize) -> bool {
        self.blocked & bit(slot) != 0
    }

    /// Whether more than one vCPU is on.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let on = self.ready | self.blocked;
        on & on.wrapping_sub(1) != 0
    }

    /// For how many ticks up to `now` the vCPU in `slot` could have run and did not.
    #[must_use]
    pub fn stolen(&self, slot: usize, now: u64) -> u64 {
        let Some(entity) = self.entities.get(slot) else { return 0 };
        let waits_for_the_core = self.ready & bit(slot) != 0 && self.running != Some(slot);
        entity.stolen + if waits_for_the_core { now.saturating_sub(entity.ready_since) } else { 0 }
    }

    /// Takes a vCPU out of all sets.
    fn leave(&mut self, slot: usize, now: u64) {
        if self.running == Some(slot) {
            self.charge(now);
            self.running = None;
            self.running_bit = 0;
        } else if let Some(entity) = self.entities.get_mut(slot).filter(|_| self.ready & bit(slot) != 0) {
            entity.stolen += now.saturating_sub(entity.ready_since);
        }
        self.forget(slot);
    }

    fn forget(&mut self, slot: usize) {
        let mask = !bit(slot);
        self.ready &= mask;
        self.blocked &= mask;
        if self.timed & !mask != 0 {
            self.timed &= mask;
            self.find_earliest();
        }
    }

    fn find_earliest(&mut self) {
        let deadlines = slots(self.timed).filter_map(|slot| self.entities.get(slot)).map(|entity| entity.deadline);
        self.earliest = deadlines.min().unwrap_or(NEVER);
    }

    /// Charges who runs up to `now`.
    fn charge(&mut self, now: u64) {
        let used = now.saturating_sub(self.charged);
        self.charged = now;
        if let Some(entity) = self.running.and_then(|slot| self.entities.get_mut(slot)) {
            entity.slice_left = entity.slice_left.saturating_sub(used);
            entity.charge_budget(used, self.start, now);
        }
    }

    /// New periods for those whose period is over.
    fn renew(&mut self, now: u64) {
        for slot in slots(self.budgeted) {
            if let Some(entity) = self.entities.get_mut(slot) {
                entity.renew_budget(self.start, now);
            }
        }
    }

    /// Who may run by windows and budgets, and how long the window goes on.
    fn allowed(&self, now: u64) -> (u64, Option<u64>) {
        let funded = self.ready & !self.spent();
        let Some(frame) = &self.frame else { return (funded, None) };
        let stretch = frame.stretch(now - self.start);
        let owned =
            |slot: &usize| self.entities.get(*slot).is_some_and(|entity| stretch.owner == Some(entity.claims.vm));
        let owners = slots(funded).filter(owned).fold(0, |set, slot| set | bit(slot));
        let allowed = if owners != 0 || !stretch.lends { owners } else { funded };
        (allowed, Some(stretch.left))
    }

    /// Those that are ready and have no budget left.
    fn spent(&self) -> u64 {
        let is_spent = |slot: &usize| self.entities.get(*slot).is_some_and(|entity| entity.budget_left == 0);
        slots(self.budgeted & self.ready).filter(is_spent).fold(0, |set, slot| set | bit(slot))
    }

    /// The best of `allowed`, when each whose slice is spent has let its equals have their turn.
    fn next_turn(&mut self, allowed: u64) -> Option<usize> {
        let mut best = self.best(allowed);
        // Each has a new slice once at most.
        for _ in 0..MAXIMUM_SLOTS {
            let slot = best?;
            let entity = self.entities.get(slot)?;
            if entity.slice_left > 0 || !self.has_equal(entity, allowed & !bit(slot)) {
                break;
            }
            self.begin_slice(slot);
            best = self.best(allowed);
        }
        best
    }

    /// A new slice, behind all others.
    fn begin_slice(&mut self, slot: usize) {
        if let Some(entity) = self.entities.get_mut(slot) {
            entity.slice_left = entity.claims.slice.max(1);
            entity.turn = self.turns;
            self.turns += 1;
        }
    }

    /// The most urgent of `allowed`; of equals the one whose turn it is.
    fn best(&self, allowed: u64) -> Option<usize> {
        if allowed & allowed.wrapping_sub(1) == 0 {
            return slots(allowed).next();
        }
        let rank =
            |slot: &usize| self.entities.get(*slot).map(|entity| (u8::MAX - entity.claims.priority, entity.turn));
        slots(allowed).min_by_key(rank)
    }

    fn run(&mut self, run: Option<usize>, now: u64) {
        if self.running == run {
            return;
        }
        if let Some(entity) = self.running.and_then(|slot| self.entities.get_mut(slot)) {
            entity.ready_since = now;
        }
        if let Some(entity) = run.and_then(|slot| self.entities.get_mut(slot)) {
            entity.stolen += now.saturating_sub(entity.ready_since);
        }
        self.running = run;
        self.running_bit = run.map_or(0, bit);
    }

    /// When a decision can change by the passing of time alone.
    fn until(&self, run: Option<usize>, allowed: u64, window_left: Option<u64>, now: u64) -> Option<u64> {
        let window = window_left.filter(|_| self.ready != 0).map(|left| now.saturating_add(left));
        let own = run.and_then(|slot| self.entities.get(slot));
        let others = allowed & !run.map_or(0, bit);
        let end_of_turn = own.and_then(|own| own.end_of_turn(self.has_equal(own, others), now));
        let earliest = Some(self.earliest).filter(|earliest| *earliest != NEVER);
        let first = [window, end_of_turn, self.next_budget(own), earliest].into_iter().flatten().min();
        // Who did not let deadlines expire before is told at once.
        first.map(|first| first.max(now.saturating_add(1)))
    }

    fn has_equal(&self, own: &Entity, others: u64) -> bool {
        slots(others)
            .any(|slot| self.entities.get(slot).is_some_and(|other| other.claims.priority == own.claims.priority))
    }

    /// When somebody has a budget again who is no less urgent than who runs, or may have its window back.
    fn next_budget(&self, own: Option<&Entity>) -> Option<u64> {
        let priority = own.filter(|_| self.frame.is_none()).map_or(0, |own| own.claims.priority);
        let spent = slots(self.spent()).filter_map(|slot| self.entities.get(slot));
        spent.filter(|entity| entity.claims.priority >= priority).map(|entity| entity.period_end).min()
    }
}

impl Entity {
    fn renew_budget(&mut self, start: u64, now: u64) {
        let Some(Budget { ticks, period }) = self.claims.budget.filter(|_| self.period_end <= now) else { return };
        let period = period.max(1);
        self.budget_left = ticks;
        self.period_end = start.saturating_add(((now - start) / period + 1).saturating_mul(period));
    }

    /// Charges its budget for the ticks up to `now` that it used, of which those before the period are forgotten.
    fn charge_budget(&mut self, used: u64, start: u64, now: u64) {
        let Some(Budget { period, .. }) = self.claims.budget else { return };
        self.renew_budget(start, now);
        let period_start = self.period_end.saturating_sub(period.max(1));
        self.budget_left = self.budget_left.saturating_sub(used.min(now.saturating_sub(period_start)));
    }

    /// When its run ends: its budget's end, or that of its slice if an equal waits for it.
    fn end_of_turn(&self, has_equal: bool, now: u64) -> Option<u64> {
        let slice = has_equal.then_some(self.slice_left);
        let budget = self.claims.budget.map(|_| self.budget_left);
        slice.into_iter().chain(budget).min().map(|left| now.saturating_add(left))
    }
}
