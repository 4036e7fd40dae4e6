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

/// Writes list register `slot`, which was seen empty, anew for the edge-triggered interrupt that it held, which has come
/// again. False if there is more to do than that.
#[inline]
pub(super) fn relist<R: ListRegisters>(
    bank: &mut Bank,
    slots: &Slots,
    registers: &mut R,
    slot: usize,
    intid: u32,
    groups: u32,
) -> bool {
    let relisted = (slots.hardware | slots.notified) >> (slot & 15) & 1 == 0
        && slots.maintenance == Maintenance::NONE
        && bank.relist(1 << (intid & 31), groups);
    if relisted {
        let origin = Origin::Software { notify_end: false, source: 0 };
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
    let slot = usize::from(bank.slot[intid as usize & 31]);
    let seen = registers.read(slot);
    !seen.pending && !seen.active && relist(bank, slots, registers, slot, intid, groups)
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
    if bank.listed & bit != 0 {
        let slot = usize::from(bank.slot[intid as usize & 31]);
        let seen = registers.read(slot);
        let disturbed =
            (bank.owed | bank.activate | bank.deactivate) & bit != 0 || slots.notified >> (slot & 15) & 1 != 0;
        if seen.pending || seen.active || disturbed {
            return false;
        }
        // Its end was not noticed until now.
        slots.vacate(slot);
        bank.take_back(bit, false, false);
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
