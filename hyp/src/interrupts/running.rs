//! What the core that runs a virtual CPU does with its interrupts: before it enters the guest, when a physical interrupt
//! arrives for it, and when it is called for maintenance. Switches are in `parking`.

use super::bank::BitRegister;
use super::delivery::Loaded;
use super::list_register::{ListRegisters, Maintenance};
use super::listing::{release, relist, renew};
use super::vcpu_set::VcpuSet;
use super::vgic::{AROUND, ENDED, PRIVATE, Private, Vcpu, Vgic};

impl Vgic {
    /// Brings the list registers of this core up to date for `vcpu`. Call with interrupts masked, last before entering the
    /// guest, whenever its [`Attention`](super::Attention) is asked for. Returns other virtual CPUs that have to look.
    #[inline]
    pub fn flush<R: ListRegisters>(&self, vcpu: usize, registers: &mut R) -> VcpuSet {
        if self.vcpus.get(vcpu).is_some_and(|target| self.repeat_posted(target, registers)) {
            return VcpuSet::EMPTY;
        }
        self.flush_all(vcpu, registers)
    }

    #[inline(never)]
    fn flush_all<R: ListRegisters>(&self, vcpu: usize, registers: &mut R) -> VcpuSet {
        let Some(mut loaded) = Loaded::new(self, vcpu, registers) else {
            return VcpuSet::EMPTY;
        };
        loaded.flush();
        loaded.told
    }

    /// The common case: an edge has come again to the virtual CPU, which is loaded if it has one listed, and the list
    /// register that brought it the last time is over. False, and nothing is done, if there is more to do than that.
    #[inline(always)]
    fn repeat_posted<R: ListRegisters>(&self, target: &Vcpu, registers: &mut R) -> bool {
        let Private { bank, slots, senders, .. } = &mut *target.private.lock();
        // Before the latch is looked at: what is posted later asks again.
        let reason = target.take_attention();
        let slot = reason.trailing_zeros() as usize & 15;
        let intid = u32::from(slots.intid[slot]);
        let is_one = reason < PRIVATE && reason.is_power_of_two() && reason & slots.plain() != 0 && intid < 32;
        let knows_sender = self.version_two && intid < 16;
        let sender = if knows_sender { senders.only(intid) } else { Some(0) };
        let repeated = is_one
            && registers.is_empty(slot)
            && sender.is_some_and(|sender| {
                relist(bank, slots, registers, slot, intid, self.enabled_groups(bank.group), sender)
            });
        if !repeated {
            target.attend(reason);
        } else if knows_sender {
            senders.take(intid);
        }
        repeated
    }

    /// Makes the next [`Vgic::flush`] of `vcpu` look at its list registers: its core took the maintenance interrupt.
    #[inline]
    pub fn maintain(&self, vcpu: usize) {
        if let Some(vcpu) = self.vcpus.get(vcpu) {
            vcpu.attend(ENDED);
        }
    }

    /// Makes the core that runs `vcpu` come by before it enters the guest, though there may be nothing new here.
    pub fn look_around(&self, vcpu: usize) {
        if let Some(vcpu) = self.vcpus.get(vcpu) {
            vcpu.attend(AROUND);
        }
    }

