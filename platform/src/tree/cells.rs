//! Values that are runs of 32-bit cells (Devicetree Specification 0.4, 2.2.4 `prop-encoded-array`).

use super::blob::word;

/// A run of big-endian 32-bit cells, read from the front.
#[derive(Clone, Copy, Default)]
pub struct Cells<'blob>(&'blob [u8]);

impl<'blob> Cells<'blob> {
    /// The cells in `value`; `None` if it is no whole number of them.
    pub fn new(value: &'blob [u8]) -> Option<Self> {
        value.len().is_multiple_of(4).then_some(Self(value))
    }

    /// How many cells are left.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a number of `count` cells, the high one first. No cells are the number 0; more than two are no number.
    pub fn take_number(&mut self, count: usize) -> Option<u64> {
        match count {
            0 => Some(0),
            1 => self.next().map(u64::from),
            2 => Some(u64::from(self.next()?) << 32 | u64::from(self.next()?)),
            _ => None,
        }
    }

    /// Takes the next `count` cells as a run of their own.
    pub fn take_run(&mut self, count: usize) -> Option<Self> {
        let (run, rest) = self.0.split_at_checked(count.checked_mul(4)?)?;
        self.0 = rest;
        Some(Self(run))
    }
}

impl Iterator for Cells<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let cell = word(self.0, 0)?;
        self.0 = self.0.get(4..)?;
        Some(cell)
    }
}
