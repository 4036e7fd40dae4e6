//! What becomes of each system register that a guest can name, and of each system instruction: the one table of it, and the
//! answers that are constants.
//!
//! What is in no row is UNDEFINED to a guest: the processor says so by itself, or it traps and nothing answers. So that
//! nothing else can be reached is what the guest `registers` checks, from EL1 and EL0, by every encoding there is, on several
//! processors.
//! Registers that belong to EL2 and EL3 (op1 4 to 7) are undefined at EL1 by the architecture.

use super::syndrome::encoding;

/// What becomes of a register, or of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Each vCPU has its own, which a switch carries.
    Switched,
    /// An access comes to EL2, which answers for the vCPU.
    Emulated,
    /// A read comes to EL2 and gives this; a write is ignored.
    Fixed(u64),
    /// The processor's own, and no guest can change what another one reads.
    Constant,
    /// An instruction that acts on nothing but the guest's own: its memory, its translations, what it taught its core.
    Confined,
    /// It is there, on some processors, and not offered: it is undefined.
    Hidden,
}

/// Registers or instructions (op0 1) of one fate: op0, op1, and the first and last CRn, CRm and op2.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// What they are called, and why so.
    #[cfg(test)]
    name: &'static str,
    first: u32,
    last: u32,
    fate: Fate,
}

macro_rules! rows {
    ($($name:literal $op0:literal $op1:literal $crn:literal..$crn_last:literal $crm:literal..$crm_last:literal
        $op2:literal..$op2_last:literal: $fate:expr;)*) => {
        &[$(Row {
            #[cfg(test)]
            name: $name,
            first: encoding($op0, $op1, $crn, $crm, $op2),
            last: encoding($op0, $op1, $crn_last, $crm_last, $op2_last),
            fate: $fate,
        },)*]
    };
}

use Fate::Fixed;
#[cfg(test)]
use Fate::{Confined, Constant, Emulated, Hidden, Switched};

