//! Machine memory by the frame: who has which, how many share it, what is still free.
//!
//! [`Frames`] is the pool and the books together, so that they cannot disagree: what is allocated is recorded for an
//! owner, and only what is recorded can be freed. Double frees, foreign frees and leaks are errors that are returned.
//! Here does not belong what a frame is mapped to: that is [`crate::physmap`].
//!
//! EL2's own heap holds one small record for each stretch of frames of the same owner, and sharing counts only for
//! those 2 MiB regions in which something is shared: nothing grows with the memory of guests that share nothing. What a
//! guest takes while it runs comes out of its [`Reservation`], for which no record changes. Archive frames are not
//! counted: they are never freed, whoever maps them.

mod counts;
mod guest;
mod pool;
mod records;
mod reservation;
mod scrub;
mod share;
mod tables;

pub use guest::GuestSpan;
pub use reservation::Reservation;
pub use scrub::{Scrub, Unscrubbed};
pub use share::{NoneShared, Released, Sharers};
pub(crate) use tables::table_span;
pub use tables::{OwnedTables, TableFrames};

use crate::address::{Address, Ipa, PAGE_SHIFT, PAGE_SIZE, Pa, Span};
use crate::error::Error;
use alloc::vec::Vec;
use core::fmt;

/// A virtual machine as the frames know it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VmId(pub u16);

/// Who answers for a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// EL2 itself.
    Hypervisor,
    /// The system archive: never freed, so that a guest can be started again from it.
    Archive,
    /// A VM: its memory, and the tables that map it.
    Vm(VmId),
    /// A VM's reservation, whether the VM has taken the frame out of it or not.
    Reserve(VmId),
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hypervisor => write!(out, "the hypervisor"),
            Self::Archive => write!(out, "the archive"),
            Self::Vm(vm) => write!(out, "VM {}", vm.0),
            Self::Reserve(vm) => write!(out, "the reserve of VM {}", vm.0),
        }
    }
}

/// All frames of the machine that guests, and tables for them, may have.
///
/// One value for the machine; the hypervisor keeps it under one lock. Scrubbing is not done here but through
/// [`Unscrubbed`], so that nobody waits for the lock while a gigabyte is zeroed.
#[derive(Default, Debug)]
pub struct Frames {
    pool: pool::FramePool,
    records: records::Records,
    counts: counts::Counts,
}

impl Frames {
    /// Knows no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the machine's memory at `span` to the pool: free, contents unknown.
    ///
    /// # Errors
    /// [`Error::Unaligned`] unless start and size are multiples of a page; [`Error::FrameKnown`] if a part was given
    /// or recorded before; [`Error::OutOfHeap`].
    pub fn add_memory(&mut self, span: Span<Pa>) -> Result<(), Error> {
        let run = FrameRun::of(span)?;
        self.records.check_absent(run)?;
        self.pool.add(run)
    }

    /// Records memory that did not come from the pool, so that it has an owner and can be shared: the archive.
    ///
    /// # Errors
    /// As for [`Self::add_memory`].
    pub fn adopt(&mut self, span: Span<Pa>, owner: Owner) -> Result<(), Error> {
        let run = FrameRun::of(span)?;
        self.pool.check_unknown(run)?;
        self.records.insert(run, owner)
    }

    /// Allocates 2^`order` contiguous frames, aligned to their size.
    ///
    /// # Errors
    /// [`Error::OutOfFrames`] if there is no such span. The largest that can be had is 1 GiB (`order` 18).
    pub fn allocate(&mut self, owner: Owner, order: u32) -> Result<Unscrubbed<Span<Pa>>, Error> {
        let run = self.pool.allocate(order)?;
        self.records.insert(run, owner)?;
        Ok(Unscrubbed::new(run.span()?))
    }

    /// Allocates machine memory for all of a guest's `ipa`, in few and large pieces.
    ///
    /// Each piece's machine address is congruent with its guest address modulo the largest block that fits, so that
    /// it can be mapped with blocks; nothing is rounded up. Sorted by guest address.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutOfFrames`] or [`Error::OutOfHeap`]: then nothing is allocated.
    pub fn allocate_guest(&mut self, vm: VmId, ipa: Span<Ipa>) -> Result<Unscrubbed<Vec<GuestSpan>>, Error> {
        if !ipa.is_page_aligned() {
            return Err(Error::Unaligned);
        }
        let pieces = self.pool.allocate_guest(ipa)?;
        for piece in &pieces {
            self.records.insert(FrameRun::of(piece.frames())?, Owner::Vm(vm))?;
        }
        Ok(Unscrubbed::new(pieces))
    }

    /// Allocates exactly the frames at `span`, for a guest that is mapped one to one.
    ///
    /// # Errors
    /// [`Error::Unaligned`]; [`Error::FrameNotFree`] if any frame is taken or unknown. Then nothing is allocated.
    pub fn allocate_exact(&mut self, owner: Owner, span: Span<Pa>) -> Result<Unscrubbed<Span<Pa>>, Error> {
        let run = FrameRun::of(span)?;
        self.pool.allocate_exact(run)?;
        self.records.insert(run, owner)?;
        Ok(Unscrubbed::new(span))
    }

