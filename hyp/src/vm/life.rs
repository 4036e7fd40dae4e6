//! How a VM starts, stops and starts again: what its [`Life`] says, carried out.

use core::sync::atomic::Ordering;

use super::{ConsoleUart, Vm};
use crate::arch::aarch64::virtual_interface;
use crate::devices::Pl031;
use crate::life::{Effects, Order, Power, Refusal, StopReason};

impl Vm {
    /// Starts its first vCPU; the core of that finds it.
    pub fn start(&self) {
        self.counter_offset.store(self.machine.clock.now(), Ordering::Relaxed);
        let effects = self.life.lock().start(self.config.entry, self.config.device_tree.ipa);
        self.carry_out(&effects);
    }

    /// Whether it has stopped for good.
    pub fn has_ended(&self) -> bool {
        self.life.lock().has_ended()
    }

    /// Whether it was ever stopped for a fault of its own.
    pub fn has_crashed(&self) -> bool {
        self.has_crashed.load(Ordering::Relaxed)
    }

    /// Makes all its vCPUs go off; the last one to do so carries out the rest. The first reason counts.
    pub fn request_stop(&self, reason: StopReason) {
        let effects = self.life.lock().stop(reason);
        self.carry_out(&effects);
    }

    /// Switches on vCPU `vcpu`, to start at `entry` with `context` in X0.
    ///
    /// # Errors
    /// Why not.
    pub fn cpu_on(&self, vcpu: usize, entry: u64, context: u64) -> Result<(), Refusal> {
        let effects = self.life.lock().cpu_on(vcpu, entry, context)?;
        self.carry_out(&effects);
        Ok(())
    }

    /// The state of vCPU `vcpu` as PSCI knows it.
    pub fn power(&self, vcpu: usize) -> Power {
        self.life.lock().power(vcpu)
    }

    /// What vCPU `vcpu` shall do.
    pub fn order(&self, vcpu: usize) -> Order {
        self.life.lock().order(vcpu)
    }

    /// vCPU `vcpu` is on: its core has seen to it.
    pub fn vcpu_started(&self, vcpu: usize) {
        self.life.lock().started(vcpu);
    }

    /// vCPU `vcpu` is off, and nothing of it in any core. True if the VM has ended with it.
    pub fn vcpu_went_off(&self, vcpu: usize) -> bool {
        let effects = self.life.lock().went_off(vcpu);
        self.carry_out(&effects);
        effects.has_ended
    }

    /// Rings for those who have something to do, and says what has happened.
    fn carry_out(&self, effects: &Effects) {
        if let Some(reason) = effects.stopped {
            self.report(reason);
        }
        for (_, vcpu) in self.vcpus.iter().enumerate().filter(|(index, _)| effects.ring >> index & 1 != 0) {
            self.machine.ring_orders(vcpu.place);
        }
    }

    fn report(&self, reason: StopReason) {
        let (name, counters) = (&self.config.name, &self.counters);
        match reason {
            StopReason::Off => log::info!("{name}: off{counters}"),
            StopReason::Reset => log::info!("{name}: reset{counters}"),
            StopReason::Crashed(why) => {
                self.has_crashed.store(true, Ordering::Relaxed);
                log::error!("{name}: crashed: {why}{counters}");
            }
        }
    }

    /// Makes its devices as they are out of reset. No vCPU runs.
    fn reset_devices(&self) {
        self.vgic.reset(|physical| virtual_interface::deactivate(&self.machine.gic, physical));
        self.map_hardware();
        self.uarts.iter().for_each(ConsoleUart::reset);
        *self.clock.lock() = Pl031::new();
    }

    /// Does a step of the work before it can start again: at most about 10,000 instructions. True when all is done, and the
    /// VM starts.
    pub fn work_step(&self) -> bool {
        self.reset_devices();
        let Some(system) = crate::system::System::get() else { return false };
        let _ = self.memory.lock().refill(&self.config, system);
        self.start();
        true
    }
}