/// What a guest may reach, but for what [`FIXED`] has.
#[cfg(test)]
const REACHED: &[Row] = rows! {
    "MDSCR_EL1: of its bits only those for single steps; switched" 2 0 0..0 2..2 2..2: Emulated;
    "OSLAR_EL1: written only" 2 0 1..1 0..0 4..4: Emulated;
    "MIDR_EL1 and MPIDR_EL1 by VPIDR_EL2 and VMPIDR_EL2; REVIDR_EL1" 3 0 0..0 0..0 0..7: Constant;
    "ID registers: masked (`identification`)" 3 0 0..0 1..7 0..7: Emulated;
    "SCTLR_EL1" 3 0 1..1 0..0 0..0: Switched;
    "ACTLR_EL1: read as it is, never written" 3 0 1..1 0..0 1..1: Emulated;
    "CPACR_EL1" 3 0 1..1 0..0 2..2: Switched;
    "SCTLR2_EL1: HCRX_EL2" 3 0 1..1 0..0 3..3: Hidden;
    "RGSR_EL1, GCR_EL1: HCR_EL2.ATA" 3 0 1..1 0..0 5..6: Hidden;
    "ZCR_EL1, TRFCR_EL1, SMPRI_EL1, SMCR_EL1: CPTR_EL2, MDCR_EL2" 3 0 1..1 2..2 0..6: Hidden;
    "TTBR0_EL1, TTBR1_EL1, TCR_EL1" 3 0 2..2 0..0 0..2: Switched;
    "TCR2_EL1: HCRX_EL2" 3 0 2..2 0..0 3..3: Hidden;
    "keys of pointer authentication: HCR_EL2.APK" 3 0 2..2 1..3 0..7: Hidden;
    "guarded control stacks: HCRX_EL2, HFGRTR_EL2" 3 0 2..2 5..5 0..7: Hidden;
    "SPSR_EL1, ELR_EL1" 3 0 4..4 0..0 0..1: Switched;
    "SP_EL0" 3 0 4..4 1..1 0..0: Switched;
    "SPSel, CurrentEL, PAN, UAO, ALLINT: PSTATE, which SPSR_EL2 carries" 3 0 4..4 2..3 0..7: Switched;
    "ICC_PMR_EL1: ICH_VMCR_EL2" 3 0 4..4 6..6 0..0: Switched;
    "AFSR0_EL1, AFSR1_EL1" 3 0 5..5 1..1 0..1: Switched;
    "ESR_EL1" 3 0 5..5 2..2 0..0: Switched;
    "RAS error records: HCR_EL2.TERR, FIEN" 3 0 5..5 3..5 0..7: Hidden;
    "TFSR_EL1, TFSRE0_EL1: HCR_EL2.ATA" 3 0 5..5 6..6 0..1: Hidden;
    "FAR_EL1" 3 0 6..6 0..0 0..0: Switched;
    "PAR_EL1" 3 0 7..7 4..4 0..0: Switched;
    "profiling, its buffer, the trace's buffer, performance monitors: MDCR_EL2" 3 0 9..9 0..15 0..7: Hidden;
    "MAIR_EL1" 3 0 10..10 2..2 0..0: Switched;
    "MAIR2_EL1, permission indirection and overlays: HFGRTR_EL2" 3 0 10..10 2..2 1..5: Hidden;
    "AMAIR_EL1" 3 0 10..10 3..3 0..0: Switched;
    "AMAIR2_EL1: HFGRTR_EL2" 3 0 10..10 3..3 1..1: Hidden;
    "LORegions: HCR_EL2.TLOR. MPAM: MPAM2_EL2" 3 0 10..10 4..5 0..7: Hidden;
    "VBAR_EL1" 3 0 12..12 0..0 0..0: Switched;
    "RVBAR_EL1, RMR_EL1: undefined below the highest level" 3 0 12..12 0..0 1..2: Hidden;
    "ISR_EL1: what pends for this vCPU" 3 0 12..12 1..1 0..0: Constant;
    "DISR_EL1: VDISR_EL2" 3 0 12..12 1..1 1..1: Switched;
    "ICC_IAR0_EL1 to ICC_AP1R3_EL1: the virtual interface" 3 0 12..12 8..10 0..7: Switched;
    "ICC_DIR_EL1, ICC_RPR_EL1, and SGIs, which trap" 3 0 12..12 11..11 0..7: Switched;
    "ICC_IAR1_EL1 to ICC_CTLR_EL1" 3 0 12..12 12..12 0..4: Switched;
    "ICC_SRE_EL1" 3 0 12..12 12..12 5..5: Emulated;
    "ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1" 3 0 12..12 12..12 6..7: Switched;
    "CONTEXTIDR_EL1" 3 0 13..13 0..0 1..1: Switched;
    "TPIDR_EL1" 3 0 13..13 0..0 4..4: Switched;
    "ACCDATA_EL1: HFGRTR_EL2. SCXTNUM_EL1: HCR_EL2.EnSCXT" 3 0 13..13 0..0 5..7: Hidden;
    "CNTKCTL_EL1" 3 0 14..14 1..1 0..0: Switched;
    "CCSIDR_EL1 to AIDR_EL1: what caches there are" 3 1 0..0 0..0 0..7: Constant;
    "CSSELR_EL1" 3 2 0..0 0..0 0..0: Switched;
    "CTR_EL0, DCZID_EL0" 3 3 0..0 0..0 1..7: Constant;
    "RNDR, RNDRRS: no state" 3 3 2..2 4..4 0..1: Constant;
    "GCSPR_EL0: HCRX_EL2" 3 3 2..2 5..5 1..1: Hidden;
    "NZCV, DAIF, SVCR, DIT, SSBS, TCO: PSTATE; SVCR: CPTR_EL2" 3 3 4..4 2..2 0..7: Switched;
    "FPCR, FPSR" 3 3 4..4 4..4 0..1: Switched;
    "FPMR: HCRX_EL2" 3 3 4..4 4..4 2..2: Hidden;
    "DSPSR_EL0, DLR_EL0: undefined but in debug state" 3 3 4..4 5..5 0..1: Hidden;
    "performance monitors: MDCR_EL2.TPM" 3 3 9..9 12..15 0..7: Hidden;
    "POR_EL0: HFGRTR_EL2" 3 3 10..10 2..2 4..4: Hidden;
    "TPIDR_EL0, TPIDRRO_EL0" 3 3 13..13 0..0 2..3: Switched;
    "TPIDR2_EL0: HFGRTR_EL2. SCXTNUM_EL0: HCR_EL2.EnSCXT" 3 3 13..13 0..0 5..7: Hidden;
    "activity monitors: CPTR_EL2.TAM" 3 3 13..13 2..15 0..7: Hidden;
    "CNTFRQ_EL0 to CNTVCTSS_EL0: counters that EL1 cannot write; CNTVOFF_EL2 is switched" 3 3 14..14 0..0 0..6: Constant;
    "CNTP_TVAL_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0" 3 3 14..14 2..2 0..2: Emulated;
    "CNTV_TVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0" 3 3 14..14 3..3 0..2: Switched;
    "performance monitors: MDCR_EL2.TPM" 3 3 14..14 8..15 0..7: Hidden;
    "of the implementation: HCR_EL2.TIDCP" 3 0 11..11 0..15 0..7: Hidden;
    "of the implementation: HCR_EL2.TIDCP" 3 0 15..15 0..15 0..7: Hidden;
    "trace units: CPTR_EL2.TTA" 2 1 0..7 0..15 0..7: Hidden;
    "branch records: HDFGRTR_EL2" 2 1 8..9 0..15 0..7: Hidden;
};

