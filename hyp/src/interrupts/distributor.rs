//! The shared peripheral interrupts of one virtual machine: their banks, where they are routed, and who holds them.

use alloc::boxed::Box;

use super::affinity::Affinity;
use super::bank::{Bank, BitRegister, Change};
use super::vcpu_set::{Bits, VcpuSet};
use super::vgic::{SHARED, Vcpu};

/// Routed to any virtual CPU that is on.
pub(super) const ANY: u8 = 0xff;
/// Routed to a virtual CPU that does not exist.
pub(super) const NOBODY: u8 = 0xfe;
/// Routed to any virtual CPU that is on and in the mask [`SharedBank::route`] (GICv2).
pub(super) const MASK: u8 = 0xfd;
/// `GICD_IROUTER<n>.Interrupt_Routing_Mode`.
pub(super) const ROUTING_MODE: u64 = 1 << 31;

/// Thirty-two SPIs.
#[derive(Debug)]
pub(super) struct SharedBank {
    pub bank: Bank,
    /// The virtual CPU that a pending interrupt goes to, or [`ANY`], [`MASK`], or [`NOBODY`].
    pub target: [u8; 32],
    /// Those whose target is [`ANY`] or [`MASK`].
    pub floating: u32,
    /// The virtual CPU in whose list registers it is, which has it active, or where its physical interrupt arrived.
    pub holder: [u8; 32],
    /// The affinity as the guest wrote it (GICv3), or the mask of targets (GICv2).
    pub route: [u32; 32],
    /// With a physical interrupt behind them, and routed anew since that was last asked.
    pub rerouted: u32,
}

/// All SPIs of one virtual machine.
#[derive(Debug)]
pub(super) struct Distributor {
    pub banks: Box<[SharedBank]>,
    /// The virtual CPUs that are on: who may take interrupts routed to anybody.
    pub online: VcpuSet,
}

impl SharedBank {
    fn new(word: usize) -> Self {
        // Interrupts 1020 to 1023 are special numbers.
        let exists = if word == 30 { u32::MAX >> 4 } else { u32::MAX };
        Self { bank: Bank::new(0, exists), target: [0; 32], floating: 0, holder: [0; 32], route: [0; 32], rerouted: 0 }
    }

    /// Routes interrupt `index` to `target`, as [`SharedBank::target`] tells it.
    pub fn aim(&mut self, index: usize, target: u8) {
        let bit = 1 << (index & 31);
        self.target[index & 31] = target;
        self.floating = self.floating & !bit | if is_floating(target) { bit } else { 0 };
    }

    /// The same for all, routed to where nothing but `target` says.
    pub fn aim_all(&mut self, target: u8) {
        self.target = [target; 32];
        self.route = [0; 32];
        self.floating = if is_floating(target) { u32::MAX } else { 0 };
    }

    /// The virtual CPU that pending interrupt `index` goes to.
    #[inline]
    pub fn destination(&self, index: usize, online: VcpuSet) -> Option<usize> {
        match self.target[index & 31] {
            NOBODY => None,
            ANY => online.first(),
            MASK => online.intersection(VcpuSet::from_bits(self.route[index & 31].into())).first(),
            target => Some(usize::from(target)),
        }
    }

    /// The virtual CPU that has to do something about the unlisted interrupt `index`. A physical interrupt that nothing
    /// stands for any more anybody can let go: `by`, who made it so, shall.
    #[inline]
    pub fn wanted_by(&self, index: usize, online: VcpuSet, by: usize) -> Option<usize> {
        if self.bank.orphans() >> index & 1 != 0 {
            Some(by)
        } else if self.bank.active >> index & 1 != 0 {
            Some(usize::from(self.holder[index & 31]))
        } else {
            self.destination(index, online)
        }
    }

    /// Makes the interrupts in `mask` active. Whoever they are routed to shall deactivate them.
    pub fn set_active(&mut self, mask: u32, online: VcpuSet) -> Change {
        for index in Bits(mask & !(self.bank.active | self.bank.listed)) {
            self.holder[index] = self.destination(index, online).unwrap_or(0) as u8;
        }
        self.bank.write(BitRegister::SetActive, mask)
    }

    /// Those interrupts in `mask` that `holder` says are at `vcpu`.
    pub fn held_by(&self, mask: u32, vcpu: usize) -> u32 {
        Bits(mask).filter(|&index| usize::from(self.holder[index & 31]) == vcpu).fold(0, |set, index| set | 1 << index)
    }
}

impl Distributor {
    /// `banks` banks of 32 SPIs out of reset.
    pub fn new(banks: usize) -> Self {
        Self { banks: (0..banks).map(SharedBank::new).collect(), online: VcpuSet::EMPTY }
    }

    /// The bank that holds interrupt `intid`, and its bit there.
    #[inline]
    pub fn bank(&mut self, intid: u32) -> Option<(&mut SharedBank, usize)> {
        let word = (intid as usize / 32).checked_sub(1)?;
        Some((self.banks.get_mut(word)?, intid as usize % 32))
    }

    /// Tells whom a change of bank `word`, made by virtual CPU `by`, concerns. Returns them.
    #[inline(never)]
    pub fn announce(&self, word: usize, change: Change, by: usize, vcpus: &[Vcpu]) -> VcpuSet {
        let mut told = VcpuSet::EMPTY;
        let Some(shared) = self.banks.get(word) else {
            return told;
        };
        for index in Bits(change.place & shared.bank.work()) {
            if let Some(vcpu) = shared.wanted_by(index, self.online, by) {
                attend(vcpus, vcpu, SHARED, &mut told);
            }
        }
        for index in Bits(change.recall) {
            attend(vcpus, usize::from(shared.holder[index]), 1 << (shared.bank.slot[index] & 15), &mut told);
        }
        told
    }

    /// Tells whom it concerns that interrupt `index` of bank `word` is routed anew.
    pub fn announce_route(&self, word: usize, index: usize, by: usize, vcpus: &[Vcpu]) -> VcpuSet {
        let Some(shared) = self.banks.get(word) else { return VcpuSet::EMPTY };
        let bit = 1 << (index & 31);
        self.announce(word, Change { place: bit, recall: shared.bank.listed & bit }, by, vcpus)
    }
}

/// Whether who takes an interrupt routed so depends on who is on.
const fn is_floating(target: u8) -> bool {
    matches!(target, ANY | MASK)
}

/// Finds the virtual CPU an affinity names, as [`SharedBank::target`] tells it.
pub(super) fn resolve(affinity: Affinity, vcpus: &[Vcpu]) -> u8 {
    find(affinity, vcpus).and_then(|index| u8::try_from(index).ok()).unwrap_or(NOBODY)
}

/// Finds the virtual CPU an affinity names: at once, if they are numbered through in clusters of 16.
#[inline]
pub(super) fn find(affinity: Affinity, vcpus: &[Vcpu]) -> Option<usize> {
    let likely = (affinity.cluster() & 0xff) as usize * 16 + usize::from(affinity.aff0());
    if vcpus.get(likely).is_some_and(|vcpu| vcpu.affinity == affinity) {
        return Some(likely);
    }
    vcpus.iter().position(|vcpu| vcpu.affinity == affinity)
}

#[inline]
fn attend(vcpus: &[Vcpu], vcpu: usize, reason: u32, told: &mut VcpuSet) {
    if let Some(target) = vcpus.get(vcpu) {
        target.attend(reason);
        told.insert(vcpu);
    }
}
