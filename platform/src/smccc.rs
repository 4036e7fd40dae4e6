//! Calls of firmware by the SMC Calling Convention (DEN0028F): the instruction, and the architecture's own calls, which
//! work around faults of processors that only firmware can.
//!
//! On a machine without firmware an SMC hangs or is undefined, so [`Architecture`] can only be made from what the device
//! tree says. What guests call does not belong here.

use crate::board::{Conduit, Psci};
use crate::psci::Firmware;

/// Function numbers, DEN0028F 7.
mod function {
    pub const VERSION: u32 = 0x8000_0000;
    pub const ARCH_FEATURES: u32 = 0x8000_0001;
}

/// The first version with [`function::ARCH_FEATURES`].
const VERSION_1_1: i32 = 0x1_0001;

/// A workaround that firmware may have, by its function's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Workaround {
    /// SMCCC_ARCH_WORKAROUND_1: forgets what branch predictors have learnt (CVE-2017-5715, Spectre v2).
    Branches = 0x8000_8000,
    /// SMCCC_ARCH_WORKAROUND_2: loads no longer pass stores speculatively (CVE-2018-3639, Spectre v4), or do again.
    Bypass = 0x8000_7fff,
    /// SMCCC_ARCH_WORKAROUND_3: as the first, the history of branches too (CVE-2022-23960, Spectre-BHB).
    History = 0x8000_3fff,
}

impl Workaround {
    /// The one with this function number.
    pub const fn of(function: u32) -> Option<Self> {
        match function {
            0x8000_8000 => Some(Self::Branches),
            0x8000_7fff => Some(Self::Bypass),
            0x8000_3fff => Some(Self::History),
            _ => None,
        }
    }
}

/// What firmware says of a workaround to the core that asks: SMCCC_ARCH_FEATURES, DEN0028F 7.3 and on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    /// It does not have it: no core needs it, or firmware does not know.
    #[default]
    Absent,
    /// It has it, and this core needs it.
    Needed,
    /// It has it, and this core does not need it.
    NotNeeded,
    /// No core needs to call it, whichever way the fault is dealt with.
    NeverNeeded,
}

impl Offer {
    const fn of(answer: i32) -> Self {
        match answer {
            0 => Self::Needed,
            1 => Self::NotNeeded,
            -2 => Self::NeverNeeded,
            _ => Self::Absent,
        }
    }

    /// The answer that says this.
    pub const fn answer(self) -> i32 {
        match self {
            Self::Needed => 0,
            Self::NotNeeded => 1,
            Self::Absent => -1,
            Self::NeverNeeded => -2,
        }
    }
}

/// What firmware has for one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workarounds {
    /// [`Workaround::Branches`].
    pub branches: Offer,
    /// [`Workaround::Bypass`].
    pub bypass: Offer,
    /// [`Workaround::History`].
    pub history: Offer,
}

impl Workarounds {
    /// What it has of `workaround`.
    pub const fn offer(self, workaround: Workaround) -> Offer {
        match workaround {
            Workaround::Branches => self.branches,
            Workaround::Bypass => self.bypass,
            Workaround::History => self.history,
        }
    }

    /// What makes this core forget what its branch predictors learnt; `None` if it need not, or firmware cannot.
    pub fn forgetting(self) -> Option<Workaround> {
        // The third does what the first does.
        let ways = [Workaround::History, Workaround::Branches];
        ways.into_iter().find(|way| self.offer(*way) == Offer::Needed)
    }
}

/// Firmware at EL3 that knows SMCCC 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture(Conduit);

impl Architecture {
    /// The board's, if it has such; `psci` is what the device tree says of firmware. PSCI 1.0 is how to find out.
    pub fn find(psci: Option<Psci>) -> Option<Self> {
        let psci = psci.filter(|psci| psci.conduit == Conduit::Smc)?;
        let has_version = Firmware::new(psci).has_feature(function::VERSION);
        let version = || conduit::call(psci.conduit, function::VERSION, [0; 3]) as i32;
        (has_version && version() >= VERSION_1_1).then_some(Self(psci.conduit))
    }

