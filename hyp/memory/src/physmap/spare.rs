//! Tables taken before a change begins, so that it cannot run out of them half-way.

use crate::address::Pa;
use crate::error::Error;
use crate::frames::TableFrames;
use crate::machine::PhysicalMemory;

/// Frames for tables, zeroed but for the first word of each, which is the address of the next (or 0): no list of any
/// length needs heap.
pub(super) struct Spare {
    next: Option<Pa>,
    count: u64,
}

impl Spare {
    /// Takes `count` tables, or none.
    pub fn take(count: u64, source: &mut impl TableFrames, memory: &mut impl PhysicalMemory) -> Result<Self, Error> {
        let mut spare = Self { next: None, count: 0 };
        if count > source.available() {
            return Err(Error::OutOfFrames);
        }
        for _ in 0..count {
            match source.take(0) {
                Ok(frame) => spare.push(frame.scrub(memory).start(), memory),
                Err(error) => return Err(spare.give_back(source, memory).err().unwrap_or(error)),
            }
        }
        Ok(spare)
    }

    fn push(&mut self, table: Pa, memory: &mut impl PhysicalMemory) {
        if let Some(next) = self.next.replace(table) {
            memory.write(table, next.get());
        }
        self.count += 1;
    }

    /// The next table, all zeros once what is written next is published; `None` would be a mistake in the plan, and leaves
    /// what it was for unmapped.
    pub fn next(&mut self, memory: &mut impl PhysicalMemory) -> Option<Pa> {
        let table = self.next?;
        self.count -= 1;
        self.next = None;
        if self.count > 0 {
            self.next = Some(Pa::new(memory.read(table)));
            memory.write(table, 0);
        }
        Some(table)
    }

    /// How many are left.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Gives back what was not used.
    pub fn give_back(mut self, source: &mut impl TableFrames, memory: &mut impl PhysicalMemory) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(table) = self.next(memory) {
            let given = crate::frames::table_span(table).and_then(|span| source.give(span));
            result = result.and(given);
        }
        result
    }
}
