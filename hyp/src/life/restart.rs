//! Whether a VM that has stopped starts again, and when.

use super::{CrashReason, StopReason};
use crate::manifest::Policy;

/// What is to follow when a VM has stopped. Times are in ticks of the clock that the caller reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RestartPolicy {
    /// What follows when it asks for a reset.
    pub on_reset: Policy,
    /// What follows when it cannot go on.
    pub on_crash: Policy,
    /// How often it may start again in all; `None`: any number of times.
    pub limit: Option<u32>,
    /// The delay of the second restart in a row, doubled for each further one; the first comes at once.
    pub delay: u64,
    /// What doubling never exceeds.
    pub longest_delay: u64,
    /// After a life of this length, the next restart is the first in a row again.
    pub forgotten_after: u64,
}

/// What becomes of a VM that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It starts again, not before this time, in ticks.
    Restarts {
        /// The earliest time at which the work for it may begin.
        not_before: u64,
    },
    /// It stays off.
    Ends,
    /// It would start again, but has done so as often as it may.
    EndsAtLimit,
}

/// How often a VM has started again, and how long the next time has to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct BackOff {
    restarts: u32,
    /// In ticks; zero for the first in a row.
    delay: u64,
    /// When the present life began, in ticks.
    since: u64,
}

impl BackOff {
    /// A life begins.
    pub fn begin(&mut self, now: u64) {
        self.since = now;
    }

    /// A life has ended for `reason`.
    pub fn end(&mut self, policy: &RestartPolicy, reason: StopReason, now: u64) -> Then {
        let wanted = match reason {
            StopReason::Off | StopReason::Crashed(CrashReason::NotRestarted) => Policy::Stop,
            StopReason::Reset => policy.on_reset,
            StopReason::Crashed(_) => policy.on_crash,
        };
        if wanted == Policy::Stop {
            return Then::Ends;
        }
        if policy.limit.is_some_and(|limit| self.restarts >= limit) {
            return Then::EndsAtLimit;
        }
        self.restarts = self.restarts.saturating_add(1);
        Then::Restarts { not_before: now.saturating_add(self.next_delay(policy, now)) }
    }

    fn next_delay(&mut self, policy: &RestartPolicy, now: u64) -> u64 {
        if now.saturating_sub(self.since) >= policy.forgotten_after {
            self.delay = 0;
        }
        let delay = self.delay;
        self.delay = delay.saturating_mul(2).max(policy.delay).min(policy.longest_delay);
        delay
    }
}
