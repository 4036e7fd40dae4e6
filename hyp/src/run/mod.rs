//! What a core does all day: run one of its vCPUs, take interrupts, work for one of its VMs, wait.
//!
//! Which vCPU runs, and until when, [`Scheduler`] decides; whether one shall run at all, its VM's [`crate::life`]. Here
//! belongs what carries that out. A core whose vCPU is alone leaves it in the processor for good.

mod interrupts;
mod orders;
mod switch;

use crate::arch::aarch64::vectors::{Vector, enter_guest};
use crate::arch::aarch64::{is_system_error_pending, wait_for_interrupt};
use crate::doorbell::Rung;
use crate::exit::{self, Next};
use crate::processor::Processor;
use crate::scheduler::{Decision, NEVER, Scheduler};
use crate::system::System;
use crate::vcpu::{State, Vcpu};
use crate::vm::interrupt;
use switch::Loaded;

/// So many vCPUs are looked at in one go, with interrupts masked: whoever else has news or a deadline waits for the next.
const LOOKS_AT_ONCE: usize = 8;

/// One physical core and the vCPUs that it runs.
pub struct Core {
    /// What handlers need of it.
    processor: Processor,
    /// The machine with all its guests.
    system: &'static System,
    /// Who runs, and until when.
    scheduler: Scheduler,
    /// The vCPU whose registers are in the processor.
    loaded: Option<Loaded>,
    /// When the scheduler wants to be asked again, in ticks, or [`NEVER`].
    until: u64,
    /// What others rang for, and nobody has looked at yet.
    rung: Rung,
    /// The slot from which on they are looked at: each has its turn.
    looked: usize,
}

impl Core {
    /// The calling core, with nothing loaded; `scheduler` knows its vCPUs, all off.
    pub fn new(index: usize, system: &'static System, scheduler: Scheduler) -> Self {
        let processor = Processor::new(index, system.machine);
        Self { processor, system, scheduler, loaded: None, until: NEVER, rung: Rung::default(), looked: 0 }
    }

    /// Runs this core's vCPUs, in the order of their slots, for ever.
    pub fn run(&mut self, vcpus: &mut [Vcpu]) -> ! {
        loop {
            let now = self.now();
            self.expire(vcpus, now);
            self.answer(vcpus);
            let Decision { run, until } = self.scheduler.decide(now);
            // Who was not looked at yet is, as soon as interrupts were.
            self.until = if self.rung.is_empty() { until } else { now.saturating_add(1) };
            let entered = match run {
                Some(slot) if vcpus.get(slot).is_some_and(|vcpu| vcpu.state == State::Works) => {
                    self.work(vcpus, slot);
                    None
                }
                Some(slot) => self.load(vcpus, slot, now).then_some(slot),
                None => self.idle(vcpus),
            };
            if let Some(slot) = entered {
                self.run_loaded(vcpus, slot);
            }
        }
    }

    /// Now, in ticks of the physical counter.
    fn now(&self) -> u64 {
        self.processor.machine.clock.now()
    }

