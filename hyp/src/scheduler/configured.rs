//! A core's schedule as the manifest wants it. Times are rounded up to ticks, so none is zero.

use core::time::Duration;

use tessera_platform::timer::Clock;

use super::parameters::{Budget, Claims, CoreSchedule, Frame, Window};
use crate::manifest::{CoreFrame, Scheduling, TimeBudget};

impl CoreSchedule {
    /// That of a core with these vCPUs by slot, each of the VM with this index, and this frame. All of it is checked: see
    /// [`crate::manifest::Manifest::validate`].
    #[must_use]
    pub fn new<'a>(
        vcpus: impl Iterator<Item = (usize, &'a Scheduling)>,
        frame: Option<&CoreFrame>,
        clock: Clock,
    ) -> Self {
        let claims = |(vm, scheduling): (usize, &Scheduling)| Claims::new(vm, scheduling, clock);
        Self { vcpus: vcpus.map(claims).collect(), frame: frame.map(|frame| Frame::new(frame, clock)) }
    }
}

impl Claims {
    fn new(vm: usize, scheduling: &Scheduling, clock: Clock) -> Self {
        let slice = u64::from(scheduling.weight) * tessera_abi::manifest::SLICE_PER_WEIGHT;
        Self {
            vm,
            priority: scheduling.priority,
            slice: clock.ticks(Duration::from_nanos(slice)),
            budget: scheduling.budget.map(|budget| Budget::new(budget, clock)),
        }
    }
}

impl Budget {
    fn new(TimeBudget { time, period }: TimeBudget, clock: Clock) -> Self {
        Self { ticks: clock.ticks(time), period: clock.ticks(period) }
    }
}

impl Frame {
    /// Points in time are rounded alike, so that windows that do not overlap do not do so in ticks.
    fn new(frame: &CoreFrame, clock: Clock) -> Self {
        let window = |window: &crate::manifest::FrameWindow| Window {
            start: clock.ticks(window.start),
            end: clock.ticks(window.end()),
            vm: window.vm,
            lends: window.lends,
        };
        Self {
            length: clock.ticks(frame.length),
            windows: frame.windows.iter().map(window).collect(),
            lends: frame.lends,
        }
    }
}
