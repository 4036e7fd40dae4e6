//! What firmware does against speculation on one core, and when: for guests that ask, and between guests.
//!
//! Branch predictors outlive a change of vCPU: what one VM taught them would steer the next (CVE-2017-5715,
//! CVE-2022-23960). Cores that change VMs have firmware clear them; all others pay nothing.

use tessera_platform::smccc::{Architecture, Offer, Workaround, Workarounds};

/// What there is for one core.
#[derive(Debug)]
pub struct Hardening {
    firmware: Option<Architecture>,
    offers: Workarounds,
    /// What makes the core forget what one VM taught it.
    forgetting: Option<Workaround>,
    /// The VM that ran last.
    vm: Option<usize>,
}

/// How EL2 itself is kept from what guests taught this core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeEl2 {
    /// This function of the firmware is called.
    Call(u32),
    /// The core is not affected.
    NotNeeded,
    /// Firmware has nothing for it.
    Impossible,
}

impl Hardening {
    /// Asks firmware what it has for the calling core.
    pub fn of_this_core(firmware: Option<Architecture>) -> Self {
        let offers = firmware.map(Architecture::workarounds).unwrap_or_default();
        if let (Some(firmware), Offer::Needed) = (firmware, offers.bypass) {
            // Whether loads pass stores would be a vCPU's own state: off for all, there is none.
            firmware.forbid_bypass();
        }
        Self::new(firmware, offers)
    }

    fn new(firmware: Option<Architecture>, offers: Workarounds) -> Self {
        Self { firmware, offers, forgetting: offers.forgetting(), vm: None }
    }

    /// What a guest on this core is told of a workaround.
    pub fn offer(&self, workaround: Workaround) -> Offer {
        to_guest(self.offers, workaround)
    }

    /// Carries out a guest's call of a workaround. False if it was not offered one to call.
    pub fn carry_out(&self, workaround: Workaround) -> bool {
        let offer = self.offer(workaround);
        if offer == Offer::Needed {
            self.forget(workaround);
        }
        matches!(offer, Offer::Needed | Offer::NotNeeded)
    }

    /// What is to be done before EL2 follows a branch that a guest may have taught.
    pub fn before_el2(&self) -> BeforeEl2 {
        let unaffected = |offer| matches!(offer, Offer::NotNeeded | Offer::NeverNeeded);
        match self.forgetting {
            Some(workaround) => BeforeEl2::Call(workaround as u32),
            None if unaffected(self.offers.branches) || unaffected(self.offers.history) => BeforeEl2::NotNeeded,
            None => BeforeEl2::Impossible,
        }
    }

    /// A vCPU of VM `vm` is next.
    #[inline(always)]
    pub fn turn_to(&mut self, vm: usize) {
        if let Some(workaround) = self.before(vm) {
            self.forget(workaround);
        }
    }

    /// What is to be done before a vCPU of VM `vm` runs, which is then the last one.
    #[inline(always)]
    fn before(&mut self, vm: usize) -> Option<Workaround> {
        let forgetting = self.forgetting?;
        let is_another = self.vm.replace(vm).is_some_and(|last| last != vm);
        is_another.then_some(forgetting)
    }

    /// Firmware gets nothing of a guest's registers, and may change its own caller's (SMCCC 1.0: x0 to x17).
    #[inline(never)]
    fn forget(&self, workaround: Workaround) {
        if let Some(firmware) = self.firmware {
            firmware.forget(workaround);
        }
    }
}

/// As firmware says it, but for [`Workaround::Bypass`]: where there is a fault at all, it is dealt with for good.
fn to_guest(offers: Workarounds, workaround: Workaround) -> Offer {
    match (workaround, offers.offer(workaround)) {
        (_, Offer::Absent) => Offer::Absent,
        (Workaround::Bypass, _) => Offer::NeverNeeded,
        (_, offer) => offer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(branches: Offer, bypass: Offer, history: Offer) -> Hardening {
        Hardening::new(None, Workarounds { branches, bypass, history })
    }

    fn told(hardening: &Hardening) -> [i32; 3] {
        [Workaround::Branches, Workaround::Bypass, Workaround::History]
            .map(|workaround| hardening.offer(workaround).answer())
    }

    #[test]
    fn guests_are_told_what_firmware_has() {
        assert_eq!(told(&with(Offer::Absent, Offer::Absent, Offer::Absent)), [-1, -1, -1]);
        assert_eq!(told(&with(Offer::Needed, Offer::NeverNeeded, Offer::NotNeeded)), [0, -2, 1]);
    }

    #[test]
    fn no_guest_may_let_loads_pass_stores_again() {
        for bypass in [Offer::Needed, Offer::NotNeeded, Offer::NeverNeeded] {
            let hardening = with(Offer::Absent, bypass, Offer::Absent);
            assert_eq!(told(&hardening), [-1, -2, -1]);
            assert!(!hardening.carry_out(Workaround::Bypass));
        }
    }

    #[test]
    fn what_one_vm_taught_is_forgotten_before_another_runs() {
        let mut hardening = with(Offer::Needed, Offer::NeverNeeded, Offer::Needed);
        let before = [4, 4, 7, 7, 4].map(|vm| hardening.before(vm));
        let forgets = Some(Workaround::History);
        assert_eq!(before, [None, None, forgets, None, forgets]);
        let mut careless = with(Offer::NotNeeded, Offer::Absent, Offer::Absent);
        assert_eq!([1, 2].map(|vm| careless.before(vm)), [None; 2]);
    }

    #[test]
    fn el2_is_kept_from_what_guests_taught() {
        let told = |branches, history| with(branches, Offer::Absent, history).before_el2();
        assert_eq!(told(Offer::Needed, Offer::Absent), BeforeEl2::Call(0x8000_8000));
        assert_eq!(told(Offer::Needed, Offer::Needed), BeforeEl2::Call(0x8000_3fff));
        assert_eq!(told(Offer::NotNeeded, Offer::Absent), BeforeEl2::NotNeeded);
        assert_eq!(told(Offer::Absent, Offer::Absent), BeforeEl2::Impossible);
    }

    #[test]
    fn what_is_offered_can_be_called() {
        let hardening = with(Offer::Needed, Offer::Absent, Offer::NotNeeded);
        assert!(hardening.carry_out(Workaround::Branches) && hardening.carry_out(Workaround::History));
        let none = with(Offer::Absent, Offer::Absent, Offer::NeverNeeded);
        assert!(!none.carry_out(Workaround::Branches) && !none.carry_out(Workaround::History));
    }
}
