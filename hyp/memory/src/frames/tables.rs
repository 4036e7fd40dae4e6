//! Where a map gets the frames of its tables from.

use super::{FrameRun, Frames, Owner, Reservation, Unscrubbed, VmId};
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

/// Table frames for a VM from what nobody has reserved. What came out of its reservation returns there.
#[derive(Debug)]
pub struct OwnedTables<'a> {
    frames: &'a mut Frames,
    vm: VmId,
    reservation: Option<&'a mut Reservation>,
}

impl Frames {
    /// Frames for tables that will be recorded for `vm`.
    pub fn tables(&mut self, vm: VmId) -> OwnedTables<'_> {
        OwnedTables { frames: self, vm, reservation: None }
    }
}

impl<'a> OwnedTables<'a> {
    /// For a VM that has a reservation, from which some of what it gives back may have come.
    pub fn with(self, reservation: &'a mut Reservation) -> Self {
        Self { reservation: Some(reservation), ..self }
    }

    /// Gives back what a mapping of the VM had: [`Frames::release_mapping`], but a frame of the reservation to that. For
    /// use in [`crate::PhysMap::unmap`] and [`crate::PhysMap::teardown`].
    ///
    /// # Errors
    /// Those of [`Frames::release_mapping`].
    pub fn release(&mut self, mapping: &Mapping) -> Result<(), Error> {
        let frames = mapping.frames().ok_or(Error::OutsidePaSpace(mapping.pa))?;
        if mapping.attributes.state.is_private() {
            return self.give(frames);
        }
        self.frames.release_mapping(self.vm, mapping)
    }
}

impl TableFrames for OwnedTables<'_> {
    fn take(&mut self, order: u32) -> Result<Unscrubbed<Span<Pa>>, Error> {
        self.frames.allocate(Owner::Vm(self.vm), order)
    }

    /// A block may be made of frames of both kinds.
    fn give(&mut self, frames: Span<Pa>) -> Result<(), Error> {
        let Some(reservation) =
            self.reservation.as_mut().filter(|reserved| frames.pages().any(|page| reserved.knows(page)))
        else {
            return self.frames.free(Owner::Vm(self.vm), frames);
        };
        let give = |page| match reservation.knows(page) {
            true => reservation.give_frame(page),
            false => self.frames.free(Owner::Vm(self.vm), FrameRun::one(page).span()?),
        };
        frames.pages().map(give).fold(Ok(()), Result::and)
    }

    fn available(&self) -> u64 {
        self.frames.free_frames()
    }
}

/// The span of the single table at `table`.
pub(crate) fn table_span(table: Pa) -> Result<Span<Pa>, Error> {
    Span::new(table, PAGE_SIZE).ok_or(Error::OutsidePaSpace(table))
}
