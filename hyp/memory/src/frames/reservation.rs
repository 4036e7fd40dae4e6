//! Frames set aside for one VM, so that nothing it does later finds memory empty, or the books locked.

use super::tables::TableFrames;
use super::{FrameRun, Unscrubbed, VmId};
use crate::address::{Pa, Span};
use crate::error::Error;
use alloc::vec::Vec;

const WORD_BITS: u64 = u64::BITS as u64;

/// Some of a reservation's frames, and the number of the first of them among all.
#[derive(Clone, Copy, Debug)]
struct Run {
    frames: FrameRun,
    index: u64,
}

/// Frames that are recorded for this VM's reserve from [`super::Frames::reserve`] to [`super::Frames::unreserve`]: taken
/// and given back here alone, one by one, without the books of the machine and without heap. A bit for each says whether
/// it is here.
///
/// Dropping it leaks them.
#[must_use = "its frames are allocated: Frames::unreserve frees them"]
#[derive(Debug)]
pub struct Reservation {
    vm: VmId,
    /// By their addresses.
    runs: Vec<Run>,
    free: Vec<u64>,
    /// No word before this one has a free frame.
    hint: usize,
    left: u64,
}

impl Reservation {
    /// Of `runs`, sorted by address and apart from each other, with all of them here.
    pub(super) fn new(vm: VmId, frames: &[FrameRun]) -> Result<Self, Error> {
        let mut runs = Vec::new();
        runs.try_reserve_exact(frames.len()).map_err(|_| Error::OutOfHeap)?;
        let mut count = 0;
        for frames in frames.iter().copied() {
            runs.push(Run { frames, index: count });
            count += frames.count;
        }
        let words = usize::try_from(count.div_ceil(WORD_BITS)).map_err(|_| Error::OutOfHeap)?;
        let mut free = Vec::new();
        free.try_reserve_exact(words).map_err(|_| Error::OutOfHeap)?;
        free.resize(words, u64::MAX);
        if let Some(last) = free.last_mut() {
            *last >>= words as u64 * WORD_BITS - count;
        }
        Ok(Self { vm, runs, free, hint: 0, left: count })
    }

    /// Whose frames they are.
    #[must_use]
    pub fn vm(&self) -> VmId {
        self.vm
    }

    /// How many frames can still be taken.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// How many frames it has in all, taken ones included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.runs.iter().map(|run| run.frames.count).sum()
    }

    /// Whether the frame at `pa` is one of its own, taken or not.
    #[must_use]
    pub fn knows(&self, pa: Pa) -> bool {
        self.index_of(pa.page_number()).is_some()
    }

    /// Takes one frame: the one with the lowest address that is here.
    ///
    /// # Errors
    /// [`Error::ReservationEmpty`].
    pub fn take_frame(&mut self) -> Result<Unscrubbed<Span<Pa>>, Error> {
        let rest = self.free.iter_mut().enumerate().skip(self.hint);
        let (word, bits) = rest.into_iter().find(|(_, bits)| **bits != 0).ok_or(Error::ReservationEmpty)?;
        let index = word as u64 * WORD_BITS + u64::from(bits.trailing_zeros());
        *bits &= *bits - 1;
        self.hint = word;
        self.left -= 1;
        let run = self.run_with(index).ok_or(Error::ReservationEmpty)?;
        let first = run.frames.first + (index - run.index);
        Ok(Unscrubbed::new(FrameRun { first, count: 1 }.span()?))
    }

    /// Takes the frame at `pa` back, of which no TLB holds anything any more.
    ///
    /// # Errors
    /// [`Error::NotOwner`] if it is not one of its own, or here already.
    pub fn give_frame(&mut self, pa: Pa) -> Result<(), Error> {
        let index = self.index_of(pa.page_number()).ok_or(Error::NotOwner(pa))?;
        let (word, bit) = ((index / WORD_BITS) as usize, 1 << (index % WORD_BITS));
        let bits = self.free.get_mut(word).filter(|bits| **bits & bit == 0).ok_or(Error::NotOwner(pa))?;
        *bits |= bit;
        self.hint = self.hint.min(word);
        self.left += 1;
        Ok(())
    }

    /// Its frames, by their addresses.
    pub(super) fn into_runs(self) -> impl Iterator<Item = FrameRun> {
        self.runs.into_iter().map(|run| run.frames)
    }

    fn run_with(&self, index: u64) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.index <= index);
        self.runs.get(after.checked_sub(1)?)
    }

    fn index_of(&self, frame: u64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.frames.first <= frame);
        let run = self.runs.get(after.checked_sub(1)?)?;
        (frame < run.frames.end()).then(|| run.index + (frame - run.frames.first))
    }
}

impl TableFrames for Reservation {
    fn take(&mut self, order: u32) -> Result<Unscrubbed<Span<Pa>>, Error> {
        if order == 0 { self.take_frame() } else { Err(Error::OutOfFrames) }
    }

    fn give(&mut self, frames: Span<Pa>) -> Result<(), Error> {
        frames.pages().try_for_each(|page| self.give_frame(page))
    }

    fn available(&self) -> u64 {
        self.left
    }
}