    /// What it has for the calling core: another core may get another answer.
    pub fn workarounds(self) -> Workarounds {
        let offer = |workaround: Workaround| {
            let arguments = [u64::from(workaround as u32), 0, 0];
            Offer::of(conduit::call(self.0, function::ARCH_FEATURES, arguments) as i32)
        };
        Workarounds {
            branches: offer(Workaround::Branches),
            bypass: offer(Workaround::Bypass),
            history: offer(Workaround::History),
        }
    }

    /// Has the calling core forget what its branch predictors learnt; `workaround` was offered to it.
    pub fn forget(self, workaround: Workaround) {
        conduit::call(self.0, workaround as u32, [0; 3]);
    }

    /// Keeps loads of the calling core from passing stores, for good; [`Workaround::Bypass`] was offered to it.
    pub fn forbid_bypass(self) {
        conduit::call(self.0, Workaround::Bypass as u32, [1, 0, 0]);
    }
}

/// The calls themselves. Version 1.0 lets the callee use x4 to x17, and firmware that old is about.
#[cfg(target_arch = "aarch64")]
pub(crate) mod conduit {
    use super::Conduit;

    macro_rules! firmware_call {
        ($instruction:literal, $number:expr, $arguments:expr) => {{
            let result: u64;
            // SAFETY: the convention says which registers change, and all are named here; PSCI leaves memory alone.
            unsafe {
                core::arch::asm!(
                    $instruction,
                    inlateout("x0") u64::from($number) => result,
                    inlateout("x1") $arguments[0] => _,
                    inlateout("x2") $arguments[1] => _,
                    inlateout("x3") $arguments[2] => _,
                    lateout("x4") _, lateout("x5") _, lateout("x6") _, lateout("x7") _,
                    lateout("x8") _, lateout("x9") _, lateout("x10") _, lateout("x11") _,
                    lateout("x12") _, lateout("x13") _, lateout("x14") _, lateout("x15") _,
                    lateout("x16") _, lateout("x17") _,
                    options(nostack)
                );
            }
            result
        }};
    }

    pub(crate) fn call(conduit: Conduit, number: u32, arguments: [u64; 3]) -> u64 {
        match conduit {
            Conduit::Smc => firmware_call!("smc #0", number, arguments),
            Conduit::Hvc => firmware_call!("hvc #0", number, arguments),
        }
    }
}

