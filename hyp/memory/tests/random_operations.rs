//! Random operations on several maps, compared after each with a plain model, on the nasty simulated machine.
#![allow(clippy::unwrap_used)]

mod simulated;

use proptest::prelude::*;
use simulated::model::{Model, Page};
use simulated::{Regime, Seen, Simulated, Watch};
use std::collections::{HashMap, HashSet};
use tessera_memory::frames::{GuestSpan, Released};
use tessera_memory::physmap::Outcome;
use tessera_memory::vmid::VmidBits;
use tessera_memory::{
    Access, Attributes, Error, Frames, Geometry, Ipa, Level, MemoryType, Owner, Pa, PhysMap,
    Reservation, SoftwareState, Span, VmId, VmidAllocator,
};

const VMS: usize = 3;
/// Start levels 1 (two root tables), 2 (four root tables) and 0.
const IPA_BITS: [u8; VMS] = [40, 32, 48];
/// Pages around which spans lie: before and on boundaries of 2 MiB, 1 GiB, 512 GiB, and the ends of the spaces.
const ANCHORS: [u64; 6] = [
    0x4_0000,
    0x7_fe00,
    0xf_fc00,
    0x7ff_fe00,
    0xfff_fc00,
    0xf_ffff_fc00,
];
const OFFSETS: [u64; 8] = [0, 0, 0, 1, 5, 511, 512, 513];
const COUNTS: [u64; 10] = [1, 1, 2, 3, 16, 511, 512, 513, 1024, 0x4_0000];
const RAM: (u64, u64) = (0x8_0000, 0x4000);
const ARCHIVE: (u64, u64) = (0x9_0200, 0x400);
/// Machine pages that belong to nobody.
const BORROWED: [u64; 5] = [0, 0x4_0000, 0x20_0000, 0x20_0003, 0x20_0200];

/// What a page can be: the crate's word for it, and the bits that the hardware should see.
const KINDS: [(Access, u8); 5] = [
    (Access::ALL, 0b111),
    (Access::READ_EXECUTE, 0b101),
    (Access::READ, 0b001),
    (Access::NONE, 0b000),
    (Access::READ_WRITE, 0b011),
];
const MEMORIES: [(MemoryType, u8); 3] = [
    (MemoryType::Normal, 0b1111),
    (MemoryType::Device, 0b0001),
    (MemoryType::NormalNonCacheable, 0b0101),
];
const COPY_ON_WRITE: u8 = 1;
const IS_BORROWED: u8 = 2;

#[derive(Clone, Copy, Debug)]
struct Where {
    vm: usize,
    anchor: usize,
    offset: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    MapBorrowed(Where, usize, usize, usize),
    MapOwned(Where),
    MapArchive(Where, u64),
    Unmap(Where),
    Protect(Where, usize),
    Split(Where, bool),
    Merge(Where),
    Replace(Where, u64),
    Write(Where),
    ShareContent(Where, usize),
    Reserve(usize, u64),
    GiveBack(usize, u64),
    Recreate(usize),
}

