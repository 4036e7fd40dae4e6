//! The operations on maps, each with what it should do.
#![allow(clippy::unwrap_used)]

use super::model::{Model, Page};
use super::world::*;
use tessera_memory::frames::GuestSpan;
use tessera_memory::{Access, Attributes, Error, Ipa, Level, MemoryType, Owner, Pa, SoftwareState};

impl World {
    /// Maps, and expects success exactly if nothing was mapped there.
    pub fn map(&mut self, index: usize, first: u64, count: u64, page: Page, attributes: Attributes) -> bool {
        let free = self.is_unmapped(index, first, count);
        let new = move |at: u64| Some(Page { frame: page.frame + (at - first), ..page });
        let same = self.same(index);
        self.begin(index, first, count, &|at| {
            if free { new(at).map(Page::seen) } else { same(at) }
        });
        let map = self.guests[index].map.as_mut().unwrap();
        let pa = Pa::new(page.frame << 12);
        let mut tables = self.frames.tables(vm(index));
        let result = map.map(ipa_span(first, count), pa, attributes, &mut tables, &mut self.machine);
        match result {
            Ok(()) => assert!(free, "mapped over something"),
            Err(error) => assert!(matches!(error, Error::AlreadyMapped(_)) && !free, "{error}"),
        }
        if free {
            self.guests[index].model.change(first, count, |at, _| new(at));
        }
        free
    }

    pub fn map_borrowed(&mut self, place: Place, pa: usize, kind: usize, memory: usize) {
        let Place { first, count, .. } = place;
        let (access, rwx) = KINDS[kind];
        let (memory, bits) = MEMORIES[memory];
        let page = Page { frame: BORROWED[pa], rwx, memory: bits, state: IS_BORROWED };
        // What is far from alignment would need a table for each 2 MiB of a gigabyte.
        let count = if (page.frame ^ first).is_multiple_of(512) { count } else { count.min(1024) };
        self.map(place.vm, first, count, page, Attributes { access, memory, state: SoftwareState::BORROWED });
    }

    pub fn map_owned(&mut self, place: Place) {
        let Place { first, count, .. } = place;
        if count > 1024 {
            return;
        }
        let before = self.frames.free_frames();
        let pieces = match self.frames.allocate_guest(vm(place.vm), ipa_span(first, count)) {
            Ok(pieces) => pieces.scrub(&mut self.machine),
            Err(error) => {
                assert!(error == Error::OutOfFrames && count > before, "{error}");
                return;
            }
        };
        assert_eq!(self.frames.free_frames(), before - count);
        self.check_pieces(first, count, &pieces);
        for piece in &pieces {
            self.check_unused(piece.frames());
        }
        for piece in pieces {
            self.map_piece(place.vm, piece);
        }
    }

    pub fn map_piece(&mut self, index: usize, piece: GuestSpan) {
        let (first, count) = (piece.ipa().start().get() >> 12, piece.ipa().bytes() >> 12);
        let frame = piece.frames().start().get() >> 12;
        let page = Page { frame, rwx: 0b111, memory: 0b1111, state: 0 };
        if !self.map(index, first, count, page, Attributes::RAM) {
            self.frames.free(Owner::Vm(vm(index)), piece.frames()).unwrap();
        }
    }

    /// Complete, in order, congruent modulo their size as far as blocks care, and zeroed.
    pub fn check_pieces(&self, first: u64, count: u64, pieces: &[GuestSpan]) {
        let mut next = first;
        for piece in pieces {
            let (page, frame) = (piece.ipa().start().get() >> 12, piece.frames().start().get() >> 12);
            let pages = piece.ipa().bytes() >> 12;
            assert_eq!((page, piece.frames().bytes()), (next, piece.ipa().bytes()));
            assert!(pages < 512 || (page ^ frame) % 512 == 0, "no blocks possible: {piece:x?}");
            assert!([frame, frame + pages / 2, frame + pages - 1].iter().all(|frame| self.machine.is_zero(*frame)));
            next += pages;
        }
        assert_eq!(next, first + count);
    }

