//! Between the state of interrupts and the list registers of the core we run on.
//!
//! Here belongs everything that moves interrupts into and out of list registers. The invariant that makes priorities
//! right: while something pending is outside, something at least as urgent is pending inside, and the hardware calls back
//! when that is gone. What is active outside is the least urgent, so that the guest ends it last.

use crate::lock::MutexGuard;

use super::bank::{Bank, BitRegister, Change};
use super::best::Best;
use super::distributor::{Distributor, SharedBank};
use super::list_register::{ListRegister, ListRegisters, Maintenance};
use super::listing::{has_vacancy, list, list_sgi, release, relist};
use super::vcpu_set::{Bits, VcpuSet};
use super::vgic::{ENDED, PRIVATE, Private, SHARED, Vcpu, Vgic};

/// A virtual CPU whose list registers are those of the core we run on. Having it is having its lock.
pub(super) struct Loaded<'a, R> {
    pub vgic: &'a Vgic,
    pub vcpu: &'a Vcpu,
    pub index: usize,
    pub private: MutexGuard<'a, Private>,
    /// Taken when the first SPI is met, after the lock of the virtual CPU.
    shared: Option<MutexGuard<'a, Distributor>>,
    pub registers: &'a mut R,
    /// Other virtual CPUs that have to look.
    pub told: VcpuSet,
}

/// Interrupts that want a list register, the most urgent first.
struct Wanted {
    pending: Best,
    active: Best,
}

impl Wanted {
    fn new(capacity: usize) -> Self {
        Self { pending: Best::new(capacity), active: Best::new(capacity) }
    }

    #[inline]
    fn offer(&mut self, bank: &Bank, first: u32, pending: u32, active: u32) {
        for index in Bits(pending) {
            self.pending.offer(bank.priority[index & 31], first + index as u32);
        }
        for index in Bits(active) {
            self.active.offer(bank.taken[index & 31], first + index as u32);
        }
    }
}

impl<'a, R: ListRegisters> Loaded<'a, R> {
    /// `None` if there is no such virtual CPU, or it is parked.
    #[inline]
    pub fn new(vgic: &'a Vgic, index: usize, registers: &'a mut R) -> Option<Self> {
        let vcpu = vgic.vcpus.get(index)?;
        let private = vcpu.private.lock();
        if !private.is_loaded {
            return None;
        }
        Some(Self { vgic, vcpu, index, private, shared: None, registers, told: VcpuSet::EMPTY })
    }

    /// All SPIs.
    #[inline]
    pub fn distributor(&mut self) -> &mut Distributor {
        let vgic = self.vgic;
        self.shared.get_or_insert_with(|| vgic.distributor.lock())
    }

    /// All SPIs, and the list registers.
    pub fn shared_and_registers(&mut self) -> (&mut Distributor, &mut R) {
        let vgic = self.vgic;
        (self.shared.get_or_insert_with(|| vgic.distributor.lock()), self.registers)
    }

    /// The bank that holds interrupt `intid`.
    #[inline]
    pub fn bank(&mut self, intid: u32) -> Option<&mut Bank> {
        if intid < 32 {
            return Some(&mut self.private.bank);
        }
        self.distributor().bank(intid).map(|(shared, _)| &mut shared.bank)
    }

    /// Brings the list registers up to date.
    pub fn flush(&mut self) {
        let mut attention = self.vcpu.take_attention();
        if self.private.slots.maintenance != Maintenance::NONE {
            attention |= PRIVATE | SHARED | ENDED | self.deactivate_unlisted();
        }
        if attention & ENDED != 0 {
            attention |= self.retire();
        }
        for slot in Bits(attention & self.private.slots.used()) {
            attention |= self.recall(slot, false);
        }
        self.place(attention);
    }

    /// Takes note of list registers that have become empty. Returns where to look for work.
    pub fn retire(&mut self) -> u32 {
        let Private { bank, slots, .. } = &mut *self.private;
        let notified = slots.notified;
        let mut others = if notified != 0 { self.registers.ended() & notified } else { 0 };
        let plain = slots.used() & !notified;
        let empty = if plain != 0 { self.registers.empty() & plain } else { 0 };
        if empty | others == 0 {
            return 0;
        }
        // Private ones at once: nothing more is to be seen of them.
        let (mut ended, mut private, mut hardware) = (0, 0, 0);
        for slot in Bits(empty) {
            let intid = u32::from(slots.intid[slot & 15]);
            if intid >= 32 {
                others |= 1 << slot;
                continue;
            }
            ended |= 1 << slot;
            private |= 1 << intid;
            hardware |= (slots.hardware >> slot & 1) << intid;
        }
        slots.vacate_all(ended);
        bank.repay(hardware);
        bank.take_back(private, false, false);
        let attention = if bank.work() & private != 0 { PRIVATE } else { 0 };
        Bits(others).fold(attention, |attention, slot| attention | self.retire_slot(slot))
    }

