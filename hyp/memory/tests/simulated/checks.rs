//! What must be true between operations: the map, the TLBs, the contents and the books agree with the model.
#![allow(clippy::unwrap_used)]

use super::model::Page;
use super::world::*;
use std::collections::{HashMap, HashSet};
use tessera_memory::{Ipa, Owner, Pa};

impl World {
    /// How many maps each counted frame is in, page by page.
    pub fn sharers(&self) -> HashMap<u64, u16> {
        let mut sharers = HashMap::new();
        for guest in &self.guests {
            for (_, count, page) in guest.model.mapped() {
                if page.state == COPY_ON_WRITE {
                    (page.frame..page.frame + count).for_each(|frame| *sharers.entry(frame).or_insert(0) += 1);
                }
            }
        }
        sharers
    }

    pub fn content(&self, index: usize, page: u64) -> u64 {
        let untouched = self.guests[index].model.at(page).map(|page| page.frame).filter(|frame| is_archive(*frame));
        let written = self.guests[index].written.get(&page).copied();
        written.or(untouched.map(archive_word)).unwrap_or(0)
    }

    pub fn check(&mut self) {
        self.end();
        for index in 0..VMS {
            self.check_translations(index);
            self.check_contents(index);
        }
        self.check_books();
    }

    /// The hardware's view and the crate's own agree with the model, at the edges of each step and between.
    pub fn check_translations(&self, index: usize) {
        let regime = self.regime(index);
        let guest = &self.guests[index];
        let map = guest.map.as_ref().unwrap();
        for (first, count, page) in guest.model.steps_in(0, guest.model.pages()) {
            let inner = [first, first + 1, first + count / 3, first + count / 2 + 7, first + count - 1];
            let edges = (1..4).flat_map(|block| [first / 512 * 512 + block * 512, first + block * 512 - 1]);
            for at in inner.into_iter().chain(edges).filter(|at| *at - first < count) {
                let expected = page.map(|page| Page { frame: page.frame + (at - first), ..page });
                assert_eq!(self.machine.look(regime, at), expected.map(Page::seen), "page {at:x}");
                let mapping = map.translate(Ipa::new(at << 12), &self.machine);
                let pa = mapping.and_then(|mapping| mapping.pa_of(Ipa::new(at << 12)));
                assert_eq!(pa.map(|pa| pa.get() >> 12), expected.map(|page| page.frame));
                let state = mapping.map(|mapping| mapping.attributes.state.bits());
                assert_eq!(state, expected.map(|page| page.state));
            }
        }
    }

    pub fn check_contents(&self, index: usize) {
        for page in self.guests[index].written.keys() {
            let frame = self.guests[index].model.at(*page).unwrap().frame;
            let content = self.content(index, *page);
            assert!(self.machine.data_is(frame, content), "page {page:x} of guest {index} lost its contents");
        }
    }

    /// Every frame is where the model says: none leaked, none counted wrongly.
    pub fn check_books(&self) {
        let sharers = self.sharers();
        let mut used = HashSet::new();
        for index in 0..VMS {
            let tables = self.machine.table_frames(self.regime(index));
            assert_eq!(self.guests[index].map.as_ref().unwrap().table_frames(), tables.len() as u64);
            used.extend(tables);
            for (_, count, page) in self.guests[index].model.mapped() {
                if page.state == 0 {
                    let owner = self.frames.owner_of(Pa::new(page.frame << 12)).unwrap();
                    assert!([Owner::Vm(vm(index)), Owner::Reserve(vm(index))].contains(&owner), "{owner}");
                    used.extend(page.frame..page.frame + count);
                }
            }
            self.check_reservation(index, &mut used);
        }
        used.extend(sharers.keys());
        let reserved: u64 = self.guests.iter().map(|guest| guest.reservation.size()).sum();
        assert_eq!(self.frames.free_frames(), RAM.1 - reserved - used.len() as u64, "frames leaked, or freed twice");
        for frame in ARCHIVE.0..ARCHIVE.0 + ARCHIVE.1 {
            assert_eq!(self.frames.owner_of(Pa::new(frame << 12)), Some(Owner::Archive));
            assert!(self.machine.data_is(frame, archive_word(frame)), "the archive was written");
        }
        for (frame, count) in sharers {
            assert_eq!(self.frames.sharers(Pa::new(frame << 12)), count);
        }
    }

    /// What is used of a guest's reservation is not in it; takes that out of `used`.
    fn check_reservation(&self, index: usize, used: &mut HashSet<u64>) {
        let reservation = &self.guests[index].reservation;
        let is_reserved = |frame: &u64| self.frames.owner_of(Pa::new(frame << 12)) == Some(Owner::Reserve(vm(index)));
        let taken = used.iter().filter(|frame| is_reserved(frame)).count() as u64;
        assert_eq!(reservation.size() - reservation.left(), taken, "frames of the reservation leaked, or given twice");
        used.retain(|frame| !is_reserved(frame));
    }
}
