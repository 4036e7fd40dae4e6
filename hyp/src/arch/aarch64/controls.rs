//! EL2's controls of what newer processors have: each is written at boot where its feature is reported, so that none is as
//! firmware left it. What guests are not offered is switched off or traps.
//!
//! References are to the Arm ARM (DDI 0487), D24.2, for each register. Assemblers know few of the names: encodings then.

use super::instruction_barrier;
use super::registers::{read_register, write_register};

/// Whether the field of four bits at `shift` of an ID register is at least `least`; 0xf says that nothing is there.
const fn reaches(register: u64, shift: u32, least: u64) -> bool {
    let field = register >> shift & 0xf;
    field >= least && field != 0xf
}

/// Writes registers where a field of an ID register reaches a value.
macro_rules! where_there {
    ($($id:ident >> $shift:literal, $least:literal: $($name:literal = $value:expr),+;)*) => {
        $(
            if reaches($id, $shift, $least) {
                $(write_register!($name, $value);)+
            }
        )*
    };
}

/// MDCR_EL2's own bits for statistical profiling (TPMS) and trace filters (TTRF), where they are: EL1's registers trap. Their
/// buffers are EL2's (E2PB and E2TB zero), so those registers trap too.
pub(super) fn debug_traps() -> u64 {
    let dfr0 = read_register!("id_aa64dfr0_el1");
    u64::from(reaches(dfr0, 32, 1)) << 14 | u64::from(reaches(dfr0, 40, 1)) << 19
}

/// Whether there is the RAS extension: DISR_EL1 is then a register that no trap covers (see `registers`).
pub(super) fn has_deferred_errors() -> bool {
    reaches(read_register!("id_aa64pfr0_el1"), 28, 1)
}

