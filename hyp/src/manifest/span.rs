//! Spans of addresses, never overflowing.

use core::fmt;

/// `bytes` addresses from `start`. Both come from outside, so the end may not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first address.
    pub start: u64,
    /// How many.
    pub bytes: u64,
}

impl Span {
    /// The address behind the last one, unless that is beyond 64 bits.
    pub fn end(&self) -> Option<u64> {
        self.start.checked_add(self.bytes)
    }

    /// The same where it is only compared: an end beyond 64 bits counts as the highest address.
    fn end_or_max(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }

    /// Whether any address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.bytes > 0 && other.bytes > 0 && self.start < other.end_or_max() && other.start < self.end_or_max()
    }

    /// Whether all of `other` lies within.
    pub fn contains(&self, other: &Self) -> bool {
        match (self.end(), other.end()) {
            (Some(end), Some(other_end)) => self.start <= other.start && other_end <= end,
            _ => false,
        }
    }

    /// Whether `address` lies within.
    pub fn contains_address(&self, address: u64) -> bool {
        self.contains(&Self { start: address, bytes: 1 })
    }

    /// The same grown to multiples of `alignment`, a power of two, as far as there are such addresses.
    pub fn grown(&self, alignment: u64) -> Self {
        let start = self.start & !(alignment - 1);
        let end = self.end_or_max().checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        Self { start, bytes: end - start }
    }

    /// Whether both start and length are multiples of `alignment`.
    pub fn is_aligned(&self, alignment: u64) -> bool {
        self.start.is_multiple_of(alignment) && self.bytes.is_multiple_of(alignment)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.end(), self.bytes) {
            (_, 0) => write!(f, "{:#x} (empty)", self.start),
            (Some(end), _) => write!(f, "{:#x}..{end:#x}", self.start),
            (None, bytes) => write!(f, "{:#x} and {bytes:#x} bytes on", self.start),
        }
    }
}
