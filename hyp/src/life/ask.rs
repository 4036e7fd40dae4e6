//! What anybody may ask of a life.

use super::{Effects, Entry, Event, FIRST, Job, Life, NotNow, Power, Powers, Refusal, State, StopReason, Then};
use crate::interrupts::VcpuSet;

impl Life {
    /// Starts its first vCPU at the guest physical address `entry` with `context` in X0; also after each restart. Does
    /// nothing but once.
    pub fn start(&mut self, entry: u64, context: u64) -> Effects {
        if self.state != State::Off {
            return Effects::NONE;
        }
        self.boot = Entry { address: entry, context };
        self.begin()
    }

    /// Asks for a vCPU, as CPU_ON does. While the VM pauses, it starts when that is over.
    ///
    /// # Errors
    ///
    /// It is not off, or the VM neither runs nor pauses.
    pub fn cpu_on(&mut self, vcpu: usize, entry: u64, context: u64) -> Result<Effects, Refusal> {
        match self.affinity(vcpu) {
            Power::On => return Err(Refusal::AlreadyOn),
            Power::OnPending => return Err(Refusal::OnPending),
            Power::Off => {}
        }
        let asked_for = self.entries.get_mut(vcpu).ok_or(Refusal::Denied)?;
        let (state, effects) = match self.state {
            State::Running(powers) => {
                (powers.ask_for(vcpu).map(State::Running), Effects::ring(VcpuSet::EMPTY.with(vcpu)))
            }
            State::Pausing(powers) => (powers.ask_for(vcpu).map(State::Pausing), Effects::NONE),
            _ => return Err(Refusal::Denied),
        };
        self.state = state.ok_or(Refusal::Denied)?;
        *asked_for = Entry { address: entry, context };
        Ok(effects)
    }

    /// Makes it go off, and start again if that is what follows `reason`. The first reason counts.
    pub fn stop(&mut self, reason: StopReason, now: u64) -> Effects {
        let held = match self.state {
            State::Stopping { .. } | State::Ended => return Effects::NONE,
            State::Off => return self.end(reason, Then::Ends),
            State::Starting | State::Restarting(Job::Waiting { .. }) => VcpuSet::EMPTY,
            State::Restarting(Job::Working) => VcpuSet::EMPTY.with(FIRST),
            // Who was asked for is nobody's yet, and forgotten.
            State::Running(powers) | State::Pausing(powers) | State::Paused(powers) => powers.on(),
        };
        self.wait_for(reason, held, now)
    }

    /// Takes all vCPUs out of their cores; [`Event::Paused`] says when that is done, unless it stops before.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn pause(&mut self) -> Result<Effects, NotNow> {
        match self.state {
            State::Starting => Ok(self.pause_or_wait(Powers::pending(FIRST))),
            State::Running(powers) | State::Paused(powers) => Ok(self.pause_or_wait(powers)),
            State::Pausing(_) => Ok(Effects::NONE),
            State::Off | State::Stopping { .. } | State::Restarting(_) | State::Ended => Err(NotNow),
        }
    }

    /// Lets it go on, also when it is not paused completely.
    ///
    /// # Errors
    ///
    /// It neither pauses nor is paused.
    pub fn resume(&mut self) -> Result<Effects, NotNow> {
        let (State::Pausing(powers) | State::Paused(powers)) = self.state else { return Err(NotNow) };
        self.state = if powers == Powers::pending(FIRST) { State::Starting } else { State::Running(powers) };
        Ok(Effects::ring(powers.asked_for().union(powers.parked())))
    }

    /// A life begins.
    pub(super) fn begin(&mut self) -> Effects {
        if let Some(entry) = self.entries.get_mut(FIRST) {
            *entry = self.boot;
        }
        self.state = State::Starting;
        Effects::ring(VcpuSet::EMPTY.with(FIRST))
    }

    /// It pauses; it is paused once no core holds a vCPU.
    pub(super) fn pause_or_wait(&mut self, powers: Powers) -> Effects {
        if powers.held().is_empty() {
            self.state = State::Paused(powers);
            return Effects::event(Event::Paused);
        }
        self.state = State::Pausing(powers);
        Effects::ring(powers.held())
    }

    /// It stops; it has stopped once no core holds anything of it.
    pub(super) fn wait_for(&mut self, reason: StopReason, held: VcpuSet, now: u64) -> Effects {
        if held.is_empty() {
            let then = self.back_off.end(&self.policy, reason, now);
            return self.end(reason, then);
        }
        self.state = State::Stopping { reason, held };
        Effects::ring(held)
    }

    fn end(&mut self, reason: StopReason, then: Then) -> Effects {
        self.has_crashed |= matches!(reason, StopReason::Crashed(_));
        let (state, ring) = match then {
            Then::Restarts { not_before } => {
                (State::Restarting(Job::Waiting { not_before }), VcpuSet::EMPTY.with(FIRST))
            }
            Then::Ends | Then::EndsAtLimit => (State::Ended, VcpuSet::EMPTY),
        };
        self.state = state;
        Effects { ring, event: Some(Event::Stopped { reason, then }) }
    }
}
