//! What a core does all day: run one of its vCPUs, take interrupts, wait.
//!
//! A core that has one vCPU leaves it in the processor for good. One that has several takes turns, in slices; a vCPU that
//! waits (WFI) gives its turn away and is woken by its interrupts and timers.

use core::time::Duration;

use tessera_platform::IntId;
use tessera_platform::gic::{Acknowledged, Controller};
use tessera_platform::system_registers::wait_for_accesses;

use crate::arch::aarch64::registers::write_register;
use crate::arch::aarch64::traps::hcr;
use crate::arch::aarch64::vectors::{Vector, enter_guest};
use crate::arch::aarch64::{instruction_barrier, is_system_error_pending, take_system_error, wait_for_interrupt};
use crate::exit::{self, Next};
use crate::processor::Processor;
use crate::system::System;
use crate::vcpu::{Power, Vcpu};
use crate::vm::interrupt;

/// How long a vCPU runs before the next of its core has its turn.
const SLICE: Duration = Duration::from_millis(5);

/// One physical core and the vCPUs that it runs.
pub struct Core {
    /// What handlers need of it.
    processor: Processor,
    /// The machine with all its guests.
    system: &'static System,
    /// The vCPU whose registers are in the processor.
    loaded: Option<usize>,
    /// When the running vCPU's turn ends, in ticks; only where several share the core.
    slice_end: Option<u64>,
}

impl Core {
    /// The calling core, with nothing loaded.
    pub fn new(index: usize, system: &'static System) -> Self {
        Self { processor: Processor::new(index, system.machine), system, loaded: None, slice_end: None }
    }

    /// Runs this core's vCPUs for ever.
    pub fn run(&mut self, vcpus: &mut [Vcpu]) -> ! {
        loop {
            for index in 0..vcpus.len() {
                self.carry_out_power(vcpus, index);
            }
            match self.pick(vcpus) {
                Some(index) => {
                    self.load(vcpus, index);
                    self.run_loaded(vcpus, index);
                }
                None => self.idle(vcpus),
            }
        }
    }

    /// Enters the guest until something else is to be done than going on with it.
    fn run_loaded(&mut self, vcpus: &mut [Vcpu], index: usize) {
        loop {
            let Some(vcpu) = vcpus.get_mut(index) else { return };
            if vcpu.attention.is_asked_for() {
                self.flush(vcpu);
            }
            // SAFETY: `load` has put this vCPU's registers and its VM's Stage 2 into the processor.
            let vector = unsafe { enter_guest(&raw mut vcpu.general) };
            let next = match vector {
                Vector::SYNCHRONOUS => exit::synchronous(&mut self.processor, vcpu),
                Vector::INTERRUPT => self.interrupt(vcpus),
                _ => exit::system_error(vcpu),
            };
            if next != Next::Resume {
                return self.leave(vcpus, index, next);
            }
        }
    }

    /// Brings the list registers up to date.
    #[inline(never)]
    fn flush(&self, vcpu: &Vcpu) {
        let told = vcpu.vm.vgic.flush(vcpu.index, &mut self.processor.list_registers());
        if !told.is_empty() {
            vcpu.vm.kick(told, vcpu.index);
        }
    }

    /// Carries out what a handler decided for the vCPU that ran.
    fn leave(&mut self, vcpus: &mut [Vcpu], index: usize, next: Next) {
        let Some(vcpu) = vcpus.get_mut(index) else { return };
        match next {
            Next::Resume | Next::Reschedule => {}
            // An SError ends the wait, and the guest takes it when it is entered.
            Next::Wait => vcpu.is_waiting = !is_system_error_pending(),
            Next::Off => self.switch_off(vcpus, index),
            Next::Stop(reason) => vcpu.vm.request_stop(reason),
        }
    }

    /// The next vCPU that can run, after the one that ran last.
    fn pick(&mut self, vcpus: &mut [Vcpu]) -> Option<usize> {
        let count = vcpus.len();
        let first = self.loaded.map_or(0, |loaded| loaded + 1);
        let now = self.processor.machine.clock.now();
        let found = (first..first + count).map(|index| index % count).find(|&index| self.can_run(vcpus, index, now))?;
        vcpus.get_mut(found)?.is_waiting = false;
        Some(found)
    }

    fn can_run(&self, vcpus: &[Vcpu], index: usize, now: u64) -> bool {
        let Some(vcpu) = vcpus.get(index) else { return false };
        vcpu.is_on && (!vcpu.is_waiting || self.is_woken(vcpu, self.loaded == Some(index), now))
    }

