//! The feature registers a guest reads: the processor's own, less what is not offered.
//!
//! What is kept must work without EL2's help and hold no state that a switch does not carry. References: Arm ARM
//! D24.2, "ID_AA64*". Fields that are not named read zero, as for registers that do not exist yet.

use super::syndrome::encoding;

/// What is offered of an ID register, in fields of four bits: each up to the highest value whose meaning was considered here,
/// since a higher one may stand for instructions that EL2 does not carry out on devices, or for state that it does not switch.
struct Offer {
    /// The highest value of each field; 0 for one that is not offered.
    highest: u64,
    /// The upper bit of each field that is a signed number, of which 0xf is "absent".
    signed: u64,
    /// What is told whatever the processor has.
    always: u64,
}

/// Fields, by their lowest bit, up to these values, and no others.
const fn offer(mut fields: &[(u32, u64)]) -> Offer {
    let mut highest = 0;
    while let [(shift, value), rest @ ..] = fields {
        highest |= *value << *shift;
        fields = rest;
    }
    Offer { highest, signed: 0, always: 0 }
}

impl Offer {
    /// Fields of these lowest bits are signed.
    const fn signed(mut self, mut shifts: &[u32]) -> Self {
        while let [shift, rest @ ..] = shifts {
            self.signed |= 8 << *shift;
            shifts = rest;
        }
        self
    }

    const fn always(self, always: u64) -> Self {
        Self { always, ..self }
    }

    /// The lesser of `raw` and `highest` in each field, all at once: guests read these registers often.
    #[inline(always)]
    fn of(&self, raw: u64) -> u64 {
        const UPPER: u64 = 0x8888_8888_8888_8888;
        // With its upper bit changed, a signed number compares as an unsigned one.
        let (value, limit) = (raw ^ self.signed, self.highest ^ self.signed);
        // The lower three bits compared by a difference that borrows nothing from the next field, then the upper bit.
        let lower = (value | UPPER) - (limit & !UPPER);
        let reaches = (value & !limit | !(value ^ limit) & lower) & UPPER;
        let whole = reaches | (reaches - (reaches >> 3));
        (value & !whole | limit & whole) ^ self.signed | self.always
    }
}

/// EL0, EL1 (not EL2: zero), FP and AdvSIMD (1: half precision), GIC, DIT, CSV2 (1: no SCXTNUM), CSV3. EL3 is there, in
/// AArch64: firmware is behind PSCI. With neither EL2 nor EL3, EL1 would be the highest level, whose software sets CNTFRQ_EL0
/// itself.
const PFR0: Offer =
    offer(&[(0, 2), (4, 1), (16, 1), (20, 1), (24, 3), (48, 1), (56, 1), (60, 1)]).signed(&[16, 20]).always(1 << 12);
