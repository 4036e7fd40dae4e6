//! Where a map gets the frames of its tables from.

use super::{Frames, Owner, Reservation, Unscrubbed, VmId};
use crate::address::{PAGE_SIZE, Pa, Span};
use crate::error::Error;
use crate::physmap::Mapping;

/// A source of frames for translation tables.
pub trait TableFrames {
    /// Takes 2^`order` frames, aligned to their size (`order` above 0 only for a root of several tables).
    ///
    /// # Errors
    /// Lack of memory, as the source defines it.
    fn take(&mut self, order: u32) -> Result<Unscrubbed<Span<Pa>>, Error>;

    /// Takes them back. No table walker can reach them any more.
    ///
    /// # Errors
    /// If they were not taken from here.
    fn give(&mut self, frames: Span<Pa>) -> Result<(), Error>;

    /// How many single frames can be taken: asked before a change, so that the change cannot run out half-way.
    fn available(&self) -> u64;
}

/// Table frames for a VM from what nobody has reserved.
#[derive(Debug)]
pub struct OwnedTables<'a> {
    frames: &'a mut Frames,
    vm: VmId,
}

/// Table frames for a VM from its reservation. They return to the pool, not to the reservation.
#[derive(Debug)]
pub struct ReservedTables<'a> {
    frames: &'a mut Frames,
    reservation: &'a mut Reservation,
}

impl Frames {
    /// Frames for tables that will be recorded for `vm`.
    pub fn tables(&mut self, vm: VmId) -> OwnedTables<'_> {
        OwnedTables { frames: self, vm }
    }

    /// Frames for tables that were promised.
    pub fn reserved_tables<'a>(&'a mut self, reservation: &'a mut Reservation) -> ReservedTables<'a> {
        ReservedTables { frames: self, reservation }
    }
}

impl OwnedTables<'_> {
    /// Gives back what a mapping of the VM had: [`Frames::release_mapping`]. For use in
    /// [`crate::PhysMap::unmap`] and [`crate::PhysMap::teardown`].
    ///
    /// # Errors
    /// Those of [`Frames::release_mapping`].
    pub fn release(&mut self, mapping: &Mapping) -> Result<(), Error> {
        self.frames.release_mapping(self.vm, mapping)
    }
}

impl TableFrames for OwnedTables<'_> {
    fn take(&mut self, order: u32) -> Result<Unscrubbed<Span<Pa>>, Error> {
        self.frames.allocate(Owner::Vm(self.vm), order)
    }

    fn give(&mut self, frames: Span<Pa>) -> Result<(), Error> {
        self.frames.free(Owner::Vm(self.vm), frames)
    }

    fn available(&self) -> u64 {
        self.frames.available_frames()
    }
}

impl TableFrames for ReservedTables<'_> {
    fn take(&mut self, order: u32) -> Result<Unscrubbed<Span<Pa>>, Error> {
        match order {
            0 => self.frames.allocate_reserved(self.reservation),
            _ => self.frames.allocate(Owner::Vm(self.reservation.vm()), order),
        }
    }

    fn give(&mut self, frames: Span<Pa>) -> Result<(), Error> {
        self.frames.free(Owner::Vm(self.reservation.vm()), frames)
    }

    fn available(&self) -> u64 {
        self.reservation.left()
    }
}

/// The span of the single table at `table`.
pub(crate) fn table_span(table: Pa) -> Result<Span<Pa>, Error> {
    Span::new(table, PAGE_SIZE).ok_or(Error::OutsidePaSpace(table))
}