    /// The physical interrupt behind `intid` was acknowledged on this core, which runs `vcpu`: its priority is dropped, it
    /// stays active until the guest (or we for it) deactivates it. Returns other virtual CPUs that have to look.
    pub fn deliver_hardware<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, intid: u32) -> VcpuSet {
        let is_renewed = self.renew_hardware(vcpu, registers, intid);
        if is_renewed { VcpuSet::EMPTY } else { self.deliver_first(vcpu, registers, intid) }
    }

    /// The common case of [`deliver_hardware`](Self::deliver_hardware): the interrupt is still in the list register that brought
    /// it the last time, and the guest has enabled it. That is empty, since the physical one fires again only when the guest has
    /// deactivated it. False, and nothing is done, if it is another case: [`deliver_first`](Self::deliver_first) does it.
    #[inline(always)]
    pub fn renew_hardware<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, intid: u32) -> bool {
        if intid < 32 { self.renew_private(vcpu, registers, intid) } else { self.renew_shared(vcpu, registers, intid) }
    }

    #[inline(always)]
    fn renew_private<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, intid: u32) -> bool {
        let Some(target) = self.vcpus.get(vcpu) else { return false };
        let Private { bank, slots, .. } = &mut *target.private.lock();
        let groups = self.enabled_groups(bank.group);
        renew(bank, slots, registers, intid, groups)
    }

    #[inline(always)]
    fn renew_shared<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, intid: u32) -> bool {
        let Some(target) = self.vcpus.get(vcpu) else { return false };
        let Private { slots, .. } = &mut *target.private.lock();
        let mut distributor = self.distributor.lock();
        let online = distributor.online;
        let Some((shared, index)) = distributor.bank(intid) else { return false };
        let groups = self.enabled_groups(shared.bank.group);
        shared.is_with(index, vcpu, online) && renew(&mut shared.bank, slots, registers, intid, groups)
    }

    /// All but the common case of [`deliver_hardware`](Self::deliver_hardware).
    #[inline(never)]
    pub fn deliver_first<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, intid: u32) -> VcpuSet {
        let Some(mut loaded) = Loaded::new(self, vcpu, registers) else {
            return self.deliver_absent(vcpu, registers, intid);
        };
        loaded.deliver(intid);
        loaded.told.without(vcpu)
    }

    /// The line of the private physical interrupt behind `intid` is low: what is pending for `vcpu`, which this core runs, is
    /// withdrawn, unless the guest has taken it. To be called before the guest looks at what is pending.
    pub fn withdraw<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, intid: u32) {
        let Some(mut loaded) = Loaded::new(self, vcpu, registers) else { return };
        let bit = 1 << (intid & 31);
        // Not fired: what is pending then, the guest has written.
        let fired = loaded.private.bank.hardware & loaded.private.bank.owed;
        if fired & !loaded.private.bank.active & bit == 0 {
            return;
        }
        if loaded.private.bank.listed & bit != 0 {
            let slot = usize::from(loaded.private.bank.slot[intid as usize & 31]);
            let seen = loaded.registers.read(slot);
            if seen.active || !seen.pending {
                return;
            }
            loaded.registers.clear(slot);
            let attention = loaded.retire_slot(slot);
            loaded.vcpu.attend(attention);
            // The guest has not ended it, as an empty list register is taken to mean: the physical one is still active.
            loaded.private.bank.owed |= bit;
        }
        let bank = &mut loaded.private.bank;
        bank.latch &= !bit;
        release(bank, bit, loaded.registers);
    }

    /// `vcpu`, which this core runs, wrote `ICC_DIR_EL1` (`ICH_HCR_EL2.TDIR`) or `GICC_DIR`, and it was trapped. Returns other
    /// virtual CPUs that have to look.
    #[inline(never)]
    pub fn deactivate_here<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, intid: u32) -> VcpuSet {
        let Some(mut loaded) = Loaded::new(self, vcpu, registers) else { return self.deactivate(vcpu, intid) };
        if loaded.end_listed(intid) {
            return loaded.told;
        }
        drop(loaded);
        self.deactivate(vcpu, intid)
    }

    /// The same without list registers at hand, which are looked at later.
    pub(super) fn deactivate(&self, vcpu: usize, intid: u32) -> VcpuSet {
        self.signal(vcpu, intid, |bank, mask| bank.write(BitRegister::ClearActive, mask)).without(vcpu)
    }
}

impl<R: ListRegisters> Loaded<'_, R> {
    /// See [`Vgic::deliver_hardware`].
    fn deliver(&mut self, intid: u32) {
        let (here, ours) = self.whereabouts(intid);
        let hardware = self.private.slots.hardware;
        let Some(bank) = self.bank(intid) else { return };
        let bit = 1 << (intid & 31);
        if bank.hardware & bit == 0 {
            return;
        }
        let slot = usize::from(bank.slot[intid as usize & 31]);
        if here && bank.listed & bit != 0 && hardware >> (slot & 15) & 1 != 0 {
            let attention = self.retire_slot(slot);
            self.vcpu.attend(attention);
        }
        self.deliver_anew(intid, ours && self.private.slots.maintenance == Maintenance::NONE);
    }

    /// Ends interrupt `intid` if a list register of ours holds it active and no more, without a physical one behind it.
    fn end_listed(&mut self, intid: u32) -> bool {
        let bit = 1 << (intid & 31);
        let is_here = intid < 32 || self.whereabouts(intid).0;
        let Some(bank) = self.bank(intid).filter(|bank| is_here && bank.listed & bit != 0 && bank.is_over(bit)) else {
            return false;
        };
        let slot = usize::from(bank.slot[intid as usize & 31] & 15);
        let seen = self.registers.read(slot);
        let ends = seen.active && !seen.pending && self.private.slots.hardware >> slot & 1 == 0;
        if ends {
            self.registers.clear(slot);
            let attention = self.unlist(slot, false, false);
            if attention != 0 {
                self.vcpu.attend(attention);
            }
        }
        ends
    }

    fn deliver_anew(&mut self, intid: u32, ours: bool) {
        let vgic = self.vgic;
        let Some(bank) = self.bank(intid) else { return };
        let bit = 1 << (intid & 31);
        let change = bank.fire(bit);
        let ready = bank.deliverable(vgic.enabled_groups(bank.group)) & bit != 0;
        let idle = (bank.listed | bank.active) & bit == 0;
        if ready && ours && self.put(intid, true) {
            return;
        }
        if intid < 32 {
            self.vcpu.announce(&self.private.bank, change);
            return;
        }
        let me = self.index as u8;
        let distributor = self.distributor();
        if let Some((shared, index)) = distributor.bank(intid).filter(|_| idle) {
            shared.holder[index] = me;
        }
        let told = distributor.announce(intid as usize / 32 - 1, change, usize::from(me), &vgic.vcpus);
        self.told = self.told.union(told);
    }

    /// Whether interrupt `intid`, if listed, is in a list register of ours, and whether it is routed to us.
    #[inline]
    pub(super) fn whereabouts(&mut self, intid: u32) -> (bool, bool) {
        if intid < 32 {
            return (true, true);
        }
        let me = self.index;
        let distributor = self.distributor();
        let online = distributor.online;
        let Some((shared, index)) = distributor.bank(intid) else {
            return (false, false);
        };
        (usize::from(shared.holder[index & 31]) == me, shared.destination(index, online) == Some(me))
    }
}
