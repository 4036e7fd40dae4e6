//! What a handler needs of the core that it runs on: its list registers, its timer, what firmware does for it.
//!
//! Below `exit`, so it knows neither vCPUs nor VMs; the loop that runs vCPUs is `run`.

use crate::arch::aarch64::harden_exits;
use crate::arch::aarch64::virtual_interface::VirtualInterface;
use crate::doorbell::Doorbell;
use crate::hardening::{BeforeEl2, Hardening};
use crate::interrupts::Book;
use crate::machine::{Machine, Place};
use crate::scheduler::NEVER;
use crate::terminal;

/// One physical core.
pub struct Processor {
    /// Its number, in the order of the board's device tree.
    pub index: usize,
    /// The machine that it is one of.
    pub machine: &'static Machine,
    /// What firmware does for this core against speculation.
    pub hardening: Hardening,
    /// What is known of its list registers.
    list_registers: Book,
    /// What others ring for on this core.
    pub doorbell: &'static Doorbell,
    /// When the console wants to be looked at by this core, in ticks, or [`NEVER`].
    console_deadline: u64,
    /// When this core's timer fires, in ticks, or [`NEVER`].
    deadline: u64,
}

impl Processor {
    /// The calling core.
    pub fn new(index: usize, machine: &'static Machine) -> Self {
        let hardening = Hardening::of_this_core(machine.firmware);
        if machine.hardens_exits {
            harden(index, &hardening);
        }
        let list_registers = Book::new(machine.hardware_end);
        let doorbell = machine.doorbell(index);
        Self { index, machine, hardening, list_registers, doorbell, console_deadline: NEVER, deadline: NEVER }
    }

    /// Says that the vCPU at `place` has news in its virtual GIC. True if that is on this core, where nobody is interrupted.
    pub fn ring_news(&self, place: Place) -> bool {
        let is_own = place.core == self.index;
        if is_own {
            // Nobody is interrupted: this core looks by itself.
            let _ = self.doorbell.ring_news(place.slot);
        } else {
            self.machine.ring_news(place);
        }
        is_own
    }

    /// This core's list registers.
    #[inline(always)]
    pub fn list_registers(&self) -> VirtualInterface<'_> {
        VirtualInterface::new(&self.machine.gic, &self.list_registers)
    }

    /// Somebody has written to the console on this core: it may want to be looked at later, by the core that does so for all
    /// if there is one.
    pub fn watch_console(&mut self) {
        if self.machine.attendant.is_some_and(|core| core != self.index) {
            if terminal::take_call() {
                self.machine.call_attendant();
            }
            return;
        }
        self.console_deadline = terminal::deadline().unwrap_or(NEVER);
        self.set_earlier(self.console_deadline);
    }

    /// Shows what of the console has waited long enough; whether there was anything to do.
    pub fn expire_console(&mut self, now: u64) -> bool {
        let is_due = self.console_deadline <= now;
        if is_due {
            terminal::expire(now);
            self.console_deadline = terminal::deadline().unwrap_or(NEVER);
        }
        is_due
    }

    /// Has the timer fire at `deadline`, and for the console if that is earlier. In ticks; [`NEVER`]: not at all.
    #[inline(always)]
    pub fn set_timer(&mut self, deadline: u64) {
        let earliest = deadline.min(self.console_deadline);
        // The timer is a level: else it is as it was set, fired or not.
        if earliest != self.deadline {
            self.arm(earliest);
        }
    }

    /// Makes the timer fire at `deadline`, in ticks, if it would fire later, or not at all.
    pub fn set_earlier(&mut self, deadline: u64) {
        if deadline < self.deadline {
            self.arm(deadline);
        }
    }

    fn arm(&mut self, deadline: u64) {
        self.deadline = deadline;
        match deadline {
            NEVER => self.machine.clock.disarm(),
            deadline => self.machine.clock.set_deadline(deadline),
        }
    }
}

/// Has firmware clear what guests taught this core, at each of their exits.
fn harden(index: usize, hardening: &Hardening) {
    match hardening.before_el2() {
        BeforeEl2::Call(function) => {
            harden_exits(function);
            log::info!("core {index}: exits are hardened");
        }
        BeforeEl2::NotNeeded => log::info!("core {index}: exits need no hardening"),
        BeforeEl2::Impossible => log::warn!(
            "core {index}: exits are not hardened: firmware offers neither SMCCC_ARCH_WORKAROUND_1 nor 3; use TF-A, or \
             leave tessera.harden out"
        ),
    }
}
