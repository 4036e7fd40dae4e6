//! The operations on shared pages and reservations, each with what it should do.
#![allow(clippy::unwrap_used)]

use super::Seen;
use super::model::Page;
use super::world::*;
use tessera_memory::physmap::Outcome;
use tessera_memory::{Access, Attributes, Error, FaultKind, GuestFault, Ipa, Owner, Pa, SoftwareState, Span, Va};

/// Each kind of access, what of rwx it needs, and whether it is a walk's.
pub const ACCESSES: [(FaultKind, u8, bool); 5] = [
    (FaultKind::Read, 0b001, false),
    (FaultKind::Write, 0b010, false),
    (FaultKind::Fetch, 0b100, false),
    (FaultKind::WalkRead, 0b001, true),
    (FaultKind::WalkUpdate, 0b011, true),
];

impl World {
    /// A guest stores to a page; the hypervisor handles the fault if there is one.
    pub fn write(&mut self, place: Place) {
        let first = place.first;
        let Some(old) = self.guests[place.vm].model.at(first) else {
            return;
        };
        if old.state & COPY_ON_WRITE != 0 {
            self.copy_on_write(place.vm, first, old, FaultKind::Write);
        }
        let now = self.guests[place.vm].model.at(first).unwrap();
        if now.rwx & 0b010 != 0 && now.state == 0 {
            self.next_value += 1;
            self.machine.set_data(now.frame, self.next_value);
            self.guests[place.vm].written.insert(first, self.next_value);
        }
    }

    /// A guest's access to a page, of one of [`ACCESSES`], is refused.
    pub fn refuse(&mut self, place: Place, access: usize) {
        let (index, page) = (place.vm, place.first);
        let (kind, needed, is_walk) = ACCESSES[access % ACCESSES.len()];
        let old = self.guests[index].model.at(page);
        // MemAttr of devices is 00xx.
        let is_barred = |old: Page| is_walk && old.memory >> 2 == 0;
        let expected = match old {
            None => Outcome::Absent,
            Some(old) if old.rwx & needed == needed && !is_barred(old) => Outcome::Allowed,
            Some(old) if needed & 0b010 != 0 && old.state & COPY_ON_WRITE != 0 => {
                return self.copy_on_write(index, page, old, kind);
            }
            Some(_) => Outcome::Denied,
        };
        let same = self.same(index);
        self.begin(index, page, 1, &same);
        assert_eq!(self.resolve(index, page, kind), Ok(expected), "{kind:?} of {old:?}");
    }

    fn resolve(&mut self, index: usize, page: u64, kind: FaultKind) -> Result<Outcome, Error> {
        let guest = &mut self.guests[index];
        let map = guest.map.as_mut().unwrap();
        // The byte within the page is of no account.
        let fault = GuestFault { page: Ipa::new(page << 12 | 0x123), kind, va: Va::new(0x5555_5555_5555_5123) };
        map.resolve(&fault, Some(&mut guest.reservation), &mut self.frames, &mut self.machine)
    }

    pub fn copy_on_write(&mut self, index: usize, page: u64, old: Page, kind: FaultKind) {
        let content = self.content(index, page);
        let sharers = self.sharers().get(&old.frame).copied().unwrap_or(0);
        let last = sharers == 1;
        let expected = Seen { frame: last.then_some(old.frame), rwx: old.rwx | 0b010, memory: old.memory };
        let in_block = self.machine.descriptor_pages(self.regime(index), page) != Some(1);
        let needed = u64::from(in_block) + u64::from(!last || in_block);
        let left = self.guests[index].reservation.left();
        let enough = left >= needed;
        let seen = Some(old.seen());
        self.begin(index, page, 1, &|_| {
            if enough { Some(expected) } else { seen }
        });
        let frame = match self.resolve(index, page, kind) {
            Ok(Outcome::Copied { from, to }) => {
                assert!(!last && from.get() >> 12 == old.frame);
                self.check_unused(Span::page(to).unwrap());
                assert_eq!(self.frames.owner_of(to), Some(Owner::Reserve(vm(index))));
                assert_eq!(self.guests[index].reservation.left(), left - 1 - u64::from(in_block));
                to.get() >> 12
            }
            Ok(Outcome::Claimed(pa)) => {
                assert!(last && pa.get() >> 12 == old.frame);
                assert_eq!(self.guests[index].reservation.left(), left - u64::from(in_block));
                old.frame
            }
            Err(Error::ReservationEmpty) if !enough => return,
            other => panic!("{other:?}"),
        };
        assert!(enough);
        let new = Page { frame, rwx: old.rwx | 0b010, state: 0, ..old };
        self.guests[index].model.change(page, 1, |_, _| Some(new));
        assert!(self.machine.data_is(frame, content), "the copy is not like the original");
        if is_archive(old.frame) {
            self.guests[index].copied.insert(page, old.frame);
        }
        assert_eq!(self.resolve(index, page, FaultKind::Write), Ok(Outcome::Allowed));
    }

    /// Content-based sharing: a private page of one guest appears in another, copy-on-write in both.
    pub fn share_content(&mut self, place: Place, other: usize) {
        let page = place.first;
        let index = place.vm;
        let Some(old) = self.guests[index].model.at(page) else {
            return;
        };
        let is_reserved = self.frames.owner_of(Pa::new(old.frame << 12)) == Some(Owner::Reserve(vm(index)));
        if other == index || is_reserved || old.state & IS_BORROWED != 0 || page >= self.guests[other].model.pages() {
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

    /// Another size of reservation, if nothing of the old one is in use.
    pub fn reserve(&mut self, index: usize, count: u64) {
        let guest = &mut self.guests[index];
        if guest.reservation.left() < guest.reservation.size() {
            return;
        }
        let none = self.frames.reserve(vm(index), 0).unwrap();
        self.frames.unreserve(std::mem::replace(&mut guest.reservation, none)).unwrap();
        let free = self.frames.free_frames();
        match self.frames.reserve(vm(index), count) {
            Ok(reservation) => {
                assert_eq!((reservation.left(), self.frames.free_frames()), (count, free - count));
                self.guests[index].reservation = reservation;
            }
            Err(error) => assert!(error == Error::OutOfFrames && free < count),
        }
    }

    /// The guest starts again: what it copied of the archive is the archive's, page by page.
    pub fn restart(&mut self, index: usize) {
        let copied: Vec<(u64, u64)> = self.guests[index].copied.iter().map(|(page, frame)| (*page, *frame)).collect();
        for (page, frame) in copied {
            assert_eq!(self.share_again(index, page, frame), Ok(4096));
            self.check_translations(index);
        }
    }

    fn share_again(&mut self, index: usize, page: u64, frame: u64) -> Result<u64, Error> {
        let shared = Page { frame, rwx: 0b101, memory: 0b1111, state: COPY_ON_WRITE | IS_BORROWED };
        self.begin(index, page, 1, &|_| Some(shared.seen()));
        let guest = &mut self.guests[index];
        let (ipa, pa) = (Ipa::new(page << 12), Pa::new(frame << 12));
        let map = guest.map.as_mut().unwrap();
        let bytes = map.share_again(ipa, pa, &mut guest.reservation, &mut self.machine)?;
        guest.model.change(page, 1, |_, _| Some(shared));
        guest.written.remove(&page);
        guest.copied.remove(&page);
        // Once more does nothing.
        assert_eq!(map.share_again(ipa, pa, &mut guest.reservation, &mut self.machine), Ok(bytes));
        self.end();
        Ok(bytes)
    }
}
