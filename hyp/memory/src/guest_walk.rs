//! The guest's own Stage-1 translation, walked in software (Arm ARM, D8.2 to D8.4; the EL1&0 regime of Armv8.0).
//!
//! Needed where the hardware does not say enough: to fetch an instruction that ESR_EL2 does not describe (ISV = 0),
//! or to find the physical address of a permission fault. Everything read here is the guest's word: a walk is
//! bounded, never fails otherwise than by a [`Fault`], and what it yields is an [`Ipa`] that still has to be looked
//! up.
//!
//! All three granules. Not here, for being hidden from guests: 52-bit addresses, FEAT_TTST, permission overlays. Not here
//! either, as they change no address and which tables are read: hardware's updates of the access flag and of dirty state (a
//! flag of 0 is a fault at the table that has it), and hierarchical permissions that are disabled.

use crate::address::{Ipa, Va};
use core::fmt;

/// The guest's translation registers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Registers {
    /// SCTLR_EL1: M and WXN count.
    pub sctlr: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
}

/// What one exception level may do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permissions {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

/// Where a virtual address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The physical address of the very byte.
    pub ipa: Ipa,
    /// The size of the page or block in bytes, a power of two; of a page if the MMU is off.
    pub bytes: u64,
    /// What EL1 may do.
    pub el1: Permissions,
    /// What EL0 may do.
    pub el0: Permissions,
    /// The index into MAIR_EL1, 0 to 7; `None` if the MMU is off.
    pub attribute_index: Option<u8>,
}

/// Why a virtual address leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What was wrong.
    pub kind: FaultKind,
    /// The level of lookup, 0 to 3, as a fault status code has it.
    pub level: u8,
}

/// The kinds of [`Fault`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// No translation.
    Translation,
    /// An address in a register or descriptor is beyond TCR_EL1.IPS.
    AddressSize,
    /// The access flag is clear.
    AccessFlag,
    /// A table lies where the guest has no memory.
    TableWalk,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::Translation => "translation fault",
            FaultKind::AddressSize => "address size fault",
            FaultKind::AccessFlag => "access flag fault",
            FaultKind::TableWalk => "no memory behind a table",
        };
        write!(out, "{what} at level {}", self.level)
    }
}

impl core::error::Error for Fault {}

impl Fault {
    /// The fault status code (ESR_ELx.ISS bits 5 to 0) by which a guest would learn of it.
    #[must_use]
    pub fn status_code(self) -> u8 {
        let base = match self.kind {
            FaultKind::AddressSize => 0b00_0000,
            FaultKind::Translation => 0b00_0100,
            FaultKind::AccessFlag => 0b00_1000,
            FaultKind::TableWalk => 0b01_0100,
        };
        base | self.level & 0b11
    }
}

/// Translates `va` as the guest's hardware would. `read` gives the 8-byte-aligned 64-bit word at a physical address
/// of the guest, `None` where it has no memory; it is called at most four times.
///
/// # Errors
/// The [`Fault`] that the hardware would take, permissions left aside: those are in the result.
pub fn walk(registers: &Registers, va: Va, read: impl FnMut(Ipa) -> Option<u64>) -> Result<Translation, Fault> {
    const MMU_ON: u64 = 1;
    if registers.sctlr & MMU_ON == 0 {
        return flat(registers, va);
    }
    let half = Half::of(registers, va)?;
    Walk { half, va, output_bits: output_bits(registers.tcr), read }.run().map(|leaf| leaf.translate(registers, va))
}

/// With the MMU off an address is its own translation, but for a tag.
fn flat(registers: &Registers, va: Va) -> Result<Translation, Fault> {
    let address = untagged(registers.tcr, va);
    if address >> 48 != 0 {
        return Err(Fault { kind: FaultKind::AddressSize, level: 0 });
    }
    let all = Permissions { read: true, write: true, execute: true };
    Ok(Translation { ipa: Ipa::new(address), bytes: 4096, el1: all, el0: all, attribute_index: None })
}

/// The address with its top byte replaced by copies of bit 55, if TCR_EL1 has that byte ignored.
fn untagged(tcr: u64, va: Va) -> u64 {
    const TBI0: u32 = 37;
    let upper = va.get() >> 55 & 1;
    if tcr >> (TBI0 + upper as u32) & 1 == 0 {
        return va.get();
    }
    let low = va.get() & ((1 << 56) - 1);
    if upper == 1 { low | 0xff << 56 } else { low }
}

