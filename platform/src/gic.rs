//! What the hypervisor needs of any GIC: the interface that each version's driver has, and the choice between them.
//!
//! Physical interrupts only. What guests see of interrupts is modelled above; the registers that help with it are in
//! the versions' own modules ([`crate::gicv3::virtual_interface`], [`crate::gicv2::virtual_interface`]).

use crate::affinity::Affinity;
use crate::board::InterruptController;
use crate::gicv2;
use crate::gicv3;
use crate::interrupt_id::{IntId, Trigger};
use core::fmt;

/// Why an interrupt controller cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicError {
    /// What is at `address` does not answer as this part of a GIC of this version does.
    NotThere {
        /// Name of the part.
        part: &'static str,
        /// The version, 2 or 3.
        version: u8,
        /// Machine address of its registers.
        address: u64,
    },
    /// No region of redistributors has the one of this core.
    NoRedistributor(Affinity),
    /// This part of the controller did not become ready.
    NotReady(&'static str),
    /// The core's interface cannot be used by system registers: firmware at EL3 must allow it.
    NoSystemRegisters,
}

impl fmt::Display for GicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere { part, version, address } => {
                write!(
                    f,
                    "interrupt controller: at {address:#x} there is no {part} of a GICv{version}: correct reg and \
                     compatible of its node in the device tree, or have firmware enable it"
                )
            }
            Self::NoRedistributor(core) => {
                write!(
                    f,
                    "interrupt controller: core {core} has no redistributor: list the region that holds it in the \
                     device tree"
                )
            }
            Self::NotReady(part) => {
                write!(f, "interrupt controller: the {part} does not become ready")
            }
            Self::NoSystemRegisters => {
                write!(f, "interrupt controller: firmware does not allow EL2 the ICC registers (ICC_SRE_EL3.Enable)")
            }
        }
    }
}

impl core::error::Error for GicError {}

/// An interrupt that a core has taken and must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    id: IntId,
    /// What the controller said: a GICv2 wants an SGI's sender back.
    raw: u32,
}

impl Acknowledged {
    /// What the acknowledge register `raw` reads; `None` for the special INTIDs (1020 and up): nothing to do.
    pub const fn from_register(raw: u32) -> Option<Self> {
        // Bits 12..10 are an SGI's sender on a GICv2; a GICv3 has INTIDs there only for LPIs, which are never enabled.
        match IntId::new(raw & 0x3ff) {
            Some(id) => Some(Self { id, raw }),
            None => None,
        }
    }

    /// Which interrupt it is.
    pub const fn id(self) -> IntId {
        self.id
    }

    /// What the controller wants to be told at its end.
    pub const fn raw(self) -> u32 {
        self.raw
    }
}

/// To end an interrupt later than where it was taken; right for all but the SGIs of a GICv2.
impl From<IntId> for Acknowledged {
    fn from(id: IntId) -> Self {
        Self { id, raw: id.number() }
    }
}

/// A GIC, as the hypervisor uses it: all interrupts in one group, each taken in two steps (priority drop, deactivation).
///
/// For private interrupts (SGIs and PPIs) the calling core's are meant. All methods may be called on several cores
/// at once, except `set_trigger` and `initialize`.
pub trait Controller {
    /// Sets up what the cores share: every shared interrupt off, idle, level-sensitive, of priority
    /// [`DEFAULT_PRIORITY`], to the calling core. To be called once, before `initialize_core` anywhere.
    fn initialize(&self) -> Result<(), GicError>;

    /// Sets up what the calling core has of its own (private interrupts off and idle) and lets it take interrupts.
    fn initialize_core(&self) -> Result<(), GicError>;

    /// How many INTIDs there are, from 0 (at least 32).
    fn interrupt_count(&self) -> u32;

    /// Lets `id` through.
    fn enable(&self, id: IntId);

    /// No longer lets `id` through, from the return on.
    fn disable(&self, id: IntId);

    /// Whether `id` is let through.
    fn is_enabled(&self, id: IntId) -> bool;

    /// Sets the priority, 0 the most urgent; the low bits that the hardware does not have are ignored.
    fn set_priority(&self, id: IntId, priority: u8);