    /// Takes note that list register `slot` is empty. Returns where to look for work.
    #[inline(never)]
    pub fn retire_slot(&mut self, slot: usize) -> u32 {
        if self.private.slots.notified >> slot & 1 != 0 {
            // Or it would go on asking for maintenance.
            self.registers.clear(slot);
        }
        self.unlist(slot, false, false)
    }

    /// Takes the interrupt out of list register `slot`, unless it is there in the best form and not `forced` out.
    fn recall(&mut self, slot: usize, forced: bool) -> u32 {
        let seen = self.registers.read(slot);
        if !seen.pending && !seen.active {
            return if !forced && self.relist(slot) { 0 } else { self.retire_slot(slot) };
        }
        let intid = u32::from(self.private.slots.intid[slot & 15]);
        let Some(bank) = self.bank(intid) else { return 0 };
        if !forced && !seen.pending {
            let better = if bank.is_content(intid, seen) { Some(seen) } else { bank.resampled(intid, seen) };
            if let Some(better) = better {
                bank.saw_active(1 << (intid & 31));
                self.amend(slot, seen, better);
                return 0;
            }
        }
        if seen.active {
            bank.saw_priority(seen);
        }
        self.registers.clear(slot);
        self.unlist(slot, seen.pending, seen.active)
    }

    /// Has list register `slot` hold `better` instead of what it was `seen` to hold of the same interrupt.
    fn amend(&mut self, slot: usize, seen: ListRegister, better: ListRegister) {
        if seen != better {
            self.private.slots.occupy(slot, better);
            self.registers.write(slot, better);
        }
    }

    /// Writes list register `slot`, which was seen empty, anew for the same interrupt, if that is all there is to do.
    #[inline]
    fn relist(&mut self, slot: usize) -> bool {
        let (vgic, me) = (self.vgic, self.index);
        let Private { bank, slots, .. } = &mut *self.private;
        let intid = u32::from(slots.intid[slot & 15]);
        if vgic.version_two && intid < 16 {
            // It has a sender, which a new one may not have.
            return false;
        }
        if intid < 32 {
            let groups = vgic.enabled_groups(bank.group);
            return relist(bank, slots, self.registers, slot, intid, groups, 0);
        }
        let distributor = self.shared.get_or_insert_with(|| vgic.distributor.lock());
        let online = distributor.online;
        let Some((shared, index)) = distributor.bank(intid) else { return false };
        let groups = vgic.enabled_groups(shared.bank.group);
        let ours = shared.destination(index, online) == Some(me);
        ours && relist(&mut shared.bank, slots, self.registers, slot, intid, groups, 0)
    }

    /// Takes the interrupts in all list registers back.
    pub fn recall_all(&mut self) -> u32 {
        let mut attention = self.retire() | self.deactivate_unlisted();
        for slot in Bits(self.private.slots.used()) {
            attention |= self.recall(slot, true);
        }
        attention
    }

    /// Takes all back for a register read; the next flush puts it into list registers again.
    fn refresh(&mut self) {
        let attention = self.recall_all();
        self.vcpu.attend(attention);
    }

    /// Reads a register of our SGIs and PPIs that the list registers know better.
    pub fn read_private_exactly(&mut self, register: BitRegister) -> u64 {
        if self.private.bank.listed != 0 {
            self.refresh();
        }
        u64::from(self.private.bank.read(register))
    }

    /// Reads a register of SPIs that list registers know better. Those that others hold are as last seen; they shall look.
    pub fn read_shared_exactly(&mut self, register: BitRegister, word: usize) -> (u64, VcpuSet) {
        self.refresh();
        let (vgic, me) = (self.vgic, self.index);
        let distributor = self.distributor();
        let Some(shared) = distributor.banks.get(word) else {
            return (0, VcpuSet::EMPTY);
        };
        let value = u64::from(shared.bank.read(register));
        let change = Change { place: 0, recall: shared.bank.listed };
        let told = distributor.announce(word, change, me, &vgic.vcpus);
        (value, told.union(self.told))
    }