    pub fn map_archive(&mut self, place: Place, part: u64) {
        let Place { first, count, .. } = place;
        if count > 512 {
            return;
        }
        let frame = ARCHIVE.0 + part * 0x100;
        self.frames.check_archive(pa_span(frame, count)).unwrap();
        let page = Page { frame, rwx: 0b101, memory: 0b1111, state: COPY_ON_WRITE | IS_BORROWED };
        self.map(place.vm, first, count, page, Attributes::ARCHIVE);
    }

    pub fn unmap(&mut self, place: Place) {
        let Place { first, count, .. } = place;
        self.unmap_span(place.vm, first, count);
    }

    pub fn unmap_span(&mut self, index: usize, first: u64, count: u64) {
        self.begin(index, first, count, &|_| None);
        let regime = self.regime(index);
        let Guest { map, reservation, .. } = &mut self.guests[index];
        let mut removed = 0;
        let tlb = self.machine.tlb();
        let result = map.as_mut().unwrap().unmap(
            ipa_span(first, count),
            &mut self.frames.tables(vm(index)).with(reservation),
            &mut self.machine,
            |tables, mapping| {
                let (page, pages) = (mapping.ipa.start().get() >> 12, mapping.ipa.page_count());
                assert!(!tlb.knows(regime, page, pages), "given back while a TLB knows it");
                removed += pages;
                tables.release(&mapping)
            },
        );
        result.unwrap();
        let mapped = self.guests[index].model.steps_in(first, count);
        let expected: u64 = mapped.iter().filter(|(_, _, page)| page.is_some()).map(|(_, pages, _)| pages).sum();
        assert_eq!(removed, expected);
        self.guests[index].model.change(first, count, |_, _| None);
        self.guests[index].written.retain(|page, _| *page < first || *page >= first + count);
        self.guests[index].copied.retain(|page, _| *page < first || *page >= first + count);
    }

    pub fn protect(&mut self, place: Place, kind: usize) {
        let Place { first, count, .. } = place;
        let (access, rwx) = KINDS[kind];
        let mapped = self.is_mapped(place.vm, first, count);
        // A shared page must not become writable this way.
        let change = move |page: Page| match page.state & COPY_ON_WRITE {
            0 => Page { rwx, ..page },
            _ => page,
        };
        let model = self.guests[place.vm].model.clone();
        self.begin(place.vm, first, count, &|at| {
            let page = model.at(at)?;
            Some(if mapped { change(page) } else { page }.seen())
        });
        let map = self.guests[place.vm].map.as_mut().unwrap();
        let mut tables = self.frames.tables(vm(place.vm));
        let result = map.protect_with(ipa_span(first, count), &mut tables, &mut self.machine, |old| {
            let shared = old.attributes.state.contains(SoftwareState::COPY_ON_WRITE);
            (if shared { old.attributes.access } else { access }, old.attributes.state)
        });
        assert_eq!(result.is_ok(), mapped, "{result:?}");
        if mapped {
            self.guests[place.vm].model.change(first, count, |_, page| page.map(change));
        }
    }

    pub fn split(&mut self, place: Place, pages: bool) {
        let first = place.first;
        let same = self.same(place.vm);
        self.begin(place.vm, first, 1, &same);
        let mapped = self.is_mapped(place.vm, first, 1);
        let map = self.guests[place.vm].map.as_mut().unwrap();
        let level = if pages { Level::PAGE } else { Level::TWO };
        let mut tables = self.frames.tables(vm(place.vm));
        let result = map.split(Ipa::new(first << 12), level, &mut tables, &mut self.machine);
        assert_eq!(result.is_ok(), mapped);
        if mapped {
            let found = self.machine.descriptor_pages(self.regime(place.vm), first).unwrap();
            assert!(found <= if pages { 1 } else { 512 });
        }
    }

