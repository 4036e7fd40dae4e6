//! The registers of GICv3: distributor, redistributors, and the system registers that generate SGIs.
//!
//! Here belongs how a guest's access maps to operations on banks, and nothing of what these do; what GICv2 has as well is in `registers`. There is one security
//! state (`GICD_CTLR.DS` = 1) with two groups, affinity routing is always on, and there are no LPIs, as on QEMU's `virt`
//! without its secure world. Whatever is reserved, misaligned, of the wrong size or out of range reads as zero and ignores
//! writes.

mod distributor;
mod redistributor;
mod sgi;

pub use redistributor::REDISTRIBUTOR_SIZE;
pub use sgi::SgiRegister;

/// `GICD_IIDR` and `GICR_IIDR`: implemented by Arm.
const IMPLEMENTER: u32 = 0x43b;

/// The identification registers at 0xffd0 to 0xfffc, which say GICv3; `part` is the low byte of the part number.
pub(super) fn identification(offset: u64, part: u8) -> u32 {
    const FIRST: u64 = 0xffd0;
    let values = [0x44, 0, 0, 0, part, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
    let index = offset.checked_sub(FIRST).map_or(usize::MAX, |distance| distance as usize / 4);
    values.get(index).copied().map_or(0, u32::from)
}