fn anywhere() -> impl Strategy<Value = Where> {
    (0..VMS, 0..2usize, 0..OFFSETS.len(), 0..COUNTS.len()).prop_map(
        |(vm, anchor, offset, count)| Where {
            vm,
            anchor,
            offset,
            count,
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        4 => (anywhere(), 0..BORROWED.len(), 0..KINDS.len(), 0..MEMORIES.len())
            .prop_map(|(place, pa, kind, memory)| MapBorrowed(place, pa, kind, memory)),
        4 => anywhere().prop_map(MapOwned),
        4 => (anywhere(), 0u64..3).prop_map(|(place, first)| MapArchive(place, first)),
        5 => anywhere().prop_map(Unmap),
        5 => (anywhere(), 0..KINDS.len()).prop_map(|(place, kind)| Protect(place, kind)),
        2 => (anywhere(), any::<bool>()).prop_map(|(place, pages)| Split(place, pages)),
        3 => anywhere().prop_map(Merge),
        3 => (anywhere(), 0u64..4).prop_map(|(place, page)| Replace(place, page)),
        6 => anywhere().prop_map(Write),
        3 => (anywhere(), 0..VMS).prop_map(|(place, other)| ShareContent(place, other)),
        3 => (0..VMS, 1u64..20).prop_map(|(vm, count)| Reserve(vm, count)),
        1 => (0..VMS, 1u64..20).prop_map(|(vm, count)| GiveBack(vm, count)),
        1 => (0..VMS).prop_map(Recreate),
    ]
}

/// One VM as the test sees it.
struct Guest {
    map: Option<PhysMap>,
    model: Model,
    reservation: Reservation,
    reserved: u64,
    /// What the guest last wrote to a page.
    written: HashMap<u64, u64>,
}

struct World {
    machine: Simulated,
    frames: Frames,
    vmids: VmidAllocator,
    guests: Vec<Guest>,
    /// Around which pages this run works: few, so that operations meet.
    anchors: [u64; 2],
    next_value: u64,
}

fn vm(index: usize) -> VmId {
    VmId(index as u16)
}

fn ipa_span(first: u64, count: u64) -> Span<Ipa> {
    Span::new(Ipa::new(first << 12), count << 12).unwrap()
}

fn pa_span(first: u64, count: u64) -> Span<Pa> {
    Span::new(Pa::new(first << 12), count << 12).unwrap()
}

fn archive_word(frame: u64) -> u64 {
    0xa4c1_0000_0000_0000 | frame
}

impl World {
    fn new(anchors: [usize; 2]) -> Self {
        let mut frames = Frames::new();
        // In two parts, one after the other.
        frames.add_memory(pa_span(RAM.0, 0x1001)).unwrap();
        frames
            .add_memory(pa_span(RAM.0 + 0x1001, RAM.1 - 0x1001))
            .unwrap();
        frames
            .adopt(pa_span(ARCHIVE.0, ARCHIVE.1), Owner::Archive)
            .unwrap();
        let mut machine = Simulated::new();
        (ARCHIVE.0..ARCHIVE.0 + ARCHIVE.1)
            .for_each(|frame| machine.set_data(frame, archive_word(frame)));
        let anchors = anchors.map(|index| ANCHORS[index]);
        let vmids = VmidAllocator::new(VmidBits::Eight);
        let mut world = Self {
            machine,
            frames,
            vmids,
            guests: Vec::new(),
            anchors,
            next_value: 1,
        };
        for index in 0..VMS {
            let reservation = world.frames.reserve(vm(index), 0).unwrap();
            let model = Model::new(1 << (IPA_BITS[index] - 12));
            world.guests.push(Guest {
                map: None,
                model,
                reservation,
                reserved: 0,
                written: HashMap::new(),
            });
            world.create(index);
        }
        world
    }

    fn create(&mut self, index: usize) {
        let geometry = Geometry::new(IPA_BITS[index], 5).unwrap();
        let vmid = self.vmids.allocate().unwrap();
        let map = PhysMap::new(
            geometry,
            vmid,
            &mut self.frames.tables(vm(index)),
            &mut self.machine,
        )
        .unwrap();
        self.guests[index].map = Some(map);
    }

    fn regime(&self, index: usize) -> Regime {
        let map = self.guests[index].map.as_ref().unwrap();
        Regime {
            vttbr: map.context().vttbr(),
            vtcr: map.geometry().vtcr(VmidBits::Eight),
        }
    }

    /// The pages that an operation is about; `None` if they are not all in the guest's space.
    fn place(&self, place: Where) -> Option<(u64, u64)> {
        let first = self.anchors[place.anchor] + OFFSETS[place.offset];
        let count = COUNTS[place.count];
        (first + count <= self.guests[place.vm].model.pages()).then_some((first, count))
    }

    /// Lets the other cores watch pages at and around a span while `after` is about to become true of guest `index`.
    fn begin(&mut self, index: usize, first: u64, count: u64, after: &dyn Fn(u64) -> Option<Seen>) {
        let edges = [
            first,
            first + 1,
            first + count / 2,
            first + count - 1,
            first + count,
            first.wrapping_sub(1),
        ];
        let blocks = [first ^ 0x100, (first + count) ^ 0x80, first ^ 0x1_0000];
        let mut pages: Vec<u64> = edges.into_iter().chain(blocks).collect();
        if count <= 4 {
            pages.extend(first..first + count);
        }
        let limit = self.guests[index].model.pages();
        pages.retain(|page| *page < limit);
        pages.sort_unstable();
        pages.dedup();
        let regime = self.regime(index);
        let watches = pages.into_iter().map(|page| {
            let before = self.guests[index].model.at(page).map(Page::seen);
            let inside = page >= first && page - first < count;
            Watch {
                regime,
                page,
                before,
                after: if inside { after(page) } else { before },
            }
        });
        let watches = watches.collect();
        self.machine.begin(watches);
    }

    fn same(&self, index: usize) -> impl Fn(u64) -> Option<Seen> + use<> {
        let model = self.guests[index].model.clone();
        move |page| model.at(page).map(Page::seen)
    }

    fn end(&mut self) {
        let regimes: Vec<Regime> = (0..VMS).map(|index| self.regime(index)).collect();
        let guests = &self.guests;
        self.machine.end(&regimes, |vmid, page| {
            let index = regimes
                .iter()
                .position(|regime| (regime.vttbr >> 48) as u16 == vmid)
                .unwrap();
            guests[index].model.at(page).map(Page::seen)
        });
    }

    fn is_unmapped(&self, index: usize, first: u64, count: u64) -> bool {
        self.guests[index]
            .model
            .steps_in(first, count)
            .iter()
            .all(|(_, _, page)| page.is_none())
    }

    fn is_mapped(&self, index: usize, first: u64, count: u64) -> bool {
        self.guests[index]
            .model
            .steps_in(first, count)
            .iter()
            .all(|(_, _, page)| page.is_some())
    }

    /// Maps, and expects success exactly if nothing was mapped there.
    fn map(
        &mut self,
        index: usize,
        first: u64,
        count: u64,
        page: Page,
        attributes: Attributes,
    ) -> bool {
        let free = self.is_unmapped(index, first, count);
        let new = move |at: u64| {
            Some(Page {
                frame: page.frame + (at - first),
                ..page
            })
        };
        let same = self.same(index);
        self.begin(index, first, count, &|at| {
            if free {
                new(at).map(Page::seen)
            } else {
                same(at)
            }
        });
        let map = self.guests[index].map.as_mut().unwrap();
        let pa = Pa::new(page.frame << 12);
        let mut tables = self.frames.tables(vm(index));
        let result = map.map(
            ipa_span(first, count),
            pa,
            attributes,
            &mut tables,
            &mut self.machine,
        );
        match result {
            Ok(()) => assert!(free, "mapped over something"),
            Err(error) => assert!(matches!(error, Error::AlreadyMapped(_)) && !free, "{error}"),
        }
        if free {
            self.guests[index]
                .model
                .change(first, count, |at, _| new(at));
        }
        free
    }

    fn map_borrowed(&mut self, place: Where, pa: usize, kind: usize, memory: usize) {
        let Some((first, count)) = self.place(place) else {
            return;
        };
        let (access, rwx) = KINDS[kind];
        let (memory, bits) = MEMORIES[memory];
        let page = Page {
            frame: BORROWED[pa],
            rwx,
            memory: bits,
            state: IS_BORROWED,
        };
        // What is far from alignment would need a table for each 2 MiB of a gigabyte.
        let count = if (page.frame ^ first) % 512 == 0 {
            count
        } else {
            count.min(1024)
        };
        self.map(
            place.vm,
            first,
            count,
            page,
            Attributes {
                access,
                memory,
                state: SoftwareState::BORROWED,
            },
        );
    }

    fn map_owned(&mut self, place: Where) {
        let Some((first, count)) = self.place(place).filter(|(_, count)| *count <= 1024) else {
            return;
        };
        let before = self.frames.free_frames();
        let available = self.frames.available_frames();
        let pieces = match self
            .frames
            .allocate_guest(vm(place.vm), ipa_span(first, count))
        {
            Ok(pieces) => pieces.scrub(&mut self.machine),
            Err(error) => {
                assert!(error == Error::OutOfFrames && count > available, "{error}");
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

    fn map_piece(&mut self, index: usize, piece: GuestSpan) {
        let (first, count) = (piece.ipa().start().get() >> 12, piece.ipa().bytes() >> 12);
        let frame = piece.frames().start().get() >> 12;
        let page = Page {
            frame,
            rwx: 0b111,
            memory: 0b1111,
            state: 0,
        };
        if !self.map(index, first, count, page, Attributes::RAM) {
            self.frames
                .free(Owner::Vm(vm(index)), piece.frames())
                .unwrap();
        }
    }

    /// Complete, in order, congruent modulo their size as far as blocks care, and zeroed.
    fn check_pieces(&self, first: u64, count: u64, pieces: &[GuestSpan]) {
        let mut next = first;
        for piece in pieces {
            let (page, frame) = (
                piece.ipa().start().get() >> 12,
                piece.frames().start().get() >> 12,
            );
            let pages = piece.ipa().bytes() >> 12;
            assert_eq!((page, piece.frames().bytes()), (next, piece.ipa().bytes()));
            assert!(
                pages < 512 || (page ^ frame) % 512 == 0,
                "no blocks possible: {piece:x?}"
            );
            assert!(
                [frame, frame + pages / 2, frame + pages - 1]
                    .iter()
                    .all(|frame| self.machine.is_zero(*frame))
            );
            next += pages;
        }
        assert_eq!(next, first + count);
    }

    /// Nobody has any of these frames.
    fn check_unused(&self, span: Span<Pa>) {
        let (first, end) = (span.start().get() >> 12, span.end().get() >> 12);
        assert!(first >= RAM.0 && end <= RAM.0 + RAM.1);
        for index in 0..VMS {
            for (_, count, page) in self.guests[index].model.mapped() {
                assert!(
                    page.frame >= end || page.frame + count <= first,
                    "frames at {first:x} handed out twice"
                );
            }
            let tables = self.machine.table_frames(self.regime(index));
            assert!(
                (first..end).all(|frame| !tables.contains(&frame)),
                "a table was handed out"
            );
        }
    }

    fn map_archive(&mut self, place: Where, part: u64) {
        let Some((first, count)) = self.place(place).filter(|(_, count)| *count <= 512) else {
            return;
        };
        let frame = ARCHIVE.0 + part * 0x100;
        self.frames.share_span(pa_span(frame, count)).unwrap();
        let page = Page {
            frame,
            rwx: 0b101,
            memory: 0b1111,
            state: COPY_ON_WRITE,
        };
        if !self.map(place.vm, first, count, page, Attributes::SHARED) {
            for page in pa_span(frame, count).pages() {
                assert_eq!(self.frames.release(vm(place.vm), page), Ok(Released::Kept));
            }
        }
    }

    fn unmap(&mut self, place: Where) {
        let Some((first, count)) = self.place(place) else {
            return;
        };
        self.unmap_span(place.vm, first, count);
    }

    fn unmap_span(&mut self, index: usize, first: u64, count: u64) {
        self.begin(index, first, count, &|_| None);
        let map = self.guests[index].map.as_mut().unwrap();
        let mut removed = 0;
        let result = map.unmap(
            ipa_span(first, count),
            &mut self.frames.tables(vm(index)),
            &mut self.machine,
            |tables, mapping| {
                removed += mapping.ipa.bytes() >> 12;
                tables.release(&mapping)
            },
        );
        result.unwrap();
        let mapped = self.guests[index].model.steps_in(first, count);
        let expected: u64 = mapped
            .iter()
            .filter(|(_, _, page)| page.is_some())
            .map(|(_, pages, _)| pages)
            .sum();
        assert_eq!(removed, expected);
        self.guests[index].model.change(first, count, |_, _| None);
        self.guests[index]
            .written
            .retain(|page, _| *page < first || *page >= first + count);
    }

    fn protect(&mut self, place: Where, kind: usize) {
        let Some((first, count)) = self.place(place) else {
            return;
        };
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
        let result = map.protect_with(
            ipa_span(first, count),
            &mut tables,
            &mut self.machine,
            |old| {
                let shared = old.attributes.state.contains(SoftwareState::COPY_ON_WRITE);
                (
                    if shared {
                        old.attributes.access
                    } else {
                        access
                    },
                    old.attributes.state,
                )
            },
        );
        assert_eq!(result.is_ok(), mapped, "{result:?}");
        if mapped {
            self.guests[place.vm]
                .model
                .change(first, count, |_, page| page.map(change));
        }
    }

    fn split(&mut self, place: Where, pages: bool) {
        let Some((first, _)) = self.place(place) else {
            return;
        };
        let same = self.same(place.vm);
        self.begin(place.vm, first, 1, &same);
        let mapped = self.is_mapped(place.vm, first, 1);
        let map = self.guests[place.vm].map.as_mut().unwrap();
        let level = if pages { Level::PAGE } else { Level::TWO };
        let mut tables = self.frames.tables(vm(place.vm));
        let result = map.split(Ipa::new(first << 12), level, &mut tables, &mut self.machine);
        assert_eq!(result.is_ok(), mapped);
        if mapped {
            let found = self
                .machine
                .descriptor_pages(self.regime(place.vm), first)
                .unwrap();
            assert!(found <= if pages { 1 } else { 512 });
        }
    }

    fn merge(&mut self, place: Where) {
        let Some((first, count)) = self.place(place) else {
            return;
        };
        let same = self.same(place.vm);
        self.begin(place.vm, first, count, &same);
        let map = self.guests[place.vm].map.as_mut().unwrap();
        let mut tables = self.frames.tables(vm(place.vm));
        map.merge(ipa_span(first, count), &mut tables, &mut self.machine)
            .unwrap();
        self.check_merged(place.vm, first);
    }

    /// Where the model has one step over an aligned gigabyte or 2 MiB, there must be one descriptor.
    fn check_merged(&self, index: usize, first: u64) {
        for pages in [0x4_0000, 512] {
            let start = first / pages * pages;
            let steps = self.guests[index].model.steps_in(start, pages);
            let Some(page) = steps[0].2.filter(|page| page.frame % pages == 0) else {
                continue;
            };
            let whole = |step: &(u64, u64, Option<Page>)| {
                step.2
                    == Some(Page {
                        frame: page.frame + (step.0 - start),
                        ..page
                    })
            };
            if steps.iter().all(whole) {
                let found = self.machine.descriptor_pages(self.regime(index), first);
                assert!(
                    found >= Some(pages),
                    "{found:?} pages at {first:x} were not merged to {pages}"
                );
            }
        }
    }

    fn replace(&mut self, place: Where, page: u64) {
        let Some((first, _)) = self.place(place) else {
            return;
        };
        let old = self.guests[place.vm].model.at(first);
        if old.is_some_and(|old| old.state != IS_BORROWED) {
            return;
        }
        let new = Page {
            frame: BORROWED[2] + page,
            rwx: 0b001,
            memory: 0b1111,
            state: IS_BORROWED,
        };
        self.begin(place.vm, first, 1, &|_| old.map(|_| new.seen()));
        let map = self.guests[place.vm].map.as_mut().unwrap();
        let attributes = Attributes {
            access: Access::READ,
            memory: MemoryType::Normal,
            state: SoftwareState::BORROWED,
        };
        let (ipa, pa) = (Ipa::new(first << 12), Pa::new(new.frame << 12));
        let mut tables = self.frames.tables(vm(place.vm));
        match map.replace_page(ipa, pa, attributes, &mut tables, &mut self.machine) {
            Ok(mapping) => assert_eq!(mapping.pa.get() >> 12, old.unwrap().frame),
            Err(error) => assert!(error == Error::NotMapped(ipa) && old.is_none()),
        }
        if old.is_some() {
            self.guests[place.vm]
                .model
                .change(first, 1, |_, _| Some(new));
        }
    }

    /// A guest stores to a page; the hypervisor handles the fault if there is one.
    fn write(&mut self, place: Where) {
        let Some((first, _)) = self.place(place) else {
            return;
        };
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

    fn copy_on_write(&mut self, index: usize, page: u64, old: Page) {
        let sharers = self.sharers().get(&old.frame).copied().unwrap_or(0);
        let last = sharers == 1 && !is_archive(old.frame);
        let expected = Seen {
            frame: last.then_some(old.frame),
            rwx: old.rwx | 0b010,
            memory: old.memory,
        };
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
        let outcome = map.copy_on_write(
            ipa,
            &mut guest.reservation,
            &mut self.frames,
            &mut self.machine,
        );
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
        let new = Page {
            frame,
            rwx: old.rwx | 0b010,
            state: 0,
            ..old
        };
        self.guests[index].model.change(page, 1, |_, _| Some(new));
        let guest = &mut self.guests[index];
        let map = guest.map.as_mut().unwrap();
        let outcome = map.copy_on_write(
            ipa,
            &mut guest.reservation,
            &mut self.frames,
            &mut self.machine,
        );
        assert_eq!(outcome, Ok(Outcome::Retry));
    }

    /// Content-based sharing: a private page of one guest appears in another, copy-on-write in both.
    fn share_content(&mut self, place: Where, other: usize) {
        let Some((page, _)) = self.place(place) else {
            return;
        };
        let index = place.vm;
        let Some(old) = self.guests[index].model.at(page) else {
            return;
        };
        if other == index
            || old.state & IS_BORROWED != 0
            || page >= self.guests[other].model.pages()
        {
            return;
        }
        if !self.is_unmapped(other, page, 1) {
            return;
        }
        let shared = Page {
            rwx: 0b101,
            state: COPY_ON_WRITE,
            ..old
        };
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
            self.guests[index]
                .model
                .change(page, 1, |_, _| Some(shared));
            self.end();
        }
        let content = self.content(index, page);
        self.frames.share(pa).unwrap();
        self.map(other, page, 1, shared, Attributes::SHARED);
        self.guests[other].written.insert(page, content);
    }

    fn reserve(&mut self, index: usize, count: u64) {
        let available = self.frames.available_frames();
        match self.frames.reserve(vm(index), count) {
            Ok(mut more) => {
                self.guests[index].reservation.join(&mut more);
                self.guests[index].reserved += count;
            }
            Err(error) => assert!(error == Error::OutOfFrames && available < count),
        }
    }

    fn give_back(&mut self, index: usize, count: u64) {
        let guest = &mut self.guests[index];
        guest.reservation.give_back(count);
        guest.reserved = guest.reserved.saturating_sub(count);
    }

    /// The VM ends, and another begins in its place.
    fn recreate(&mut self, index: usize) {
        self.begin(index, 0, self.guests[index].model.pages(), &|_| None);
        let map = self.guests[index].map.take().unwrap();
        let vmid = map.context().vmid();
        map.teardown(
            &mut self.frames.tables(vm(index)),
            &mut self.machine,
            |tables, mapping| tables.release(&mapping),
        )
        .unwrap();
        self.machine.begin(Vec::new());
        self.frames.check_returned(vm(index)).unwrap();
        self.vmids.release(vmid).unwrap();
        self.guests[index].model = Model::new(self.guests[index].model.pages());
        self.guests[index].written.clear();
        self.create(index);
    }

    /// How many maps each copy-on-write frame is in, counted page by page.
    fn sharers(&self) -> HashMap<u64, u16> {
        let mut sharers = HashMap::new();
        for guest in &self.guests {
            for (_, count, page) in guest.model.mapped() {
                if page.state == COPY_ON_WRITE {
                    (page.frame..page.frame + count)
                        .for_each(|frame| *sharers.entry(frame).or_insert(0) += 1);
                }
            }
        }
        sharers
    }

    fn content(&self, index: usize, page: u64) -> u64 {
        let untouched = self.guests[index]
            .model
            .at(page)
            .map(|page| page.frame)
            .filter(|frame| is_archive(*frame));
        let written = self.guests[index].written.get(&page).copied();
        written.or(untouched.map(archive_word)).unwrap_or(0)
    }

    fn check(&mut self) {
        self.end();
        for index in 0..VMS {
            self.check_translations(index);
            self.check_contents(index);
        }
        self.check_books();
    }

    /// The hardware's view and the crate's own agree with the model, at the edges of each step and between.
    fn check_translations(&self, index: usize) {
        let regime = self.regime(index);
        let guest = &self.guests[index];
        let map = guest.map.as_ref().unwrap();
        for (first, count, page) in guest.model.steps_in(0, guest.model.pages()) {
            let inner = [
                first,
                first + 1,
                first + count / 3,
                first + count / 2 + 7,
                first + count - 1,
            ];
            let edges =
                (1..4).flat_map(|block| [first / 512 * 512 + block * 512, first + block * 512 - 1]);
            for at in inner
                .into_iter()
                .chain(edges)
                .filter(|at| *at - first < count)
            {
                let expected = page.map(|page| Page {
                    frame: page.frame + (at - first),
                    ..page
                });
                assert_eq!(
                    self.machine.look(regime, at),
                    expected.map(Page::seen),
                    "page {at:x}"
                );
                let mapping = map.translate(Ipa::new(at << 12), &self.machine);
                let pa = mapping.and_then(|mapping| mapping.pa_of(Ipa::new(at << 12)));
                assert_eq!(pa.map(|pa| pa.get() >> 12), expected.map(|page| page.frame));
                let state = mapping.map(|mapping| mapping.attributes.state.bits());
                assert_eq!(state, expected.map(|page| page.state));
            }
        }
    }

    fn check_contents(&self, index: usize) {
        for page in self.guests[index].written.keys() {
            let frame = self.guests[index].model.at(*page).unwrap().frame;
            let content = self.content(index, *page);
            assert!(
                self.machine.data_is(frame, content),
                "page {page:x} of guest {index} lost its contents"
            );
        }
    }

    /// Every frame is where the model says: none leaked, none counted wrongly.
    fn check_books(&self) {
        let sharers = self.sharers();
        let mut used = HashSet::new();
        for index in 0..VMS {
            let tables = self.machine.table_frames(self.regime(index));
            assert_eq!(
                self.guests[index].map.as_ref().unwrap().table_frames(),
                tables.len() as u64
            );
            used.extend(tables);
            for (_, count, page) in self.guests[index].model.mapped() {
                if page.state == 0 {
                    assert_eq!(
                        self.frames.owner_of(Pa::new(page.frame << 12)),
                        Some(Owner::Vm(vm(index)))
                    );
                    used.extend(page.frame..page.frame + count);
                }
            }
        }
        used.extend(sharers.keys().filter(|frame| !is_archive(**frame)));
        assert_eq!(
            self.frames.free_frames(),
            RAM.1 - used.len() as u64,
            "frames leaked, or freed twice"
        );
        for frame in ARCHIVE.0..ARCHIVE.0 + ARCHIVE.1 {
            let expected = sharers.get(&frame).copied().unwrap_or(0);
            assert_eq!(self.frames.sharers(Pa::new(frame << 12)), expected);
            assert!(
                self.machine.data_is(frame, archive_word(frame)),
                "the archive was written"
            );
        }
        for (frame, count) in sharers {
            assert_eq!(self.frames.sharers(Pa::new(frame << 12)), count);
        }
        let reserved: u64 = self.guests.iter().map(|guest| guest.reserved).sum();
        assert_eq!(
            self.frames.available_frames(),
            self.frames.free_frames() - reserved
        );
    }

    fn carry_out(&mut self, operation: Operation) {
        match operation {
            Operation::MapBorrowed(place, pa, kind, memory) => {
                self.map_borrowed(place, pa, kind, memory)
            }
            Operation::MapOwned(place) => self.map_owned(place),
            Operation::MapArchive(place, part) => self.map_archive(place, part),
            Operation::Unmap(place) => self.unmap(place),
            Operation::Protect(place, kind) => self.protect(place, kind),
            Operation::Split(place, pages) => self.split(place, pages),
            Operation::Merge(place) => self.merge(place),
            Operation::Replace(place, page) => self.replace(place, page),
            Operation::Write(place) => self.write(place),
            Operation::ShareContent(place, other) => self.share_content(place, other),
            Operation::Reserve(index, count) => self.reserve(index, count),
            Operation::GiveBack(index, count) => self.give_back(index, count),
            Operation::Recreate(index) => self.recreate(index),
        }
        self.check();
    }

    /// Everything ends: all frames must be free.
    fn finish(mut self) {
        (0..VMS).for_each(|index| self.recreate(index));
        self.check();
        for guest in std::mem::take(&mut self.guests) {
            let map = guest.map.unwrap();
            let index = IPA_BITS
                .iter()
                .position(|bits| *bits == map.geometry().ipa_bits())
                .unwrap();
            map.teardown(
                &mut self.frames.tables(vm(index)),
                &mut self.machine,
                |_, _| Ok(()),
            )
            .unwrap();
        }
        assert_eq!(self.frames.available_frames(), RAM.1);
    }
}

fn is_archive(frame: u64) -> bool {
    frame >= ARCHIVE.0 && frame < ARCHIVE.0 + ARCHIVE.1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_operation_does_what_the_model_says(
        anchors in [0..ANCHORS.len(), 0..ANCHORS.len()],
        operations in prop::collection::vec(operation(), 1..100),
    ) {
        let mut world = World::new(anchors);
        for operation in operations {
            world.carry_out(operation);
        }
        world.finish();
    }
}