    /// Sets how the device signals `id`, which must be disabled. Not to be called on two cores at once.
    fn set_trigger(&self, id: IntId, trigger: Trigger);

    /// Sends shared interrupt `id` to `core`; nothing happens for a private one.
    fn route(&self, id: IntId, core: Affinity);

    /// Makes `id` pending.
    fn set_pending(&self, id: IntId);

    /// Makes `id` not pending, for as long as its line is low.
    fn clear_pending(&self, id: IntId);

    /// Whether `id` is pending.
    fn is_pending(&self, id: IntId) -> bool;

    /// Makes `id` active, as if it had been taken.
    fn set_active(&self, id: IntId);

    /// Makes `id` inactive, as if it had been deactivated.
    fn clear_active(&self, id: IntId);

    /// Whether `id` is active.
    fn is_active(&self, id: IntId) -> bool;

    /// Takes the most urgent pending interrupt; `None` if there is none after all.
    fn acknowledge(&self) -> Option<Acknowledged>;

    /// Lets interrupts of the same and lower priority come again; this one stays active.
    fn end(&self, interrupt: Acknowledged);

    /// Lets this interrupt itself come again.
    fn deactivate(&self, interrupt: Acknowledged);

    /// Sends software-generated interrupt `id` to `core`, after all memory accesses before it are done; nothing
    /// happens for an interrupt that is no SGI.
    fn send_sgi(&self, id: IntId, core: Affinity);
}

/// The priority that interrupts have unless set otherwise: in the middle.
pub const DEFAULT_PRIORITY: u8 = 0xa0;

/// The board's GIC, of whichever version.
#[derive(Debug)]
pub enum Gic {
    /// A GICv2.
    V2(gicv2::Driver),
    /// A GICv3 or GICv4.
    V3(gicv3::Driver),
}

impl Gic {
    /// The driver for the board's interrupt controller. Changes nothing yet.
    ///
    /// # Safety
    ///
    /// All its regions must be mapped at their machine addresses (or the MMU off), for good.
    pub unsafe fn new(controller: &InterruptController) -> Result<Self, GicError> {
        match controller {
            InterruptController::GicV3(layout) => {
                // SAFETY: as promised by the caller.
                unsafe { gicv3::Driver::new(layout) }.map(Self::V3)
            }
            InterruptController::GicV2(layout) => {
                // SAFETY: as promised by the caller.
                unsafe { gicv2::Driver::new(layout) }.map(Self::V2)
            }
        }
    }

    /// Its version, which is also that of the guests' GIC: 2 or 3.
    pub fn version(&self) -> u8 {
        match self {
            Self::V2(_) => 2,
            Self::V3(_) => 3,
        }
    }

    /// How many list registers each core has, 1 to 16.
    pub fn list_register_count(&self) -> usize {
        match self {
            Self::V2(driver) => driver.virtual_interface().list_register_count(),
            Self::V3(_) => gicv3::virtual_interface::list_register_count(),
        }
    }
}

/// Hands each method on to the driver that there is.
macro_rules! dispatch {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl Controller for Gic {$(
            #[inline]
            fn $name(&self $(, $argument: $type)*) $(-> $result)? {
                match self {
                    Self::V2(driver) => driver.$name($($argument),*),
                    Self::V3(driver) => driver.$name($($argument),*),
                }
            }
        )*}
    };
}

dispatch! {
    initialize() -> Result<(), GicError>;
    initialize_core() -> Result<(), GicError>;
    interrupt_count() -> u32;
    enable(id: IntId);
    disable(id: IntId);
    is_enabled(id: IntId) -> bool;
    set_priority(id: IntId, priority: u8);
    set_trigger(id: IntId, trigger: Trigger);
    route(id: IntId, core: Affinity);
    set_pending(id: IntId);
    clear_pending(id: IntId);
    is_pending(id: IntId) -> bool;
    set_active(id: IntId);
    clear_active(id: IntId);
    is_active(id: IntId) -> bool;
    acknowledge() -> Option<Acknowledged>;
    end(interrupt: Acknowledged);
    deactivate(interrupt: Acknowledged);
    send_sgi(id: IntId, core: Affinity);
}
