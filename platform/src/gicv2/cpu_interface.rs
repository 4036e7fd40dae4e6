//! The core's own interface (IHI 0048B, 4.4): taking and ending interrupts. Each core sees its own at the same address.

use crate::gic::{Acknowledged, GicError};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_structs;
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};

register_structs! {
    /// Registers of the CPU interface, IHI 0048B table 4-2. The virtual one (GICV) has the same.
    pub CpuInterfaceRegisters {
        (0x0000 => pub(super) ctlr: ReadWrite<u32>),
        (0x0004 => pub(super) pmr: ReadWrite<u32>),
        (0x0008 => pub(super) bpr: ReadWrite<u32>),
        (0x000c => pub(super) iar: ReadOnly<u32>),
        (0x0010 => pub(super) eoir: WriteOnly<u32>),
        (0x0014 => _running_and_aliases),
        (0x00d0 => pub(super) apr: [ReadWrite<u32>; 4]),
        (0x00e0 => _nsapr),
        (0x00fc => pub(super) iidr: ReadOnly<u32>),
        (0x0100 => _reserved0),
        (0x1000 => pub(super) dir: WriteOnly<u32>),
        (0x1004 => _reserved1),
        (0x2000 => @END),
    }
}

/// GICC_CTLR (4.4.1) bit 0: signal interrupts of our group, as in the distributor's. AckCtl, FIQEn and CBPR stay off.
const ENABLE: u32 = 1;
/// GICC_CTLR.EOImode: EOImodeNS as a Non-secure access sees it, EOImodeS without Security Extensions.
const TWO_STEPS: u32 = 1 << 9;
/// GICC_PMR: all priorities pass.
const ALL_PRIORITIES: u32 = 0xff;

/// GICC_IIDR and GICV_IIDR, architecture version (4.4.14): is it a GICv2's?
pub(super) const fn is_gicv2(iidr: u32) -> bool {
    iidr >> 16 & 0xf == 2
}

/// Lets the calling core take interrupts of every priority.
pub(super) fn initialize(registers: &CpuInterfaceRegisters) -> Result<(), GicError> {
    registers.ctlr.set(0);
    registers.pmr.set(ALL_PRIORITIES);
    registers.bpr.set(0);
    registers.apr.iter().for_each(|register| register.set(0));
    registers.ctlr.set(ENABLE | TWO_STEPS);
    // Without, a guest's own end could not do the second step.
    match registers.ctlr.get() & TWO_STEPS {
        0 => Err(GicError::NotReady("end of interrupts in two steps (GICC_CTLR.EOImode)")),
        _ => Ok(()),
    }
}

#[inline]
pub(super) fn acknowledge(registers: &CpuInterfaceRegisters) -> Option<Acknowledged> {
    Acknowledged::from_register(registers.iar.get())
}

// The interrupt's number is written back as it was read: for an SGI with its sender (4.4.5).

#[inline]
pub(super) fn end(registers: &CpuInterfaceRegisters, interrupt: Acknowledged) {
    registers.eoir.set(interrupt.raw());
}

#[inline]
pub(super) fn deactivate(registers: &CpuInterfaceRegisters, interrupt: Acknowledged) {
    registers.dir.set(interrupt.raw());
}
