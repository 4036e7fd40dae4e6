//! PSCI 1.1 and SMCCC 1.1 calls of a guest, decoded (Arm DEN0022, DEN0028). What they do is in `hypercall`.

use tessera_platform::smccc::{Offer, Workaround};

/// A call's result as the guest reads it in X0.
pub const SUCCESS: u64 = 0;
/// No such function.
pub const NOT_SUPPORTED: u64 = -1i64 as u64;
/// An argument names nothing.
pub const INVALID_PARAMETERS: u64 = -2i64 as u64;
/// Not now.
pub const DENIED: u64 = -3i64 as u64;
/// The core is on.
pub const ALREADY_ON: u64 = -4i64 as u64;
/// CPU_ON is under way for the core.
pub const ON_PENDING: u64 = -5i64 as u64;
/// The entry point is outside the guest's memory.
pub const INVALID_ADDRESS: u64 = -9i64 as u64;

/// PV_TIME_FEATURES' function number.
pub const PV_TIME_FEATURES: u32 = 0xc500_0020;
/// PV_TIME_ST's function number.
pub const PV_TIME_ST: u32 = 0xc500_0021;
/// PSCI_VERSION's function number.
pub const VERSION: u32 = 0x8400_0000;
/// PSCI 1.1.
pub const PSCI_VERSION: u64 = 0x0001_0001;
/// SMCCC 1.1.
pub const SMCCC_VERSION: u64 = 0x0001_0001;
/// MIGRATE_INFO_TYPE: a Trusted OS is not present.
pub const NO_TRUSTED_OS: u64 = 2;

/// A guest's call by HVC or SMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// PSCI_VERSION.
    Version,
    /// CPU_SUSPEND: power state, entry point, context are not needed, as every state is standby.
    CpuSuspend,
    /// CPU_OFF.
    CpuOff,
    /// CPU_ON.
    CpuOn {
        /// The affinity of the vCPU to start, as in MPIDR_EL1.
        target: u64,
        /// The guest physical address of its first instruction.
        entry: u64,
        /// What it finds in X0.
        context: u64,
    },
    /// AFFINITY_INFO.
    AffinityInfo {
        /// The affinity asked about.
        target: u64,
        /// The lowest level that counts: 0 is a core. Of 32 bits in both calls.
        level: u32,
    },
    /// MIGRATE_INFO_TYPE.
    MigrateInfoType,
    /// SYSTEM_OFF.
    SystemOff,
    /// SYSTEM_RESET, and SYSTEM_RESET2 with the architectural warm reset.
    SystemReset,
    /// SYSTEM_RESET2 with a type of reset that there is not.
    OtherReset,
    /// PSCI_FEATURES of this function.
    Features(u32),
    /// SMCCC_VERSION.
    SmcccVersion,
    /// SMCCC_ARCH_FEATURES of this function.
    ArchFeatures(u32),
    /// SMCCC_ARCH_WORKAROUND_1 to 3.
    Workaround(Workaround),
    /// PV_TIME_FEATURES of this function (DEN0057A 3.3.1).
    PvTimeFeatures(u32),
    /// PV_TIME_ST: where the caller's stolen time is (DEN0057A 3.3.2).
    PvTimeStolen,
    /// Anything else.
    Unknown,
}

/// The bit of a function identifier that says its arguments are 64 bits wide.
const WIDE: u32 = 1 << 30;

/// Whether a function's number is in a range of which [`Call::decode`] knows any: few instructions for a first look.
#[inline(always)]
pub const fn may_be_known(function: u32) -> bool {
    // The services of the architecture (0), secure services (4: PSCI) and hypervisor services (5), all fast calls.
    (function & !WIDE) >> 24 & 0xfa == 0x80
}

impl Call {
    /// Decodes a call from X0 to X3. Arguments of 32-bit functions are cut to 32 bits, as SMCCC says.
    pub fn decode(x0: u64, x1: u64, x2: u64, x3: u64) -> Self {
        let function = x0 as u32;
        let cut = |value: u64| if function & WIDE != 0 { value } else { value & 0xffff_ffff };
        match function {
            VERSION => Self::Version,
            0x8400_0001 | 0xc400_0001 => Self::CpuSuspend,
            0x8400_0002 => Self::CpuOff,
            0x8400_0003 | 0xc400_0003 => Self::CpuOn { target: cut(x1), entry: cut(x2), context: cut(x3) },
            0x8400_0004 | 0xc400_0004 => Self::AffinityInfo { target: cut(x1), level: x2 as u32 },
            0x8400_0006 => Self::MigrateInfoType,
            0x8400_0008 => Self::SystemOff,
            0x8400_0009 => Self::SystemReset,
            0x8400_000a => Self::Features(x1 as u32),
            // Reset type 0 is the architectural warm reset; vendor types start at bit 31.
            0x8400_0012 | 0xc400_0012 if x1 as u32 == 0 => Self::SystemReset,
            0x8400_0012 | 0xc400_0012 => Self::OtherReset,
            0x8000_0000 => Self::SmcccVersion,
            0x8000_0001 => Self::ArchFeatures(x1 as u32),
            PV_TIME_FEATURES => Self::PvTimeFeatures(x1 as u32),
            PV_TIME_ST => Self::PvTimeStolen,
            _ => Workaround::of(function).map_or(Self::Unknown, Self::Workaround),
        }
    }
}

