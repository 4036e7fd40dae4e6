//! What others want of this core's vCPUs: a start, a stop, a pause, work for their VM.

use super::{Core, LOOKS_AT_ONCE};
use crate::arch::aarch64::is_interrupt_pending;
use crate::life::Order;
use crate::scheduler::{MAXIMUM_SLOTS, slots};
use crate::vcpu::{State, Vcpu};

impl Core {
    /// Looks at all that somebody rang for.
    pub(super) fn answer(&mut self, vcpus: &mut [Vcpu]) {
        self.hear();
        if self.rung.is_empty() {
            return;
        }
        let mut rung = core::mem::take(&mut self.rung);
        for slot in self.next_rung(rung.orders | rung.news) {
            let bit = 1 << slot;
            if rung.orders & bit != 0 {
                self.carry_out(vcpus, slot);
            }
            if rung.news & bit != 0 {
                self.look(vcpus, slot);
            }
            rung.orders &= !bit;
            rung.news &= !bit;
            self.looked = (slot + 1) % MAXIMUM_SLOTS;
        }
        self.rung.orders |= rung.orders;
        self.rung.news |= rung.news;
    }

    /// Those of `rung` that are looked at now, in turn.
    fn next_rung(&self, rung: u64) -> impl Iterator<Item = usize> + use<> {
        let start = self.looked as u32;
        slots(rung.rotate_right(start)).take(LOOKS_AT_ONCE).map(move |slot| (slot + start as usize) % MAXIMUM_SLOTS)
    }

    /// Carries out what a VM's life wants of one of its vCPUs.
    fn carry_out(&mut self, vcpus: &mut [Vcpu], slot: usize) {
        let now = self.now();
        let Some(vcpu) = vcpus.get_mut(slot) else { return };
        match vcpu.vm.order(vcpu.index, now) {
            Order::Nothing => {}
            Order::Start { entry, context } => self.switch_on(vcpu, slot, entry, context),
            Order::PutOut => self.switch_off(vcpu, slot),
            Order::Park => self.park(vcpus, slot, now),
            Order::Unpark => self.scheduler.wake(slot, now),
            Order::Work => {
                if vcpu.state != State::Works {
                    vcpu.state = State::Works;
                    vcpu.vm.begin_work();
                }
                self.scheduler.wake(slot, now);
            }
            Order::Wait { until } => self.scheduler.block(slot, until, now),
        }
    }

    /// Its VM pauses: it is out of the processor, and does not run before it is unparked. What it waited for may have come
    /// then, or not: a wait may end without a reason.
    fn park(&mut self, vcpus: &mut [Vcpu], slot: usize, now: u64) {
        if self.is_loaded(slot) {
            self.unload(vcpus, now);
        }
        self.scheduler.switch_off(slot, now);
        if let Some(vcpu) = vcpus.get(slot) {
            vcpu.vm.vcpu_parked(vcpu.index);
        }
    }

    fn switch_on(&mut self, vcpu: &mut Vcpu, slot: usize, entry: u64, context: u64) {
        vcpu.start(entry, context);
        let told = vcpu.vm.vgic.set_online(vcpu.index);
        vcpu.vm.kick(told, vcpu.index, &self.processor);
        vcpu.vm.route_interrupts();
        self.scheduler.wake(slot, self.now());
    }

    /// The vCPU is off from here on, and its VM learns of it.
    pub(super) fn switch_off(&mut self, vcpu: &mut Vcpu, slot: usize) {
        self.put_out(vcpu, slot);
        let has_ended = vcpu.vm.vcpu_went_off(vcpu.index);
        // What was said of that may wait for a guest's unfinished line, and nobody else may look after it.
        self.processor.watch_console();
        if has_ended {
            self.system.vm_stopped();
        }
    }

    /// Works for the VM of a vCPU, in its time, until that is over or something else is to be done.
    pub(super) fn work(&mut self, vcpus: &mut [Vcpu], slot: usize) {
        self.processor.set_timer(self.until);
        loop {
            let Some(vcpu) = vcpus.get_mut(slot) else { return };
            // Or it was stopped meanwhile.
            if vcpu.vm.order(vcpu.index, self.now()) != Order::Work {
                self.rung.orders |= 1 << slot;
                return;
            }
            if vcpu.vm.work_step() {
                vcpu.state = State::Off;
                return self.scheduler.switch_off(slot, self.now());
            }
            if self.is_rung() {
                return;
            }
            if is_interrupt_pending() {
                self.interrupt(vcpus);
                return self.look_at_loaded(vcpus);
            }
        }
    }
}
