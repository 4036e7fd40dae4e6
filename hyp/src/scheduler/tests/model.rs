//! The rules once more, as simply as can be: each tick is looked at by itself, nothing is reckoned ahead.

use std::vec::Vec;

use crate::scheduler::{Claims, CoreSchedule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    Ready,
    /// Until this tick, if it was not told yet.
    Waits(Option<u64>),
}

#[derive(Clone, Debug)]
struct Vcpu {
    claims: Claims,
    state: State,
    slice: u64,
    period: u64,
    used_in_period: u64,
    stolen: u64,
}

/// A core, at one tick.
#[derive(Clone, Debug)]
pub(super) struct Model {
    schedule: CoreSchedule,
    vcpus: Vec<Vcpu>,
    /// Those that are ready, the one whose turn is next first.
    queue: Vec<usize>,
    /// Ticks since the core's start.
    pub age: u64,
}

impl Model {
    pub fn new(schedule: &CoreSchedule) -> Self {
        let vcpu = |claims: &Claims| Vcpu {
            claims: *claims,
            state: State::Off,
            slice: claims.slice,
            period: 0,
            used_in_period: 0,
            stolen: 0,
        };
        let vcpus = schedule.vcpus.iter().map(vcpu).collect();
        Self { schedule: schedule.clone(), vcpus, queue: Vec::new(), age: 0 }
    }

    pub fn wake(&mut self, vcpu: usize) {
        if self.vcpus[vcpu].state == State::Ready {
            return;
        }
        self.vcpus[vcpu].state = State::Ready;
        if self.vcpus[vcpu].slice == 0 {
            self.vcpus[vcpu].slice = self.vcpus[vcpu].claims.slice;
        }
        self.queue.push(vcpu);
    }

    pub fn block(&mut self, vcpu: usize, deadline: Option<u64>) {
        self.queue.retain(|queued| *queued != vcpu);
        self.vcpus[vcpu].state = State::Waits(deadline);
    }

    pub fn switch_off(&mut self, vcpu: usize) {
        self.queue.retain(|queued| *queued != vcpu);
        self.vcpus[vcpu].state = State::Off;
    }

    /// Those whose deadline has come and was not told; it is now.
    pub fn expired(&mut self) -> Vec<usize> {
        let is_due = |vcpu: &Vcpu| matches!(vcpu.state, State::Waits(Some(deadline)) if deadline <= self.age);
        let due: Vec<usize> = (0..self.vcpus.len()).filter(|vcpu| is_due(&self.vcpus[*vcpu])).collect();
        due.iter().for_each(|vcpu| self.vcpus[*vcpu].state = State::Waits(None));
        due
    }

    pub fn stolen(&self, vcpu: usize) -> u64 {
        self.vcpus[vcpu].stolen
    }

    pub fn is_ready(&self, vcpu: usize) -> bool {
        self.vcpus[vcpu].state == State::Ready
    }

    /// Who runs, as of now.
    pub fn look(&mut self) -> Option<usize> {
        for vcpu in &mut self.vcpus {
            let Some(budget) = vcpu.claims.budget else { continue };
            if self.age / budget.period != vcpu.period {
                vcpu.period = self.age / budget.period;
                vcpu.used_in_period = 0;
            }
        }
        self.choose()
    }

    /// Lets a tick pass; who ran in it.
    pub fn tick(&mut self) -> Option<usize> {
        let runs = self.look();
        for (index, vcpu) in self.vcpus.iter_mut().enumerate() {
            if runs == Some(index) {
                vcpu.slice = vcpu.slice.saturating_sub(1);
                vcpu.used_in_period += 1;
            } else if vcpu.state == State::Ready {
                vcpu.stolen += 1;
            }
        }
        self.age += 1;
        runs
    }

    fn choose(&mut self) -> Option<usize> {
        loop {
            let can: Vec<usize> = self.queue.iter().copied().filter(|vcpu| self.may_run(*vcpu)).collect();
            let most_urgent = can.iter().map(|vcpu| self.vcpus[*vcpu].claims.priority).max()?;
            let mut equals = can.into_iter().filter(|vcpu| self.vcpus[*vcpu].claims.priority == most_urgent);
            let first = equals.next()?;
            if self.vcpus[first].slice > 0 || equals.next().is_none() {
                return Some(first);
            }
            self.vcpus[first].slice = self.vcpus[first].claims.slice;
            self.queue.retain(|queued| *queued != first);
            self.queue.push(first);
        }
    }

    fn may_run(&self, vcpu: usize) -> bool {
        if !self.has_budget(vcpu) {
            return false;
        }
        let Some(frame) = &self.schedule.frame else { return true };
        let at = self.age % frame.length;
        match frame.windows.iter().find(|window| window.start <= at && at < window.end) {
            None => frame.lends,
            Some(window) if window.vm == self.vcpus[vcpu].claims.vm => true,
            Some(window) => window.lends && !self.queue.iter().any(|other| self.could_take(*other, window.vm)),
        }
    }

    fn could_take(&self, vcpu: usize, window_of: usize) -> bool {
        self.vcpus[vcpu].claims.vm == window_of && self.has_budget(vcpu)
    }

    fn has_budget(&self, vcpu: usize) -> bool {
        let vcpu = &self.vcpus[vcpu];
        vcpu.claims.budget.is_none_or(|budget| vcpu.used_in_period < budget.ticks)
    }
}