/// PSCI_FEATURES: 0 (no flags) for what is there.
pub fn features(function: u32) -> u64 {
    match Call::decode(u64::from(function), 0, 0, 0) {
        Call::Unknown | Call::ArchFeatures(_) | Call::Workaround(_) => NOT_SUPPORTED,
        Call::PvTimeFeatures(_) | Call::PvTimeStolen => NOT_SUPPORTED,
        _ => SUCCESS,
    }
}

/// SMCCC_ARCH_FEATURES: the two calls that are mandatory, and the workarounds, of which `offer` says what there is.
pub fn arch_features(function: u32, offer: impl Fn(Workaround) -> Offer) -> u64 {
    match Call::decode(u64::from(function), 0, 0, 0) {
        Call::SmcccVersion | Call::ArchFeatures(_) => SUCCESS,
        Call::Workaround(workaround) => i64::from(offer(workaround).answer()) as u64,
        _ => NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_32_bit_call_ignores_upper_halves() {
        let wide = u64::MAX << 32;
        assert_eq!(
            Call::decode(wide | 0x8400_0003, wide | 1, wide | 0x4000_0000, wide | 7),
            Call::CpuOn { target: 1, entry: 0x4000_0000, context: 7 }
        );
        assert_eq!(
            Call::decode(0xc400_0003, 1 << 32, 5 << 32, u64::MAX),
            Call::CpuOn { target: 1 << 32, entry: 5 << 32, context: u64::MAX }
        );
    }

    #[test]
    fn a_level_has_32_bits_in_a_64_bit_call_too() {
        let told = Call::AffinityInfo { target: 1 << 32, level: 1 };
        assert_eq!(Call::decode(0xc400_0004, 1 << 32, u64::MAX << 32 | 1, 0), told);
    }

    #[test]
    fn features_lists_what_decode_knows() {
        for function in [0x8400_0000, 0x8400_0001, 0xc400_0001, 0x8400_0002, 0xc400_0003, 0xc400_0004, 0x8400_0006]
            .into_iter()
            .chain([0x8400_0008, 0x8400_0009, 0x8400_000a, 0x8400_0012, 0x8000_0000])
        {
            assert_eq!(features(function), SUCCESS, "{function:#x}");
        }
        // MIGRATE, CPU_FREEZE, SYSTEM_SUSPEND, and the 64-bit twin of a 32-bit-only call.
        for function in [0x8400_0005, 0x8000_8000, 0x8400_000b, 0xc400_000e, 0xc400_0008, 0, 0xffff_ffff] {
            assert_eq!(features(function), NOT_SUPPORTED, "{function:#x}");
        }
    }

    #[test]
    fn the_first_look_passes_all_that_decode_knows() {
        let ranges = [0x8000_0000, 0x8400_0000, 0x8500_0000, 0xc000_0000, 0xc400_0000, 0xc500_0000];
        let ranges = ranges.map(|first| first..first + 0x1_0000);
        for function in ranges.into_iter().flatten() {
            let is_known = Call::decode(u64::from(function), 0, 0, 0) != Call::Unknown;
            assert!(!is_known || may_be_known(function), "{function:#x}");
        }
        for function in [0x8200_0000, 0xc300_00ff, 0x83ff_ffff, 0x8800_0000, 0x0400_0000, 0x8600_0000, 0] {
            assert!(!may_be_known(function), "{function:#x}");
        }
    }

    #[test]
    fn workarounds_are_features_of_the_architecture() {
        let offer = |workaround| match workaround {
            Workaround::Branches => Offer::Needed,
            Workaround::Bypass => Offer::NeverNeeded,
            Workaround::History => Offer::NotNeeded,
        };
        let answers = [0x8000_8000, 0x8000_7fff, 0x8000_3fff].map(|function| arch_features(function, offer) as i64);
        assert_eq!(answers, [0, -2, 1]);
        assert_eq!([0x8000_0000, 0x8000_0001].map(|function| arch_features(function, offer)), [SUCCESS; 2]);
        // SMCCC_ARCH_SOC_ID, a workaround of nobody's, the 64-bit twin of one, and PSCI's own.
        for function in [0x8000_0002, 0x8000_7ffe, 0xc000_8000, 0x8400_0000] {
            assert_eq!(arch_features(function, offer), NOT_SUPPORTED, "{function:#x}");
        }
        assert_eq!(Call::decode(0x8000_3fff, 0, 0, 0), Call::Workaround(Workaround::History));
    }

    #[test]
    fn stolen_time_is_asked_for_by_64_bit_calls() {
        assert_eq!(Call::decode(0xc500_0020, 0xc500_0021, 0, 0), Call::PvTimeFeatures(PV_TIME_ST));
        assert_eq!(Call::decode(0xc500_0021, 0, 0, 0), Call::PvTimeStolen);
        assert_eq!([0x8500_0020, 0x8500_0021].map(|function| Call::decode(function, 0, 0, 0)), [Call::Unknown; 2]);
        assert_eq!(features(PV_TIME_FEATURES), NOT_SUPPORTED, "it is none of PSCI's");
    }

    #[test]
    fn a_vendor_reset_is_not_taken_for_a_warm_one() {
        assert_eq!([1, 0x8000_0000].map(|kind| Call::decode(0x8400_0012, kind, 0, 0)), [Call::OtherReset; 2]);
        assert_eq!(Call::decode(0x8400_0012, 0, 0, 0), Call::SystemReset);
    }
}
