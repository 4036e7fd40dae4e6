//! The comings and goings of a virtual CPU: into the processor and out of it, on and off, and what happens to its
//! interrupts while it is parked.
//!
//! A virtual CPU is *loaded* on one core, whose list registers are then its own, or *parked*: nothing of it is in any list
//! register, none of its private physical interrupts is active, and all that comes for it is kept in the banks.

use super::bank::Bank;
use super::delivery::Loaded;
use super::distributor::Distributor;
use super::list_register::{ListRegisters, Maintenance};
use super::listing::release;
use super::vcpu_set::{Bits, VcpuSet};
use super::vgic::{PRIVATE, SHARED, Vcpu, Vgic};

/// The reasons for attention that a parked virtual CPU can have.
const WORK: u32 = PRIVATE | SHARED;

impl Vgic {
    /// Puts a parked `vcpu` on this core: its private physical interrupts are as they were. [`Vgic::flush`] does the rest.
    /// Nothing happens if it is loaded already.
    pub fn unpark<R: ListRegisters>(&self, vcpu: usize, registers: &mut R) {
        let Some(target) = self.vcpus.get(vcpu) else { return };
        let mut private = target.private.lock();
        if core::mem::replace(&mut private.is_loaded, true) {
            return;
        }
        let deferred = core::mem::take(&mut private.deferred);
        if deferred != 0 {
            target.attend(deferred);
        }
        let bank = &mut private.bank;
        bank.lower_hardware_lines();
        if target.peek_attention() & PRIVATE != 0 && bank.work() == 0 {
            // It was a timer's line, and the timer speaks for itself now.
            target.keep_attention(!PRIVATE);
        }
        for index in Bits(bank.owed) {
            registers.activate(u32::from(bank.physical[index & 31]));
        }
    }

    /// Takes `vcpu` off this core: its list registers become empty, its private physical interrupts inactive. Save the rest
    /// of its [`CpuInterface`](super::CpuInterface) besides. Returns other virtual CPUs that have to look. Nothing happens
    /// if it is parked already.
    pub fn park<R: ListRegisters>(&self, vcpu: usize, registers: &mut R) -> VcpuSet {
        let Some(mut loaded) = Loaded::new(self, vcpu, registers) else { return VcpuSet::EMPTY };
        loaded.take_off();
        for index in Bits(loaded.private.bank.owed) {
            loaded.registers.deactivate(u32::from(loaded.private.bank.physical[index & 31]));
        }
        loaded.told
    }

    /// The line of the private physical interrupt behind `intid`, which is that of a timer, would be high if `vcpu` were
    /// loaded. It is pending from now on as a level is, and until `vcpu` is loaded: then the timer itself speaks. Returns
    /// whether `vcpu`, which is parked, wakes by it; if not, whatever lets it through later tells of it as of any other.
    pub fn raise_parked_timer(&self, vcpu: usize, intid: u32) -> bool {
        let Some(target) = self.vcpus.get(vcpu) else { return false };
        let mut private = target.private.lock();
        if private.is_loaded || intid >= 32 {
            return false;
        }
        let bank = &mut private.bank;
        bank.raise_hardware_line(1 << intid);
        let wakes = bank.deliverable(self.enabled_groups(bank.group)) >> intid & 1 != 0;
        if wakes {
            target.attend(PRIVATE);
        }
        wakes
    }

    /// Whether something is pending for `vcpu` that the guest has enabled, whatever its priority mask says: whether it shall
    /// wake from WFI. Call on the core that runs it; of one that is parked [`Vgic::wakes`] tells.
    #[inline(always)]
    pub fn has_pending<R: ListRegisters>(&self, vcpu: usize, registers: &mut R) -> bool {
        let listed = self.vcpus.get(vcpu).and_then(|target| target.has_pending_listed(registers));
        listed.unwrap_or_else(|| self.has_pending_somewhere(vcpu, registers))
    }