    pub fn merge(&mut self, place: Place) {
        let Place { first, count, .. } = place;
        let same = self.same(place.vm);
        self.begin(place.vm, first, count, &same);
        let Guest { map, reservation, .. } = &mut self.guests[place.vm];
        let mut tables = self.frames.tables(vm(place.vm)).with(reservation);
        map.as_mut().unwrap().merge(ipa_span(first, count), &mut tables, &mut self.machine).unwrap();
        self.check_merged(place.vm, first);
    }

    /// Where the model has one step over an aligned gigabyte or 2 MiB, there must be one descriptor.
    pub fn check_merged(&self, index: usize, first: u64) {
        for pages in [0x4_0000, 512] {
            let start = first / pages * pages;
            let steps = self.guests[index].model.steps_in(start, pages);
            let Some(page) = steps[0].2.filter(|page| page.frame % pages == 0) else {
                continue;
            };
            let whole =
                |step: &(u64, u64, Option<Page>)| step.2 == Some(Page { frame: page.frame + (step.0 - start), ..page });
            if steps.iter().all(whole) {
                let found = self.machine.descriptor_pages(self.regime(index), first);
                assert!(found >= Some(pages), "{found:?} pages at {first:x} were not merged to {pages}");
            }
        }
    }

    pub fn replace(&mut self, place: Place, page: u64) {
        let first = place.first;
        let old = self.guests[place.vm].model.at(first);
        if old.is_some_and(|old| old.state != IS_BORROWED) {
            return;
        }
        let new = Page { frame: BORROWED[2] + page, rwx: 0b001, memory: 0b1111, state: IS_BORROWED };
        self.begin(place.vm, first, 1, &|_| old.map(|_| new.seen()));
        let map = self.guests[place.vm].map.as_mut().unwrap();
        let attributes =
            Attributes { access: Access::READ, memory: MemoryType::Normal, state: SoftwareState::BORROWED };
        let (ipa, pa) = (Ipa::new(first << 12), Pa::new(new.frame << 12));
        let mut tables = self.frames.tables(vm(place.vm));
        match map.replace_page(ipa, pa, attributes, &mut tables, &mut self.machine) {
            Ok(mapping) => assert_eq!(mapping.pa.get() >> 12, old.unwrap().frame),
            Err(error) => assert!(error == Error::NotMapped(ipa) && old.is_none()),
        }
        if old.is_some() {
            self.guests[place.vm].model.change(first, 1, |_, _| Some(new));
        }
    }

    /// The VM ends, and another begins in its place.
    pub fn recreate(&mut self, index: usize) {
        self.begin(index, 0, self.guests[index].model.pages(), &|_| None);
        let Guest { map, reservation, .. } = &mut self.guests[index];
        let map = map.take().unwrap();
        let vmid = map.context().vmid();
        let mut tables = self.frames.tables(vm(index)).with(reservation);
        map.teardown(&mut tables, &mut self.machine, |tables, mapping| tables.release(&mapping)).unwrap();
        assert_eq!(reservation.left(), reservation.size(), "frames of the reservation are lost");
        self.machine.begin(Vec::new());
        self.frames.check_returned(vm(index)).unwrap();
        self.vmids.release(vmid).unwrap();
        self.guests[index].model = Model::new(self.guests[index].model.pages());
        self.guests[index].written.clear();
        self.guests[index].copied.clear();
        self.create(index);
    }

    /// Everything ends: all frames must be free.
    pub fn finish(mut self) {
        (0..VMS).for_each(|index| self.recreate(index));
        self.check();
        for guest in std::mem::take(&mut self.guests) {
            let map = guest.map.unwrap();
            let index = IPA_BITS.iter().position(|bits| *bits == map.geometry().ipa_bits()).unwrap();
            map.teardown(&mut self.frames.tables(vm(index)), &mut self.machine, |_, _| Ok(())).unwrap();
            self.frames.unreserve(guest.reservation).unwrap();
        }
        assert_eq!(self.frames.free_frames(), RAM.1);
    }
}
