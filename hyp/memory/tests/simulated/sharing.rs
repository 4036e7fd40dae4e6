//! The operations on shared pages and reservations, each with what it should do.
#![allow(clippy::unwrap_used)]

use super::Seen;
use super::model::Page;
use super::world::*;
use tessera_memory::physmap::Outcome;
use tessera_memory::{Access, Attributes, Error, Ipa, Pa, SoftwareState, Span};

impl World {
    /// A guest stores to a page; the hypervisor handles the fault if there is one.
    pub fn write(&mut self, place: Place) {
        let first = place.first;
        let Some(old) = self.guests[place.vm].model.at(first) else {
            return;
        };
        if old.state == COPY_ON_WRITE {
            self.copy_on_write(place.vm, first, old);
        }
        let now = self.guests[place.vm].model.at(first).unwrap();
        if now.rwx & 0b010 != 0 && now.state == 0 {
            self.next_value += 1;
            self.machine.set_data(now.frame, self.next_value);
            self.guests[place.vm].written.insert(first, self.next_value);
        }
    }

    pub fn copy_on_write(&mut self, index: usize, page: u64, old: Page) {
        let content = self.content(index, page);
        let sharers = self.sharers().get(&old.frame).copied().unwrap_or(0);
        let last = sharers == 1 && !is_archive(old.frame);
        let expected = Seen { frame: last.then_some(old.frame), rwx: old.rwx | 0b010, memory: old.memory };
        let in_block = self.machine.descriptor_pages(self.regime(index), page) != Some(1);
        let needed = u64::from(in_block) + u64::from(!last || in_block);
        let enough = self.guests[index].reserved >= needed;
        let seen = Some(old.seen());
        self.begin(index, page, 1, &|_| {
            if enough { Some(expected) } else { seen }
        });
        let guest = &mut self.guests[index];
        let map = guest.map.as_mut().unwrap();
        let ipa = Ipa::new(page << 12 | 0x123);
        let outcome = map.copy_on_write(ipa, &mut guest.reservation, &mut self.frames, &mut self.machine);
        let frame = match outcome {
            Ok(Outcome::Copied { from, to }) => {
                assert!(!last && from.get() >> 12 == old.frame);
                self.check_unused(Span::page(to).unwrap());
                self.guests[index].reserved -= 1 + u64::from(in_block);
                to.get() >> 12
            }
            Ok(Outcome::Claimed(pa)) => {
                assert!(last && pa.get() >> 12 == old.frame);
                self.guests[index].reserved -= u64::from(in_block);
                old.frame
            }
            Err(Error::ReservationEmpty) if !enough => return,
            other => panic!("{other:?}"),
        };
        assert!(enough);
        let new = Page { frame, rwx: old.rwx | 0b010, state: 0, ..old };
        self.guests[index].model.change(page, 1, |_, _| Some(new));
        assert!(self.machine.data_is(frame, content), "the copy is not like the original");
        let guest = &mut self.guests[index];
        let map = guest.map.as_mut().unwrap();
        let outcome = map.copy_on_write(ipa, &mut guest.reservation, &mut self.frames, &mut self.machine);
        assert_eq!(outcome, Ok(Outcome::Retry));
    }

    /// Content-based sharing: a private page of one guest appears in another, copy-on-write in both.
    pub fn share_content(&mut self, place: Place, other: usize) {
        let page = place.first;
        let index = place.vm;
        let Some(old) = self.guests[index].model.at(page) else {
            return;
        };
        if other == index || old.state & IS_BORROWED != 0 || page >= self.guests[other].model.pages() {
            return;
        }
        if !self.is_unmapped(other, page, 1) {
            return;
        }
        let shared = Page { rwx: 0b101, state: COPY_ON_WRITE, ..old };
        let pa = Pa::new(old.frame << 12);
        if old.state == 0 {
            self.begin(index, page, 1, &|_| Some(shared.seen()));
            self.frames.make_shared(vm(index), pa).unwrap();
            let map = self.guests[index].map.as_mut().unwrap();
            let mut tables = self.frames.tables(vm(index));
            map.protect_with(ipa_span(page, 1), &mut tables, &mut self.machine, |_| {
                (Access::READ_EXECUTE, SoftwareState::COPY_ON_WRITE)
            })
            .unwrap();
            self.guests[index].model.change(page, 1, |_, _| Some(shared));
            self.end();
        }
        let content = self.content(index, page);
        self.frames.share(pa).unwrap();
        self.map(other, page, 1, shared, Attributes::SHARED);
        self.guests[other].written.insert(page, content);
    }

    pub fn reserve(&mut self, index: usize, count: u64) {
        let available = self.frames.available_frames();
        match self.frames.reserve(vm(index), count) {
            Ok(mut more) => {
                self.guests[index].reservation.join(&mut more);
                self.guests[index].reserved += count;
            }
            Err(error) => assert!(error == Error::OutOfFrames && available < count),
        }
    }

    pub fn give_back(&mut self, index: usize, count: u64) {
        let guest = &mut self.guests[index];
        guest.reservation.give_back(count);
        guest.reserved = guest.reserved.saturating_sub(count);
    }
}
