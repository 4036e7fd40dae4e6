//! One interrupt and one list register: the steps of which delivery is made.
//!
//! Here belong functions on a bank, the book on the list registers and the list registers themselves, under the locks that
//! the caller holds. Which interrupt gets a list register is decided in `delivery` and `running`.

use super::bank::Bank;
use super::list_register::{ListRegister, ListRegisters, Maintenance, Origin};
use super::senders::Senders;
use super::slots::Slots;
use super::vcpu_set::Bits;

/// Puts the unlisted interrupt `intid` into an empty list register; false if there is none. `groups` has the bits of enabled
/// groups; `combine`: an edge that came while it is active goes along; `hardware`: HW = 1 may be used.
#[inline]
pub(super) fn list<R: ListRegisters>(
    bank: &mut Bank,
    slots: &mut Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
    combine: bool,
    hardware: bool,
) -> bool {
    let Some(slot) = slots.vacant() else { return false };
    let entry = bank.describe(intid, groups, combine, hardware);
    bank.enlist(intid, slot, entry.pending);
    slots.occupy(slot, entry);
    registers.write(slot, entry);
    true
}

/// The same for an SGI that knows its senders: of those that wait, the lowest comes, and the next when the guest has ended
/// this one. A list register has one sender, so it is never pending and active.
pub(super) fn list_sgi<R: ListRegisters>(
    bank: &mut Bank,
    slots: &mut Slots,
    senders: &mut Senders,
    registers: &mut R,
    intid: u32,
) -> bool {
    let Some(slot) = slots.vacant() else { return false };
    let bit = 1 << (intid & 15);
    let pending = bank.active & bit == 0;
    if pending {
        senders.take(intid);
    }
    bank.enlist(intid, slot, pending);
    let more = senders.waiting(intid) != 0;
    bank.latch |= if more { bit } else { 0 };
    let origin = Origin::Software { notify_end: more, source: senders.listed(intid) };
    let entry = ListRegister { pending, active: !pending, ..bank.describe_pending(intid, origin) };
    slots.occupy(slot, entry);
    registers.write(slot, entry);
    true
}

/// Writes anew the list register by which hardware interrupt `intid` came the last time, and which is empty, since the
/// physical interrupt has fired again. False if there is more to do than that.
#[inline]
pub(super) fn renew<R: ListRegisters>(
    bank: &mut Bank,
    slots: &Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
) -> bool {
    let slot = usize::from(bank.slot[intid as usize & 31]);
    // With more pending than fits, urgency decides: see the invariant of `delivery`.
    let renewed = slots.hardware >> (slot & 15) & 1 != 0
        && slots.maintenance == Maintenance::NONE
        && bank.renew(1 << (intid & 31), groups);
    if renewed {
        let origin = Origin::Hardware(u32::from(bank.physical[intid as usize & 31]));
        registers.write(slot, bank.describe_pending(intid, origin));
    }
    renewed
}

/// Lists hardware interrupt `intid`, which has just fired, where EL2 ends it: it is in no list register, as that was emptied
/// when EL2 did so the last time. False if there is more to do than that.
#[inline]
pub(super) fn list_fired<R: ListRegisters>(
    bank: &mut Bank,
    slots: &mut Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
) -> bool {
    let bit = 1 << (intid & 31);
    let idle = (bank.listed | bank.active | bank.latch) & bit == 0;
    let ready = bank.hardware & bank.enabled & groups & bit != 0 && slots.maintenance == Maintenance::NONE;
    let Some(slot) = slots.vacant().filter(|_| idle && ready) else { return false };
    bank.owed |= bit;
    bank.latch |= bit;
    bank.enlist(intid, slot, true);
    let entry = bank.describe_pending(intid, Origin::Software { notify_end: true, source: 0 });
    slots.occupy(slot, entry);
    registers.write(slot, entry);
    true
}

/// Writes list register `slot`, which was seen empty, anew for the edge-triggered interrupt that it held, which has come
/// again, from `source` if it is an SGI of a GICv2. False if there is more to do than that.
#[inline]
pub(super) fn relist<R: ListRegisters>(
    bank: &mut Bank,
    slots: &Slots,
    registers: &mut R,
    slot: usize,
    intid: u32,
    groups: u32,
    source: u8,
) -> bool {
    let relisted = (slots.hardware | slots.notified) >> (slot & 15) & 1 == 0
        && slots.maintenance == Maintenance::NONE
        && bank.relist(1 << (intid & 31), groups);
    if relisted {
        let origin = Origin::Software { notify_end: false, source };
        registers.write(slot, bank.describe_pending(intid, origin));
    }
    relisted
}

/// Delivers the edge-triggered private interrupt `intid`, which has just become pending, straight into a list register.
/// False if there is more to do than that.
#[inline]
pub(super) fn deliver_edge<R: ListRegisters>(
    bank: &mut Bank,
    slots: &mut Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
) -> bool {
    let bit = 1 << (intid & 31);
    if bank.listed & bit == 0 {
        let ready = bank.deliverable(groups) & bit != 0 && slots.maintenance == Maintenance::NONE;
        return ready && list(bank, slots, registers, intid, groups, false, true);
    }
    deliver_again(bank, slots, registers, intid, groups)
}

/// Delivers the edge-triggered interrupt `intid`, which has just become pending, by the list register that has it, if it
/// is over there. False if there is more to do than that.
#[inline]
pub(super) fn deliver_again<R: ListRegisters>(
    bank: &mut Bank,
    slots: &Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
) -> bool {
    let slot = usize::from(bank.slot[intid as usize & 31]);
    let seen = registers.read(slot);
    !seen.pending && !seen.active && relist(bank, slots, registers, slot, intid, groups, 0)
}

/// The same for an SGI that knows its senders.
#[inline]
pub(super) fn deliver_sgi<R: ListRegisters>(
    bank: &mut Bank,
    slots: &mut Slots,
    senders: &mut Senders,
    registers: &mut R,
    intid: u32,
    groups: u32,
) -> bool {
    let bit = 1 << (intid & 15);
    let slot = usize::from(bank.slot[intid as usize & 31]);
    if bank.listed & bit != 0 {
        let seen = registers.read(slot);
        // With one sender that waits, nothing of the list register changes but that.
        let source = senders.waiting(intid).trailing_zeros() as u8;
        let relisted = !seen.pending
            && !seen.active
            && senders.waiting(intid).is_power_of_two()
            && relist(bank, slots, registers, slot, intid, groups, source);
        if relisted {
            senders.take(intid);
        }
        return relisted;
    }
    let ready = bank.deliverable(groups) & bit != 0 && slots.maintenance == Maintenance::NONE;
    ready && list_sgi(bank, slots, senders, registers, intid)
}

/// Deactivates the physical interrupts behind those in `mask`.
#[inline]
pub(super) fn release<R: ListRegisters>(bank: &mut Bank, mask: u32, registers: &mut R) {
    for index in Bits(mask & bank.owed) {
        registers.deactivate(u32::from(bank.physical[index & 31]));
    }
    bank.owed &= !mask;
}
