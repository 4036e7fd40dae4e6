//! What each step changes, and whether the life answers and orders what the record of it leads one to expect.

use tessera::life::{Effects, Event, NotNow, Order, Power, Refusal, StopReason, Then};

use super::world::{Asked, Doing, Hand, Step, World};

impl World {
    /// One step.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::Start { vm } => self.start(vm),
            Step::Stop { vm, reason } => self.stop(vm, reason),
            Step::Pause { vm } => self.pause(vm),
            Step::Resume { vm } => self.resume(vm),
            Step::Kick { core, vm } => self.cores[core].loaded = Some(vm),
            Step::CpuOn { core } => self.cpu_on(core),
            Step::CpuOff { core } => self.cpu_off(core),
            Step::Serve { core, vm, now } => self.serve(core, vm, now),
            Step::Confirm { core } => self.confirm(core),
        }
        self.compare_affinities();
    }

    fn expect(&mut self, is_true: bool, what: &'static str) {
        if !is_true && self.fault.is_none() {
            self.fault = Some(what);
        }
    }

    fn is_on(&self, vm: usize) -> bool {
        self.cores.iter().any(|core| matches!(core.hands[vm], Hand::On | Hand::Parked))
    }

    fn start(&mut self, vm: usize) {
        self.vms[vm].asked = Asked::Run { starts: [true, false] };
        let effects = self.vms[vm].life.start(0, 0);
        self.follow(vm, effects);
    }

    fn stop(&mut self, vm: usize, reason: StopReason) {
        let asked = self.vms[vm].asked;
        let effects = self.vms[vm].life.stop(reason, 0);
        if matches!(asked, Asked::Stop(_)) {
            return self.expect(effects == Effects::NONE, "the first reason did not count");
        }
        if asked == Asked::Nothing {
            self.vms[vm].restarts_left = 0;
        }
        self.vms[vm].asked = Asked::Stop(reason);
        self.follow(vm, effects);
    }

    fn pause(&mut self, vm: usize) {
        let paused = self.vms[vm].life.pause();
        match self.vms[vm].asked {
            Asked::Run { starts } | Asked::Pause { starts } => self.vms[vm].asked = Asked::Pause { starts },
            _ => return self.expect(paused == Err(NotNow), "paused while it cannot be"),
        }
        match paused {
            Ok(effects) => self.follow(vm, effects),
            Err(NotNow) => self.expect(false, "a running VM is not paused"),
        }
    }

    fn resume(&mut self, vm: usize) {
        let resumed = self.vms[vm].life.resume();
        match self.vms[vm].asked {
            Asked::Pause { starts } => self.vms[vm].asked = Asked::Run { starts },
            _ => return self.expect(resumed == Err(NotNow), "resumed what does not pause"),
        }
        match resumed {
            Ok(effects) => self.follow(vm, effects),
            Err(NotNow) => self.expect(false, "a pausing VM is not resumed"),
        }
    }

    fn cpu_on(&mut self, core: usize) {
        let Some(vm) = self.cores[core].loaded else { return };
        let target = 1 - core;
        let hand = self.cores[target].hands[vm];
        let answer = self.vms[vm].life.cpu_on(target, 0, 0);
        let expected = match &mut self.vms[vm].asked {
            _ if matches!(hand, Hand::On | Hand::Parked) => Err(Refusal::AlreadyOn),
            Asked::Run { starts } | Asked::Pause { starts } if starts[target] => Err(Refusal::OnPending),
            Asked::Run { starts } | Asked::Pause { starts } => {
                starts[target] = true;
                Ok(())
            }
            _ => Err(Refusal::Denied),
        };
        self.expect(answer.map(|_| ()) == expected, "CPU_ON");
        if let Ok(effects) = answer {
            self.follow(vm, effects);
        }
    }

    fn cpu_off(&mut self, core: usize) {
        let Some(vm) = self.cores[core].loaded.take() else { return };
        self.cores[core].hands[vm] = Hand::Off;
        let effects = self.vms[vm].life.went_off(core, 0);
        self.follow(vm, effects);
    }

    fn serve(&mut self, core: usize, vm: usize, now: u64) {
        self.cores[core].rung &= !(1 << vm);
        let order = self.vms[vm].life.order(core, now);
        let hand = self.cores[core].hands[vm];
        let next = match (order, hand) {
            (Order::Nothing, Hand::Waits { .. }) => Hand::Off,
            (Order::Nothing, Hand::Off | Hand::On | Hand::Parked) => hand,
            (Order::Start { .. }, Hand::Off) => return self.started(core, vm),
            (Order::Unpark, Hand::Parked) => Hand::On,
            (Order::Work, Hand::Off | Hand::Waits { .. }) => Hand::Works,
            (Order::Work, Hand::Works) => return self.cores[core].doing = Some((vm, Doing::LastStep)),
            (Order::Wait { until }, Hand::Off | Hand::Waits { .. }) => Hand::Waits { until },
            (Order::Park, Hand::On) => return self.cores[core].doing = Some((vm, Doing::Park)),
            (Order::PutOut, Hand::On | Hand::Parked | Hand::Works) => {
                return self.cores[core].doing = Some((vm, Doing::PutOut));
            }
            _ => return self.expect(false, "an order that does not fit what the core has"),
        };
        self.cores[core].hands[vm] = next;
    }

    fn started(&mut self, core: usize, vm: usize) {
        self.cores[core].hands[vm] = Hand::On;
        match &mut self.vms[vm].asked {
            Asked::Run { starts } if starts[core] => starts[core] = false,
            _ => self.expect(false, "started, but nobody asked"),
        }
    }

    fn confirm(&mut self, core: usize) {
        let Some((vm, done)) = self.cores[core].doing.take() else { return };
        if self.cores[core].loaded == Some(vm) {
            self.cores[core].loaded = None;
        }
        let hand = if done == Doing::Park { Hand::Parked } else { Hand::Off };
        let life = &mut self.vms[vm].life;
        let effects = match done {
            Doing::PutOut => life.went_off(core, 0),
            Doing::Park => life.parked(core),
            Doing::LastStep => life.work_done(0),
        };
        // A stop came first: the order to drop the work is under way.
        let is_dropped = done == Doing::LastStep && matches!(self.vms[vm].asked, Asked::Stop(_));
        self.expect(!is_dropped || effects == Effects::NONE, "work was done for a VM that stops");
        if !is_dropped {
            self.cores[core].hands[vm] = hand;
        }
        if done == Doing::LastStep && !is_dropped {
            self.expect(self.vms[vm].asked == Asked::Restart, "work that nobody asked for");
            self.vms[vm].asked = Asked::Run { starts: [true, false] };
        }
        self.follow(vm, effects);
    }

    /// Rings, and takes note of what happened.
    fn follow(&mut self, vm: usize, effects: Effects) {
        for vcpu in effects.ring {
            self.cores[vcpu].rung |= 1 << vm;
        }
        match effects.event {
            Some(Event::Stopped { reason, then }) => self.stopped(vm, reason, then),
            Some(Event::Paused) => {
                self.expect(matches!(self.vms[vm].asked, Asked::Pause { .. }), "paused, but nobody asked");
            }
            None => {}
        }
        let all_ended = self.vms.iter().all(|vm| vm.life.has_ended());
        self.is_off |= effects.has_ended() && all_ended;
    }

    fn stopped(&mut self, vm: usize, reason: StopReason, then: Then) {
        let is_held = self.is_on(vm) || self.cores.iter().any(|core| core.hands[vm] == Hand::Works);
        self.expect(!is_held, "stopped while a core holds it");
        let expected = match self.vms[vm].asked {
            Asked::Stop(reason) => reason,
            Asked::Run { starts: [false, false] } | Asked::Pause { starts: [false, false] } => StopReason::Off,
            _ => return self.expect(false, "stopped, but nobody asked"),
        };
        self.expect(reason == expected, "the first reason did not count");
        let left = self.vms[vm].restarts_left;
        let restarts = reason == StopReason::Reset && left > 0;
        self.expect(restarts == matches!(then, Then::Restarts { .. }), "the policy is not followed");
        self.vms[vm].restarts_left = if restarts { left - 1 } else { left };
        self.vms[vm].asked = if restarts { Asked::Restart } else { Asked::Ended };
    }

    fn compare_affinities(&mut self) {
        for (vm, vcpu) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let expected = match (self.cores[vcpu].hands[vm], self.vms[vm].asked) {
                (Hand::Works, _) => continue,
                (Hand::On | Hand::Parked, _) => Power::On,
                (_, Asked::Run { starts } | Asked::Pause { starts }) if starts[vcpu] => Power::OnPending,
                _ => Power::Off,
            };
            let told = self.vms[vm].life.affinity(vcpu);
            self.expect(told == expected, "AFFINITY_INFO");
        }
    }
}
