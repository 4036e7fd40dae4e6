//! The registers of GICv3: distributor, redistributors, and the system registers that generate SGIs.
//!
//! Here belongs how a guest's access maps to operations on banks, and nothing of what these do. There is one security
//! state (`GICD_CTLR.DS` = 1) with two groups, affinity routing is always on, and there are no LPIs, as on QEMU's `virt`
//! without its secure world. Whatever is reserved, misaligned, of the wrong size or out of range reads as zero and ignores
//! writes.

mod distributor;
mod redistributor;
mod sgi;

pub use redistributor::REDISTRIBUTOR_SIZE;
pub use sgi::SgiRegister;

use super::bank::{Bank, BitRegister, Change};

/// The bit registers occupy seven blocks of 0x80 bytes from here, in this order.
const BIT_REGISTERS: [BitRegister; 7] = [
    BitRegister::Group,
    BitRegister::SetEnable,
    BitRegister::ClearEnable,
    BitRegister::SetPending,
    BitRegister::ClearPending,
    BitRegister::SetActive,
    BitRegister::ClearActive,
];

/// `GICD_IIDR` and `GICR_IIDR`: implemented by Arm.
const IMPLEMENTER: u32 = 0x43b;

/// A register that `GICD` and the second frame of `GICR` have at the same offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// 32 interrupts, one bit each: which register, which word.
    Bits(BitRegister, usize),
    /// Priorities, one byte each: of the first interrupt accessed.
    Priority(usize),
    /// Configurations, two bits each: of the first interrupt of the word.
    Trigger(usize),
    /// Another, or none.
    Other,
}

/// Finds the register at `offset` for an aligned access of `size` bytes.
#[inline]
pub(super) fn decode(offset: u64, size: usize) -> Register {
    let offset = offset as usize;
    match (offset >> 7, size) {
        (block @ 1..=7, 4) => Register::Bits(BIT_REGISTERS[block - 1], offset >> 2 & 31),
        (8..=15, 1 | 2 | 4) => Register::Priority(offset & 0x3ff),
        (24..=25, 4) => Register::Trigger((offset & 0xff) << 2),
        _ => Register::Other,
    }
}

/// Whether an access is one that a bus can carry to a register.
#[inline]
pub(super) fn is_aligned(offset: u64, size: usize) -> bool {
    matches!(size, 1 | 2 | 4 | 8) && offset & (size as u64 - 1) == 0
}

/// Reads `size` priorities from interrupt `index` of the bank on.
pub(super) fn read_priorities(bank: &Bank, index: usize, size: usize) -> u64 {
    (0..size).fold(0, |value, byte| value | u64::from(bank.priority[(index + byte) & 31]) << (8 * byte))
}

/// Writes `size` priorities from interrupt `index` of the bank on.
pub(super) fn write_priorities(bank: &mut Bank, index: usize, size: usize, value: u64) -> Change {
    (0..size).fold(Change::default(), |change, byte| {
        change.and(bank.set_priority((index + byte) & 31, (value >> (8 * byte)) as u8))
    })
}

/// Reads `ICFGR`: the upper of each two bits says whether one of 16 interrupts from `index` on is edge-triggered.
pub(super) fn read_triggers(bank: &Bank, index: usize) -> u64 {
    let edge = bank.edge >> (index & 16);
    (0..16).fold(0, |value, interrupt| value | u64::from(edge >> interrupt & 1) << (2 * interrupt + 1))
}

/// Writes `ICFGR`.
pub(super) fn write_triggers(bank: &mut Bank, index: usize, value: u64) -> Change {
    let edge = (0..16).fold(0, |edge, interrupt| edge | (value as u32 >> (2 * interrupt + 1) & 1) << interrupt);
    bank.set_edge(0xffff << (index & 16), edge << (index & 16))
}

/// The identification registers at 0xffd0 to 0xfffc, which say GICv3; `part` is the low byte of the part number.
pub(super) fn identification(offset: u64, part: u8) -> u32 {
    const FIRST: u64 = 0xffd0;
    let values = [0x44, 0, 0, 0, part, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
    let index = offset.checked_sub(FIRST).map_or(usize::MAX, |distance| distance as usize / 4);
    values.get(index).copied().map_or(0, u32::from)
}