    /// Gives the interrupt of list register `slot`, last seen so, back to its bank.
    #[inline(always)]
    pub fn unlist(&mut self, slot: usize, pending: bool, active: bool) -> u32 {
        let slots = &mut self.private.slots;
        let intid = u32::from(slots.intid[slot & 15]);
        let hardware = slots.hardware >> slot & 1 != 0;
        slots.vacate(slot);
        let Some(bank) = self.bank(intid) else {
            return 0;
        };
        let bit = 1 << (intid & 31);
        if hardware && !pending && !active {
            bank.repay(bit);
        }
        let restored = pending && bank.moved & bit != 0;
        bank.take_back(bit, pending, active);
        if self.knows_senders(intid) && restored {
            self.private.senders.put_back(intid);
        }
        self.settle(intid)
    }

    /// Whether `intid` is an SGI of which we know the senders.
    #[inline]
    fn knows_senders(&self, intid: u32) -> bool {
        self.vgic.version_two && intid < 16
    }

    /// Finds who wants the unlisted interrupt `intid`: returns where to look if we do, tells whoever else does.
    #[inline(always)]
    pub fn settle(&mut self, intid: u32) -> u32 {
        if intid >= 32 {
            return self.settle_shared(intid);
        }
        if self.private.bank.work() & 1 << (intid & 31) != 0 { PRIVATE } else { 0 }
    }

    #[inline(never)]
    fn settle_shared(&mut self, intid: u32) -> u32 {
        let bit = 1 << (intid & 31);
        let me = self.index;
        let (distributor, registers) = self.shared_and_registers();
        let online = distributor.online;
        let Some((shared, index)) = distributor.bank(intid) else {
            return 0;
        };
        let orphan = shared.bank.orphans() & bit;
        if orphan != 0 {
            // It may be long until this virtual CPU looks again.
            release(&mut shared.bank, orphan, registers);
        }
        if shared.bank.work() & bit == 0 {
            return 0;
        }
        match shared.wanted_by(index, online, me) {
            Some(vcpu) if vcpu == me => SHARED,
            Some(vcpu) => self.tell(vcpu),
            None => 0,
        }
    }

    fn tell(&mut self, vcpu: usize) -> u32 {
        if let Some(other) = self.vgic.vcpus.get(vcpu) {
            other.attend(SHARED);
            self.told.insert(vcpu);
        }
        0
    }

    /// Accounts for what the guest deactivated while no list register held it: with priorities dropped and interrupts
    /// deactivated by one write, that is the most urgent one outside.
    #[inline(always)]
    fn deactivate_unlisted(&mut self) -> u32 {
        if self.private.slots.maintenance.active_outside { self.deactivate_outside() } else { 0 }
    }

    #[inline(never)]
    fn deactivate_outside(&mut self) -> u32 {
        let mut attention = 0;
        for _ in 0..self.registers.take_unlisted_deactivations().min(31) {
            let Some(intid) = self.collect().active.intids().next() else { break };
            attention |= self.end(intid);
        }
        attention
    }

    /// Ends the unlisted active interrupt `intid`.
    pub fn end(&mut self, intid: u32) -> u32 {
        if let Some(bank) = self.bank(intid) {
            bank.active &= !(1 << (intid & 31));
        }
        self.settle(intid)
    }

    /// Puts everything that wants one into a list register.
    fn place(&mut self, attention: u32) {
        if attention & (PRIVATE | SHARED) == 0 {
            return;
        }
        if !self.place_all(attention) {
            let more = self.retire();
            if !self.place_all(attention | more) {
                return self.rearrange();
            }
        }
        self.set_maintenance(Maintenance::NONE);
    }

    /// Puts everything that wants one into a list register in whatever order; false if they do not suffice.
    fn place_all(&mut self, attention: u32) -> bool {
        if attention & PRIVATE != 0 {
            let wanted = self.wanted_private();
            if !Bits(wanted.0 | wanted.1).all(|index| self.put(index as u32, true)) {
                return false;
            }
        }
        attention & SHARED == 0 || self.place_all_shared()
    }

    fn place_all_shared(&mut self) -> bool {
        let banks = self.distributor().banks.iter().enumerate();
        let busy = banks.fold(0, |busy, (word, shared)| busy | u32::from(shared.bank.work() != 0) << word);
        for word in Bits(busy) {
            let (pending, active) = self.wanted_shared(word);
            if !Bits(pending | active).all(|index| self.put(word as u32 * 32 + 32 + index as u32, true)) {
                return false;
            }
        }
        true
    }

