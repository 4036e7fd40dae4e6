//! How a VM starts, stops and starts again: what its [`Life`] says, carried out.

use core::sync::atomic::Ordering;
use core::time::Duration;

use tessera_platform::timer::Clock;

use super::refill::Refill;
use super::{ConsoleUart, Vm};
use crate::arch::aarch64::virtual_interface;
use crate::devices::Pl031;
use crate::life::{CrashReason, Effects, Event, NotNow, Order, Power, Refusal, RestartPolicy, StopReason, Then};
use crate::manifest::VmConfig;

/// Each further restart in a row waits twice as long, up to this, unless the manifest wants more already.
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// A VM that ran for so long may restart at once again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

impl Vm {
    /// Starts its first vCPU; the core of that finds it.
    pub fn start(&self) {
        let (entry, context) = (self.config.entry, self.config.device_tree.ipa);
        self.begin(|life| life.start(entry, context));
    }

    /// A life begins: its virtual counter starts near zero.
    fn begin(&self, how: impl FnOnce(&mut crate::life::Life) -> Effects) {
        self.counter_offset.store(self.machine.clock.now(), Ordering::Relaxed);
        let effects = how(&mut self.life.lock());
        self.carry_out(effects);
    }

    /// Whether it has stopped for good.
    pub fn has_ended(&self) -> bool {
        self.life.lock().has_ended()
    }

    /// Whether it was ever stopped for a fault of its own.
    pub fn has_crashed(&self) -> bool {
        self.life.lock().has_crashed()
    }

    /// Makes all its vCPUs go off. The first reason counts.
    pub fn request_stop(&self, reason: StopReason) {
        let effects = self.life.lock().stop(reason, self.machine.clock.now());
        self.carry_out(effects);
    }

    /// Takes all its vCPUs out of their cores, whole into memory.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<(), NotNow> {
        let effects = self.life.lock().pause()?;
        self.carry_out(effects);
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not paused.
    pub fn resume(&self) -> Result<(), NotNow> {
        let effects = self.life.lock().resume()?;
        self.carry_out(effects);
        Ok(())
    }

    /// Switches on vCPU `vcpu`, to start at `entry` with `context` in X0.
    ///
    /// # Errors
    /// Why not.
    pub fn cpu_on(&self, vcpu: usize, entry: u64, context: u64) -> Result<(), Refusal> {
        let effects = self.life.lock().cpu_on(vcpu, entry, context)?;
        self.carry_out(effects);
        Ok(())
    }

    /// The state of vCPU `vcpu` as PSCI knows it.
    pub fn affinity(&self, vcpu: usize) -> Power {
        self.life.lock().affinity(vcpu)
    }

    /// What the core of vCPU `vcpu` has to do for it at `now`, in ticks.
    pub fn order(&self, vcpu: usize, now: u64) -> Order {
        self.life.lock().order(vcpu, now)
    }

    /// vCPU `vcpu` is out of its core and whole in memory.
    pub fn vcpu_parked(&self, vcpu: usize) {
        let effects = self.life.lock().parked(vcpu);
        self.carry_out(effects);
    }

    /// vCPU `vcpu` is off, and nothing of it in any core. True if the VM has ended with it.
    pub fn vcpu_went_off(&self, vcpu: usize) -> bool {
        let effects = self.life.lock().went_off(vcpu, self.machine.clock.now());
        self.carry_out(effects);
        effects.has_ended()
    }

    /// Rings for those who have something to do, and says what has happened.
    fn carry_out(&self, effects: Effects) {
        match effects.event {
            Some(Event::Stopped { reason, then }) => self.report(reason, then),
            Some(Event::Paused) => log::info!("{}: paused", self.config.name),
            None => {}
        }
        for index in effects.ring {
            if let Some(vcpu) = self.vcpus.get(index) {
                self.machine.ring_orders(vcpu.place);
            }
        }
    }

    fn report(&self, reason: StopReason, then: Then) {
        let (name, counters) = (&self.config.name, &self.counters);
        match reason {
            StopReason::Crashed(_) => log::error!("{name}: {reason}{counters}"),
            _ => log::info!("{name}: {reason}{counters}"),
        }
        if then == Then::EndsAtLimit {
            log::warn!("{name}: stays off: it has started again as often as `restart-limit` allows");
        }
    }

    /// Makes its devices as they are out of reset. No vCPU runs.
    fn reset_devices(&self) {
        self.vgic.reset(|physical| virtual_interface::deactivate(&self.machine.gic, physical));
        self.map_hardware();
        self.uarts.iter().for_each(ConsoleUart::reset);
        *self.clock.lock() = Pl031::new();
    }

    /// The work before it can start again begins.
    pub fn begin_work(&self) {
        *self.refill.lock() = Refill::Begin;
        self.reset_devices();
    }

    /// Does a step of that work, at most about 10,000 instructions. True when all is done, and the VM starts; or stops, if it
    /// cannot.
    pub fn work_step(&self) -> bool {
        let mut refill = self.refill.lock();
        let step = refill.step(&mut self.memory.lock(), &self.config, self.supply);
        match step {
            Ok(Some(next)) => {
                *refill = next;
                return false;
            }
            Ok(None) => {
                let free = self.supply.frames.lock().free_frames() * 4;
                log::info!("{}: starts again, {free} KiB are free", self.config.name);
                let now = self.machine.clock.now();
                self.begin(|life| life.work_done(now));
            }
            Err(problem) => {
                log::error!("{}: {problem}", self.config.name);
                self.request_stop(StopReason::Crashed(CrashReason::NotRestarted));
            }
        }
        true
    }
}

/// What follows when a VM has stopped, by its manifest.
pub(super) fn restart_policy(config: &VmConfig, clock: Clock) -> RestartPolicy {
    RestartPolicy {
        on_reset: config.on_reset,
        on_crash: config.on_crash,
        limit: config.restarts.limit,
        delay: clock.ticks(config.restarts.delay),
        longest_delay: clock.ticks(config.restarts.delay.max(LONGEST_DELAY)),
        forgotten_after: clock.ticks(FORGOTTEN_AFTER),
    }
}
