//! Tables taken before a change begins, so that it cannot run out of them half-way.

use crate::address::Pa;
use crate::error::Error;
use crate::frames::TableFrames;
use crate::machine::PhysicalMemory;
use alloc::vec::Vec;

/// Frames for tables, zeroed, used from the end.
pub(super) struct Spare {
    tables: Vec<Pa>,
}

impl Spare {
    /// Takes `count` tables, or none.
    pub fn take(count: u64, source: &mut impl TableFrames, memory: &mut impl PhysicalMemory) -> Result<Self, Error> {
        let mut spare = Self { tables: Vec::new() };
        if count == 0 {
            return Ok(spare);
        }
        if count > source.available() {
            return Err(Error::OutOfFrames);
        }
        let capacity = usize::try_from(count).map_err(|_| Error::OutOfHeap)?;
        spare.tables.try_reserve_exact(capacity).map_err(|_| Error::OutOfHeap)?;
        for _ in 0..count {
            match source.take(0) {
                Ok(frame) => spare.tables.push(frame.scrub(memory).start()),
                Err(error) => return Err(spare.give_back(source).err().unwrap_or(error)),
            }
        }
        Ok(spare)
    }

    /// The next table; `None` would be a mistake in the plan, and leaves what it was for unmapped.
    pub fn next(&mut self) -> Option<Pa> {
        self.tables.pop()
    }

    /// How many are left.
    pub fn len(&self) -> u64 {
        self.tables.len() as u64
    }

    /// Gives back what was not used.
    pub fn give_back(self, source: &mut impl TableFrames) -> Result<(), Error> {
        let mut result = Ok(());
        for table in self.tables {
            let given = crate::frames::table_span(table).and_then(|span| source.give(span));
            result = result.and(given);
        }
        result
    }
}
