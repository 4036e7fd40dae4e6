//! The feature registers a guest reads: the processor's own, less what is not offered.
//!
//! What is kept must work without EL2's help and hold no state that a switch does not carry. References: Arm ARM
//! D24.2, "ID_AA64*". Fields that are not named read zero, as for registers that do not exist yet.

use super::syndrome::encoding;

/// What is offered of an ID register, in fields of four bits.
struct Offer {
    /// All bits of the fields that are told as they are. A signed field's 0xf, "absent", is told so too.
    kept: u64,
    /// Fields, by their lowest bit, that are told up to a highest value; one that is told up to 0 stands for none.
    limited: [(u32, u64); 2],
    /// What is told whatever the processor has.
    always: u64,
}

/// The fields at these lowest bits as they are, and no others.
const fn keep(mut shifts: &[u32]) -> Offer {
    let mut kept = 0;
    while let [shift, rest @ ..] = shifts {
        kept |= 0xf << *shift;
        shifts = rest;
    }
    Offer { kept, limited: [(0, 0); 2], always: 0 }
}

impl Offer {
    const fn at_most(mut self, limited: &[(u32, u64)]) -> Self {
        self.limited.split_at_mut(limited.len()).0.copy_from_slice(limited);
        self
    }

    const fn always(self, always: u64) -> Self {
        Self { always, ..self }
    }

    #[inline(always)]
    fn of(&self, raw: u64) -> u64 {
        let limit = |(shift, highest): (u32, u64)| (raw >> shift & 0xf).min(highest) << shift;
        // No loop: it would not be unrolled, and guests read these registers often.
        raw & self.kept | self.always | limit(self.limited[0]) | limit(self.limited[1])
    }
}

/// EL0, FP, AdvSIMD, GIC, DIT, CSV3; EL1 (not EL2: zero), CSV2 (1: no SCXTNUM). EL3 is there, in AArch64: firmware is behind
/// PSCI. With neither EL2 nor EL3, EL1 would be the highest level, whose software sets CNTFRQ_EL0 itself.
const PFR0: Offer = keep(&[0, 16, 20, 24, 48, 60]).at_most(&[(4, 1), (56, 1)]).always(1 << 12);
/// SSBS.
const PFR1: Offer = keep(&[4]);
/// DebugVer; two breakpoints and watchpoints, the least there can be. No PMU, trace, profiling.
const DFR0: Offer = keep(&[0]).at_most(&[(12, 1), (20, 1)]);
/// AES to RNDR, without TME (transactions).
const ISAR0: Offer = keep(&[4, 8, 12, 16, 20, 28, 32, 36, 40, 44, 48, 52, 56, 60]);
/// DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, SPECRES, BF16, DGH, I8MM. No pointer authentication, LS64, XS.
const ISAR1: Offer = keep(&[0, 12, 16, 20, 32, 36, 40, 44, 48, 52]);
/// CLRBHB. Nothing that waits (WFxT), copies or computes otherwise.
const ISAR2: Offer = keep(&[28]);
/// PARange (40 bits), ASIDBits, TGran16, TGran64, TGran4, ExS. No BigEnd, BigEndEL0: what is emulated is little-endian.
const MMFR0: Offer = keep(&[4, 20, 24, 28, 44]).at_most(&[(0, 2)]);
/// HAFDBS, HPDS, PAN, ETS, nTLBPA, ECBHB. No VMID, VHE, LORegions, SpecSEI.
const MMFR1: Offer = keep(&[0, 12, 20, 36, 48, 60]);
/// CnP, UAO, LSM, VARange, CCIDX, ST, AT, IDS, TTL, BBM, E0PD.
const MMFR2: Offer = keep(&[0, 4, 8, 16, 20, 28, 32, 36, 48, 52, 60]);

/// What a guest reads from an AArch64 ID register whose own value is `raw`.
///
/// `register` is as `encoding` makes it. Registers that are not known here read zero.
#[inline(always)]
pub fn aarch64_feature(register: u32, raw: u64) -> u64 {
    const fn id(crm: u32, op2: u32) -> u32 {
        encoding(3, 0, 0, crm, op2)
    }
    // The granules' fields are signed or not zero-based: 0 means "4 KiB granule supported", so unlisted is not absent.
    const PF0: u32 = id(4, 0);
    const PF1: u32 = id(4, 1);
    const DF0: u32 = id(5, 0);
    const IS0: u32 = id(6, 0);
    const IS1: u32 = id(6, 1);
    const IS2: u32 = id(6, 2);
    const MM0: u32 = id(7, 0);
    const MM1: u32 = id(7, 1);
    const MM2: u32 = id(7, 2);
    match register {
        PF0 => PFR0.of(raw),
        PF1 => PFR1.of(raw),
        DF0 => DFR0.of(raw),
        IS0 => ISAR0.of(raw),
        IS1 => ISAR1.of(raw),
        IS2 => ISAR2.of(raw),
        MM0 => MMFR0.of(raw),
        MM1 => MMFR1.of(raw),
        MM2 => MMFR2.of(raw),
        _ => 0,
    }
}

/// What a guest reads from an AArch32 ID register (CRm 1 to 3), which tell of AArch32 at EL0.
#[inline(always)]
pub fn aarch32_feature(register: u32, raw: u64) -> u64 {
    /// ID_DFR0_EL1: PerfMon, trace and debug fields beyond CP14 debug are not offered.
    const DFR0: u32 = encoding(3, 0, 0, 1, 2);
    /// ID_DFR1_EL1.
    const DFR1: u32 = encoding(3, 0, 0, 3, 5);
    match register {
        DFR0 => raw & 0xf,
        DFR1 => 0,
        _ => raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_reads_zero() {
        let pfr0 = aarch64_feature(encoding(3, 0, 0, 4, 0), 0x1111_1111_2111_2222);
        // CSV3, CSV2 = 1; DIT; no AMU, MPAM, SEL2, SVE, RAS; GIC, AdvSIMD, FP; EL3 in AArch64, no EL2; EL1 AArch64 only.
        assert_eq!(pfr0, 0x1101_0000_0111_1012);
    }

    #[test]
    fn pointer_authentication_is_hidden() {
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 6, 1), 0x0000_0000_1100_0ff1), 1);
    }

    #[test]
    fn what_ends_speculation_is_told() {
        // ECBHB, and CLRBHB without WFxT, MOPS and the rest; CSV2 as far as it needs no register (see above).
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 7, 1), 0x1000_0000_0000_0120), 0x1000_0000_0000_0000);
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 6, 2), 0x0011_0002_1001_1112), 0x1000_0000);
    }

    #[test]
    fn absent_floating_point_stays_absent() {
        let pfr0 = aarch64_feature(encoding(3, 0, 0, 4, 0), 0x00ff_0011);
        assert_eq!(pfr0, 0x00ff_1011);
    }

    #[test]
    fn no_more_address_bits_than_stage_2_has() {
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 7, 0), 0x1124) & 0xf, 2);
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 7, 0), 0x1121) & 0xf, 1);
    }

    #[test]
    fn performance_monitors_are_absent() {
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 5, 0), 0x1030_5106), 0x0010_1006);
        assert_eq!(aarch32_feature(encoding(3, 0, 0, 1, 2), 0x0301_0066), 6);
    }

    #[test]
    fn unknown_registers_read_zero() {
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 7, 4), u64::MAX), 0);
    }
}
