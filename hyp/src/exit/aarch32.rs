//! Trapped instructions of AArch32 at EL0: whether their condition holds, and MCR to MRRC of the physical timer.
//!
//! Whether a conditional instruction traps whose condition fails is the processor's choice (Arm ARM D1.3, "Conditional
//! execution of ... trapped instructions"): it is to be finished like one that does nothing.

use super::syndrome::{SystemRegisterAccess, encoding};

const AARCH32: u64 = 1 << 4;
const THUMB: u64 = 1 << 5;
/// The condition of an instruction that always is executed.
const ALWAYS: u64 = 0b1110;

/// An access to the physical timer, which EL1 allows EL0 by CNTKCTL_EL1.EL0PTEN, or it would have trapped there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerAccess {
    /// MRC, MCR: of a register of 32 bits.
    Single(SystemRegisterAccess),
    /// MRRC, MCRR: of CNTP_CVAL, whose lower half is in the register that is named, its upper half in this one.
    Pair(SystemRegisterAccess, usize),
}

/// Whether an instruction that trapped with this syndrome and PSTATE is to be executed (Arm ARM D24.2.40: CV and COND of the
/// exception classes for WFI and WFE, and for accesses to coprocessors; and ConditionHolds).
pub const fn is_executed(esr: u64, pstate: u64) -> bool {
    if pstate & AARCH32 == 0 || !matches!(esr >> 26 & 0x3f, 0x01 | 0x03..=0x08 | 0x0c) {
        return true;
    }
    holds(condition(esr, pstate), pstate)
}

/// The condition, by the syndrome if that is valid; without, it is an instruction of T32, and of an IT block or none.
const fn condition(esr: u64, pstate: u64) -> u64 {
    let is_told = esr >> 24 & 1 != 0;
    // IT[7:2] is in [15:10], IT[1:0] in [26:25].
    let is_in_block = pstate & THUMB != 0 && pstate & (0x3f << 10 | 0b11 << 25) != 0;
    match (is_told, is_in_block) {
        (true, _) => esr >> 20 & 0xf,
        (false, true) => pstate >> 12 & 0xf,
        (false, false) => ALWAYS,
    }
}

const fn holds(condition: u64, pstate: u64) -> bool {
    let [n, z, c, v] = [pstate >> 31 & 1 != 0, pstate >> 30 & 1 != 0, pstate >> 29 & 1 != 0, pstate >> 28 & 1 != 0];
    let base = match condition >> 1 {
        0b000 => z,
        0b001 => c,
        0b010 => n,
        0b011 => v,
        0b100 => c && !z,
        0b101 => n == v,
        0b110 => n == v && !z,
        _ => return true,
    };
    base != (condition & 1 != 0)
}

