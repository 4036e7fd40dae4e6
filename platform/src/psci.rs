//! Calling PSCI firmware (Power State Coordination Interface, DEN0022F) to start and stop cores and the machine.
//!
//! On a machine without such firmware a call hangs or is undefined, so [`Firmware`] can only be made from what the
//! device tree says. What guests call does not belong here.

use crate::affinity::Affinity;
use crate::board::{Psci, PsciVersion};
use crate::smccc;
use core::fmt;

/// Function numbers, DEN0022F table 6 (SMC64 where there is one).
mod function {
    pub const VERSION: u32 = 0x8400_0000;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON: u32 = 0xc400_0003;
    pub const AFFINITY_INFO: u32 = 0xc400_0004;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const FEATURES: u32 = 0x8400_000a;
}

/// What the firmware answers if it does not do as asked (DEN0022F 5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciError {
    /// It does not know the function.
    NotSupported,
    /// There is no such core, or an argument is wrong.
    InvalidParameters,
    /// It is not allowed.
    Denied,
    /// The core runs already.
    AlreadyOn,
    /// The core is being started already.
    OnPending,
    /// It failed within.
    InternalFailure,
    /// The core is not there.
    NotPresent,
    /// The core is off by the firmware's will.
    Disabled,
    /// The entry address is wrong.
    InvalidAddress,
    /// An answer that the specification does not know.
    Other(i32),
}

impl PsciError {
    const fn of(code: i32) -> Self {
        match code {
            -1 => Self::NotSupported,
            -2 => Self::InvalidParameters,
            -3 => Self::Denied,
            -4 => Self::AlreadyOn,
            -5 => Self::OnPending,
            -6 => Self::InternalFailure,
            -7 => Self::NotPresent,
            -8 => Self::Disabled,
            -9 => Self::InvalidAddress,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for PsciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupported => write!(f, "not supported by the firmware"),
            Self::InvalidParameters => write!(f, "the firmware knows no such core"),
            Self::Denied => write!(f, "denied by the firmware"),
            Self::AlreadyOn => write!(f, "the core runs already"),
            Self::OnPending => write!(f, "the core is being started already"),
            Self::InternalFailure => write!(f, "the firmware failed"),
            Self::NotPresent => write!(f, "the core is not present"),
            Self::Disabled => write!(f, "the core is disabled by the firmware"),
            Self::InvalidAddress => write!(f, "the firmware refuses the entry address"),
            Self::Other(code) => write!(f, "the firmware answers {code}"),
        }
    }
}

impl core::error::Error for PsciError {}

/// PSCI firmware that is there to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware(Psci);

impl Firmware {
    /// The firmware that the device tree describes.
    pub const fn new(psci: Psci) -> Self {
        Self(psci)
    }

    /// Its version, major and minor; 0.1 without asking where the tree says so.
    pub fn version(self) -> (u16, u16) {
        if let PsciVersion::V0_1 { .. } = self.0.version {
            return (0, 1);
        }
        let version = self.call(function::VERSION, [0; 3]) as u32;
        ((version >> 16) as u16, version as u16)
    }

    /// Whether it knows function `number`; false from firmware too old to be asked (before 1.0), whatever the tree says.
    pub fn has_feature(self, number: u32) -> bool {
        self.version() >= (1, 0) && self.answer(function::FEATURES, [u64::from(number), 0, 0]).is_ok()
    }

    /// Starts core `target` at machine address `entry` with `context` in its x0, MMU and caches off.
    pub fn cpu_on(self, target: Affinity, entry: u64, context: u64) -> Result<(), PsciError> {
        let number = match self.0.version {
            PsciVersion::V0_1 { cpu_on, .. } => cpu_on.ok_or(PsciError::NotSupported)?,
            _ => function::CPU_ON,
        };
        self.answer(number, [target.value(), entry, context]).map(drop)
    }

    /// Stops the calling core. Returns only if that fails.
    pub fn cpu_off(self) -> PsciError {
        let number = match self.0.version {
            PsciVersion::V0_1 { cpu_off, .. } => cpu_off,
            _ => Some(function::CPU_OFF),
        };
        let answer = number.ok_or(PsciError::NotSupported).and_then(|number| self.answer(number, [0; 3]));
        answer.err().unwrap_or(PsciError::InternalFailure)
    }

    /// Whether core `target` runs, or is about to.
    pub fn is_on(self, target: Affinity) -> Result<bool, PsciError> {
        self.call_of_0_2(function::AFFINITY_INFO, [target.value(), 0, 0]).map(|state| state != 1)
    }