    /// Gives frames back to the pool. No TLB may hold anything of them any more.
    ///
    /// # Errors
    /// [`Error::Pinned`] for archive memory; [`Error::NotOwner`] if any frame is not recorded for `owner` (a double
    /// free); [`Error::Shared`] if one is shared ([`Self::release`] is for those). Then nothing is freed.
    pub fn free(&mut self, owner: Owner, span: Span<Pa>) -> Result<(), Error> {
        let run = FrameRun::of(span)?;
        if owner == Owner::Archive {
            return Err(Error::Pinned(span.start()));
        }
        self.records.check_owner(run, owner)?;
        self.counts.check_unshared(run)?;
        self.check_from_pool(run)?;
        self.records.remove(run, owner);
        self.pool.free(run);
        Ok(())
    }

    /// Sets `frames` single frames aside for `vm`, in few pieces.
    ///
    /// # Errors
    /// [`Error::OutOfFrames`] or [`Error::OutOfHeap`]: then nothing is allocated.
    pub fn reserve(&mut self, vm: VmId, frames: u64) -> Result<Reservation, Error> {
        let pieces = self.pool.allocate_pieces(frames)?;
        let reservation = Reservation::new(vm, &pieces);
        match reservation {
            Ok(_) => pieces.iter().try_for_each(|piece| self.records.insert(*piece, Owner::Reserve(vm)))?,
            Err(_) => pieces.iter().for_each(|piece| self.pool.free(*piece)),
        }
        reservation
    }

    /// The end of a reservation.
    ///
    /// # Errors
    /// [`Error::Leaked`] if not all that was taken from it was given back: then all its frames are lost.
    pub fn unreserve(&mut self, reservation: Reservation) -> Result<(), Error> {
        let (owner, missing) = (Owner::Reserve(reservation.vm()), reservation.size() - reservation.left());
        if missing != 0 {
            return Err(Error::Leaked(owner, missing));
        }
        reservation.into_runs().try_for_each(|run| self.free(owner, run.span()?))
    }

    /// How many frames are nobody's.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.pool.free_frames()
    }

    /// Whom the frame at `pa` is recorded for; `None` for a free or unknown frame.
    ///
    /// For a shared frame this is who brought it in, who may have let go of it meanwhile.
    #[must_use]
    pub fn owner_of(&self, pa: Pa) -> Option<Owner> {
        self.records.owner_of(pa.page_number())
    }

    /// How many frames `owner` has that are not shared: for a VM its memory and its tables.
    #[must_use]
    pub fn owned_frames(&self, owner: Owner) -> u64 {
        self.records.runs_of(owner).map(|run| run.count - self.counts.shared_in(run)).sum()
    }

    /// The end of a VM: all it had must have been given back. Its reservation is another matter ([`Self::unreserve`]).
    ///
    /// # Errors
    /// [`Error::Leaked`] with the number of frames that still have no sharer but this VM.
    pub fn check_returned(&self, vm: VmId) -> Result<(), Error> {
        match self.owned_frames(Owner::Vm(vm)) {
            0 => Ok(()),
            frames => Err(Error::Leaked(Owner::Vm(vm), frames)),
        }
    }

    /// Only what came from the pool may go to it.
    fn check_from_pool(&self, run: FrameRun) -> Result<(), Error> {
        if self.pool.manages(run) { Ok(()) } else { Err(Error::Pinned(Pa::from_value(run.first << PAGE_SHIFT))) }
    }
}

/// Contiguous frames by their numbers; never empty, its end below 2^52.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct FrameRun {
    first: u64,
    count: u64,
}

impl FrameRun {
    fn of(span: Span<Pa>) -> Result<Self, Error> {
        if !span.is_page_aligned() {
            return Err(Error::Unaligned);
        }
        Ok(Self { first: span.start().page_number(), count: span.page_count() })
    }

    fn one(pa: Pa) -> Self {
        Self { first: pa.page_number(), count: 1 }
    }

    const fn end(self) -> u64 {
        self.first + self.count
    }

    fn overlaps(self, other: Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }

    fn start(self) -> Pa {
        Pa::new(self.first << PAGE_SHIFT)
    }

    fn span(self) -> Result<Span<Pa>, Error> {
        Span::new(self.start(), self.count * PAGE_SIZE).ok_or(Error::OutsidePaSpace(self.start()))
    }

    /// The largest naturally aligned powers of two that make up the run, in order: first frame and order.
    fn powers(self) -> impl Iterator<Item = (u64, u32)> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let order = largest_order(rest.first, rest.count)?;
            let first = rest.first;
            rest.first += 1 << order;
            rest.count -= 1 << order;
            Some((first, order))
        })
    }
}

/// The largest order, up to 1 GiB, of a naturally aligned block at `page` no longer than `count`; `None` for no
/// pages.
fn largest_order(page: u64, count: u64) -> Option<u32> {
    let fits = count.checked_ilog2()?;
    Some(fits.min(page.trailing_zeros()).min(pool::HIGHEST_ORDER))
}

#[cfg(test)]
mod tests;
