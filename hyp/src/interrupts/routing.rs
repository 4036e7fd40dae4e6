//! Where SPIs go, and how the routing of physical ones follows that of the guest.

use core::sync::atomic::Ordering;

use super::distributor::{Distributor, SharedBank};
use super::vcpu_set::{Bits, VcpuSet};
use super::vgic::{SHARED, Vgic};

impl Vgic {
    /// The virtual CPU that SPI `intid` goes to by the guest's routing, on or off; of several the first that is on. `None`
    /// if there is none, or no such SPI.
    #[must_use]
    pub fn target_of(&self, intid: u32) -> Option<usize> {
        let mut distributor = self.distributor.lock();
        let online = distributor.online;
        let (shared, index) = distributor.bank(intid)?;
        shared.destination(index, online)
    }

    /// Whether [`Vgic::take_rerouted`] has something to tell: worth asking after a write of its routes and when a
    /// virtual CPU went on or off.
    #[inline(always)]
    #[must_use]
    pub fn is_rerouted(&self) -> bool {
        self.rerouted.load(Ordering::Relaxed)
    }

    /// Calls `route` for each SPI with a physical interrupt behind it that may go elsewhere than when this was last asked
    /// (the first time: for all), with the number of the physical one and the virtual CPU it goes to, if any. The lock of all
    /// SPIs is held meanwhile, so that the last change is the last to be told.
    pub fn take_rerouted(&self, mut route: impl FnMut(u32, Option<usize>)) {
        let mut distributor = self.distributor.lock();
        self.rerouted.store(false, Ordering::Relaxed);
        let online = distributor.online;
        for shared in &mut distributor.banks {
            for index in Bits(core::mem::take(&mut shared.rerouted)) {
                route(u32::from(shared.bank.physical[index & 31]), shared.destination(index, online));
            }
        }
    }

    /// The interrupts in `mask` may go elsewhere from now on.
    pub(super) fn note_route(&self, shared: &mut SharedBank, mask: u32) {
        let hardware = mask & shared.bank.hardware;
        if hardware != 0 {
            shared.rerouted |= hardware;
            self.rerouted.store(true, Ordering::Relaxed);
        }
    }

    /// Sets where interrupt `index` of bank `word` is routed, as [`SharedBank::target`] tells it. Returns who has to look.
    pub(super) fn set_target(
        &self,
        distributor: &mut Distributor,
        (word, index): (usize, usize),
        target: u8,
        by: usize,
    ) -> VcpuSet {
        let Some(shared) = distributor.banks.get_mut(word) else { return VcpuSet::EMPTY };
        shared.aim(index, target);
        self.note_route(shared, 1 << (index & 31));
        distributor.announce_route(word, index, by, &self.vcpus)
    }

    /// Makes every virtual CPU that is on look at the SPIs: who takes those routed to anybody has changed.
    pub(super) fn reroute(&self, distributor: &mut Distributor) -> VcpuSet {
        let mut is_asked_for = false;
        for shared in &mut distributor.banks {
            self.note_route(shared, shared.floating);
            is_asked_for |= shared.bank.work() & shared.floating != 0;
        }
        let told = if is_asked_for { distributor.online } else { VcpuSet::EMPTY };
        for vcpu in told {
            if let Some(vcpu) = self.vcpus.get(vcpu) {
                vcpu.attend(SHARED);
            }
        }
        told
    }
}