    fn is_woken(&self, vcpu: &Vcpu, is_loaded: bool, now: u64) -> bool {
        // What came since it waits may stand behind a list register that has come to its end unnoticed.
        if is_loaded && vcpu.attention.is_asked_for() {
            self.flush(vcpu);
        }
        let mut registers = self.processor.list_registers();
        vcpu.vm.vgic.has_pending(vcpu.index, &mut registers)
            || !is_loaded && virtual_timer_deadline(vcpu).is_some_and(|deadline| deadline <= now)
    }

    /// Puts a vCPU into the processor, and the one that was there out of it.
    fn load(&mut self, vcpus: &mut [Vcpu], index: usize) {
        let is_shared = vcpus.len() > 1;
        if self.loaded != Some(index) {
            self.unload(vcpus);
            if let Some(vcpu) = vcpus.get_mut(index) {
                vcpu.system.hcr = vcpu.system.hcr & !hcr::TWI | if is_shared { hcr::TWI } else { 0 };
                self.processor.hardening.turn_to(vcpu.vm.index);
                vcpu.system.restore();
                vcpu.float.restore();
                vcpu.gic.restore(&self.processor.machine.gic);
                vcpu.vm.vgic.unpark(vcpu.index, &mut self.processor.list_registers());
                instruction_barrier();
            }
            self.loaded = Some(index);
        }
        if is_shared {
            let clock = self.processor.machine.clock;
            self.slice_end = Some(clock.now() + clock.ticks(SLICE));
        }
        self.set_timer(vcpus);
    }

    /// Takes the loaded vCPU out of the processor.
    fn unload(&mut self, vcpus: &mut [Vcpu]) {
        let Some(vcpu) = self.loaded.take().and_then(|index| vcpus.get_mut(index)) else { return };
        vcpu.system.save();
        if take_system_error() {
            // Of its accesses, not of those of the vCPU that is next.
            exit::pend_system_error(vcpu);
        }
        // Its timer fires from here on by this core's own.
        write_register!("cntv_ctl_el0", 0);
        vcpu.float.save();
        vcpu.gic.save(&self.processor.machine.gic);
        let told = vcpu.vm.vgic.park(vcpu.index, &mut self.processor.list_registers());
        vcpu.vm.kick(told, vcpu.index);
    }

    /// Nothing can run: waits for an interrupt and takes it.
    fn idle(&mut self, vcpus: &mut [Vcpu]) {
        self.slice_end = None;
        self.set_timer(vcpus);
        wait_for_interrupt();
        self.interrupt(vcpus);
    }

    /// Takes one physical interrupt.
    fn interrupt(&mut self, vcpus: &mut [Vcpu]) -> Next {
        let gic = &self.processor.machine.gic;
        let Some(taken) = gic.acknowledge() else { return Next::Resume };
        let id = taken.id();
        let loaded = self.loaded.and_then(|index| vcpus.get_mut(index));
        if id == self.processor.machine.interrupts.virtual_timer {
            gic.end(taken);
            return match loaded {
                Some(vcpu) => self.deliver(vcpu, interrupt::GUEST_VIRTUAL_TIMER),
                None => {
                    // It came as its vCPU went off: nobody else would end it, and the next vCPU's would not come.
                    gic.deactivate(taken);
                    Next::Resume
                }
            };
        }
        if id == self.processor.machine.interrupts.maintenance {
            let is_virtual = self.processor.list_registers().maintain();
            if let Some(vcpu) = loaded.filter(|_| is_virtual) {
                vcpu.vm.vgic.maintain(vcpu.index);
            }
            gic.end(taken);
            gic.deactivate(taken);
            return Next::Resume;
        }
        self.other_interrupt(vcpus, taken)
    }

    #[inline(always)]
    fn deliver(&self, vcpu: &mut Vcpu, intid: u32) -> Next {
        let told = vcpu.vm.vgic.deliver_hardware(vcpu.index, &mut self.processor.list_registers(), intid);
        if !told.is_empty() {
            vcpu.vm.kick(told, vcpu.index);
        }
        Next::Resume
    }

    #[inline(never)]
    fn other_interrupt(&mut self, vcpus: &mut [Vcpu], taken: Acknowledged) -> Next {
        let gic = &self.processor.machine.gic;
        let id = taken.id();
        gic.end(taken);
        if let Some(vm) = self.system.owner_of(id) {
            // Stays active until the guest deactivates it.
            return self.deliver_passthrough(vcpus, vm.index, id);
        }
        gic.deactivate(taken);
        if id == self.processor.machine.interrupts.hypervisor_timer {
            return self.timer_fired(vcpus);
        }
        if id == self.processor.machine.interrupts.kick {
            // What the sender wrote before is not to be read ahead of the acknowledgement, with a GICv2 a mere load.
            wait_for_accesses();
            return Next::Reschedule;
        }
        if Some(id) == self.processor.machine.interrupts.uart {
            self.system.serve_uart();
            self.processor.watch_console();
            return Next::Resume;
        }
        // Something nobody asked for.
        Next::Reschedule
    }

