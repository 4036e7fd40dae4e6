//! What becomes of an access that was refused.

use super::{PhysMap, walk};
use crate::address::{Pa, Span};
use crate::descriptor::{Kind, SoftwareState};
use crate::error::Error;
use crate::fault::GuestFault;
use crate::frames::{Reservation, Sharers};
use crate::machine::Machine;

/// What [`PhysMap::resolve`] has found, or done. After the first three the guest repeats the access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is allowed: another core was first, or a change was under way (break before make) when it was tried.
    Allowed,
    /// The page was shared, and has a frame of its own now, with the same contents.
    Copied {
        /// The frame it shared.
        from: Pa,
        /// The frame it has.
        to: Pa,
    },
    /// The page was shared, but nobody else had the frame any more: it keeps it.
    Claimed(Pa),
    /// Nothing is mapped there.
    Absent,
    /// The page is there, and the guest may not access it so.
    Denied,
}

impl PhysMap {
    /// Finds out about a refused access, whose `page` is the guest's word: a write to a page that is shared copy-on-write is
    /// made possible, out of the `reservation`. A block around it is split, which takes tables from the reservation too
    /// ([`Self::tables_for_pages`] says how many).
    ///
    /// A copied page's access becomes what it was plus writing, unless the page is traced. `sharers` is asked about counted
    /// frames only, before and after the work.
    ///
    /// # Errors
    /// [`Error::ReservationEmpty`]; [`Error::NotShared`] if `sharers` does not know the frame as shared. Then what is mapped
    /// has not changed.
    #[inline(always)]
    pub fn resolve(
        &mut self,
        fault: &GuestFault,
        reservation: Option<&mut Reservation>,
        sharers: &mut impl Sharers,
        machine: &mut impl Machine,
    ) -> Result<Outcome, Error> {
        let page = Span::page(fault.page.page()).filter(|page| self.geometry.check_ipa(*page).is_ok());
        let Some(page) = page else { return Ok(Outcome::Absent) };
        let (slot, descriptor) = walk::lookup(self.root, page.start(), machine);
        let Kind::Leaf(_) = descriptor.kind(slot.level) else {
            return Ok(Outcome::Absent);
        };
        let attributes = descriptor.attributes();
        if fault.kind.is_allowed(attributes) {
            return Ok(Outcome::Allowed);
        }
        match reservation {
            Some(reservation) if fault.kind.is_write() && attributes.state.contains(SoftwareState::COPY_ON_WRITE) => {
                self.give_own_frame((slot, descriptor), page, reservation, sharers, machine)
            }
            _ => Ok(Outcome::Denied),
        }
    }
}
