//! How this crate sees the machine: physical memory and TLB maintenance.
//!
//! Here belong the primitives, one call for one thing the hardware does. The *order* in which they are used is not
//! here but in [`crate::physmap`]; what they do on hardware is the implementor's, in the hypervisor.

use crate::address::{Ipa, Pa, Span};
use crate::vmid::Vmid;

/// A Stage-2 translation regime: a root table and the VMID that TLB entries made from it carry.
///
/// A VM may have several (shadow modes): nothing here assumes one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Context {
    vmid: Vmid,
    root: Pa,
}

impl Context {
    pub(crate) const fn new(vmid: Vmid, root: Pa) -> Self {
        Self { vmid, root }
    }

    /// The VMID.
    #[must_use]
    pub const fn vmid(self) -> Vmid {
        self.vmid
    }

    /// The root table.
    #[must_use]
    pub const fn root(self) -> Pa {
        self.root
    }

    /// The value of VTTBR_EL2 that selects this context.
    #[must_use]
    pub const fn vttbr(self) -> u64 {
        (self.vmid.get() as u64) << 48 | self.root.get()
    }
}

/// Machine memory, as far as this crate touches it: tables word by word, guest memory only whole pages at a time.
pub trait PhysicalMemory {
    /// Reads one 64-bit descriptor. `address` is 8-byte aligned and lies in a frame of a table.
    ///
    /// Must be a single 64-bit access.
    fn read(&self, address: Pa) -> u64;

    /// Writes one 64-bit descriptor. `address` is 8-byte aligned and lies in a frame of a table.
    ///
    /// Must be a single 64-bit access: the hardware may walk the table meanwhile. The walker need not see the write
    /// before [`Self::publish`].
    fn write(&mut self, address: Pa, value: u64);

    /// Makes all earlier [`Self::write`]s visible to the table walkers of all cores: DSB ISHST.
    fn publish(&mut self);

    /// Fills whole frames with zeros and returns when everybody sees that, a guest whose caches are off included:
    /// data cleaned to the point of coherency, DSB.
    ///
    /// The guest may execute from the frames next: what the instruction caches hold of them must be gone too.
    fn zero(&mut self, frames: Span<Pa>);

    /// Copies one frame, and returns when everybody sees the copy, as with [`Self::zero`].
    fn copy_page(&mut self, from: Pa, to: Pa);
}

/// TLB maintenance, each primitive for the Stage-2 context it names.
///
/// The architecture takes the VMID from VTTBR_EL2: unless the context is the one in the register already, the
/// implementor switches there and back (VTTBR_EL2 write, ISB, operation, and DSB before the way back). All operations
/// are the inner-shareable ones: they reach every core.
///
/// On cores where a TLBI and its DSB may complete early (CVE-2025-10263) the implementor repeats the operation
/// and the DSB; the sequence that this crate uses stays the same.
pub trait TlbMaintenance {
    /// Drops what is cached from Stage 2 alone for the page at `ipa`, of any level and size, table entries met on the
    /// way included: TLBI IPAS2E1IS.
    fn invalidate_ipa(&mut self, context: Context, ipa: Ipa);

    /// Drops everything that Stage 1, or both stages combined, have been cached as for the VMID: TLBI VMALLE1IS.
    fn invalidate_stage_1(&mut self, context: Context);

    /// Drops everything for the VMID: TLBI VMALLS12E1IS.
    fn invalidate_all(&mut self, context: Context);

    /// Returns when all maintenance begun before is complete on all cores: DSB ISH.
    fn complete(&mut self);

    /// This core starts afresh with what is now in place: ISB.
    fn synchronize(&mut self);
}

/// A machine is memory and TLBs together.
pub trait Machine: PhysicalMemory + TlbMaintenance {}

impl<T: PhysicalMemory + TlbMaintenance> Machine for T {}
