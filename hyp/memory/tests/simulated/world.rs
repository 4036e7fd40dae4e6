//! Several VMs on the simulated machine, and beside each the model of what should be true of it.
#![allow(clippy::unwrap_used)]

use super::model::{Model, Page};
use super::{Regime, Seen, Simulated, Watch};
use std::collections::HashMap;
use tessera_memory::vmid::VmidBits;
use tessera_memory::{
    Access, Frames, Geometry, Ipa, MemoryType, Owner, Pa, PhysMap, Reservation, Span, VmId, VmidAllocator,
};

pub const VMS: usize = 3;
/// Start levels 1 (two root tables), 2 (four root tables) and 0.
pub const IPA_BITS: [u8; VMS] = [40, 32, 48];
pub const RAM: (u64, u64) = (0x8_0000, 0x4000);
pub const ARCHIVE: (u64, u64) = (0x9_0200, 0x400);
/// Machine pages that belong to nobody.
pub const BORROWED: [u64; 5] = [0, 0x4_0000, 0x20_0000, 0x20_0003, 0x20_0200];

/// What a page can be: the crate's word for it, and the bits that the hardware should see.
pub const KINDS: [(Access, u8); 5] = [
    (Access::ALL, 0b111),
    (Access::READ_EXECUTE, 0b101),
    (Access::READ, 0b001),
    (Access::NONE, 0b000),
    (Access::READ_WRITE, 0b011),
];
pub const MEMORIES: [(MemoryType, u8); 3] =
    [(MemoryType::Normal, 0b1111), (MemoryType::Device, 0b0001), (MemoryType::NormalNonCacheable, 0b0101)];
pub const COPY_ON_WRITE: u8 = 1;
pub const IS_BORROWED: u8 = 2;

/// Some pages of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub vm: usize,
    pub first: u64,
    pub count: u64,
}

/// One VM as the test sees it.
pub struct Guest {
    pub map: Option<PhysMap>,
    pub model: Model,
    pub reservation: Reservation,
    /// What the guest last wrote to a page.
    pub written: HashMap<u64, u64>,
    /// The archive's frames of which it has copies, by page.
    pub copied: HashMap<u64, u64>,
}

pub struct World {
    pub machine: Simulated,
    pub frames: Frames,
    pub vmids: VmidAllocator,
    pub guests: Vec<Guest>,
    pub next_value: u64,
}

pub fn vm(index: usize) -> VmId {
    VmId(index as u16)
}

pub fn ipa_span(first: u64, count: u64) -> Span<Ipa> {
    Span::new(Ipa::new(first << 12), count << 12).unwrap()
}

pub fn pa_span(first: u64, count: u64) -> Span<Pa> {
    Span::new(Pa::new(first << 12), count << 12).unwrap()
}

pub fn archive_word(frame: u64) -> u64 {
    0xa4c1_0000_0000_0000 | frame
}

pub fn is_archive(frame: u64) -> bool {
    frame >= ARCHIVE.0 && frame < ARCHIVE.0 + ARCHIVE.1
}

impl World {
    pub fn new() -> Self {
        let mut frames = Frames::new();
        // In two parts, one after the other.
        frames.add_memory(pa_span(RAM.0, 0x1001)).unwrap();
        frames.add_memory(pa_span(RAM.0 + 0x1001, RAM.1 - 0x1001)).unwrap();
        frames.adopt(pa_span(ARCHIVE.0, ARCHIVE.1), Owner::Archive).unwrap();
        let mut machine = Simulated::new();
        (ARCHIVE.0..ARCHIVE.0 + ARCHIVE.1).for_each(|frame| machine.set_data(frame, archive_word(frame)));
        let vmids = VmidAllocator::new(VmidBits::Eight);
        let mut world = Self { machine, frames, vmids, guests: Vec::new(), next_value: 1 };
        for (index, bits) in IPA_BITS.into_iter().enumerate() {
            let reservation = world.frames.reserve(vm(index), 0).unwrap();
            let model = Model::new(1 << (bits - 12));
            world.guests.push(Guest { map: None, model, reservation, written: HashMap::new(), copied: HashMap::new() });
            world.create(index);
        }
        world
    }

    pub fn create(&mut self, index: usize) {
        let geometry = Geometry::new(IPA_BITS[index], 5).unwrap();
        let vmid = self.vmids.allocate().unwrap();
        let map = PhysMap::new(geometry, vmid, &mut self.frames.tables(vm(index)), &mut self.machine).unwrap();
        self.guests[index].map = Some(map);
    }

    pub fn regime(&self, index: usize) -> Regime {
        let map = self.guests[index].map.as_ref().unwrap();
        Regime { vttbr: map.context().vttbr(), vtcr: map.geometry().vtcr(VmidBits::Eight) }
    }

    /// Lets the other cores watch pages at and around a span while `after` is about to become true of guest `index`.
    pub fn begin(&mut self, index: usize, first: u64, count: u64, after: &dyn Fn(u64) -> Option<Seen>) {
        let edges = [first, first + 1, first + count / 2, first + count - 1, first + count, first.wrapping_sub(1)];
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
            Watch { regime, page, before, after: if inside { after(page) } else { before } }
        });
        let watches = watches.collect();
        self.machine.begin(watches);
    }

    pub fn same(&self, index: usize) -> impl Fn(u64) -> Option<Seen> + use<> {
        let model = self.guests[index].model.clone();
        move |page| model.at(page).map(Page::seen)
    }

    pub fn end(&mut self) {
        let regimes: Vec<Regime> = (0..VMS).map(|index| self.regime(index)).collect();
        let guests = &self.guests;
        self.machine.end(&regimes, |vmid, page| {
            let index = regimes.iter().position(|regime| (regime.vttbr >> 48) as u16 == vmid).unwrap();
            guests[index].model.at(page).map(Page::seen)
        });
    }

    pub fn is_unmapped(&self, index: usize, first: u64, count: u64) -> bool {
        self.guests[index].model.steps_in(first, count).iter().all(|(_, _, page)| page.is_none())
    }

    pub fn is_mapped(&self, index: usize, first: u64, count: u64) -> bool {
        self.guests[index].model.steps_in(first, count).iter().all(|(_, _, page)| page.is_some())
    }

    /// Nobody has any of these frames.
    pub fn check_unused(&self, span: Span<Pa>) {
        let (first, end) = (span.start().get() >> 12, span.end().get() >> 12);
        assert!(first >= RAM.0 && end <= RAM.0 + RAM.1);
        for index in 0..VMS {
            for (_, count, page) in self.guests[index].model.mapped() {
                assert!(page.frame >= end || page.frame + count <= first, "frames at {first:x} handed out twice");
            }
            let tables = self.machine.table_frames(self.regime(index));
            assert!((first..end).all(|frame| !tables.contains(&frame)), "a table was handed out");
        }
    }
}
