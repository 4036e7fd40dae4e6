//! How a VM starts, stops and starts again.

use core::sync::atomic::Ordering;

use super::{ConsoleUart, Vm};
use crate::arch::aarch64::virtual_interface;
use crate::devices::Pl031;
pub use crate::life::{CrashReason, StopReason};
use crate::manifest::Policy;
use crate::system::System;
use crate::vcpu::Power;

/// Where a VM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// Its vCPUs shall go off, or are about to.
    Stopping(StopReason),
    /// It does not run.
    Ended,
}

impl Vm {
    /// Starts its first vCPU; the core of that finds it.
    pub fn start(&self) {
        let now = self.machine.clock.now();
        self.counter_offset.store(now, Ordering::Relaxed);
        self.is_stopping.store(false, Ordering::Relaxed);
        *self.life.lock() = Life::Running;
        if let Some(first) = self.vcpus.first() {
            let (entry, context) = (self.config.entry, self.config.device_tree.ipa);
            *first.power.lock() = Power::OnPending { entry, context };
            self.kick_core(first.core);
        }
    }

    /// Whether its vCPUs shall go off.
    #[inline(always)]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Whether it has stopped for good.
    pub fn has_ended(&self) -> bool {
        *self.life.lock() == Life::Ended
    }

    /// Whether it was ever stopped for a fault of its own.
    pub fn has_crashed(&self) -> bool {
        self.has_crashed.load(Ordering::Relaxed)
    }

    /// Makes all its vCPUs go off; the last one to do so carries out the rest. The first reason counts.
    pub fn request_stop(&self, reason: StopReason) {
        let mut life = self.life.lock();
        if *life != Life::Running {
            return;
        }
        *life = Life::Stopping(reason);
        drop(life);
        self.is_stopping.store(true, Ordering::Release);
        self.vcpus.iter().for_each(|vcpu| self.kick_core(vcpu.core));
    }

    /// One of its vCPUs went off: if it was the last, the VM ends or starts again.
    pub fn vcpu_went_off(&self) {
        let mut life = self.life.lock();
        if *life == Life::Ended || self.vcpus.iter().any(|vcpu| *vcpu.power.lock() != Power::Off) {
            return;
        }
        let reason = match *life {
            Life::Stopping(reason) => reason,
            _ => StopReason::Off,
        };
        *life = Life::Ended;
        drop(life);
        self.finish(reason);
    }

    fn finish(&self, reason: StopReason) {
        let (name, counters) = (&self.config.name, &self.counters);
        let policy = match reason {
            StopReason::Off => {
                log::info!("{name}: off{counters}");
                Policy::Stop
            }
            StopReason::Reset => {
                log::info!("{name}: reset{counters}");
                self.config.on_reset
            }
            StopReason::Crashed(why) => {
                self.has_crashed.store(true, Ordering::Relaxed);
                log::error!("{name}: crashed: {why}{counters}");
                self.config.on_crash
            }
        };
        if policy == Policy::Restart && reason != StopReason::Crashed(CrashReason::NotRestarted) {
            return self.restart();
        }
        if let Some(system) = System::get() {
            system.vm_stopped();
        }
    }

    /// Starts it afresh: nothing of its memory or devices remains.
    fn restart(&self) {
        let Some(system) = System::get() else { return };
        self.vgic.reset(|physical| virtual_interface::deactivate(&self.machine.gic, physical));
        self.uarts.iter().for_each(ConsoleUart::reset);
        *self.clock.lock() = Pl031::new();
        let refilled = self.memory.lock().refill(&self.config, system);
        if let Err(problem) = refilled {
            log::error!("{}: {problem}", self.config.name);
            return self.finish(StopReason::Crashed(CrashReason::NotRestarted));
        }
        self.map_hardware();
        self.start();
    }
}