/// The instructions that a guest may carry out. They reach no further than its VMID and its memory: invalidation by set and
/// way cleans too (HCR_EL2.SWIO), and what is local is broadcast (HCR_EL2.FB), so that it holds on whatever core a vCPU is.
#[cfg(test)]
const INSTRUCTIONS: &[Row] = rows! {
    "IC IALLUIS" 1 0 7..7 1..1 0..0: Confined;
    "IC IALLU" 1 0 7..7 5..5 0..0: Confined;
    "DC IVAC, DC ISW; those of memory tags do nothing to tags (HCR_EL2.ATA)" 1 0 7..7 6..6 1..6: Confined;
    "guarded control stacks: HCRX_EL2" 1 0 7..7 7..7 0..7: Hidden;
    "AT S1E1R, AT S1E1W, AT S1E0R, AT S1E0W" 1 0 7..7 8..8 0..3: Confined;
    "AT S1E1RP, AT S1E1WP, AT S1E1A" 1 0 7..7 9..9 0..2: Confined;
    "DC CSW, DC CISW, and with tags" 1 0 7..7 10..10 2..6: Confined;
    "DC CISW, and with tags" 1 0 7..7 14..14 2..6: Confined;
    "TLBI of EL1's translations; those that guests are not told of too" 1 0 8..9 1..3 0..7: Confined;
    "TLBI of EL1's translations, on this core" 1 0 8..9 5..7 0..7: Confined;
    "branch records: HFGITR_EL2" 1 1 7..7 2..2 4..5: Hidden;
    "TRCIT: HFGITR_EL2" 1 3 7..7 2..2 7..7: Hidden;
    "CFP RCTX, DVP RCTX, COSP RCTX, CPP RCTX: predictions of this VMID" 1 3 7..7 3..3 4..7: Confined;
    "DC ZVA, DC GVA, DC GZVA" 1 3 7..7 4..4 1..4: Confined;
    "IC IVAU" 1 3 7..7 5..5 1..1: Confined;
    "guarded control stacks: HCRX_EL2" 1 3 7..7 7..7 0..7: Hidden;
    "DC CVAC, and with tags" 1 3 7..7 10..10 1..5: Confined;
    "DC CVAU" 1 3 7..7 11..11 1..1: Confined;
    "DC CVAP, DC CVADP, and with tags" 1 3 7..7 12..13 1..5: Confined;
    "DC CIVAC, and with tags" 1 3 7..7 14..14 1..5: Confined;
};

