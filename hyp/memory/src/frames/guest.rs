//! Memory for a whole guest out of few, large pieces that can be mapped with blocks.

use super::FrameRun;
use super::pool::FramePool;
use crate::address::{Address, Ipa, PAGE_SHIFT, Pa, Span};
use crate::error::Error;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;

/// A part of a guest's memory that is contiguous in both address spaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestSpan {
    ipa: Span<Ipa>,
    frames: Span<Pa>,
}

impl GuestSpan {
    /// Where the guest sees it.
    #[must_use]
    pub fn ipa(&self) -> Span<Ipa> {
        self.ipa
    }

    /// The machine memory behind it, of the same size.
    #[must_use]
    pub fn frames(&self) -> Span<Pa> {
        self.frames
    }
}

/// A part of the guest before it has frames: its first page's number, and the order.
type Piece = (u64, u32);

/// Either all of `ipa` or, with an error, nothing.
pub(super) fn allocate(pool: &mut FramePool, ipa: Span<Ipa>) -> Result<Vec<GuestSpan>, Error> {
    let mut done = Vec::new();
    let result = allocate_pieces(pool, ipa, &mut done);
    if let Err(error) = result {
        for (_, run) in done {
            pool.free(run);
        }
        return Err(error);
    }
    // A heap's code is a tenth of a slice's sort.
    join(&BinaryHeap::from(done).into_sorted_vec())
}

/// The largest pieces first, lest a small one breaks up the block that a large one needs.
fn allocate_pieces(pool: &mut FramePool, ipa: Span<Ipa>, done: &mut Vec<(u64, FrameRun)>) -> Result<(), Error> {
    let pages = FrameRun { first: ipa.start().page_number(), count: ipa.page_count() };
    let mut pieces: Vec<Piece> = Vec::new();
    for piece in pages.powers() {
        push(&mut pieces, piece)?;
    }
    let largest = pieces.iter().map(|(_, order)| *order).max().unwrap_or(0);
    let by_size = (0..=largest).rev().flat_map(|wanted| pieces.iter().filter(move |(_, order)| *order == wanted));
    by_size.copied().try_for_each(|piece| allocate_piece(pool, piece, done))
}

/// One piece in one block, or halves of it if there is none. Natural alignment in both address spaces makes them
/// congruent.
fn allocate_piece(pool: &mut FramePool, piece: Piece, done: &mut Vec<(u64, FrameRun)>) -> Result<(), Error> {
    let (page, order) = piece;
    done.try_reserve(1).map_err(|_| Error::OutOfHeap)?;
    if let Some(run) = pool.take(order) {
        done.push((page, run));
        return Ok(());
    }
    let half = order.checked_sub(1).ok_or(Error::OutOfFrames)?;
    allocate_piece(pool, (page, half), done)?;
    allocate_piece(pool, (page | 1 << half, half), done)
}

/// Neighbours in both address spaces become one.
fn join(pieces: &[(u64, FrameRun)]) -> Result<Vec<GuestSpan>, Error> {
    let mut joined: Vec<(u64, FrameRun)> = Vec::new();
    for (page, run) in pieces {
        match joined.last_mut() {
            Some((first, last)) if *first + last.count == *page && last.end() == run.first => last.count += run.count,
            _ => push(&mut joined, (*page, *run))?,
        }
    }
    joined.iter().map(|(page, run)| guest_span(*page, *run)).collect()
}

fn guest_span(page: u64, run: FrameRun) -> Result<GuestSpan, Error> {
    let frames = run.span()?;
    let start = Ipa::from_value(page << PAGE_SHIFT);
    let ipa = Span::new(start, frames.bytes()).ok_or(Error::OutsideIpaSpace(start))?;
    Ok(GuestSpan { ipa, frames })
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), Error> {
    list.try_reserve(1).map_err(|_| Error::OutOfHeap)?;
    list.push(item);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::largest_order;
    use super::*;

    #[test]
    fn powers_are_aligned_and_complete() {
        for (first, count) in [(0x40000, 25600), (1, 1), (3, 1000), (0, 1 << 20), (0x7ffff, 3)] {
            let mut next = first;
            for (page, order) in (FrameRun { first, count }).powers() {
                assert_eq!(page, next);
                assert_eq!(page % (1 << order), 0);
                assert!(order <= 18);
                next += 1 << order;
            }
            assert_eq!(next, first + count);
        }
        assert_eq!(largest_order(8, 0), None);
    }
}
