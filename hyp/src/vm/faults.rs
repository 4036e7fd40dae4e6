//! What becomes of an access that Stage 2 refused: the one place where a VM's memory and its devices decide that.

use tessera_memory::physmap::Outcome;
use tessera_memory::{Error, GuestFault};

use super::Vm;
use crate::life::{CrashReason, StopReason};

/// What is to be done about a refused access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The guest repeats it: it is allowed now.
    Retry,
    /// A device is to carry it out.
    Emulate,
    /// The guest is told: nothing is there, or nothing that may be accessed so.
    Inject,
    /// The VM cannot go on.
    Stop(StopReason),
}

impl Vm {
    /// Decides about a refused access, and does what makes it possible.
    #[inline(always)]
    pub fn resolve(&self, fault: &GuestFault) -> Resolution {
        let outcome = self.memory.lock().resolve(fault);
        match outcome {
            Ok(Outcome::Allowed | Outcome::Claimed(_)) => Resolution::Retry,
            Ok(Outcome::Copied { .. }) => {
                self.counters.copied_page();
                Resolution::Retry
            }
            Ok(Outcome::Absent) if self.is_for_device(fault) => Resolution::Emulate,
            Err(Error::ReservationEmpty) => {
                Resolution::Stop(StopReason::Crashed(CrashReason::OutOfMemory { address: fault.ipa().get() }))
            }
            Ok(Outcome::Absent | Outcome::Denied) | Err(_) => Resolution::Inject,
        }
    }

    /// Devices are for loads and stores: no code lies there, and no tables.
    fn is_for_device(&self, fault: &GuestFault) -> bool {
        use tessera_memory::FaultKind::{Read, Write};
        matches!(fault.kind, Read | Write) && self.has_device_at(fault.ipa().get())
    }
}