    #[inline(never)]
    fn has_pending_somewhere<R: ListRegisters>(&self, vcpu: usize, registers: &mut R) -> bool {
        match Loaded::new(self, vcpu, registers) {
            Some(mut loaded) => loaded.has_pending(),
            None => self.wakes(vcpu),
        }
    }

    /// The same of a `vcpu` that is parked, for any core to ask. Costs next to nothing if nothing has come since it was asked
    /// the last time.
    #[inline]
    pub fn wakes(&self, vcpu: usize) -> bool {
        self.vcpus.get(vcpu).is_some_and(|target| target.is_asked_for() && self.looks_up(target, vcpu))
    }

    /// Looks at what has come for a parked virtual CPU. What does not wake it is not looked at again before it is loaded:
    /// whatever makes it deliverable calls for attention anew.
    #[inline(never)]
    fn looks_up(&self, target: &Vcpu, vcpu: usize) -> bool {
        let mut private = target.private.lock();
        if private.is_loaded {
            // Its own core knows, and looks.
            return true;
        }
        let news = target.take_attention() & WORK;
        let wakes = news & PRIVATE != 0 && self.is_deliverable(&private.bank)
            || news & SHARED != 0 && self.is_deliverable_to(&self.distributor.lock(), vcpu);
        if wakes {
            target.attend(news);
        } else {
            private.deferred |= news;
        }
        wakes
    }

    fn is_deliverable(&self, bank: &Bank) -> bool {
        bank.deliverable(self.enabled_groups(bank.group)) != 0
    }

    fn is_deliverable_to(&self, distributor: &Distributor, vcpu: usize) -> bool {
        let online = distributor.online;
        let mut busy = distributor.banks.iter().filter(|shared| shared.bank.work() != 0);
        busy.any(|shared| {
            let deliverable = shared.bank.deliverable(self.enabled_groups(shared.bank.group));
            shared.routed_to(deliverable, vcpu, online) != 0
        })
    }

    /// The physical interrupt behind the SPI `intid` was acknowledged on a core that has not loaded the virtual CPU it goes to:
    /// its priority is dropped, it stays active until the guest deactivates it. Returns who has to look.
    pub fn post_hardware(&self, intid: u32) -> VcpuSet {
        let Some(word) = (intid as usize / 32).checked_sub(1) else { return VcpuSet::EMPTY };
        let mut distributor = self.distributor.lock();
        let Some(shared) = distributor.banks.get_mut(word) else { return VcpuSet::EMPTY };
        let change = shared.bank.fire(1 << (intid & 31) & shared.bank.hardware);
        distributor.announce(word, change, usize::MAX, &self.vcpus)
    }

    /// A hardware interrupt came for `vcpu` as it was leaving the core. Returns who has to look, `vcpu` included.
    pub(super) fn deliver_absent<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, intid: u32) -> VcpuSet {
        if intid >= 32 {
            return self.post_hardware(intid);
        }
        let Some(target) = self.vcpus.get(vcpu) else { return VcpuSet::EMPTY };
        let physical = target.private.lock().bank.physical[intid as usize];
        registers.deactivate(u32::from(physical));
        if self.raise_parked_timer(vcpu, intid) { VcpuSet::of(vcpu) } else { VcpuSet::EMPTY }
    }

    /// `vcpu` is on from now on. Returns other virtual CPUs that have to look.
    pub fn set_online(&self, vcpu: usize) -> VcpuSet {
        let mut distributor = self.distributor.lock();
        if vcpu < self.vcpus.len() {
            distributor.online.insert(vcpu);
        }
        self.reroute(&mut distributor).without(vcpu)
    }

    /// `vcpu` is off from now on: nothing private is active. If it is loaded, on this core, it is parked: nothing of it
    /// remains in the list registers. What was pending stays so. Returns other virtual CPUs that have to look.
    pub fn set_offline<R: ListRegisters>(&self, vcpu: usize, registers: &mut R) -> VcpuSet {
        let mut told = VcpuSet::EMPTY;
        if let Some(mut loaded) = Loaded::new(self, vcpu, registers) {
            loaded.take_off();
            let bank = &mut loaded.private.bank;
            bank.go_off();
            release(bank, u32::MAX, loaded.registers);
            told = loaded.told;
        } else if let Some(target) = self.vcpus.get(vcpu) {
            let bank = &mut target.private.lock().bank;
            bank.go_off();
            // Parking has made the physical ones inactive. On this core they may be another's.
            bank.owed = 0;
        }
        if let Some(target) = self.vcpus.get(vcpu) {
            target.attend(PRIVATE);
        }
        let mut distributor = self.distributor.lock();
        distributor.online = distributor.online.without(vcpu);
        told.union(self.reroute(&mut distributor))
    }
}

