//! Frames in several maps at once.
//!
//! A frame is *private* (one map, its owner's, no count kept) or *shared* (a count of the maps it is in), which is for
//! content-based sharing: a private frame becomes shared, and goes with its last sharer. What is mapped where, and
//! read-only, is the caller's to keep in step. Frames of the archive need no count, as they never go: maps borrow them
//! ([`crate::Attributes::ARCHIVE`]).

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
    /// Others have it.
    Kept,
}

/// Who counts the maps that a shared frame is in; locked, if need be, for each call alone.
pub trait Sharers {
    /// Makes a shared frame `vm`'s private one, if no other map has it: then it need not be copied to be written.
    ///
    /// # Errors
    /// [`Error::NotShared`] if it is not shared.
    fn claim(&mut self, vm: VmId, pa: Pa) -> Result<bool, Error>;

    /// One of `vm`'s maps lets go of a frame, private or shared, of which no TLB holds anything any more.
    ///
    /// # Errors
    /// [`Error::NotOwner`] if the frame is free, or another's private one.
    fn release(&mut self, vm: VmId, pa: Pa) -> Result<Released, Error>;
}

/// Where nothing is shared but the archive, nobody counts.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoneShared;

impl Sharers for NoneShared {
    fn claim(&mut self, _: VmId, pa: Pa) -> Result<bool, Error> {
        Err(Error::NotShared(pa))
    }

    fn release(&mut self, _: VmId, pa: Pa) -> Result<Released, Error> {
        Err(Error::NotShared(pa))
    }
}

impl Sharers for Frames {
    fn claim(&mut self, vm: VmId, pa: Pa) -> Result<bool, Error> {
        match self.counts.get(pa.page_number()) {
            0 => Err(Error::NotShared(pa)),
            1 => self.claim_last(vm, pa).map(|()| true),
            _ => Ok(false),
        }
    }

    fn release(&mut self, vm: VmId, pa: Pa) -> Result<Released, Error> {
        let frame = pa.page_number();
        if self.counts.decrement_shared(frame).is_some() {
            return Ok(Released::Kept);
        }
        match self.counts.get(frame) {
            0 => self.free(Owner::Vm(vm), FrameRun::one(pa).span()?)?,
            _ => self.release_last(pa)?,
        }
        Ok(Released::Freed)
    }
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

    /// Counts one more map for a shared frame.
    ///
    /// # Errors
    /// [`Error::NotShared`] for any other frame; [`Error::TooManySharers`].
    pub fn share(&mut self, pa: Pa) -> Result<(), Error> {
        let frame = pa.page_number();
        match self.counts.get(frame) {
            0 => Err(Error::NotShared(pa)),
            count => self.counts.set(frame, count.checked_add(1).ok_or(Error::TooManySharers(pa))?),
        }
    }

    /// Whether all of `span` is the archive's, so that it may be mapped as [`crate::Attributes::ARCHIVE`].
    ///
    /// # Errors
    /// [`Error::Unaligned`]; [`Error::NotOwner`] with the first frame that is not.
    pub fn check_archive(&self, span: Span<Pa>) -> Result<(), Error> {
        self.records.check_owner(FrameRun::of(span)?, Owner::Archive)
    }

    /// Lets go of all that a mapping of `vm`, now gone from every TLB, had: shared frames by their counts, private
    /// ones to the pool, borrowed ones not at all.
    ///
    /// # Errors
    /// Those of [`Sharers::release`] and [`Self::free`].
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

    /// Whoever brought a shared frame in, it goes with the last that has it.
    fn release_last(&mut self, pa: Pa) -> Result<(), Error> {
        let owner = self.owner_of(pa).ok_or(Error::NotOwner(pa))?;
        self.counts.set(pa.page_number(), 0)?;
        self.free(owner, FrameRun::one(pa).span()?)
    }

    fn claim_last(&mut self, vm: VmId, pa: Pa) -> Result<(), Error> {
        let (run, owner) = (FrameRun::one(pa), self.owner_of(pa).ok_or(Error::NotOwner(pa))?);
        if owner != Owner::Vm(vm) {
            self.records.remove(run, owner);
            self.records.insert(run, Owner::Vm(vm))?;
        }
        self.counts.set(run.first, 0)
    }
}