    /// A device that is passed through interrupts. It is routed to a core that has a vCPU of the VM, which is loaded if it
    /// is not: the virtual GIC writes list registers for the vCPU that is loaded.
    fn deliver_passthrough(&mut self, vcpus: &mut [Vcpu], vm: usize, id: IntId) -> Next {
        let is_loaded = |index: &usize| self.loaded == Some(*index);
        let mut of_vm = (0..vcpus.len()).filter(|index| vcpus.get(*index).is_some_and(|vcpu| vcpu.vm.index == vm));
        let Some(target) = of_vm.clone().find(is_loaded).or_else(|| of_vm.next()) else { return Next::Resume };
        self.load(vcpus, target);
        if let Some(vcpu) = vcpus.get_mut(target) {
            self.deliver(vcpu, id.number());
        }
        Next::Reschedule
    }

    fn timer_fired(&mut self, vcpus: &mut [Vcpu]) -> Next {
        let now = self.processor.machine.clock.now();
        if self.processor.expire_console(now) {
            // What is shown now makes room for those whose bytes had none.
            self.system.resume_output();
        }
        for vcpu in vcpus.iter_mut() {
            vcpu.update_physical_timer(now);
        }
        let turn_is_over = self.slice_end.is_some_and(|end| end <= now);
        self.set_timer(vcpus);
        if turn_is_over { Next::Reschedule } else { Next::Resume }
    }

    /// Sets this core's timer for whatever comes first.
    fn set_timer(&mut self, vcpus: &[Vcpu]) {
        let physical = vcpus.iter().filter_map(|vcpu| vcpu.physical_timer.deadline());
        let unloaded = vcpus.iter().enumerate().filter(|(index, _)| Some(*index) != self.loaded);
        let virtual_ones =
            unloaded.filter(|(_, vcpu)| vcpu.is_waiting).filter_map(|(_, vcpu)| virtual_timer_deadline(vcpu));
        self.processor.set_timer(physical.chain(virtual_ones).chain(self.slice_end).min());
    }

    /// Carries out what other cores asked for a vCPU: a start, or the stop of its VM.
    fn carry_out_power(&mut self, vcpus: &mut [Vcpu], index: usize) {
        let Some(vcpu) = vcpus.get_mut(index) else { return };
        if vcpu.vm.is_stopping() {
            if vcpu.is_on {
                self.switch_off(vcpus, index);
            }
            return;
        }
        let mut power = vcpu.control().power.lock();
        let Power::OnPending { entry, context } = *power else { return };
        *power = Power::On;
        drop(power);
        if self.loaded == Some(index) {
            self.loaded = None;
        }
        vcpu.start(entry, context);
        let told = vcpu.vm.vgic.set_online(vcpu.index);
        vcpu.vm.kick(told, vcpu.index);
    }

    /// Takes a vCPU out of the game.
    fn switch_off(&mut self, vcpus: &mut [Vcpu], index: usize) {
        let Some(vcpu) = vcpus.get_mut(index) else { return };
        vcpu.is_on = false;
        // Or its timer would go on being waited for.
        vcpu.is_waiting = false;
        vcpu.physical_timer.control = 0;
        vcpu.update_physical_timer(0);
        let mut registers = self.processor.list_registers();
        if self.loaded == Some(index) {
            if take_system_error() {
                // It ends with its vCPU, and is not the next one's.
                vcpu.vm.counters.system_error();
            }
            write_register!("cntv_ctl_el0", 0);
            instruction_barrier();
        }
        let told = vcpu.vm.vgic.set_offline(vcpu.index, &mut registers);
        if self.loaded == Some(index) {
            self.loaded = None;
        }
        vcpu.vm.kick(told, vcpu.index);
        *vcpu.control().power.lock() = Power::Off;
        vcpu.vm.vcpu_went_off();
        // What was said of that may wait for a guest's unfinished line, and nobody else may look after it.
        self.processor.watch_console();
    }
}

/// When the virtual timer of a vCPU that is not loaded would fire, in ticks of the physical counter.
fn virtual_timer_deadline(vcpu: &Vcpu) -> Option<u64> {
    let system = &vcpu.system;
    (system.cntv_ctl & 3 == 1).then(|| system.cntv_cval.wrapping_add(system.cntvoff))
}