    /// There are too few list registers: fills them anew with the most urgent, at least one pending if any is.
    fn rearrange(&mut self) {
        self.recall_all();
        let room = self.private.slots.count();
        let wanted = self.collect();
        let active = wanted.active.count().min(room - usize::from(wanted.pending.count() != 0));
        let pending = wanted.pending.count().min(room - active);
        let outside = Maintenance {
            pending_outside: wanted.pending.overflowed || pending < wanted.pending.count(),
            active_outside: wanted.active.overflowed || active < wanted.active.count(),
        };
        for intid in wanted.active.intids().take(active).chain(wanted.pending.intids().take(pending)) {
            self.put(intid, outside == Maintenance::NONE);
        }
        self.set_maintenance(outside);
    }

    #[inline]
    pub fn set_maintenance(&mut self, maintenance: Maintenance) {
        if self.private.slots.maintenance != maintenance {
            self.private.slots.maintenance = maintenance;
            self.registers.set_maintenance(maintenance);
        }
    }

    /// Collects the unlisted interrupts that want a list register of ours.
    fn collect(&mut self) -> Wanted {
        let mut wanted = Wanted::new(self.private.slots.count());
        let (pending, active) = self.wanted_private();
        wanted.offer(&self.private.bank, 0, pending, active);
        for word in 0..self.distributor().banks.len() {
            let (pending, active) = self.wanted_shared(word);
            if let Some(shared) = self.distributor().banks.get(word) {
                wanted.offer(&shared.bank, word as u32 * 32 + 32, pending, active);
            }
        }
        wanted
    }

    /// The unlisted SGIs and PPIs that want a list register, pending and active ones. Lets go of physical interrupts that
    /// nothing stands for any more.
    #[inline]
    fn wanted_private(&mut self) -> (u32, u32) {
        let bank = &mut self.private.bank;
        let orphans = bank.orphans();
        release(bank, orphans, self.registers);
        let groups = self.vgic.enabled_groups(bank.group);
        (bank.deliverable(groups), bank.active & !bank.listed)
    }

    /// The same of the SPIs in bank `word` that are ours.
    fn wanted_shared(&mut self, word: usize) -> (u32, u32) {
        let (vgic, me) = (self.vgic, self.index);
        let distributor = self.shared.get_or_insert_with(|| vgic.distributor.lock());
        let online = distributor.online;
        let Some(shared) = distributor.banks.get_mut(word).filter(|shared| shared.bank.work() != 0) else {
            return (0, 0);
        };
        let orphans = shared.bank.orphans();
        release(&mut shared.bank, orphans, self.registers);
        let deliverable = shared.bank.deliverable(vgic.enabled_groups(shared.bank.group));
        let active = shared.bank.active & !shared.bank.listed;
        (shared.routed_to(deliverable, me, online), shared.held_by(active, me))
    }

    /// Puts the unlisted interrupt `intid` into an empty list register; false if there is none. `combine`: an edge that came
    /// while it is active goes along.
    pub fn put(&mut self, intid: u32, combine: bool) -> bool {
        let (vgic, me) = (self.vgic, self.index);
        let Private { bank, slots, senders, .. } = &mut *self.private;
        if !has_vacancy(bank, slots, self.registers) {
            return false;
        }
        if vgic.version_two && intid < 16 {
            return list_sgi(bank, slots, senders, self.registers, intid);
        }
        if intid < 32 {
            let groups = vgic.enabled_groups(bank.group);
            return list(bank, slots, self.registers, intid, groups, combine);
        }
        let distributor = self.shared.get_or_insert_with(|| vgic.distributor.lock());
        let online = distributor.online;
        let Some((shared, index)) = distributor.bank(intid) else { return true };
        shared.holder[index & 31] = me as u8;
        // Active here, the next one may be for another.
        let combine = combine && shared.destination(index, online) == Some(me);
        let groups = vgic.enabled_groups(shared.bank.group);
        list(&mut shared.bank, slots, self.registers, intid, groups, combine)
    }
}

impl SharedBank {
    /// Whether interrupt `index` was last given to `vcpu` and still goes there.
    #[inline]
    pub fn is_with(&self, index: usize, vcpu: usize, online: VcpuSet) -> bool {
        usize::from(self.holder[index & 31]) == vcpu && self.destination(index, online) == Some(vcpu)
    }

    /// Those interrupts in `mask` that go to `vcpu`.
    pub fn routed_to(&self, mask: u32, vcpu: usize, online: VcpuSet) -> u32 {
        let ours = |&index: &usize| self.destination(index, online) == Some(vcpu);
        Bits(mask).filter(ours).fold(0, |set, index| set | 1 << index)
    }
}