/// On the host there is no firmware, which supports nothing; in tests one that notes what it was called with.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) mod conduit {
    use super::Conduit;

    #[cfg(not(test))]
    pub(crate) fn call(_: Conduit, _: u32, _: [u64; 3]) -> u64 {
        u64::from(u32::MAX)
    }

    /// What a function and its first argument are answered with.
    #[cfg(test)]
    type Script = fn(u32, u64) -> i32;

    #[cfg(test)]
    thread_local! {
        pub(crate) static CALLS: std::cell::RefCell<Vec<(Conduit, u32, [u64; 3])>> = const { std::cell::RefCell::new(Vec::new()) };
        pub(crate) static ANSWER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
        /// What answers in place of `ANSWER`.
        pub(crate) static FIRMWARE: std::cell::Cell<Option<Script>> = const { std::cell::Cell::new(None) };
    }

    #[cfg(test)]
    pub(crate) fn call(conduit: Conduit, number: u32, arguments: [u64; 3]) -> u64 {
        CALLS.with_borrow_mut(|calls| calls.push((conduit, number, arguments)));
        FIRMWARE.get().map_or(ANSWER.get(), |firmware| firmware(number, arguments[0]) as u32 as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::conduit::{CALLS, FIRMWARE};
    use super::*;
    use crate::board::PsciVersion;

    const PSCI: Psci = Psci { conduit: Conduit::Smc, version: PsciVersion::V1_0 };

    /// TF-A on a Cortex-A72, as on the Raspberry Pi 4: what needs no call any more is told by -2.
    fn trusted_firmware(function: u32, argument: u64) -> i32 {
        match (function, argument) {
            (0x8400_0000, _) => 0x1_0001,
            (0x8400_000a, 0x8000_0000) => 0,
            (0x8000_0000, _) => 0x1_0002,
            (0x8000_0001, 0x8000_8000 | 0x8000_3fff) => 0,
            (0x8000_0001, 0x8000_7fff) => -2,
            _ => -1,
        }
    }

    fn functions_called() -> Vec<u32> {
        CALLS.take().into_iter().map(|(_, function, _)| function).collect()
    }

    #[test]
    fn each_workaround_is_asked_for_by_its_number() {
        FIRMWARE.set(Some(trusted_firmware));
        let firmware = Architecture::find(Some(PSCI)).unwrap();
        let found = firmware.workarounds();
        let expected = Workarounds { branches: Offer::Needed, bypass: Offer::NeverNeeded, history: Offer::Needed };
        assert_eq!(found, expected);
        assert_eq!(found.forgetting(), Some(Workaround::History));
        functions_called();
        firmware.forget(Workaround::History);
        firmware.forbid_bypass();
        let calls = CALLS.take();
        assert_eq!(calls, [(Conduit::Smc, 0x8000_3fff, [0; 3]), (Conduit::Smc, 0x8000_7fff, [1, 0, 0])]);
    }

    #[test]
    fn only_firmware_that_says_so_is_asked() {
        FIRMWARE.set(Some(trusted_firmware));
        assert_eq!(Architecture::find(None), None);
        assert_eq!(Architecture::find(Some(Psci { conduit: Conduit::Hvc, ..PSCI })), None);
        let oldest = PsciVersion::V0_1 { cpu_on: Some(1), cpu_off: None };
        assert_eq!(Architecture::find(Some(Psci { version: oldest, ..PSCI })), None);
        assert_eq!(functions_called(), [0; 0]);
        // PSCI 0.2; no SMCCC_VERSION, as in QEMU; SMCCC 1.0.
        FIRMWARE.set(Some(|function, _| if function == 0x8400_0000 { 2 } else { 0 }));
        assert_eq!(Architecture::find(Some(PSCI)), None);
        assert_eq!(functions_called(), [0x8400_0000]);
        FIRMWARE.set(Some(|function, _| if function == 0x8400_0000 { 0x1_0001 } else { -1 }));
        assert_eq!(Architecture::find(Some(PSCI)), None);
        assert_eq!(functions_called(), [0x8400_0000, 0x8400_000a]);
        FIRMWARE.set(Some(|function, _| if function == 0x8400_000a { 0 } else { 0x1_0000 }));
        assert_eq!(Architecture::find(Some(PSCI)), None);
        assert_eq!(functions_called(), [0x8400_0000, 0x8400_000a, 0x8000_0000]);
    }

    #[test]
    fn a_core_that_needs_nothing_forgets_nothing() {
        let of = |branches, history| Workarounds { branches, history, bypass: Offer::Needed }.forgetting();
        assert_eq!(of(Offer::Needed, Offer::Absent), Some(Workaround::Branches));
        assert_eq!(of(Offer::NotNeeded, Offer::Needed), Some(Workaround::History));
        assert_eq!(of(Offer::NotNeeded, Offer::NotNeeded), None);
        assert_eq!(of(Offer::Absent, Offer::NeverNeeded), None);
    }

    #[test]
    fn answers_are_told_as_they_were_heard() {
        for answer in [-2, -1, 0, 1] {
            assert_eq!(Offer::of(answer).answer(), answer);
        }
        assert_eq!([Offer::of(2), Offer::of(-3)], [Offer::Absent; 2]);
        for workaround in [Workaround::Branches, Workaround::Bypass, Workaround::History] {
            assert_eq!(Workaround::of(workaround as u32), Some(workaround));
        }
        assert_eq!(Workaround::of(0x8000_0000), None);
    }
}