/// SSBS.
const PFR1: Offer = offer(&[(4, 2)]);
/// DebugVer (9: Armv8.4; 11 has MDSELR_EL1); two breakpoints and watchpoints, the least there can be. No PMU, trace, profiling.
const DFR0: Offer = offer(&[(0, 9), (12, 1), (20, 1)]);
/// AES, SHA1, SHA2, CRC32, Atomic (3 is LSE128), RDM, SHA3, SM3, SM4, DP, FHM, TS, TLB, RNDR. No TME (transactions).
const ISAR0: Offer = offer(&[
    (4, 2),
    (8, 1),
    (12, 2),
    (16, 1),
    (20, 2),
    (28, 1),
    (32, 1),
    (36, 1),
    (40, 1),
    (44, 1),
    (48, 1),
    (52, 2),
    (56, 2),
    (60, 1),
]);
/// DPB, JSCVT, FCMA, LRCPC (3 is LRCPC3), FRINTTS, SB, SPECRES (2 has COSP RCTX), BF16, DGH, I8MM. No pointer authentication,
/// LS64, XS.
const ISAR1: Offer = offer(&[(0, 2), (12, 1), (16, 1), (20, 2), (32, 1), (36, 1), (40, 1), (44, 2), (48, 1), (52, 1)]);
/// CLRBHB. Nothing that waits (WFxT), copies or computes otherwise.
const ISAR2: Offer = offer(&[(28, 1)]);
/// PARange (40 bits), ASIDBits, TGran16, TGran64, TGran4 (without LPA2, whose descriptors differ), ExS. No BigEnd, BigEndEL0:
/// what is emulated is little-endian.
const MMFR0: Offer = offer(&[(0, 2), (4, 2), (20, 1), (24, 0), (28, 0), (44, 1)]).signed(&[24, 28]);
/// HAFDBS (3 has access flags of tables), HPDS, PAN, ETS, nTLBPA, ECBHB. No VMID, VHE, LORegions, SpecSEI.
///
/// EL2's walk of a guest's tables (`gate`) is only to tell the last table that is read: an access flag, dirty state or permission
/// by hierarchy (HPDS) changes no address, and AT tells the rest. What EL2 itself writes sets no dirty state: devices, and
/// memory next to them if one access reaches both.
const MMFR1: Offer = offer(&[(0, 2), (12, 2), (20, 3), (36, 3), (48, 1), (60, 1)]);
/// CnP, UAO, LSM, CCIDX, AT, IDS, TTL, BBM, E0PD (a fault before any table is read, which AT tells). No VARange (52 bits), no ST
/// (tables for less than 25 bits): to EL2's walk such addresses have no table, and the guest would repeat its access for ever.
const MMFR2: Offer = offer(&[(0, 1), (4, 1), (8, 1), (20, 1), (32, 1), (36, 1), (48, 1), (52, 2), (60, 1)]);

/// What a guest reads from an AArch64 ID register whose own value is `raw`.
///
/// `register` is as `encoding` makes it. Registers that are not known here read zero.
#[inline(always)]
pub fn aarch64_feature(register: u32, raw: u64) -> u64 {
    const fn id(crm: u32, op2: u32) -> u32 {
        encoding(3, 0, 0, crm, op2)
    }
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

    /// Each value of each field by itself, all others at their ends: what is told is the lesser, by plain comparison.
    #[test]
    fn each_field_is_limited_by_itself() {
        let fields = [(0, 9, false), (4, 1, false), (8, 0, true), (12, 1, true), (20, 15, false), (60, 7, false)];
        let offer = offer(&fields.map(|(shift, highest, _)| (shift, highest))).signed(&[8, 12]);
        let number = |value: u64, is_signed| if is_signed && value > 7 { value as i64 - 16 } else { value as i64 };
        for (raw, others) in (0..16).flat_map(|raw| [(raw, 0), (raw, u64::MAX)]) {
            for shift in (0..64).step_by(4) {
                let told = offer.of(others & !(0xf << shift) | raw << shift) >> shift & 0xf;
                let field = fields.iter().find(|(at, ..)| *at == shift);
                let (_, highest, is_signed) = field.copied().unwrap_or((shift, 0, false));
                assert_eq!(number(told, is_signed), number(raw, is_signed).min(highest as i64), "{shift} {raw}");
            }
        }
    }

    #[test]
    fn what_is_not_carried_out_is_hidden() {
        // LSE128, then LSE, of ISAR0.Atomic; LRCPC3, LRCPC2, none of ISAR1.LRCPC.
        for (raw, told) in [(3, 2), (2, 2), (0, 0)] {
            assert_eq!(aarch64_feature(encoding(3, 0, 0, 6, 0), raw << 20), told << 20);
            assert_eq!(aarch64_feature(encoding(3, 0, 0, 6, 1), raw << 20), told << 20);
        }
        // COSP RCTX; MDSELR_EL1; access flags of tables.
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 6, 1), 2 << 40), 1 << 40);
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 5, 0), 11), 9);
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 7, 1), 3), 2);
        // LPA2: granules of 16 KiB and 4 KiB remain, or are absent.
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 7, 0), 0x1020_0000), 0x0010_0000);
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 7, 0), 0xff00_0000), 0xff00_0000);
    }

    /// Where `guest_walk` would find no table.
    #[test]
    fn what_the_walk_does_not_know_is_hidden() {
        // VARange and ST, among E0PD, AT, CCIDX and CnP.
        assert_eq!(aarch64_feature(encoding(3, 0, 0, 7, 2), 0x1000_0001_1011_0001), 0x1000_0001_0010_0001);
    }

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
