//! Memory whose last owner's data must not be seen by the next one.

use super::GuestSpan;
use crate::address::{Pa, Span};
use crate::machine::PhysicalMemory;
use alloc::vec::Vec;

/// Frames with somebody else's data in them. The only ways to the frames scrub them or say why that is not needed.
#[must_use = "the frames are allocated: drop them only through Frames::free"]
#[derive(Debug)]
pub struct Unscrubbed<T>(T);

impl<T: Scrub> Unscrubbed<T> {
    pub(super) fn new(frames: T) -> Self {
        Self(frames)
    }

    /// Zeroes the frames, for a guest whose caches may still be off.
    pub fn scrub(self, memory: &mut impl PhysicalMemory) -> T {
        self.0.zero(memory);
        self.0
    }

    /// The frames as they are: the caller overwrites every byte before anybody else sees one.
    #[must_use]
    pub fn will_be_overwritten(self) -> T {
        self.0
    }
}

/// What can be zeroed.
pub trait Scrub {
    /// Zeroes all of it, to the point of coherency.
    fn zero(&self, memory: &mut impl PhysicalMemory);
}

impl Scrub for Span<Pa> {
    fn zero(&self, memory: &mut impl PhysicalMemory) {
        memory.zero(*self);
    }
}

impl Scrub for Vec<GuestSpan> {
    fn zero(&self, memory: &mut impl PhysicalMemory) {
        for piece in self {
            memory.zero(piece.frames());
        }
    }
}
