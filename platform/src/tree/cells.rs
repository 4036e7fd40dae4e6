//! Values that are runs of 32-bit cells (Devicetree Specification 0.4, 2.2.4 `prop-encoded-array`).

/// A run of big-endian 32-bit cells, read from the front.
#[derive(Clone, Copy, Default)]
pub struct Cells<'blob>(&'blob [u32]);

impl<'blob> Cells<'blob> {
    /// The cells in `value`, a property's; `None` if it is no whole number of them.
    pub fn new(value: &'blob [u8]) -> Option<Self> {
        bytemuck::try_cast_slice(value).ok().map(Self)
    }

    /// The number that `value` is, if it has exactly one cell.
    pub fn one(value: &'blob [u8]) -> Option<u32> {
        let mut cells = Self::new(value)?;
        let number = cells.next()?;
        cells.is_empty().then_some(number)
    }

    /// How many cells are left.
    pub fn len(&self) -> usize {
        self.0.len()
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
        let (run, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(Self(run))
    }
}

impl Iterator for Cells<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (cell, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(u32::from_be(*cell))
    }
}