/// How many bits TCR_EL1.IPS allows a physical address, at most 48.
fn output_bits(tcr: u64) -> u32 {
    match tcr >> 32 & 0b111 {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// The half of the address space that an address is in, as the registers lay it out.
struct Half {
    table: u64,
    /// Base-2 logarithm of the granule: 12, 14 or 16.
    granule: u32,
    /// How many bits of the address are translated.
    input_bits: u32,
}

impl Half {
    fn of(registers: &Registers, va: Va) -> Result<Self, Fault> {
        let fault = Fault { kind: FaultKind::Translation, level: 0 };
        let tcr = registers.tcr;
        let upper = va.get() >> 55 & 1 == 1;
        let (fields, table) = if upper { (tcr >> 16, registers.ttbr1) } else { (tcr, registers.ttbr0) };
        let size = (fields & 0b11_1111) as u32;
        let disabled = fields >> 7 & 1 == 1;
        let granule = if upper { granule1(fields >> 14 & 0b11) } else { granule0(fields >> 14 & 0b11) };
        let granule = granule.ok_or(fault)?;
        // Outside of 16 to 39 the architecture lets hardware fault: so does this.
        if disabled || !(16..=39).contains(&size) {
            return Err(fault);
        }
        let input_bits = 64 - size;
        let top = untagged(tcr, va) >> input_bits;
        let expected = if upper { u64::MAX >> input_bits } else { 0 };
        if top != expected {
            return Err(fault);
        }
        Ok(Self { table, granule, input_bits })
    }

    /// Bits that one level resolves.
    fn stride(&self) -> u32 {
        self.granule - 3
    }

    fn start_level(&self) -> u32 {
        4_u32.saturating_sub((self.input_bits - self.granule).div_ceil(self.stride()))
    }

    /// The lowest bit of the address that `level` resolves.
    fn shift(&self, level: u32) -> u32 {
        self.granule + self.stride() * (3 - level)
    }

    /// The root, aligned to its size, or to 64 bytes if it is smaller (Arm ARM, TTBR0_EL1.BADDR).
    fn root(&self) -> u64 {
        let index_bits = self.input_bits - self.shift(self.start_level());
        field(self.table, (index_bits + 3).max(6), 48)
    }
}

fn granule0(field: u64) -> Option<u32> {
    [Some(12), Some(16), Some(14), None].get(field as usize).copied().flatten()
}

fn granule1(field: u64) -> Option<u32> {
    [None, Some(14), Some(12), Some(16)].get(field as usize).copied().flatten()
}

/// Bits `low` up to, not including, `high`, where they are.
fn field(value: u64, low: u32, high: u32) -> u64 {
    value & ((1 << high) - (1 << low))
}

/// What the descriptors of the tables on the way to a leaf take away.
#[derive(Clone, Copy, Default)]
struct Hierarchical {
    no_el0: bool,
    no_write: bool,
    no_el0_execute: bool,
    no_el1_execute: bool,
}

impl Hierarchical {
    fn and(self, table: u64) -> Self {
        Self {
            no_el0: self.no_el0 || table >> 61 & 1 == 1,
            no_write: self.no_write || table >> 62 & 1 == 1,
            no_el0_execute: self.no_el0_execute || table >> 60 & 1 == 1,
            no_el1_execute: self.no_el1_execute || table >> 59 & 1 == 1,
        }
    }
}

struct Walk<R> {
    half: Half,
    va: Va,
    output_bits: u32,
    read: R,
}

impl<R: FnMut(Ipa) -> Option<u64>> Walk<R> {
    fn run(mut self) -> Result<Leaf, Fault> {
        let start = self.half.start_level();
        let mut table = self.output(self.half.root(), 0)?;
        let mut limits = Hierarchical::default();
        for level in start..=3 {
            let descriptor = self.read_entry(table, level)?;
            let block_allowed = level == 2 || level == 1 && self.half.granule == 12;
            match (descriptor & 0b11, level) {
                (0b11, 3) => return self.leaf(descriptor, level, limits),
                (0b01, 0..=2) if block_allowed => return self.leaf(descriptor, level, limits),
                (0b11, _) => {
                    table = self.output(field(descriptor, self.half.granule, 48), level)?;
                    limits = limits.and(descriptor);
                }
                _ => return Err(fault(FaultKind::Translation, level)),
            }
        }
        Err(fault(FaultKind::Translation, 3))
    }

    fn read_entry(&mut self, table: u64, level: u32) -> Result<u64, Fault> {
        let shift = self.half.shift(level);
        let top = (shift + self.half.stride()).min(self.half.input_bits);
        let index = field(self.va.get(), shift, top) >> shift;
        (self.read)(Ipa::new(table | index << 3)).ok_or(fault(FaultKind::TableWalk, level))
    }

    fn leaf(&self, descriptor: u64, level: u32, limits: Hierarchical) -> Result<Leaf, Fault> {
        let shift = self.half.shift(level);
        let output = self.output(field(descriptor, shift, 48), level)?;
        if descriptor >> 10 & 1 == 0 {
            return Err(fault(FaultKind::AccessFlag, level));
        }
        Ok(Leaf { descriptor, output, shift, limits })
    }

    fn output(&self, address: u64, level: u32) -> Result<u64, Fault> {
        if address >> self.output_bits != 0 { Err(fault(FaultKind::AddressSize, level)) } else { Ok(address) }
    }
}

fn fault(kind: FaultKind, level: u32) -> Fault {
    Fault { kind, level: level as u8 }
}

/// The end of a walk.
struct Leaf {
    descriptor: u64,
    output: u64,
    shift: u32,
    limits: Hierarchical,
}

impl Leaf {
    fn translate(&self, registers: &Registers, va: Va) -> Translation {
        let writable = !self.bit(7) && !self.limits.no_write;
        let el0 = self.bit(6) && !self.limits.no_el0;
        // WXN: what may be written may not be executed.
        let write_excludes_execute = registers.sctlr >> 19 & 1 == 1;
        let el0_write = el0 && writable;
        // What EL0 may write, EL1 never executes, whatever WXN says.
        let el1_execute = !self.bit(53) && !self.limits.no_el1_execute && !el0_write;
        let el0_execute = !self.bit(54) && !self.limits.no_el0_execute;
        Translation {
            ipa: Ipa::new(self.output | field(va.get(), 0, self.shift)),
            bytes: 1 << self.shift,
            el1: Permissions {
                read: true,
                write: writable,
                execute: el1_execute && !(write_excludes_execute && writable),
            },
            el0: Permissions {
                read: el0,
                write: el0_write,
                execute: el0_execute && !(write_excludes_execute && el0_write),
            },
            attribute_index: Some((self.descriptor >> 2 & 0b111) as u8),
        }
    }

    fn bit(&self, number: u32) -> bool {
        self.descriptor >> number & 1 == 1
    }
}

#[cfg(test)]
mod tests;