/// Writes them all on this core. While CPTR_EL2 traps nothing: it would trap EL2's own accesses.
pub(super) fn write() {
    let (pfr0, pfr1) = (read_register!("id_aa64pfr0_el1"), read_register!("s3_0_c0_c4_1"));
    let dfr0 = read_register!("id_aa64dfr0_el1");
    let (mmfr0, mmfr1) = (read_register!("id_aa64mmfr0_el1"), read_register!("id_aa64mmfr1_el1"));
    let mmfr3 = read_register!("s3_0_c0_c7_3");
    write_register!("hacr_el2", 0);
    where_there! {
        // VDISR_EL2, and VSESR_EL2, the syndrome of a virtual SError.
        pfr0 >> 28, 1: "s3_4_c12_c1_1" = 0, "s3_4_c5_c2_3" = 0;
        // ZCR_EL2. SMCR_EL2, and SVCR: in streaming mode EL2's own floating-point loads would be undefined.
        pfr0 >> 32, 1: "s3_4_c1_c2_0" = 0;
        pfr1 >> 24, 1: "s3_4_c1_c2_6" = 0, "s3_3_c4_c2_2" = 0;
        // SCXTNUM_EL2: EL1's and EL0's trap (HCR_EL2.EnSCXT).
        pfr0 >> 56, 2: "s3_4_c13_c0_7" = 0;
        pfr1 >> 32, 2: "s3_4_c13_c0_7" = 0;
        // TFSR_EL2: memory tagging is off (HCR_EL2.ATA).
        pfr1 >> 8, 2: "s3_4_c5_c6_0" = 0;
        // GCSCR_EL2, then GCSCR_EL1 and GCSCRE0_EL1: guarded control stacks are off.
        pfr1 >> 44, 1: "s3_4_c2_c5_0" = 0, "s3_0_c2_c5_0" = 0, "s3_0_c2_c5_2" = 0;
        // TRFCR_EL2 and TRFCR_EL1: nothing is traced.
        dfr0 >> 40, 1: "s3_4_c1_c2_1" = 0, "s3_0_c1_c2_1" = 0;
        // BRBCR_EL2 and BRBCR_EL1: no branch is recorded.
        dfr0 >> 52, 1: "s2_4_c9_c0_0" = 0, "s2_1_c9_c0_0" = 0;
        // CONTEXTIDR_EL2; CNTHV_CTL_EL2: a timer that nobody here uses.
        mmfr1 >> 8, 1: "s3_4_c13_c0_1" = 0, "s3_4_c14_c3_1" = 0;
        // CNTPOFF_EL2.
        mmfr0 >> 60, 2: "s3_4_c14_c0_6" = 0;
        // HCRX_EL2: TCR2_EL1, SCTLR2_EL1, FPMR, 64-byte stores, memory copies, guarded control stacks: trap or undefined.
        mmfr1 >> 40, 1: "s3_4_c1_c2_2" = 0;
        // SCTLR2_EL2 and TCR2_EL2: none of their features.
        mmfr3 >> 4, 1: "s3_4_c1_c0_3" = 0;
        mmfr3 >> 0, 1: "s3_4_c2_c0_3" = 0;
        // HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2. Zero traps what came with or after them: permission
        // indirection and overlays, MAIR2 and AMAIR2, TPIDR2_EL0, ACCDATA_EL1, branch records; and nothing that was before.
        mmfr0 >> 56, 1: "s3_4_c1_c1_4" = 0, "s3_4_c1_c1_5" = 0, "s3_4_c1_c1_6" = 0, "s3_4_c3_c1_4" = 0, "s3_4_c3_c1_5" = 0;
        // HFGRTR2_EL2, HFGWTR2_EL2, HFGITR2_EL2, HDFGRTR2_EL2, HDFGWTR2_EL2: likewise.
        mmfr0 >> 56, 2: "s3_4_c3_c1_2" = 0, "s3_4_c3_c1_3" = 0, "s3_4_c3_c1_7" = 0, "s3_4_c3_c1_0" = 0, "s3_4_c3_c1_1" = 0;
    }
    // The buffers of profiling and of traces may be firmware's: their registers trap to EL3 then (MDCR_EL3.NSPB, NSTB).
    if reaches(dfr0, 32, 1) && read_register!("s3_0_c9_c10_7") & BUFFER_IS_ANOTHERS == 0 {
        // PMBIDR_EL1 was asked. PMSCR_EL2, PMSCR_EL1, PMBLIMITR_EL1: no profiling.
        write_register!("s3_4_c9_c9_0", 0);
        write_register!("s3_0_c9_c9_0", 0);
        write_register!("s3_0_c9_c10_0", 0);
    }
    if reaches(dfr0, 44, 1) && read_register!("s3_0_c9_c11_7") & BUFFER_IS_ANOTHERS == 0 {
        // TRBIDR_EL1 was asked. TRBLIMITR_EL1: no trace is kept.
        write_register!("s3_0_c9_c11_0", 0);
    }
    if reaches(mmfr0, 56, 1) && reaches(pfr0, 44, 1) {
        // HAFGRTR_EL2: activity monitors trap by CPTR_EL2 already.
        write_register!("s3_4_c3_c1_6", 0);
    }
    if reaches(pfr0, 40, 1) || reaches(pfr1, 16, 1) {
        partition();
    }
    instruction_barrier();
}

/// PMBIDR_EL1.P and TRBIDR_EL1.P: EL2 may not program the buffer.
const BUFFER_IS_ANOTHERS: u64 = 1 << 4;

/// Memory partitioning (MPAM): everybody is in partition 0, and EL1's registers trap.
fn partition() {
    const TRAP_MPAM0_MPAM1: u64 = 1 << 49 | 1 << 48;
    /// MPAMIDR_EL1: there is MPAMHCR_EL2, or MPAM2_EL2.TIDR, for the trap of MPAMIDR_EL1 itself.
    const HAS_HCR: u64 = 1 << 17;
    const HAS_TIDR: u64 = 1 << 58;
    const MPAMHCR_TRAP: u64 = 1 << 31;
    let identification = read_register!("s3_0_c10_c4_4");
    write_register!("s3_4_c10_c5_0", TRAP_MPAM0_MPAM1 | identification & HAS_TIDR);
    write_register!("s3_0_c10_c5_0", 0);
    write_register!("s3_0_c10_c5_1", 0);
    if identification & HAS_HCR != 0 {
        write_register!("s3_4_c10_c4_0", MPAMHCR_TRAP);
    }
}
