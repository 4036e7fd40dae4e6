//! The free frames: a buddy allocator, and what it was given.
//!
//! Owners and counts do not belong here.

use super::FrameRun;
use super::guest::{self, GuestSpan};
use crate::address::{Ipa, Span};
use crate::error::Error;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use buddy_system_allocator::FrameAllocator;
use core::fmt;

/// The largest order allocated at once: 1 GiB, the largest block of Stage 2.
pub(super) const HIGHEST_ORDER: u32 = 18;

/// How many orders there are.
const ORDERS: usize = HIGHEST_ORDER as usize + 1;

#[derive(Default)]
pub(super) struct FramePool {
    buddy: FrameAllocator<ORDERS>,
    /// What was ever added.
    memory: Vec<FrameRun>,
    free: u64,
}

impl FramePool {
    pub(super) fn add(&mut self, run: FrameRun) -> Result<(), Error> {
        self.check_unknown(run)?;
        self.memory.try_reserve(1).map_err(|_| Error::OutOfHeap)?;
        self.memory.push(run);
        self.buddy.add_frame(run.first as usize, run.end() as usize);
        self.free += run.count;
        Ok(())
    }

    pub(super) fn check_unknown(&self, run: FrameRun) -> Result<(), Error> {
        match self.memory.iter().find(|known| known.overlaps(run)) {
            Some(_) => Err(Error::FrameKnown(run.start())),
            None => Ok(()),
        }
    }

    /// Whether all of `run` was added, in one piece or in several.
    pub(super) fn manages(&self, run: FrameRun) -> bool {
        let common = |known: &FrameRun| known.end().min(run.end()).saturating_sub(known.first.max(run.first));
        self.memory.iter().map(common).sum::<u64>() == run.count
    }

    pub(super) fn free_frames(&self) -> u64 {
        self.free
    }

    fn check_free(&self, count: u64) -> Result<(), Error> {
        if count <= self.free { Ok(()) } else { Err(Error::OutOfFrames) }
    }

    pub(super) fn allocate(&mut self, order: u32) -> Result<FrameRun, Error> {
        if order > HIGHEST_ORDER {
            return Err(Error::OutOfFrames);
        }
        self.take(order).ok_or(Error::OutOfFrames)
    }

    pub(super) fn allocate_guest(&mut self, ipa: Span<Ipa>) -> Result<Vec<GuestSpan>, Error> {
        self.check_free(ipa.page_count())?;
        guest::allocate(self, ipa)
    }

    pub(super) fn allocate_exact(&mut self, run: FrameRun) -> Result<(), Error> {
        let mut taken = 0;
        let result = run.powers().try_for_each(|(first, order)| self.take_at(first, order, &mut taken));
        if result.is_err() && taken > 0 {
            self.free(FrameRun { first: run.first, count: taken });
        }
        result
    }

    /// Takes 2^`order` frames at `first` even if the buddy allocator has them in smaller pieces; `taken` counts what
    /// has been taken, in rising order, also when it fails.
    fn take_at(&mut self, first: u64, order: u32, taken: &mut u64) -> Result<(), Error> {
        let count = 1 << order;
        if self.buddy.alloc_at(first as usize, count as usize).is_some() {
            self.free -= count;
            *taken += count;
            return Ok(());
        }
        let half = order.checked_sub(1).ok_or(Error::FrameNotFree(FrameRun { first, count }.start()))?;
        self.take_at(first, half, taken)?;
        self.take_at(first | 1 << half, half, taken)
    }

    /// 2^`order` naturally aligned frames from the buddy allocator.
    pub(super) fn take(&mut self, order: u32) -> Option<FrameRun> {
        let count = 1 << order;
        let first = self.buddy.alloc(count as usize)? as u64;
        self.free -= count;
        Some(FrameRun { first, count })
    }

    /// The caller has checked that the frames came from here and are not free.
    pub(super) fn free(&mut self, run: FrameRun) {
        for (first, order) in run.powers() {
            self.buddy.dealloc(first as usize, 1 << order);
        }
        self.free += run.count;
    }

    /// `count` frames from anywhere, in few pieces, sorted by their addresses.
    pub(super) fn allocate_pieces(&mut self, count: u64) -> Result<Vec<FrameRun>, Error> {
        self.check_free(count)?;
        let mut pieces = BinaryHeap::new();
        let result = self.take_pieces(count, &mut pieces);
        if let Err(error) = result {
            pieces.into_iter().for_each(|piece| self.free(piece));
            return Err(error);
        }
        Ok(pieces.into_sorted_vec())
    }

    fn take_pieces(&mut self, count: u64, pieces: &mut BinaryHeap<FrameRun>) -> Result<(), Error> {
        let mut left = count;
        while let Some(largest) = left.checked_ilog2() {
            pieces.try_reserve(1).map_err(|_| Error::OutOfHeap)?;
            let orders = (0..=largest.min(HIGHEST_ORDER)).rev();
            let piece = orders.into_iter().find_map(|order| self.take(order)).ok_or(Error::OutOfFrames)?;
            pieces.push(piece);
            left -= piece.count;
        }
        Ok(())
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FramePool {{ free: {} }}", self.free)
    }
}
