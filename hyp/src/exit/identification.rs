//! The feature registers a guest reads: the processor's own, less what is not offered.
//!
//! What is kept must work without EL2's help and hold no state that a switch does not carry. References: Arm ARM
//! D24.2, "ID_AA64*". Fields that are not named read zero, as for registers that do not exist yet.

use super::syndrome::encoding;

/// One 4-bit field of an ID register: where it is and the highest value offered.
struct Field {
    shift: u32,
    highest: u64,
}

const fn keep(shift: u32) -> Field {
    Field { shift, highest: 0xf }
}

const fn at_most(shift: u32, highest: u64) -> Field {
    Field { shift, highest }
}

/// EL0, EL1 (not EL2, EL3), FP, AdvSIMD, GIC, DIT, CSV2 (1: no SCXTNUM), CSV3.
const PFR0: &[Field] = &[keep(0), at_most(4, 1), keep(16), keep(20), keep(24), keep(48), at_most(56, 1), keep(60)];
/// SSBS.
const PFR1: &[Field] = &[keep(4)];
/// DebugVer; two breakpoints and watchpoints, the least there can be. No PMU, trace, profiling.
const DFR0: &[Field] = &[keep(0), at_most(12, 1), at_most(20, 1)];
/// AES to RNDR, without TME (transactions).
const ISAR0: &[Field] = &[
    keep(4),
    keep(8),
    keep(12),
    keep(16),
    keep(20),
    keep(28),
    keep(32),
    keep(36),
    keep(40),
    keep(44),
    keep(48),
    keep(52),
    keep(56),
    keep(60),
];
/// DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, SPECRES, BF16, DGH, I8MM. No pointer authentication, LS64, XS.
const ISAR1: &[Field] =
    &[keep(0), keep(12), keep(16), keep(20), keep(32), keep(36), keep(40), keep(44), keep(48), keep(52)];
/// PARange (40 bits), ASIDBits, TGran16, TGran64, TGran4, ExS. No BigEnd, BigEndEL0: what is emulated is little-endian.
const MMFR0: &[Field] = &[at_most(0, 2), keep(4), keep(20), keep(24), keep(28), keep(44)];
/// HAFDBS, HPDS, PAN, ETS, nTLBPA. No VMID, VHE, LORegions, SpecSEI.
const MMFR1: &[Field] = &[keep(0), keep(12), keep(20), keep(36), keep(48)];
/// CnP, UAO, LSM, VARange, CCIDX, ST, AT, IDS, TTL, BBM, E0PD.
const MMFR2: &[Field] =
    &[keep(0), keep(4), keep(8), keep(16), keep(20), keep(28), keep(32), keep(36), keep(48), keep(52), keep(60)];

fn offered(raw: u64, fields: &[Field]) -> u64 {
    fields.iter().fold(0, |value, field| {
        let have = raw >> field.shift & 0xf;
        // 0xf in a signed field means "absent": it is kept as it is.
        let given = if have == 0xf && field.highest == 0xf { have } else { have.min(field.highest) };
        value | given << field.shift
    })
}

/// What a guest reads from an AArch64 ID register whose own value is `raw`.
///
/// `register` is as `encoding` makes it. Registers that are not known here read zero.
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
    const MM0: u32 = id(7, 0);
    const MM1: u32 = id(7, 1);
    const MM2: u32 = id(7, 2);
    match register {
        PF0 => offered(raw, PFR0),
        PF1 => offered(raw, PFR1),
        DF0 => offered(raw, DFR0),
        IS0 => offered(raw, ISAR0),
        IS1 => offered(raw, ISAR1),
        MM0 => offered(raw, MMFR0),
        MM1 => offered(raw, MMFR1),
        MM2 => offered(raw, MMFR2),
        _ => 0,
    }
}

/// What a guest reads from an AArch32 ID register (CRm 1 to 3), which tell of AArch32 at EL0.
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
        // CSV3, CSV2 = 1; DIT; no AMU, MPAM, SEL2, SVE, RAS; GIC, AdvSIMD, FP; no EL3, EL2; EL1 AArch64 only.
        assert_eq!(pfr0, 0x1101_0000_0111_0012);
    }

    #[test]
    fn pointer_authentication_is_hidden() {
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 6, 1), 0x0000_0000_1100_0ff1), 1);
    }

    #[test]
    fn absent_floating_point_stays_absent() {
        let pfr0 = aarch64_feature(encoding(3, 0, 0, 4, 0), 0x00ff_0011);
        assert_eq!(pfr0, 0x00ff_0011);
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
