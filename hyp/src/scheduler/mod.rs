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

mod choice;
mod configured;
mod entity;
mod frame;
mod parameters;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;

use entity::Entity;
pub use parameters::{Budget, Claims, CoreSchedule, Frame, MAXIMUM_SLOTS, Window};

/// No deadline: nothing comes that late.
pub const NEVER: u64 = u64::MAX;

/// What a core shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The slot of the vCPU that runs; none: the core is idle.
    pub run: Option<usize>,
    /// When to ask again even if nothing happens, in ticks: later than now, or [`NEVER`].
    pub until: u64,
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
    /// Neither windows nor budgets keep anybody from running.
    is_plain: bool,
    /// All by urgency: a set of equals each, the most urgent first.
    ranks: Box<[u64]>,
    /// The earliest deadline of those that wait.
    earliest: u64,
    /// The one that runs, if one does.
    running: u64,
    /// Until when the one that runs is charged.
    charged: u64,
    /// The next place in a queue.
    turns: u64,
}

/// The slots in a mask, lowest first.
pub fn slots(mut mask: u64) -> impl Iterator<Item = usize> {
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

/// The lowest slot in a mask; one that there cannot be if it is empty.
#[inline(always)]
fn first(mask: u64) -> usize {
    mask.trailing_zeros() as usize
}

impl Scheduler {
    /// All off, at `now`.
    #[must_use]
    pub fn new(now: u64, schedule: CoreSchedule) -> Self {
        let vcpus = schedule.vcpus.into_iter().take(MAXIMUM_SLOTS);
        let entities: Box<[Entity]> = vcpus.map(|claims| Entity::new(claims, now)).collect();
        let with_budget = |(_, entity): &(usize, &Entity)| entity.claims.budget.is_some();
        let budgeted = entities.iter().enumerate().filter(with_budget).fold(0, |set, (slot, _)| set | bit(slot));
        let ranks = choice::ranks(&entities);
        Self {
            entities,
            is_plain: budgeted == 0 && schedule.frame.is_none(),
            frame: schedule.frame,
            start: now,
            ready: 0,
            blocked: 0,
            timed: 0,
            budgeted,
            ranks,
            earliest: NEVER,
            running: 0,
            charged: now,
            turns: 0,
        }
    }

    /// The vCPU in `slot` could run from `now` on, be it off or waiting before. If it is ready already, nothing happens.
    #[inline]
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

    /// The vCPU in `slot` waits from `now` on, until `deadline` at most, or [`NEVER`]. [`Self::expire`] tells of that; only
    /// [`Self::wake`] ends the wait.
    #[inline(always)]
    pub fn block(&mut self, slot: usize, deadline: u64, now: u64) {
        self.leave(slot, now);
        self.blocked |= bit(slot);
        self.wait_until(slot, deadline);
    }

    /// The vCPU in `slot`, which waits, does so until `deadline` at most, if not less. [`NEVER`] changes nothing.
    #[inline(always)]
    pub fn wait_until(&mut self, slot: usize, deadline: u64) {
        let Some(entity) = self.entities.get_mut(slot).filter(|_| deadline != NEVER) else { return };
        // One that was told counts no more.
        let is_timed = self.timed & bit(slot) != 0;
        entity.deadline = if is_timed { entity.deadline.min(deadline) } else { deadline };
        self.timed |= bit(slot);
        self.earliest = self.earliest.min(deadline);
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
        // The most urgent first.
        let found = self.ranks.iter().find_map(|rank| slots(rank & self.timed).find(due));
        self.timed &= !found.map_or(0, bit);
        self.find_earliest();
        found
    }

    /// Who runs from `now` on, after all events up to now; whoever ran is charged.
    pub fn decide(&mut self, now: u64) -> Decision {
        self.charge(now);
        let (allowed, window_end) = if self.is_plain { (self.ready, NEVER) } else { self.allowed(now) };
        let (run, left) = self.next_turn(allowed);
        self.run(run.map_or(0, bit), now);
        let end_of_turn = now.saturating_add(left);
        let first = end_of_turn.min(window_end).min(self.next_budget(run)).min(self.earliest);
        // Who did not let deadlines expire before is told at once.
        Decision { run, until: first.max(now.saturating_add(1)) }
    }

    /// What [`Self::decide`] comes to if the vCPU in `slot`, on an idle core, is the only one that could run, and nothing
    /// bounds that: it runs, and what was to be asked for then still is. False, and nothing is done, if there is more to it.
    #[inline]
    pub fn resume(&mut self, slot: usize, now: u64) -> bool {
        let is_alone = self.running == 0 && self.ready == bit(slot) && self.ready != 0;
        let resumes = is_alone && self.is_plain && now < self.earliest;
        if resumes {
            self.charged = now;
            self.run(bit(slot), now);
        }
        resumes
    }

    /// The slot of the vCPU that runs by the last decision, and neither waits nor is off since.
    #[must_use]
    pub fn running(&self) -> Option<usize> {
        slots(self.running).next()
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
        !self.ready | self.running
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
        let waits_for_the_core = self.ready & !self.running & bit(slot) != 0;
        entity.stolen + if waits_for_the_core { now.saturating_sub(entity.ready_since) } else { 0 }
    }

    /// Takes a vCPU out of all sets.
    #[inline(always)]
    fn leave(&mut self, slot: usize, now: u64) {
        if self.running & bit(slot) != 0 {
            self.charge(now);
            self.running = 0;
        } else if let Some(entity) = self.entities.get_mut(slot).filter(|_| self.ready & bit(slot) != 0) {
            entity.stolen += now.saturating_sub(entity.ready_since);
        }
        self.forget(slot);
    }

    #[inline(always)]
    fn forget(&mut self, slot: usize) {
        let mask = !bit(slot);
        self.ready &= mask;
        self.blocked &= mask;
        if self.timed & !mask != 0 {
            self.timed &= mask;
            self.find_earliest();
        }
    }

    #[inline(never)]
    fn find_earliest(&mut self) {
        let deadlines = slots(self.timed).filter_map(|slot| self.entities.get(slot)).map(|entity| entity.deadline);
        self.earliest = deadlines.min().unwrap_or(NEVER);
    }

    /// Charges who runs up to `now`.
    #[inline(always)]
    fn charge(&mut self, now: u64) {
        let used = now.saturating_sub(self.charged);
        self.charged = now;
        if let Some(entity) = self.entities.get_mut(first(self.running)) {
            entity.charge(used, self.start, now);
        }
    }

    #[inline(always)]
    fn run(&mut self, running: u64, now: u64) {
        if self.running == running {
            return;
        }
        if let Some(entity) = self.entities.get_mut(first(self.running)) {
            entity.ready_since = now;
        }
        if let Some(entity) = self.entities.get_mut(first(running)) {
            entity.stolen += now.saturating_sub(entity.ready_since);
        }
        self.running = running;
    }
}