    /// Powers the machine off. Returns only if that fails.
    pub fn system_off(self) -> PsciError {
        self.call_of_0_2(function::SYSTEM_OFF, [0; 3]).err().unwrap_or(PsciError::InternalFailure)
    }

    /// Resets the machine. Returns only if that fails.
    pub fn system_reset(self) -> PsciError {
        self.call_of_0_2(function::SYSTEM_RESET, [0; 3]).err().unwrap_or(PsciError::InternalFailure)
    }

    /// Calls a function that PSCI 0.1 does not have.
    #[inline(never)]
    fn call_of_0_2(self, number: u32, arguments: [u64; 3]) -> Result<u32, PsciError> {
        match self.0.version {
            PsciVersion::V0_1 { .. } => Err(PsciError::NotSupported),
            _ => self.answer(number, arguments),
        }
    }

    /// Calls function `number`: the answer, which is an error if negative.
    fn answer(self, number: u32, arguments: [u64; 3]) -> Result<u32, PsciError> {
        let code = self.call(number, arguments) as i32;
        u32::try_from(code).map_err(|_| PsciError::of(code))
    }

    fn call(self, number: u32, arguments: [u64; 3]) -> u64 {
        smccc::conduit::call(self.0.conduit, number, arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Conduit;
    use crate::smccc::conduit::{ANSWER, CALLS};

    fn firmware(version: PsciVersion) -> Firmware {
        Firmware::new(Psci { conduit: Conduit::Smc, version })
    }

    /// What the firmware was called with since the last time this was asked.
    fn calls() -> Vec<(u32, [u64; 3])> {
        CALLS
            .take()
            .into_iter()
            .map(|(conduit, number, arguments)| {
                assert_eq!(conduit, Conduit::Smc);
                (number, arguments)
            })
            .collect()
    }

    #[test]
    fn functions_have_the_numbers_of_the_specification() {
        let firmware = firmware(PsciVersion::V1_0);
        let core = Affinity::from_mpidr(0x1_0002);
        ANSWER.set(0x1_0001);
        assert!(firmware.has_feature(0x8400_0008));
        ANSWER.set(0);
        assert_eq!(firmware.cpu_on(core, 0x4020_0000, 7), Ok(()));
        assert_eq!(firmware.is_on(core), Ok(true));
        firmware.cpu_off();
        firmware.system_off();
        firmware.system_reset();
        assert_eq!(
            calls(),
            [
                (0x8400_0000, [0; 3]),
                (0x8400_000a, [0x8400_0008, 0, 0]),
                (0xc400_0003, [0x1_0002, 0x4020_0000, 7]),
                (0xc400_0004, [0x1_0002, 0, 0]),
                (0x8400_0002, [0; 3]),
                (0x8400_0008, [0; 3]),
                (0x8400_0009, [0; 3]),
            ]
        );
    }

    #[test]
    fn firmware_of_0_1_is_called_only_as_the_tree_says() {
        let old = firmware(PsciVersion::V0_1 { cpu_on: Some(0x95c1_ba60), cpu_off: None });
        let core = Affinity::from_mpidr(3);
        assert_eq!(old.version(), (0, 1));
        assert_eq!(old.cpu_on(core, 1, 2), Ok(()));
        assert_eq!(old.cpu_off(), PsciError::NotSupported);
        assert_eq!(old.system_off(), PsciError::NotSupported);
        assert_eq!(old.is_on(core), Err(PsciError::NotSupported));
        assert!(!old.has_feature(0));
        assert_eq!(calls(), [(0x95c1_ba60, [3, 1, 2])]);
    }

    #[test]
    fn firmware_before_1_0_is_not_asked_for_features() {
        ANSWER.set(2);
        assert!(!firmware(PsciVersion::V0_2).has_feature(0x8400_0008));
        assert_eq!(calls(), [(0x8400_0000, [0; 3])]);
    }

    #[test]
    fn negative_answers_are_errors_whatever_the_upper_half() {
        let firmware = firmware(PsciVersion::V0_2);
        for (answer, error) in [
            (-1_i64 as u64, PsciError::NotSupported),
            (0xffff_fffe, PsciError::InvalidParameters),
            (0xffff_fffc, PsciError::AlreadyOn),
            (-9_i64 as u64, PsciError::InvalidAddress),
            (0xffff_ff00, PsciError::Other(-256)),
        ] {
            ANSWER.set(answer);
            assert_eq!(firmware.cpu_on(Affinity::from_mpidr(1), 0, 0), Err(error));
            assert_eq!(firmware.system_off(), error);
        }
        ANSWER.set(1);
        assert_eq!(firmware.is_on(Affinity::from_mpidr(1)), Ok(false));
    }
}
