//! What the core that owns a vCPU takes and confirms: nobody else calls these for it.

use super::{Effects, FIRST, Job, Life, Order, Powers, State, StopReason};
use crate::interrupts::VcpuSet;

impl Life {
    /// What the vCPU's core has to do for it at `now`, in ticks. Whoever has done it asks again.
    pub fn order(&mut self, vcpu: usize, now: u64) -> Order {
        match self.state {
            State::Starting if vcpu == FIRST => self.order_to_run(vcpu, Powers::pending(FIRST)),
            State::Running(powers) => self.order_to_run(vcpu, powers),
            State::Pausing(powers) if powers.held().contains(vcpu) => Order::Park,
            State::Stopping { held, .. } if held.contains(vcpu) => Order::PutOut,
            State::Restarting(job) if vcpu == FIRST => self.order_to_work(job, now),
            _ => Order::Nothing,
        }
    }

    /// The vCPU is off: it asked for it (CPU_OFF), or was put out, or the work for a restart was dropped.
    pub fn went_off(&mut self, vcpu: usize, now: u64) -> Effects {
        match self.state {
            State::Running(powers) | State::Pausing(powers) => {
                powers.switch_off(vcpu).map_or(Effects::NONE, |left| self.go_on(left, now))
            }
            State::Stopping { reason, held } if held.contains(vcpu) => self.stop_on(reason, held.without(vcpu), now),
            _ => Effects::NONE,
        }
    }

    /// The vCPU is out of its core and whole in memory.
    pub fn parked(&mut self, vcpu: usize) -> Effects {
        match self.state {
            State::Pausing(powers) => powers.park(vcpu).map_or(Effects::NONE, |left| self.pause_on(left)),
            // Meanwhile it was resumed, which nobody was told who was not parked yet.
            State::Running(powers) => powers.park(vcpu).map_or(Effects::NONE, |left| {
                self.state = State::Running(left);
                Effects::ring(VcpuSet::EMPTY.with(vcpu))
            }),
            _ => Effects::NONE,
        }
    }

    /// The restart's work is done: a new life begins. If it is to stop meanwhile, it does.
    pub fn work_done(&mut self, now: u64) -> Effects {
        if self.state != State::Restarting(Job::Working) {
            return Effects::NONE;
        }
        self.back_off.begin(now);
        self.begin()
    }

    fn order_to_run(&mut self, vcpu: usize, powers: Powers) -> Order {
        if let (Some(started), Some(entry)) = (powers.start(vcpu), self.entries.get(vcpu)) {
            self.state = State::Running(started);
            return Order::Start { entry: entry.address, context: entry.context };
        }
        let Some(unparked) = powers.unpark(vcpu) else { return Order::Nothing };
        self.state = State::Running(unparked);
        Order::Unpark
    }

    fn order_to_work(&mut self, job: Job, now: u64) -> Order {
        match job {
            Job::Waiting { not_before } if now < not_before => Order::Wait { until: not_before },
            Job::Waiting { .. } | Job::Working => {
                self.state = State::Restarting(Job::Working);
                Order::Work
            }
        }
    }

    /// A vCPU less is on.
    fn go_on(&mut self, left: Powers, now: u64) -> Effects {
        if left.are_off() {
            return self.wait_for(StopReason::Off, VcpuSet::EMPTY, now);
        }
        if matches!(self.state, State::Pausing(_)) {
            return self.pause_on(left);
        }
        self.state = State::Running(left);
        Effects::NONE
    }

    /// A vCPU less has to be parked.
    fn pause_on(&mut self, left: Powers) -> Effects {
        // To those that have not confirmed, the pause is no news.
        Effects { ring: VcpuSet::EMPTY, ..self.pause_or_wait(left) }
    }

    /// A vCPU less has to be put out.
    fn stop_on(&mut self, reason: StopReason, held: VcpuSet, now: u64) -> Effects {
        if held.is_empty() {
            return self.wait_for(reason, held, now);
        }
        self.state = State::Stopping { reason, held };
        Effects::NONE
    }
}
