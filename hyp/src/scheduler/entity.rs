//! One vCPU, as its core's scheduler sees it.

use super::NEVER;
use super::parameters::{Budget, Claims};

/// What it may claim, and what it has had.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    pub claims: Claims,
    /// What is left of its slice; zero: a new one begins, at the end of the queue.
    pub slice_left: u64,
    /// What is left of its budget.
    pub budget_left: u64,
    /// When its budget is renewed.
    pub period_end: u64,
    /// Its place in the queue of its equals: the lower, the sooner.
    pub turn: u64,
    /// While it waits for a time, too: when to look at it.
    pub deadline: u64,
    /// Since when it is ready and does not run.
    pub ready_since: u64,
    /// For how long it was so, in all.
    pub stolen: u64,
}

impl Entity {
    /// Off, at `now`.
    pub fn new(claims: Claims, now: u64) -> Self {
        Self {
            slice_left: claims.slice.max(1),
            budget_left: claims.budget.map_or(0, |budget| budget.ticks),
            period_end: claims.budget.map_or(NEVER, |budget| now.saturating_add(budget.period)),
            turn: 0,
            deadline: NEVER,
            ready_since: now,
            stolen: 0,
            claims,
        }
    }

    /// Charges it for the ticks up to `now` that it `used`; periods are counted from `start`.
    #[inline(always)]
    pub fn charge(&mut self, used: u64, start: u64, now: u64) {
        self.slice_left = self.slice_left.saturating_sub(used);
        if self.claims.budget.is_some() {
            self.charge_budget(used, start, now);
        }
    }

    /// Of the ticks that it used those before the period are forgotten.
    #[inline(never)]
    fn charge_budget(&mut self, used: u64, start: u64, now: u64) {
        let Some(Budget { period, .. }) = self.claims.budget else { return };
        self.renew_budget(start, now);
        let period_start = self.period_end.saturating_sub(period.max(1));
        self.budget_left = self.budget_left.saturating_sub(used.min(now.saturating_sub(period_start)));
    }

    /// A new period if one has begun by `now`.
    pub fn renew_budget(&mut self, start: u64, now: u64) {
        let Some(Budget { ticks, period }) = self.claims.budget.filter(|_| self.period_end <= now) else { return };
        let period = period.max(1);
        self.budget_left = ticks;
        self.period_end = start.saturating_add(((now - start) / period + 1).saturating_mul(period));
    }

    /// How long its run goes on at most: to its budget's end, or that of its slice if an equal waits for it; else [`NEVER`].
    #[inline(always)]
    pub fn turn_left(&self, has_equal: bool) -> u64 {
        let slice = if has_equal { self.slice_left } else { NEVER };
        let budget = if self.claims.budget.is_some() { self.budget_left } else { NEVER };
        slice.min(budget)
    }
}
