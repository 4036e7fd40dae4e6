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
/// groups; `combine`: an edge that came while it is active goes along.
#[inline]
pub(super) fn list<R: ListRegisters>(
    bank: &mut Bank,
    slots: &mut Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
    combine: bool,
) -> bool {
    let Some(slot) = slots.vacant() else { return false };
    let entry = bank.describe(intid, groups, combine);
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

/// Makes list registers vacant that held private interrupts which the guest has ended, and which left nothing to do. False
/// if there is none.
#[inline(never)]
fn reclaim<R: ListRegisters>(bank: &mut Bank, slots: &mut Slots, registers: &mut R) -> bool {
    let ended = registers.empty() & slots.used() & !slots.notified;
    for slot in Bits(ended) {
        let intid = slots.intid[slot & 15];
        let bit = 1 << (intid & 31);
        if intid < 32 && bank.is_over(bit) {
            if slots.hardware >> slot & 1 != 0 {
                bank.repay(bit);
            }
            bank.take_back(bit, false, false);
            slots.vacate(slot);
        }
    }
    slots.free != 0
}

/// Whether a list register is vacant, or can be made so at once by what is known of the private interrupts in `bank`.
#[inline]
pub(super) fn has_vacancy<R: ListRegisters>(bank: &mut Bank, slots: &mut Slots, registers: &mut R) -> bool {
    slots.free != 0 || reclaim(bank, slots, registers)
}

/// Writes anew the list register by which hardware interrupt `intid` came the last time, and which is empty, since the
/// physical interrupt has fired again. False if there is more to do than that.
#[inline(always)]
pub(super) fn renew<R: ListRegisters>(
    bank: &mut Bank,
    slots: &Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
) -> bool {
    let bit = 1 << (intid & 31);
    let slot = usize::from(bank.slot[intid as usize & 31] & 15);
    let origin = Origin::Hardware(u32::from(bank.physical[intid as usize & 31]));
    // With more pending than fits, urgency decides: see the invariant of `delivery`.
    let renewed = slots.hardware >> slot & 1 != 0
        && slots.maintenance == Maintenance::NONE
        && bank.can_repeat(bit, groups)
        && registers.write_directly(slot, bank.describe_pending(intid, origin));
    if renewed {
        bank.repeat(bit);
    }
    renewed
}

/// Writes list register `slot`, which was seen empty, anew for the edge-triggered interrupt that it held, which has come
/// again, from `source` if it is an SGI of a GICv2. False if there is more to do than that.
pub(super) fn relist<R: ListRegisters>(
    bank: &mut Bank,
    slots: &Slots,
    registers: &mut R,
    slot: usize,
    intid: u32,
    groups: u32,
    source: u8,
) -> bool {
    let bit = 1 << (intid & 31);
    let origin = Origin::Software { notify_end: false, source };
    let relisted = (slots.hardware | slots.notified) >> (slot & 15) & 1 == 0
        && slots.maintenance == Maintenance::NONE
        && bank.can_relist(bit, groups)
        && registers.write_directly(slot, bank.describe_pending(intid, origin));
    if relisted {
        bank.relist(bit);
    }
    relisted
}

/// Delivers the edge-triggered interrupt `intid` of `source` (0 for all but SGIs of a GICv2), which has come again, by the
/// list register that brought it the last time, if it is over there. False, with nothing changed, if there is more to do
/// than that.
#[inline(always)]
pub(super) fn repeat<R: ListRegisters>(
    bank: &mut Bank,
    slots: &Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
    source: u8,
) -> bool {
    let bit = 1 << (intid & 31);
    let slot = usize::from(bank.slot[intid as usize & 31] & 15);
    let ready = bank.can_repeat_edge(bit, groups)
        && (slots.hardware | slots.notified) >> slot & 1 == 0
        && slots.maintenance == Maintenance::NONE;
    if !ready {
        return false;
    }
    let seen = registers.read(slot);
    let origin = Origin::Software { notify_end: false, source };
    let repeated =
        !seen.pending && !seen.active && registers.write_directly(slot, bank.describe_pending(intid, origin));
    if repeated {
        bank.repeat(bit);
    }
    repeated
}

/// Delivers the edge-triggered private interrupt `intid`, which has just become pending, straight into a list register.
/// False if there is more to do than that.
pub(super) fn deliver_edge<R: ListRegisters>(
    bank: &mut Bank,
    slots: &mut Slots,
    registers: &mut R,
    intid: u32,
    groups: u32,
) -> bool {
    let bit = 1 << (intid & 31);
    let ready = bank.deliverable(groups) & bit != 0 && slots.maintenance == Maintenance::NONE;
    bank.listed & bit == 0
        && ready
        && has_vacancy(bank, slots, registers)
        && list(bank, slots, registers, intid, groups, false)
}

/// The same for an SGI that knows its senders.
pub(super) fn deliver_sgi<R: ListRegisters>(
    bank: &mut Bank,
    slots: &mut Slots,
    senders: &mut Senders,
    registers: &mut R,
    intid: u32,
    groups: u32,
) -> bool {
    let bit = 1 << (intid & 15);
    let ready = bank.deliverable(groups) & bit != 0 && slots.maintenance == Maintenance::NONE;
    let ready = ready && bank.listed & bit == 0 && has_vacancy(bank, slots, registers);
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
