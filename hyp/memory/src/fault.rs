//! An access of a guest that its Stage 2 refused.
//!
//! Whoever reads the processor's syndrome makes one of these; whether the access is allowed, by now or after a copy, is
//! [`crate::PhysMap::resolve`]'s to say, and what stands behind a page that is not mapped is its caller's.

use crate::address::{Address, Ipa, PAGE_SIZE, Va};
use crate::descriptor::Attributes;

/// What kind of access was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// A load.
    Read,
    /// A store, or what counts as one: an atomic access, cache maintenance.
    Write,
    /// The fetch of an instruction.
    Fetch,
    /// The walk of the guest's own tables read a descriptor.
    WalkRead,
    /// The walk was about to set an access flag or a dirty state in one (FEAT_HAFDBS).
    WalkUpdate,
}

/// A refused access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestFault {
    /// The page that was accessed: of a walk, the one of the guest's table.
    pub page: Ipa,
    /// How.
    pub kind: FaultKind,
    /// The virtual address of the access; of a walk, of the access that it was for.
    pub va: Va,
}

impl GuestFault {
    /// The physical address of the very byte; of a walk, whose virtual address is another's, of the page.
    #[must_use]
    pub fn ipa(&self) -> Ipa {
        let offset = if self.kind.is_walk() { 0 } else { self.va.get() % PAGE_SIZE };
        Ipa::from_value(self.page.page().get() | offset)
    }
}

impl FaultKind {
    /// The walk of the guest's own tables, rather than an access of an instruction.
    #[must_use]
    pub const fn is_walk(self) -> bool {
        matches!(self, Self::WalkRead | Self::WalkUpdate)
    }

    /// Whether memory would change.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Write | Self::WalkUpdate)
    }

    /// Whether a page with these attributes allows it.
    ///
    /// A table must not lie in a device's memory: there, reads have side effects, and HCR_EL2.PTW makes a permission fault of
    /// the walk.
    #[inline(always)]
    #[must_use]
    pub const fn is_allowed(self, attributes: Attributes) -> bool {
        let access = attributes.access;
        match self {
            Self::Read => access.read,
            Self::Write => access.write,
            Self::Fetch => access.execute,
            Self::WalkRead => access.read && !attributes.memory.is_device(),
            Self::WalkUpdate => access.read && access.write && !attributes.memory.is_device(),
        }
    }
}
