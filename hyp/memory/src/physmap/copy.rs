//! Copy on write: a guest's first write to a page that it shares ([`PhysMap::resolve`] finds that out), and back to what it
//! shared.
//!
//! Neither needs heap, nor the books of the machine's frames: what is taken is the VM's own already.

use super::walk::Slot;
use super::{Outcome, PhysMap, change, flush, plan, walk};
use crate::address::{Ipa, Pa, Span};
use crate::descriptor::{Attributes, Descriptor, Kind, Level, SoftwareState};
use crate::error::Error;
use crate::frames::{Reservation, Sharers};
use crate::machine::Machine;

impl PhysMap {
    /// Lets the guest write `page`, which it shares copy-on-write, as `slot` and what is in it say.
    #[inline(always)]
    pub(super) fn give_own_frame(
        &mut self,
        (slot, descriptor): (Slot, Descriptor),
        page: Span<Ipa>,
        reservation: &mut Reservation,
        sharers: &mut impl Sharers,
        machine: &mut impl Machine,
    ) -> Result<Outcome, Error> {
        if slot.is_within(page) {
            return self.break_sharing(slot, descriptor, reservation, sharers, machine);
        }
        self.copy_out_of_block(page, reservation, sharers, machine)
    }

    /// Has the page at `ipa` be the archive's frame at `pa` again, if it was copied from there; the copy returns to the
    /// reservation. Returns how many bytes from `ipa` on are the archive's now: more than a page where nothing was split.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutsideIpaSpace`], [`Error::OutsidePaSpace`], [`Error::NotMapped`];
    /// [`Error::NotOwner`] if it is neither the archive's nor a page from the reservation. Then nothing has changed.
    pub fn share_again(
        &mut self,
        ipa: Ipa,
        pa: Pa,
        reservation: &mut Reservation,
        machine: &mut impl Machine,
    ) -> Result<u64, Error> {
        let page = Span::page(ipa).ok_or(Error::Unaligned)?;
        self.geometry.check_ipa(page)?;
        self.geometry.check_pa(pa, page.bytes())?;
        let (slot, old) = walk::lookup(self.root, ipa, machine);
        let Kind::Leaf(copy) = old.kind(slot.level) else {
            return Err(Error::NotMapped(ipa));
        };
        let state = old.attributes().state;
        if state.contains(Attributes::ARCHIVE.state) {
            return slot.span().and_then(|span| span.end().offset_from(ipa)).ok_or(Error::NotMapped(ipa));
        }
        if !state.is_private() || !slot.is_within(page) || !reservation.knows(copy) {
            return Err(Error::NotOwner(copy));
        }
        let new = Descriptor::leaf(slot.level, pa, Attributes::ARCHIVE);
        change::replace(slot, old, new, self.context, machine);
        reservation.give_frame(copy)?;
        Ok(page.bytes())
    }

    /// How many tables it takes until all of `span` is mapped by pages: what a reservation must hold, besides a frame
    /// for each page, so that every page can be copied.
    #[must_use]
    pub fn tables_for_pages(&self, span: Span<Ipa>, machine: &impl Machine) -> u64 {
        self.mappings(span, machine).filter_map(|mapping| tables_below(mapping.ipa, span)).sum()
    }

    fn copy_out_of_block(
        &mut self,
        page: Span<Ipa>,
        reservation: &mut Reservation,
        sharers: &mut impl Sharers,
        machine: &mut impl Machine,
    ) -> Result<Outcome, Error> {
        if plan::tables_to_split(self.root, page, machine) >= reservation.left() {
            return Err(Error::ReservationEmpty);
        }
        self.split_edges(page, reservation, machine)?;
        let (slot, descriptor) = walk::lookup(self.root, page.start(), machine);
        self.break_sharing(slot, descriptor, reservation, sharers, machine)
    }

    /// The page in `slot` gets a frame that nobody else has.
    fn break_sharing(
        &self,
        slot: Slot,
        old: Descriptor,
        reservation: &mut Reservation,
        sharers: &mut impl Sharers,
        machine: &mut impl Machine,
    ) -> Result<Outcome, Error> {
        let Kind::Leaf(from) = old.kind(slot.level) else {
            return Err(Error::NotMapped(slot.ipa));
        };
        let (vm, attributes) = (reservation.vm(), unshared(old.attributes()));
        let is_counted = !old.attributes().state.contains(SoftwareState::BORROWED);
        if is_counted && sharers.claim(vm, from)? {
            // Only permissions change: no break, but a core that keeps the old ones would fault for ever.
            slot.write(Descriptor::leaf(slot.level, from, attributes), machine);
            flush::flush_page(self.context, slot.ipa, machine);
            return Ok(Outcome::Claimed(from));
        }
        let to = reservation.take_frame()?.will_be_overwritten().start();
        machine.copy_page(from, to);
        change::replace(slot, old, Descriptor::leaf(slot.level, to, attributes), self.context, machine);
        if is_counted {
            // Not before: until the flush, another core of this guest could still read the old frame.
            sharers.release(vm, from)?;
        }
        Ok(Outcome::Copied { from, to })
    }
}

/// A private page's attributes, from those that it had while it was shared.
fn unshared(old: Attributes) -> Attributes {
    let traced = old.state.contains(SoftwareState::TRACED);
    let access = if traced { old.access } else { old.access.with_write() };
    let state = old.state.without(SoftwareState::COPY_ON_WRITE).without(SoftwareState::BORROWED);
    Attributes { access, state, ..old }
}

/// The tables below a block of which all pages in `span` are to have descriptors of their own.
fn tables_below(block: Span<Ipa>, span: Span<Ipa>) -> Option<u64> {
    let part = block.intersection(span)?;
    let entries = |level: Level| (part.last().get() >> level.shift()) - (part.start().get() >> level.shift()) + 1;
    // One table of pages for each 2 MiB, and for a larger block the table of those.
    let pages = if block.bytes() > Level::PAGE.bytes() { entries(Level::TWO) } else { 0 };
    Some(pages + u64::from(block.bytes() > Level::TWO.bytes()))
}
