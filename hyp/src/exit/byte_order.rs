//! In which order a guest's data accesses have their bytes. Pure.
//!
//! ID_AA64MMFR0_EL1 does not offer the big-endian one, but the processor may have it, and nothing traps that switches to it.

const AARCH32: u64 = 1 << 4;
/// PSTATE.E of AArch32; of AArch64 that bit is D.
const BIG_ENDIAN: u64 = 1 << 9;
/// PSTATE.EL, above SP.
const LEVEL: u64 = 0b11 << 2;
/// SCTLR_EL1: the order at EL0 (E0E) and at EL1 (EE).
const USER: u64 = 1 << 24;
const KERNEL: u64 = 1 << 25;

/// Whether data is big-endian with this PSTATE and SCTLR_EL1 (Arm ARM, BigEndian).
#[inline(always)]
pub const fn is_big_endian(pstate: u64, sctlr: u64) -> bool {
    // Nearly always neither is set.
    if sctlr & (USER | KERNEL) == 0 && pstate & AARCH32 == 0 {
        return false;
    }
    rarer(pstate, sctlr)
}

/// Whether the tables of a guest with this SCTLR_EL1 are (EE counts for walks, too).
pub const fn are_tables_big_endian(sctlr: u64) -> bool {
    sctlr & KERNEL != 0
}

#[cold]
#[inline(never)]
const fn rarer(pstate: u64, sctlr: u64) -> bool {
    if pstate & AARCH32 != 0 {
        return pstate & BIG_ENDIAN != 0;
    }
    let order = if pstate & LEVEL == 0 { USER } else { KERNEL };
    sctlr & order != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_order_of_el1() {
        assert_eq!([0, USER, KERNEL, USER | KERNEL].map(are_tables_big_endian), [false, false, true, true]);
    }

    #[test]
    fn each_level_has_its_order() {
        // EL0t, EL1t, EL1h, User mode of A32 and T32, and with E: SCTLR_EL1 with neither, E0E, EE, both.
        let states = [
            (0x3c0, [false, true, false, true]),
            (0x3c4, [false, false, true, true]),
            (0x3c5, [false, false, true, true]),
            (0x1d0, [false; 4]),
            (0x1f0, [false; 4]),
            (0x3d0, [true; 4]),
            (0x3f0, [true; 4]),
        ];
        for (pstate, expected) in states {
            for (order, expected) in [0, USER, KERNEL, USER | KERNEL].into_iter().zip(expected) {
                assert_eq!(
                    is_big_endian(pstate, 0x30d0_0801 & !(USER | KERNEL) | order),
                    expected,
                    "{pstate:#x} {order:#x}"
                );
            }
        }
    }
}
