//! The core's own interface, by system registers (IHI 0069H, 12.2): taking, ending and sending interrupts.

use super::virtual_interface::IchHcr;
use crate::affinity::Affinity;
use crate::gic::{Acknowledged, GicError};
use crate::interrupt_id::IntId;
use crate::system_registers::{synchronize_context, system_registers, wait_for_accesses};

system_registers! {
    /// Whether EL1 uses system registers.
    IccSreEl1 = "ICC_SRE_EL1";
    /// Whether EL2 uses system registers, and EL1 may choose.
    IccSreEl2 = "ICC_SRE_EL2";
    /// Interrupts less urgent than this stay pending.
    IccPmr = "ICC_PMR_EL1";
    /// How much of the priority decides on preemption.
    IccBpr1 = "ICC_BPR1_EL1";
    /// Control, EOImode among it.
    IccCtlr = "ICC_CTLR_EL1";
    /// Whether Group 1 interrupts are taken.
    IccIgrpen1 = "ICC_IGRPEN1_EL1";
    /// Priorities that are active.
    IccAp1r0 = "ICC_AP1R0_EL1";
    /// Read to take an interrupt.
    IccIar1 = "ICC_IAR1_EL1";
    /// Written to drop the priority.
    IccEoir1 = "ICC_EOIR1_EL1";
    /// Written to deactivate.
    IccDir = "ICC_DIR_EL1";
    /// Written to send an SGI.
    IccSgi1r = "ICC_SGI1R_EL1";
}

/// ICC_SRE_ELx: SRE, DFB, DIB.
const USE_SYSTEM_REGISTERS: u64 = 0b111;
/// ICC_PMR_EL1: all priorities pass.
const ALL_PRIORITIES: u64 = 0xff;
/// ICC_CTLR_EL1.EOImode: end and deactivation are two steps, so that a guest's own end can do the second.
const TWO_STEPS: u64 = 1 << 1;

/// Lets the calling core take Group 1 interrupts of every priority.
pub(super) fn initialize() -> Result<(), GicError> {
    // Without Enable (bit 3): EL1's accesses to ICC_SRE_EL1 trap, where that bit can be cleared at all.
    IccSreEl2.write(USE_SYSTEM_REGISTERS);
    synchronize_context();
    if IccSreEl2.read() & 1 == 0 {
        return Err(GicError::NoSystemRegisters);
    }
    IccSreEl1.write(USE_SYSTEM_REGISTERS);
    // Nothing virtual is signalled until somebody sets it up.
    IchHcr.write(0);
    IccPmr.write(ALL_PRIORITIES);
    IccBpr1.write(0);
    IccAp1r0.write(0);
    IccCtlr.write(TWO_STEPS);
    synchronize_context();
    IccIgrpen1.write(1);
    synchronize_context();
    Ok(())
}

#[inline]
pub(super) fn acknowledge() -> Option<Acknowledged> {
    let taken = Acknowledged::from_register(IccIar1.read() as u32);
    // The read must have taken effect before the device is asked anything (IHI 0069H 4.1.1).
    wait_for_accesses();
    taken
}

#[inline]
pub(super) fn end(interrupt: Acknowledged) {
    IccEoir1.write(u64::from(interrupt.raw()));
    synchronize_context();
}

#[inline]
pub(super) fn deactivate(interrupt: Acknowledged) {
    IccDir.write(u64::from(interrupt.raw()));
    synchronize_context();
}

#[inline]
pub(super) fn send_sgi(id: IntId, core: Affinity) {
    if !id.is_sgi() {
        return;
    }
    // The receiver must see what was written before it was called (IHI 0069H 12.1.7).
    wait_for_accesses();
    IccSgi1r.write(sgi_register(id, core));
    synchronize_context();
}

/// ICC_SGI1R_EL1 (12.2.20) for one core: Aff3 in bits 55..48, RS 47..44, Aff2 39..32, INTID 27..24, Aff1 23..16 and
/// the bit of Aff0 % 16 in 15..0.
const fn sgi_register(id: IntId, core: Affinity) -> u64 {
    let [aff0, aff1, aff2, aff3] =
        [core.level(0) as u64, core.level(1) as u64, core.level(2) as u64, core.level(3) as u64];
    aff3 << 48 | (aff0 / 16) << 44 | aff2 << 32 | (id.number() as u64) << 24 | aff1 << 16 | 1 << (aff0 % 16)
}
