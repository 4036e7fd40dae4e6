//! Frames in several maps at once.
//!
//! A frame is *private* (one map, its owner's, no count kept) or *shared* (a count of the maps it is in). An archive
//! frame starts out in no map. This carries declared sharing (the archive's images) and content-based sharing (a
//! private frame becomes shared) alike; what is mapped where, and read-only, is the caller's to keep in step.

use super::{FrameRun, Frames, Owner, VmId};
use crate::address::{Pa, Span};
use crate::descriptor::SoftwareState;
use crate::error::Error;
use crate::physmap::Mapping;

/// What became of a frame that a map let go of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Released {
    /// It is free again.
    Freed,
    /// Others have it, or it is the archive's.
    Kept,
}

impl Frames {
    /// How many maps the shared frame at `pa` is in; 0 if it is not shared.
    #[must_use]
    pub fn sharers(&self, pa: Pa) -> u16 {
        self.counts.get(pa.page_number())
    }

    /// Makes `vm`'s private frame a shared one, in one map for now: `vm` must map it read-only from here on.
    ///
    /// # Errors
    /// [`Error::NotOwner`] if it is not private to `vm`; [`Error::Shared`] if it is shared already.
    pub fn make_shared(&mut self, vm: VmId, pa: Pa) -> Result<(), Error> {
        let run = FrameRun::one(pa);
        self.records.check_owner(run, Owner::Vm(vm))?;
        self.counts.check_unshared(run)?;
        self.counts.set(run.first, 1)
    }

    /// Counts one more map for a shared frame, or for one of the archive.
    ///
    /// # Errors
    /// [`Error::NotShared`] for a private or free frame; [`Error::TooManySharers`]; [`Error::OutOfHeap`].
    pub fn share(&mut self, pa: Pa) -> Result<(), Error> {
        let frame = pa.page_number();
        let count = self.counts.get(frame);
        if count == 0 && self.owner_of(pa) != Some(Owner::Archive) {
            return Err(Error::NotShared(pa));
        }
        let more = count.checked_add(1).ok_or(Error::TooManySharers(pa))?;
        self.counts.set(frame, more)
    }

    /// Counts one more map for each frame of `span`, all shared or the archive's: before it is mapped copy-on-write.
    ///
    /// # Errors
    /// As for [`Self::share`]; then no count has changed.
    pub fn share_span(&mut self, span: Span<Pa>) -> Result<(), Error> {
        for page in span.pages() {
            if let Err(error) = self.share(page) {
                let done = span.pages().take_while(|done| *done != page);
                done.for_each(|done| self.unshare(done));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes back what [`Self::share`] has just done.
    fn unshare(&mut self, pa: Pa) {
        let frame = pa.page_number();
        // Cannot fail: only a region's first count can.
        let _ = self.counts.set(frame, self.counts.get(frame).saturating_sub(1));
    }

    /// One of `vm`'s maps lets go of a frame, private or shared, of which no TLB holds anything any more.
    ///
    /// # Errors
    /// [`Error::NotOwner`] if the frame is free, or another's private one; [`Error::NotShared`] for an archive
    /// frame that no map should have.
    pub fn release(&mut self, vm: VmId, pa: Pa) -> Result<Released, Error> {
        let frame = pa.page_number();
        if self.counts.decrement_shared(frame).is_some() {
            return Ok(Released::Kept);
        }
        match self.counts.get(frame) {
            0 => self.release_private(vm, pa),
            _ => self.release_last(pa),
        }
    }

    /// Lets go of all that a mapping of `vm`, now gone from every TLB, had: shared frames by their counts, private
    /// ones to the pool, borrowed ones not at all.
    ///
    /// # Errors
    /// Those of [`Self::release`] and [`Self::free`].
    pub fn release_mapping(&mut self, vm: VmId, mapping: &Mapping) -> Result<(), Error> {
        let state = mapping.attributes.state;
        let frames = mapping.frames().ok_or(Error::OutsidePaSpace(mapping.pa))?;
        if state.contains(SoftwareState::BORROWED) {
            return Ok(());
        }
        if !state.contains(SoftwareState::COPY_ON_WRITE) {
            return self.free(Owner::Vm(vm), frames);
        }
        let released = |result: Result<(), Error>, page| result.and(self.release(vm, page).map(|_| ()));
        frames.pages().fold(Ok(()), released)
    }

    fn release_private(&mut self, vm: VmId, pa: Pa) -> Result<Released, Error> {
        if self.owner_of(pa) == Some(Owner::Archive) {
            return Err(Error::NotShared(pa));
        }
        let page = FrameRun::one(pa).span()?;
        self.free(Owner::Vm(vm), page)?;
        Ok(Released::Freed)
    }

    /// Whoever brought a shared frame in, it goes with the last that has it; but the archive's stays.
    fn release_last(&mut self, pa: Pa) -> Result<Released, Error> {
        let owner = self.owner_of(pa).ok_or(Error::NotOwner(pa))?;
        self.counts.set(pa.page_number(), 0)?;
        if owner == Owner::Archive {
            return Ok(Released::Kept);
        }
        self.free(owner, FrameRun::one(pa).span()?)?;
        Ok(Released::Freed)
    }

    /// Makes a shared frame `vm`'s private one, if no other map has it: then it need not be copied to be written.
    /// Archive frames are never claimed.
    ///
    /// # Errors
    /// [`Error::NotShared`] if it is not shared.
    pub fn claim(&mut self, vm: VmId, pa: Pa) -> Result<bool, Error> {
        match self.counts.get(pa.page_number()) {
            0 => Err(Error::NotShared(pa)),
            1 => self.claim_last(vm, pa),
            _ => Ok(false),
        }
    }

    fn claim_last(&mut self, vm: VmId, pa: Pa) -> Result<bool, Error> {
        match self.owner_of(pa).ok_or(Error::NotOwner(pa))? {
            Owner::Archive => Ok(false),
            owner => self.take_over(vm, FrameRun::one(pa), owner).map(|()| true),
        }
    }

    fn take_over(&mut self, vm: VmId, run: FrameRun, owner: Owner) -> Result<(), Error> {
        if owner != Owner::Vm(vm) {
            self.records.remove(run, owner);
            self.records.insert(run, Owner::Vm(vm))?;
        }
        self.counts.set(run.first, 0)
    }
}