    /// Enters the guest until something else is to be done than going on with it.
    fn run_loaded(&mut self, vcpus: &mut [Vcpu], index: usize) {
        loop {
            let Some(vcpu) = vcpus.get_mut(index) else { return };
            if vcpu.attention.is_asked_for() && self.flush(vcpu) {
                return;
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

    /// Brings the list registers up to date; whether somebody rang for another vCPU of this core.
    #[inline(never)]
    fn flush(&self, vcpu: &Vcpu) -> bool {
        let told = vcpu.vm.vgic.flush(vcpu.index, &mut self.processor.list_registers());
        vcpu.vm.kick(told, vcpu.index, &self.processor);
        self.is_rung()
    }

    /// Whether somebody has rung for what is to be looked at now: of a vCPU that waits, or an order. With news for the one
    /// that runs comes an interrupt as soon as it is entered; else who never stops ringing would keep it from that.
    fn is_rung(&self) -> bool {
        self.processor.doorbell.is_rung(self.scheduler.blocked())
    }

    /// Carries out what a handler decided for the vCPU that ran.
    fn leave(&mut self, vcpus: &mut [Vcpu], index: usize, next: Next) {
        let Some(vcpu) = vcpus.get_mut(index) else { return };
        match next {
            Next::Resume | Next::Reschedule => {}
            Next::Wait => self.wait(vcpu, index),
            Next::Off => self.switch_off(vcpu, index),
            Next::Stop(reason) => vcpu.vm.request_stop(reason),
        }
    }

    /// The vCPU that ran waits, unless what it waits for is there.
    fn wait(&mut self, vcpu: &mut Vcpu, slot: usize) {
        // An SError ends the wait, and the guest takes it when it is entered.
        if is_system_error_pending() {
            return;
        }
        let now = self.now();
        vcpu.update_physical_timer(now);
        if !self.has_pending(vcpu) {
            // Its virtual timer interrupts by itself.
            self.scheduler.block(slot, vcpu.physical_timer.deadline, now);
        }
    }

    /// Brings the timers of a vCPU that waits up to date at `now`, and lets it run if that or something else ends its wait.
    fn wake_or_block(&mut self, vcpu: &mut Vcpu, slot: usize, now: u64) {
        let is_loaded = self.is_loaded(slot);
        vcpu.update_physical_timer(now);
        // Of the one that is loaded the virtual timer interrupts by itself.
        let virtual_timer = if is_loaded { NEVER } else { vcpu.virtual_timer_deadline(now) };
        let is_due = virtual_timer <= now;
        let wakes_by_it = is_due && vcpu.vm.vgic.raise_parked_timer(vcpu.index, interrupt::GUEST_VIRTUAL_TIMER);
        if wakes_by_it || self.is_woken(vcpu, slot) {
            return self.scheduler.wake(slot, now);
        }
        // One that was told is not told again.
        let virtual_timer = if is_due { NEVER } else { virtual_timer };
        self.scheduler.block(slot, vcpu.physical_timer.deadline.min(virtual_timer), now);
    }

    /// Whether a vCPU that waits has an interrupt that ends its wait.
    fn is_woken(&self, vcpu: &Vcpu, slot: usize) -> bool {
        if self.is_loaded(slot) { self.has_pending(vcpu) } else { vcpu.vm.vgic.wakes(vcpu.index) }
    }

    /// The same of the one that is loaded.
    #[inline(always)]
    fn has_pending(&self, vcpu: &Vcpu) -> bool {
        // What came since may stand behind a list register that has come to its end unnoticed.
        if vcpu.attention.is_asked_for() {
            self.flush(vcpu);
        }
        vcpu.vm.vgic.has_pending(vcpu.index, &mut self.processor.list_registers())
    }

    /// Lets vCPU `index` run again if what it waits for is there.
    fn look(&mut self, vcpus: &[Vcpu], index: usize) {
        let Some(vcpu) = vcpus.get(index) else { return };
        if self.scheduler.is_blocked(index) && self.is_woken(vcpu, index) {
            self.scheduler.wake(index, self.now());
        }
    }

    /// Looks at vCPUs that wait for a time that has come.
    fn expire(&mut self, vcpus: &mut [Vcpu], now: u64) {
        for _ in 0..LOOKS_AT_ONCE {
            let Some(slot) = self.scheduler.expire(now) else { return };
            match vcpus.get_mut(slot) {
                Some(vcpu) if vcpu.state == State::On => self.wake_or_block(vcpu, slot, now),
                // Its VM waits before it starts again.
                _ => self.rung.orders |= 1 << slot,
            }
        }
    }

    /// Nothing can run: waits for an interrupt and takes it. Returns who is to be entered, if nothing else is to be done: the
    /// usual end of a wait. It goes on where it is, and the timer is set for all else already.
    fn idle(&mut self, vcpus: &mut [Vcpu]) -> Option<usize> {
        self.processor.set_timer(self.until);
        if !self.is_rung() {
            wait_for_interrupt();
        }
        let has_come = self.take_interrupt(vcpus).is_none();
        let slot = self.loaded_slot()?;
        // An SError ends the wait as an interrupt does.
        if has_come || is_system_error_pending() {
            self.scheduler.wake(slot, self.now());
        } else {
            self.look(vcpus, slot);
        }
        let resumes = self.rung.is_empty() && self.scheduler.resume(slot, self.now());
        (resumes && !self.is_rung()).then_some(slot)
    }

    /// The interrupt that was taken may be for the vCPU in the processor, which waits.
    fn look_at_loaded(&mut self, vcpus: &[Vcpu]) {
        if let Some(slot) = self.loaded_slot() {
            self.look(vcpus, slot);
        }
    }
}