/// What is answered by a constant. The OS lock is there and open (OSLSR_EL1 8); DBGCLAIMSET_EL1 reads as ones. Hardware
/// breakpoints are zero: ID_AA64DFR0_EL1 must promise two of each; a guest's never hit, its software ones (BRK) and single
/// steps work.
const FIXED: &[Row] = rows! {
    "OSDTRRX_EL1" 2 0 0..0 0..0 2..2: Fixed(0);
    "DBGBVRn_EL1, DBGBCRn_EL1, DBGWVRn_EL1, DBGWCRn_EL1" 2 0 0..0 0..15 4..7: Fixed(0);
    "MDCCINT_EL1" 2 0 0..0 2..2 0..0: Fixed(0);
    "OSDTRTX_EL1" 2 0 0..0 3..3 2..2: Fixed(0);
    "OSECCR_EL1" 2 0 0..0 6..6 2..2: Fixed(0);
    "MDRAR_EL1" 2 0 1..1 0..0 0..0: Fixed(0);
    "OSLSR_EL1" 2 0 1..1 1..1 4..4: Fixed(1 << 3);
    "OSDLR_EL1" 2 0 1..1 3..3 4..4: Fixed(0);
    "DBGPRCR_EL1" 2 0 1..1 4..4 4..4: Fixed(0);
    "DBGCLAIMSET_EL1" 2 0 7..7 8..8 6..6: Fixed(0xff);
    "DBGCLAIMCLR_EL1" 2 0 7..7 9..9 6..6: Fixed(0);
    "DBGAUTHSTATUS_EL1" 2 0 7..7 14..14 6..6: Fixed(0);
    "MDCCSR_EL0" 2 3 0..0 1..1 0..0: Fixed(0);
    // DBGDTR_EL0 and DBGDTRTX_EL0: nobody reads what is sent.
    "DBGDTR_EL0, DBGDTRRX_EL0" 2 3 0..0 4..5 0..0: Fixed(0);
};

impl Row {
    /// Whether `register` (as `encoding` makes it) is in it: field by field.
    const fn has(&self, register: u32) -> bool {
        const FIELDS: [u32; 5] = [
            encoding(3, 0, 0, 0, 0),
            encoding(0, 7, 0, 0, 0),
            encoding(0, 0, 15, 0, 0),
            encoding(0, 0, 0, 15, 0),
            encoding(0, 0, 0, 0, 7),
        ];
        let mut index = 0;
        while index < FIELDS.len() {
            let field = register & FIELDS[index];
            if field < self.first & FIELDS[index] || field > self.last & FIELDS[index] {
                return false;
            }
            index += 1;
        }
        true
    }
}

/// What a trapped read of `register` (as `encoding` makes it) gives, and that a write is ignored, if it is a constant.
// Apart, so that registers that are read often do not pay for it.
#[inline(never)]
pub fn answer(register: u32) -> Option<u64> {
    FIXED.iter().find(|row| row.has(register)).and_then(|row| match row.fate {
        Fixed(value) => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = u32> {
        let of = |bits: u32| encoding(bits >> 14, bits >> 11 & 7, bits >> 7 & 15, bits >> 3 & 15, bits & 7);
        (1 << 14..4_u32 << 14).map(of)
    }

    fn table() -> impl Iterator<Item = &'static Row> {
        REACHED.iter().chain(FIXED).chain(INSTRUCTIONS)
    }

    fn rows_of(register: u32) -> Vec<&'static Row> {
        table().filter(|row| row.has(register)).collect()
    }

    #[test]
    fn nothing_has_two_fates() {
        for register in all() {
            let rows = rows_of(register);
            assert!(rows.len() <= 1, "{register:#x}: {rows:?}");
        }
        for row in table() {
            assert!(!row.name.is_empty() && all().any(|register| row.has(register)), "{row:?}");
        }
    }

    #[test]
    fn instructions_are_no_registers() {
        for register in all().filter(|register| register >> 20 == 1) {
            let is_instruction = |row: &Row| matches!(row.fate, Fate::Confined | Fate::Hidden);
            assert!(rows_of(register).into_iter().all(is_instruction), "{register:#x}");
        }
    }

    #[test]
    fn nothing_of_higher_levels_is_reached() {
        for register in all().filter(|register| register >> 20 != 2 && register >> 14 & 7 >= 4) {
            assert!(rows_of(register).is_empty(), "{register:#x}");
        }
    }

    #[test]
    fn constants_are_what_the_architecture_has() {
        assert_eq!(answer(encoding(2, 0, 1, 1, 4)), Some(8));
        assert_eq!(answer(encoding(2, 0, 0, 15, 7)), Some(0));
        assert_eq!(answer(encoding(2, 0, 0, 0, 3)), None);
        assert_eq!(answer(encoding(2, 0, 7, 8, 6)), Some(0xff));
        assert_eq!(answer(encoding(2, 0, 0, 2, 2)), None);
        assert_eq!(answer(encoding(3, 0, 0, 0, 4)), None);
    }
}