impl Vcpu {
    /// Whether a list register is pending, if that is the answer: without a call for attention all that can be delivered is
    /// in list registers, and nothing else is; but for a level that the end of one brings, for which its maintenance
    /// interrupt calls.
    #[inline(always)]
    fn has_pending_listed<R: ListRegisters>(&self, registers: &mut R) -> Option<bool> {
        let private = self.private.lock();
        let is_flushed = !self.is_asked_for() && private.slots.maintenance == Maintenance::NONE;
        (private.is_loaded && is_flushed).then(|| {
            let held = private.slots.used() & !registers.empty();
            held != 0 && has_pending_of(held, registers)
        })
    }
}

/// Whether one of the list registers `held` is pending.
#[inline(never)]
fn has_pending_of<R: ListRegisters>(held: u32, registers: &mut R) -> bool {
    Bits(held).any(|slot| {
        let seen = registers.read(slot);
        seen.pending && !seen.active
    })
}

impl<R: ListRegisters> Loaded<'_, R> {
    fn has_pending(&mut self) -> bool {
        Bits(self.private.slots.used()).any(|slot| self.is_pending_in(slot)) || self.has_deliverable()
    }

    /// Lets go of physical SPIs that nothing virtual stands for any more.
    fn release_orphans(&mut self) {
        let (distributor, registers) = self.shared_and_registers();
        for shared in &mut distributor.banks {
            let orphans = shared.bank.orphans();
            release(&mut shared.bank, orphans, registers);
        }
    }

    fn has_deliverable(&mut self) -> bool {
        let (vgic, me) = (self.vgic, self.index);
        vgic.is_deliverable(&self.private.bank) || vgic.is_deliverable_to(self.distributor(), me)
    }

    fn is_pending_in(&mut self, slot: usize) -> bool {
        let seen = self.registers.read(slot);
        let vgic = self.vgic;
        let ready = |bank: &mut Bank| (bank.enabled & vgic.enabled_groups(bank.group)) >> (seen.intid & 31) & 1 != 0;
        seen.pending && !seen.active && self.bank(seen.intid).is_some_and(ready)
    }

    /// Empties all list registers and remembers where to look for work when it is put on again.
    #[inline(always)]
    fn take_off(&mut self) {
        let mut attention = self.retire();
        let slots = &self.private.slots;
        if slots.used() != 0 || slots.maintenance != Maintenance::NONE {
            attention |= self.recall_all();
        }
        if self.private.slots.maintenance != Maintenance::NONE {
            // What was outside is so still.
            attention |= WORK;
            self.set_maintenance(Maintenance::NONE);
        }
        if self.vcpu.peek_attention() & SHARED != 0 {
            // It may be long until this virtual CPU looks again.
            self.release_orphans();
        }
        // What was asked of list registers is done with.
        if (self.vcpu.peek_attention() | attention) != 0 {
            self.vcpu.keep_attention(WORK);
            self.vcpu.attend(attention);
        }
        self.private.is_loaded = false;
    }
}
