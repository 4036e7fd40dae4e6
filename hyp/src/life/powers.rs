//! The power of the vCPUs of a VM that runs or pauses.

use super::Power;
use crate::interrupts::VcpuSet;

/// Each vCPU is off, asked for, or on; one that is on is in its core's hands, or parked.
///
/// Nobody is both asked for and on, and only who is on is parked: the only ways from one to another are below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Powers {
    pending: VcpuSet,
    on: VcpuSet,
    parked: VcpuSet,
}

impl Powers {
    /// One vCPU is asked for, the others are off.
    pub(super) fn pending(vcpu: usize) -> Self {
        Self { pending: VcpuSet::EMPTY.with(vcpu), on: VcpuSet::EMPTY, parked: VcpuSet::EMPTY }
    }

    /// What PSCI calls the state of a vCPU.
    #[must_use]
    pub fn of(&self, vcpu: usize) -> Power {
        match (self.on.contains(vcpu), self.pending.contains(vcpu)) {
            (true, _) => Power::On,
            (false, true) => Power::OnPending,
            (false, false) => Power::Off,
        }
    }

    /// Nobody is on or going to be.
    #[must_use]
    pub fn are_off(&self) -> bool {
        self.on.is_empty() && self.pending.is_empty()
    }

    /// Who is asked for.
    pub fn asked_for(&self) -> VcpuSet {
        self.pending
    }

    /// Who is on.
    pub fn on(&self) -> VcpuSet {
        self.on
    }

    /// Who is on and out of its core.
    pub fn parked(&self) -> VcpuSet {
        self.parked
    }

    /// Who is on and in its core's hands.
    pub fn held(&self) -> VcpuSet {
        self.on.difference(self.parked)
    }

    /// Asks for a vCPU that is off; `None` if it is not.
    pub(super) fn ask_for(self, vcpu: usize) -> Option<Self> {
        (self.of(vcpu) == Power::Off).then(|| Self { pending: self.pending.with(vcpu), ..self })
    }

    /// Its core takes a vCPU that is asked for into its hands; `None` if it is not.
    pub(super) fn start(self, vcpu: usize) -> Option<Self> {
        let pending = self.pending.without(vcpu);
        self.pending.contains(vcpu).then(|| Self { pending, on: self.on.with(vcpu), ..self })
    }

    /// A vCPU that its core held is off; `None` if its core did not.
    pub(super) fn switch_off(self, vcpu: usize) -> Option<Self> {
        self.held().contains(vcpu).then(|| Self { on: self.on.without(vcpu), ..self })
    }

    /// A vCPU that its core held is out of it and whole in memory; `None` if its core did not.
    pub(super) fn park(self, vcpu: usize) -> Option<Self> {
        self.held().contains(vcpu).then(|| Self { parked: self.parked.with(vcpu), ..self })
    }

    /// Its core takes a vCPU that is parked into its hands again; `None` if it is not.
    pub(super) fn unpark(self, vcpu: usize) -> Option<Self> {
        self.parked.contains(vcpu).then(|| Self { parked: self.parked.without(vcpu), ..self })
    }
}
