//! Putting a vCPU into the processor, and taking it out again.

use super::Core;
use crate::arch::aarch64::registers::{read_register, write_register};
use crate::arch::aarch64::traps::hcr;
use crate::arch::aarch64::{instruction_barrier, take_system_error};
use crate::exit;
use crate::processor::Processor;
use crate::vcpu::{State, Vcpu};

/// The registers of a vCPU are in the processor. Only taking them out ends that: [`Loaded::unload`] keeps them,
/// [`Loaded::discard`] does not.
#[must_use]
pub(super) struct Loaded {
    /// The vCPU's slot on its core.
    slot: usize,
}

impl Loaded {
    /// Puts `vcpu`, in `slot`, into the processor, which nobody's registers are in.
    fn load(processor: &mut Processor, vcpu: &Vcpu, slot: usize) -> Self {
        processor.hardening.turn_to(vcpu.vm.index);
        vcpu.system.restore();
        vcpu.float.restore();
        vcpu.gic.restore(&processor.machine.gic);
        vcpu.vm.vgic.unpark(vcpu.index, &mut processor.list_registers());
        instruction_barrier();
        Self { slot }
    }

    /// Takes the vCPU out of the processor: all of it is in memory then. Whether it has an SError to take, which ends a wait.
    fn unload(self, processor: &Processor, vcpu: &mut Vcpu) -> bool {
        vcpu.system.save();
        let has_error = take_system_error();
        if has_error {
            // Of its accesses, not of those of the vCPU that is next.
            exit::pend_system_error(vcpu);
        }
        // Its timer fires from here on by this core's own.
        write_register!("cntv_ctl_el0", 0);
        vcpu.float.save();
        vcpu.gic.save(&processor.machine.gic);
        let told = vcpu.vm.vgic.park(vcpu.index, &mut processor.list_registers());
        vcpu.vm.kick(told, vcpu.index, processor);
        has_error
    }

    /// The vCPU goes off: nothing of it but list registers, which its virtual GIC empties, stays in the processor, and
    /// nothing is kept.
    fn discard(self, vcpu: &Vcpu) {
        if take_system_error() {
            // It ends with its vCPU, and is not the next one's.
            vcpu.vm.counters.system_error();
        }
        write_register!("cntv_ctl_el0", 0);
        instruction_barrier();
    }
}

impl Core {
    /// The slot of the vCPU that is in the processor.
    pub(super) fn loaded_slot(&self) -> Option<usize> {
        self.loaded.as_ref().map(|loaded| loaded.slot)
    }

    /// Whether the vCPU in `slot` is in the processor.
    pub(super) fn is_loaded(&self, slot: usize) -> bool {
        self.loaded_slot() == Some(slot)
    }

    /// Puts a vCPU into the processor at `now`, in ticks, and the one that was there out of it; sets the timer for it. False if
    /// there is something else to be looked at before it is entered.
    pub(super) fn load(&mut self, vcpus: &mut [Vcpu], slot: usize, now: u64) -> bool {
        let is_loaded = self.is_loaded(slot);
        if !is_loaded && !self.unload(vcpus, now) {
            return false;
        }
        let Some(vcpu) = vcpus.get_mut(slot) else { return false };
        vcpu.update_physical_timer(now);
        if !is_loaded {
            self.loaded = Some(Loaded::load(&mut self.processor, vcpu, slot));
        }
        // Also of what a budget, a window or work for another VM took from one that stayed in the processor.
        self.tell_stolen_time(vcpu, slot, now);
        // What was rung for it while it did not listen, it sees as it is entered.
        self.processor.doorbell.take_news(slot);
        self.trap_waits(self.scheduler.is_shared());
        self.set_timer_for(vcpu);
        // Who was taken out may have rung for another vCPU of this core.
        !self.is_rung()
    }

    /// Tells the guest for how long the vCPU could have run and did not.
    fn tell_stolen_time(&self, vcpu: &Vcpu, slot: usize, now: u64) {
        if let Some(stolen_time) = vcpu.vm.stolen_time {
            let stolen = self.scheduler.stolen(slot, now);
            stolen_time.tell(vcpu.index, self.processor.machine.clock.nanoseconds(stolen));
        }
    }

    /// Whether the guest's WFI comes to EL2: not where nobody else could run meanwhile.
    fn trap_waits(&self, traps: bool) {
        let now = read_register!("hcr_el2");
        let wanted = now & !hcr::TWI | if traps { hcr::TWI } else { 0 };
        if now != wanted {
            write_register!("hcr_el2", wanted);
        }
    }

    /// Sets the timer for what ends the run of `vcpu`, which is loaded, or what it asked its physical timer for.
    #[inline(always)]
    pub(super) fn set_timer_for(&mut self, vcpu: &Vcpu) {
        self.processor.set_timer(vcpu.physical_timer.deadline.min(self.until));
    }

    /// Takes the vCPU that is in the processor out of it at `now`, in ticks. False if its wait may be over: the scheduler is to
    /// be asked again.
    #[inline(never)]
    pub(super) fn unload(&mut self, vcpus: &mut [Vcpu], now: u64) -> bool {
        let Some(loaded) = self.loaded.take() else { return true };
        let slot = loaded.slot;
        let Some(vcpu) = vcpus.get_mut(slot) else { return true };
        let has_error = loaded.unload(&self.processor, vcpu);
        if !self.scheduler.is_blocked(slot) {
            return true;
        }
        if has_error {
            self.scheduler.wake(slot, now);
            return false;
        }
        self.goes_on_waiting(vcpu, slot, now)
    }

    /// A vCPU that waits is out of the processor: its virtual timer no longer interrupts by itself. False if that or
    /// anything else may end its wait now.
    fn goes_on_waiting(&mut self, vcpu: &mut Vcpu, slot: usize, now: u64) -> bool {
        let virtual_timer = vcpu.virtual_timer_deadline(now);
        if vcpu.attention.is_asked_for() || virtual_timer <= now {
            self.wake_or_block(vcpu, slot, now);
            return false;
        }
        self.scheduler.wait_until(slot, virtual_timer);
        self.until = self.until.min(virtual_timer);
        true
    }

    /// A vCPU is off from here on.
    pub(super) fn put_out(&mut self, vcpu: &mut Vcpu, slot: usize) {
        let now = self.now();
        self.scheduler.switch_off(slot, now);
        vcpu.state = State::Off;
        // Or its timer would go on being waited for.
        vcpu.physical_timer.control = 0;
        vcpu.physical_timer_changed(now);
        if let Some(loaded) = self.loaded.take_if(|loaded| loaded.slot == slot) {
            loaded.discard(vcpu);
        }
        let told = vcpu.vm.vgic.set_offline(vcpu.index, &mut self.processor.list_registers());
        vcpu.vm.kick(told, vcpu.index, &self.processor);
        vcpu.vm.route_interrupts();
    }
}
