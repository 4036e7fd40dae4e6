//! Does the hardware do what list registers with HW = 1 promise?
//!
//! When a guest ends such an interrupt, the physical one becomes inactive with it, and if its line is still high it must
//! come again. QEMU (up to 10.0 at least) forgets the second half on a GICv2: it looks at the lines anew only at the next
//! access of the physical GIC, or when the line of the maintenance interrupt changes. So both are tried once at boot, with
//! EL2 as the guest.

use super::{Driver, ENABLE};
use crate::gic::Controller;
use crate::interrupt_id::IntId;
use crate::system_registers::{synchronize_context, system_registers};
use tock_registers::interfaces::{Readable, Writeable};

system_registers! {
    /// Which exceptions are pending, masked or not.
    IsrEl1 = "ISR_EL1";
}

/// ISR_EL1.I.
const IRQ_PENDING: u64 = 1 << 7;
/// GICH_VMCR (5.3.4): Group 0 enabled, all priorities pass.
const GUEST_CONTROL: u32 = 0x1f << 27 | 1;
/// GICH_LR (5.3.11): HW, and pending, in Group 0, of the highest priority.
const HARDWARE_PENDING: u32 = 1 << 31 | 1 << 28;
/// How often the interrupt is looked for: far longer than it takes to come.
const LOOKS: usize = 1000;
/// How often all is tried: something else may make a GIC that forgets look at its lines by chance.
const TRIALS: usize = 3;

impl Driver {
    /// Whether a guest's end of an interrupt brings the physical one again while its line is high. `timer` is a private,
    /// level-sensitive interrupt whose line `raise` makes high until `lower` is called.
    ///
    /// To be called on a core that [`Controller::initialize_core`] has set up, with interrupts masked, before it enables
    /// any interrupt. Leaves the core's own part of the controller as that does.
    pub fn ends_in_hardware(&self, timer: IntId, raise: impl Fn(), lower: impl Fn()) -> bool {
        self.prepare();
        self.virtual_interface.set_control(ENABLE);
        let works = self.try_ends(timer, raise, lower);
        self.clean_up();
        works
    }

    /// The same while the maintenance interrupt is [held back](Driver::hold_maintenance) and the last list register is in
    /// use, so that the line of the maintenance interrupt rises at the end.
    pub fn ends_when_nudged(&self, timer: IntId, raise: impl Fn(), lower: impl Fn()) -> bool {
        if self.virtual_interface.list_register_count() < 2 {
            return false;
        }
        self.prepare();
        self.virtual_interface.anchor();
        self.hold_maintenance();
        let works = self.try_ends(timer, raise, lower);
        self.release_maintenance();
        self.clean_up();
        works
    }

    fn prepare(&self) {
        self.clear_list_registers();
        self.virtual_interface.set_guest_control(GUEST_CONTROL);
        self.virtual_interface.set_active_priorities(0);
        self.virtual_cpu_interface.bpr.set(0);
    }

    fn clean_up(&self) {
        self.clear_list_registers();
        self.virtual_interface.set_control(0);
        self.virtual_interface.set_guest_control(0);
    }

    fn clear_list_registers(&self) {
        let count = self.virtual_interface.list_register_count();
        (0..count).for_each(|index| self.virtual_interface.set_list_register(index, 0));
    }

    fn try_ends(&self, timer: IntId, raise: impl Fn(), lower: impl Fn()) -> bool {
        (0..TRIALS).all(|_| {
            self.enable(timer);
            raise();
            let comes_again = self.comes_again(timer);
            lower();
            self.disable(timer);
            self.virtual_interface.set_list_register(0, 0);
            // Where it stayed active.
            self.clear_active(timer);
            comes_again
        })
    }

    /// Takes the interrupt, gives it to the guest that EL2 plays, and ends it as that. Its line is high throughout.
    fn comes_again(&self, timer: IntId) -> bool {
        let Some(taken) = (0..LOOKS).find_map(|_| self.acknowledge()) else { return false };
        self.end(taken);
        if taken.id() != timer {
            self.deactivate(taken);
            return false;
        }
        let number = timer.number();
        self.virtual_interface.set_list_register(0, HARDWARE_PENDING | number << 10 | number);
        // Nobody looks at ISR_EL1 meanwhile: only what happens after the end counts.
        let seen = (0..LOOKS).find_map(|_| Some(self.virtual_cpu_interface.iar.get()).filter(|iar| *iar == number));
        self.virtual_cpu_interface.eoir.set(number);
        seen.is_some() && (0..LOOKS).any(|_| is_interrupt_pending())
    }
}

fn is_interrupt_pending() -> bool {
    synchronize_context();
    IsrEl1.read() & IRQ_PENDING != 0
}