impl TimerAccess {
    /// Decodes a syndrome; `None` if it is of another class, or of another register.
    pub const fn decode(esr: u64) -> Option<Self> {
        /// In ISS order, as `encoding` makes it, but for the condition in op0's place.
        const REGISTER: u64 = encoding(0, 7, 15, 15, 7) as u64;
        const CONTROL: u64 = encoding(0, 0, 14, 2, 1) as u64;
        const VALUE: u64 = encoding(0, 0, 14, 2, 0) as u64;
        // Opc1 is [19:16] and CRm [4:1], of classes with a pair; Rt2 is [14:10].
        const PAIR: u64 = 0xf << 16 | 0xf << 1;
        const COMPARE: u64 = 2 << 16 | 14 << 1;
        match (esr >> 26 & 0x3f, esr & REGISTER, esr & PAIR) {
            (0x03, CONTROL, _) => Some(Self::Single(SystemRegisterAccess::of(encoding(3, 3, 14, 2, 1), esr))),
            (0x03, VALUE, _) => Some(Self::Single(SystemRegisterAccess::of(encoding(3, 3, 14, 2, 0), esr))),
            (0x04, _, COMPARE) => {
                let access = SystemRegisterAccess::of(encoding(3, 3, 14, 2, 2), esr);
                Some(Self::Pair(access, (esr >> 10 & 0x1f) as usize))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WFI of AArch32; CV and COND.
    fn wait(condition: Option<u64>) -> u64 {
        0x01 << 26 | condition.map_or(0, |condition| 1 << 24 | condition << 20)
    }

    /// By the manual's table of mnemonics, flag by flag.
    #[test]
    fn each_condition_is_that_of_the_manual() {
        for flags in 0..16u64 {
            let flag = |name: char| flags >> "vczn".find(name).expect("a flag") & 1 == 1;
            let mnemonics: [(&str, bool); 15] = [
                ("eq", flag('z')),
                ("ne", !flag('z')),
                ("cs", flag('c')),
                ("cc", !flag('c')),
                ("mi", flag('n')),
                ("pl", !flag('n')),
                ("vs", flag('v')),
                ("vc", !flag('v')),
                ("hi", flag('c') && !flag('z')),
                ("ls", !flag('c') || flag('z')),
                ("ge", flag('n') == flag('v')),
                ("lt", flag('n') != flag('v')),
                ("gt", !flag('z') && flag('n') == flag('v')),
                ("le", flag('z') || flag('n') != flag('v')),
                ("al", true),
            ];
            for (condition, (name, expected)) in (0..).zip(mnemonics) {
                assert_eq!(is_executed(wait(Some(condition)), flags << 28 | 0x10), expected, "{name} {flags:04b}");
                // The same in T32, told by the block: IT[7:4], and a mask of one instruction more.
                let block = flags << 28 | 0x30 | condition << 12 | 0b10 << 10;
                assert_eq!(is_executed(wait(None), block), expected, "it {name} {flags:04b}");
            }
        }
    }

    #[test]
    fn what_has_no_condition_is_executed() {
        // Outside of a block; A64, whose NZCV and DAIF are no condition; an SMC of A64; a data abort of A32.
        assert!(is_executed(wait(None), 0x30));
        assert!(is_executed(wait(Some(0)), 0x5));
        assert!(is_executed(0x17 << 26, 0x10) && is_executed(0x24 << 26 | 1 << 24, 0x10));
    }

    #[test]
    fn the_physical_timer_is_found() {
        let single = |esr| match TimerAccess::decode(esr) {
            Some(TimerAccess::Single(access)) => Some((access.register(), access.transfer(), access.is_read())),
            _ => None,
        };
        // mrc p15, 0, r4, c14, c2, 1; mcr p15, 0, r4, c14, c2, 0; CNTV_CTL (c14, c3, 1), which does not trap.
        let esr =
            |op2: u64, crm: u64, read: u64| 0x03 << 26 | 0x1e << 20 | op2 << 17 | 14 << 10 | 4 << 5 | crm << 1 | read;
        assert_eq!(single(esr(1, 2, 1)), Some((encoding(3, 3, 14, 2, 1), 4, true)));
        assert_eq!(single(esr(0, 2, 0)), Some((encoding(3, 3, 14, 2, 0), 4, false)));
        assert_eq!(single(esr(1, 3, 1)), None);
        assert_eq!(single(esr(1, 2, 1) | 4 << 26), None);
        // mrrc p15, 2, r4, r5, c14; p15, 3 is CNTV_CVAL.
        let pair = |op1: u64| 0x04 << 26 | 0x1e << 20 | op1 << 16 | 5 << 10 | 4 << 5 | 14 << 1 | 1;
        let Some(TimerAccess::Pair(access, upper)) = TimerAccess::decode(pair(2)) else { panic!() };
        assert_eq!(
            (access.register(), access.transfer(), upper, access.is_read()),
            (encoding(3, 3, 14, 2, 2), 4, 5, true)
        );
        assert_eq!(TimerAccess::decode(pair(3)), None);
    }
}
