//! The free frames: a buddy allocator, what of it is promised, and the short runs from which promises are kept.
//!
//! Owners and counts do not belong here.

use super::guest::{self, GuestSpan};
use super::reservation::Reservation;
use super::{FrameRun, VmId};
use crate::address::{Ipa, Span};
use crate::error::Error;
use alloc::sync::Arc;
use alloc::vec::Vec;
use buddy_system_allocator::FrameAllocator;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// The largest order allocated at once: 1 GiB, the largest block of Stage 2.
pub(super) const HIGHEST_ORDER: u32 = 18;

/// How many orders there are.
const ORDERS: usize = HIGHEST_ORDER as usize + 1;

/// A reservation draws its frames in runs of up to 2^5: a copy-on-write fault then seldom meets the buddy allocator,
/// and copies made one after the other lie together.
const RUN_ORDER: u32 = 5;

/// Free frames set aside for one VM's next promised allocations.
#[derive(Debug)]
struct Run {
    vm: VmId,
    frames: FrameRun,
}

#[derive(Default)]
pub(super) struct FramePool {
    buddy: FrameAllocator<ORDERS>,
    /// What was ever added.
    memory: Vec<FrameRun>,
    runs: Vec<Run>,
    /// Free frames, those in `runs` included.
    free: u64,
    /// How many of the free frames reservations have a right to.
    promised: Arc<AtomicU64>,
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

    pub(super) fn available_frames(&self) -> u64 {
        self.free.saturating_sub(self.promised.load(Ordering::Relaxed))
    }

    fn check_available(&self, count: u64) -> Result<(), Error> {
        if count <= self.available_frames() { Ok(()) } else { Err(Error::OutOfFrames) }
    }

    pub(super) fn allocate(&mut self, order: u32) -> Result<FrameRun, Error> {
        if order > HIGHEST_ORDER {
            return Err(Error::OutOfFrames);
        }
        self.check_available(1 << order)?;
        if let Some(run) = self.take(order) {
            return Ok(run);
        }
        self.return_runs();
        self.take(order).ok_or(Error::OutOfFrames)
    }

    pub(super) fn allocate_guest(&mut self, ipa: Span<Ipa>) -> Result<Vec<GuestSpan>, Error> {
        self.check_available(ipa.page_count())?;
        self.return_runs();
        guest::allocate(self, ipa)
    }

    pub(super) fn allocate_exact(&mut self, run: FrameRun) -> Result<(), Error> {
        self.check_available(run.count).map_err(|_| Error::FrameNotFree(run.start()))?;
        self.return_runs();
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

    /// 2^`order` naturally aligned frames from the buddy allocator, promised or not.
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

    pub(super) fn reserve(&mut self, vm: VmId, count: u64) -> Result<Reservation, Error> {
        self.check_available(count)?;
        if !self.runs.iter().any(|run| run.vm == vm) {
            self.runs.try_reserve(1).map_err(|_| Error::OutOfHeap)?;
            self.runs.push(Run { vm, frames: FrameRun { first: 0, count: 0 } });
        }
        self.promised.fetch_add(count, Ordering::Relaxed);
        Ok(Reservation::new(vm, count, self.promised.clone()))
    }

    pub(super) fn take_promised(&mut self, reservation: &mut Reservation) -> Result<FrameRun, Error> {
        let left = reservation.left();
        let index = self.runs.iter().position(|run| run.vm == reservation.vm()).ok_or(Error::ReservationEmpty)?;
        if left > 0 && self.runs.get(index).is_some_and(|run| run.frames.count == 0) {
            self.refill(index, left)?;
        }
        let run = self.runs.get_mut(index).filter(|run| left > 0 && run.frames.count > 0);
        let run = run.ok_or(Error::ReservationEmpty)?;
        let first = run.frames.first;
        run.frames = FrameRun { first: first + 1, count: run.frames.count - 1 };
        self.free -= 1;
        reservation.spend();
        Ok(FrameRun { first, count: 1 })
    }

    /// Cannot lack memory: a promise was made only for frames that are there, if need be in another VM's run.
    fn refill(&mut self, index: usize, left: u64) -> Result<(), Error> {
        let largest = left.checked_ilog2().unwrap_or(0).min(RUN_ORDER);
        let mut frames = (0..=largest).rev().find_map(|order| self.take(order));
        if frames.is_none() {
            self.return_runs();
            frames = self.take(0);
        }
        let frames = frames.ok_or(Error::OutOfFrames)?;
        self.free += frames.count;
        if let Some(run) = self.runs.get_mut(index) {
            run.frames = frames;
        }
        Ok(())
    }

    /// Puts what is set aside in runs back, where it can become part of something larger.
    fn return_runs(&mut self) {
        for index in 0..self.runs.len() {
            let Some(run) = self.runs.get_mut(index) else {
                continue;
            };
            let frames = core::mem::replace(&mut run.frames, FrameRun { first: 0, count: 0 });
            self.free -= frames.count;
            self.free(frames);
        }
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FramePool {{ free: {}, promised: {:?}, runs: {:?} }}", self.free, self.promised, self.runs)
    }
}
