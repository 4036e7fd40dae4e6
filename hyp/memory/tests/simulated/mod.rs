//! A simulated machine that is as nasty as the architecture allows.
//!
//! Its memory starts out full of junk that looks like descriptors. A descriptor write may be seen by other cores at once,
//! late, or before an earlier one, until it is published. Its TLB keeps every translation and every table pointer that any
//! core ever met, for ever, unless the right TLBI under the right VMID has been completed. While an operation runs, the
//! other cores walk the watched pages after every single step, and must see the state before or the state after.
//!
//! Nothing here uses a constant or a helper of the code under test: addresses come in as bare numbers, and the walker is
//! written from the Arm ARM a second time.
#![allow(dead_code)]

pub mod model;

use std::collections::{HashMap, HashSet};
use tessera_memory::{Context, Ipa, Pa, PhysicalMemory, Span, TlbMaintenance};

/// What a page looks like to a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The machine page, or `None` in an expectation that does not care.
    pub frame: Option<u64>,
    /// Bit 0 read, bit 1 write, bit 2 execute.
    pub rwx: u8,
    /// The MemAttr field.
    pub memory: u8,
}

impl Seen {
    fn fits(self, expected: Option<Self>) -> bool {
        expected.is_some_and(|expected| {
            (expected.frame.is_none() || expected.frame == self.frame)
                && (expected.rwx, expected.memory) == (self.rwx, self.memory)
        })
    }
}

/// A Stage-2 regime that some core runs under: the values of its two registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Regime {
    pub vttbr: u64,
    pub vtcr: u64,
}

impl Regime {
    fn vmid(self) -> u16 {
        (self.vttbr >> 48) as u16
    }
}

/// A page that the other cores touch all the time during an operation.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    pub regime: Regime,
    pub page: u64,
    pub before: Option<Seen>,
    pub after: Option<Seen>,
}

/// Which of the unpublished writes a walker sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum View {
    All,
    None,
    NewestOnly,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cached {
    /// A leaf of Stage 2: first page, pages, and what the first page is.
    Leaf { page: u64, pages: u64, seen: Seen },
    /// The same as part of an entry of both stages.
    Combined { page: u64, pages: u64, seen: Seen },
    /// A table: what it translates, and where it is.
    Table {
        page: u64,
        pages: u64,
        base: u64,
        level: u32,
    },
}

impl Cached {
    fn covers(&self, wanted: u64) -> bool {
        let (Self::Leaf { page, pages, .. }
        | Self::Combined { page, pages, .. }
        | Self::Table { page, pages, .. }) = *self;
        wanted >= page && wanted - page < pages
    }
}

#[derive(Clone, Copy, Debug)]
enum Maintenance {
    Ipa(u16, u64),
    Stage1(u16),
    All(u16),
}

/// How a walk ended.
enum End {
    Fault { address: u64 },
    Leaf(Cached),
}

#[derive(Default)]
pub struct Simulated {
    frames: HashMap<u64, Box<[u64; 512]>>,
    unpublished: HashMap<u64, u64>,
    newest: Option<(u64, u64)>,
    tlb: HashMap<u16, Vec<Cached>>,
    begun: Vec<Maintenance>,
    needs_isb: bool,
    watches: Vec<Watch>,
    broken: HashSet<u64>,
    visited: HashSet<u64>,
    /// How often each primitive was used.
    pub uses: Uses,
}

/// Counts of the primitives used.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Uses {
    pub by_ipa: u64,
    pub stage_1: u64,
    pub all: u64,
    pub writes: u64,
}

/// Junk: valid-looking, different everywhere.
fn junk(address: u64) -> u64 {
    let mixed = address.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed & 0x0000_00ff_ffff_f000) | 0x7ff
}

impl Simulated {
    pub fn new() -> Self {
        Self::default()
    }

    fn frame(&mut self, number: u64) -> &mut [u64; 512] {
        self.frames.entry(number).or_insert_with(|| {
            let mut words = Box::new([0; 512]);
            for (index, word) in (0u64..).zip(words.iter_mut()) {
                *word = junk((number << 12) + index * 8);
            }
            words
        })
    }

    /// What is at an address once everything is published.
    fn word(&self, address: u64) -> u64 {
        match self.frames.get(&(address >> 12)) {
            Some(words) => words[(address as usize & 0xfff) / 8],
            None => junk(address & !7),
        }
    }

    /// Guest data, for the tests themselves: the first word of a frame.
    pub fn data(&self, frame: u64) -> u64 {
        self.word(frame << 12)
    }

    pub fn set_data(&mut self, frame: u64, value: u64) {
        self.frame(frame)[0] = value;
        // Another word, so that a copy of the first one only does not pass.
        self.frame(frame)[511] = !value;
    }

    /// Whether data was set (or copied) whole.
    pub fn data_is(&self, frame: u64, value: u64) -> bool {
        let last = self.word((frame << 12) + 0xff8);
        self.data(frame) == value && (last == !value || (value == 0 && last == 0))
    }

    pub fn is_zero(&self, frame: u64) -> bool {
        self.frames
            .get(&frame)
            .is_some_and(|words| words.iter().all(|word| *word == 0))
    }

    fn seen_by(&self, view: View, address: u64) -> u64 {
        match view {
            View::All => self
                .unpublished
                .get(&address)
                .copied()
                .unwrap_or_else(|| self.word(address)),
            View::None => self.word(address),
            View::NewestOnly => match self.newest {
                Some((newest, value)) if newest == address => value,
                _ => self.word(address),
            },
        }
    }

    /// The hardware walker from `level`, whose table is at `base`. Puts every table pointer it follows into `tables`.
    fn walk(
        &self,
        view: View,
        start: (u32, u64),
        root: bool,
        page: u64,
        tables: &mut Vec<Cached>,
    ) -> End {
        let (mut level, mut base) = start;
        let ipa = page << 12;
        let mut concatenated = root;
        loop {
            let shift = match level {
                0 => 39,
                1 => 30,
                2 => 21,
                _ => 12,
            };
            let index = if concatenated {
                ipa >> shift
            } else {
                (ipa >> shift) % 512
            };
            concatenated = false;
            let address = base + index * 8;
            let descriptor = self.seen_by(view, address);
            let pages = 1u64 << (shift - 12);
            let first = page / pages * pages;
            let output = descriptor & 0xffff_ffff_f000;
            match (level, descriptor % 4) {
                (_, 0 | 2) | (0 | 3, 1) => return End::Fault { address },
                (0..=2, 3) => {
                    tables.push(Cached::Table {
                        page: first,
                        pages,
                        base: output,
                        level,
                    });
                    level += 1;
                    base = output;
                }
                _ => {
                    let seen = decode(descriptor, output, shift);
                    return End::Leaf(Cached::Leaf {
                        page: first,
                        pages,
                        seen,
                    });
                }
            }
        }
    }

    fn walk_root(&self, view: View, regime: Regime, page: u64, tables: &mut Vec<Cached>) -> End {
        let bits = 64 - (regime.vtcr % 64);
        assert!(
            page >> (bits - 12) == 0,
            "the test walks outside the IPA space"
        );
        let level = match regime.vtcr / 64 % 4 {
            2 => 0,
            1 => 1,
            _ => 2,
        };
        self.walk(
            view,
            (level, regime.vttbr & 0xffff_ffff_fffe),
            true,
            page,
            tables,
        )
    }

    /// What a guest sees at a page, if everything is published.
    pub fn look(&self, regime: Regime, page: u64) -> Option<Seen> {
        match self.walk_root(View::All, regime, page, &mut Vec::new()) {
            End::Fault { .. } => None,
            End::Leaf(leaf) => Some(at_page(leaf, page)),
        }
    }

    /// How many pages the descriptor for a page covers.
    pub fn descriptor_pages(&self, regime: Regime, page: u64) -> Option<u64> {
        match self.walk_root(View::All, regime, page, &mut Vec::new()) {
            End::Leaf(Cached::Leaf { pages, .. }) => Some(pages),
            _ => None,
        }
    }

    /// All frames of tables that hang below a root, the root's own included.
    pub fn table_frames(&self, regime: Regime) -> HashSet<u64> {
        let bits = 64 - (regime.vtcr % 64);
        let level = 2 - (regime.vtcr / 64 % 4) as u32;
        let shift = [39, 30, 21][level as usize];
        let entries = 1u64 << (bits - shift);
        let root = regime.vttbr & 0xffff_ffff_fffe;
        let mut found = HashSet::new();
        self.sweep(root, entries, level, &mut found);
        found
    }

    fn sweep(&self, base: u64, entries: u64, level: u32, found: &mut HashSet<u64>) {
        for index in 0..entries {
            let address = base + index * 8;
            if index % 512 == 0 {
                assert!(found.insert(address >> 12), "a table is linked twice");
            }
            let descriptor = self.word(address);
            if level < 3 && descriptor % 4 == 3 {
                self.sweep(descriptor & 0xffff_ffff_f000, 512, level + 1, found);
            }
        }
    }

    /// The next operation begins: the other cores watch these pages.
    pub fn begin(&mut self, watches: Vec<Watch>) {
        self.watches = watches;
        self.broken.clear();
        self.visited.clear();
        self.other_cores();
    }

    /// The operation says that it is complete: what any core may still have cached must be as `expected` says, under every
    /// VMID that there is.
    pub fn end(&mut self, regimes: &[Regime], mut expected: impl FnMut(u16, u64) -> Option<Seen>) {
        assert!(
            self.unpublished.is_empty(),
            "writes are not published: {:x?}",
            self.unpublished
        );
        assert!(
            self.begun.is_empty(),
            "TLB maintenance is not complete: {:?}",
            self.begun
        );
        assert!(!self.needs_isb, "no ISB after TLB maintenance");
        for watch in &mut self.watches {
            watch.before = watch.after;
        }
        self.broken.clear();
        self.other_cores();
        self.watches.clear();
        for (vmid, entries) in &self.tlb {
            let regime = regimes.iter().find(|regime| regime.vmid() == *vmid);
            for entry in entries {
                let regime = regime
                    .unwrap_or_else(|| panic!("{entry:x?} is left of VMID {vmid}, which is gone"));
                self.check_cached(*regime, entry, &mut expected);
            }
        }
    }

    fn check_cached(
        &self,
        regime: Regime,
        entry: &Cached,
        expected: &mut impl FnMut(u16, u64) -> Option<Seen>,
    ) {
        match *entry {
            Cached::Leaf { page, pages, .. } | Cached::Combined { page, pages, .. } => {
                for page in [page, page + pages / 2, page + pages - 1] {
                    let right = expected(regime.vmid(), page);
                    assert!(
                        at_page(*entry, page).fits(right),
                        "stale: {entry:x?}, {page:x} should be {right:x?}"
                    );
                }
            }
            Cached::Table { page, .. } => {
                let mut tables = Vec::new();
                self.walk_root(View::All, regime, page, &mut tables);
                assert!(tables.contains(entry), "stale table pointer: {entry:x?}");
            }
        }
    }

    /// The other cores touch all watched pages, in every way they may see memory.
    fn other_cores(&mut self) {
        for watch in self.watches.clone() {
            for view in [View::All, View::None, View::NewestOnly] {
                self.touch(&watch, view);
            }
        }
    }

    fn touch(&mut self, watch: &Watch, view: View) {
        let vmid = watch.regime.vmid();
        let mut tables = Vec::new();
        let end = self.walk_root(view, watch.regime, watch.page, &mut tables);
        self.met(watch, end, &tables);
        // A core may also go on from any table pointer that it has cached.
        let cached = self.tlb.get(&vmid).cloned().unwrap_or_default();
        for entry in cached.iter().filter(|entry| entry.covers(watch.page)) {
            match *entry {
                Cached::Table { base, level, .. } => {
                    let mut tables = Vec::new();
                    let end = self.walk(view, (level + 1, base), false, watch.page, &mut tables);
                    self.met(watch, end, &tables);
                }
                Cached::Leaf { page, pages, seen } => {
                    self.cache(vmid, Cached::Combined { page, pages, seen })
                }
                Cached::Combined { .. } => {}
            }
        }
    }

    /// A walk has ended: is that allowed, and what is cached of it?
    fn met(&mut self, watch: &Watch, end: End, tables: &[Cached]) {
        let vmid = watch.regime.vmid();
        for table in tables {
            if let Cached::Table { base, .. } = table {
                self.visited.insert(base >> 12);
            }
            self.cache(vmid, *table);
        }
        match end {
            End::Fault { address } => {
                self.visited.insert(address >> 12);
                let allowed = watch.before.is_none()
                    || watch.after.is_none()
                    || self.broken.contains(&address);
                assert!(
                    allowed,
                    "a fault at {address:x}, not broken, for a page mapped before and after: {watch:x?}"
                );
            }
            End::Leaf(leaf) => {
                let seen = at_page(leaf, watch.page);
                let right = seen.fits(watch.before) || seen.fits(watch.after);
                assert!(
                    right,
                    "another core saw {seen:x?}, neither before nor after: {watch:x?}"
                );
                self.cache(vmid, leaf);
            }
        }
    }

    /// Caches an entry; two entries that contradict each other are what break-before-make is there to prevent.
    fn cache(&mut self, vmid: u16, new: Cached) {
        let entries = self.tlb.entry(vmid).or_default();
        if entries.contains(&new) {
            return;
        }
        for old in entries.iter() {
            assert!(
                !contradict(old, &new),
                "TLB conflict, no break before make: {old:x?} and {new:x?}"
            );
        }
        entries.push(new);
    }

    fn carry_out(&mut self, maintenance: Maintenance) {
        match maintenance {
            Maintenance::Ipa(vmid, page) => {
                let keeps = |entry: &Cached| {
                    matches!(entry, Cached::Combined { .. }) || !entry.covers(page)
                };
                self.tlb.entry(vmid).or_default().retain(keeps);
            }
            Maintenance::Stage1(vmid) => {
                self.tlb
                    .entry(vmid)
                    .or_default()
                    .retain(|entry| !matches!(entry, Cached::Combined { .. }));
            }
            Maintenance::All(vmid) => {
                self.tlb.remove(&vmid);
            }
        }
    }

    fn check_bits(&self, address: u64, old: u64, new: u64) {
        if old % 2 == 0 || new % 2 == 0 {
            return;
        }
        // Only S2AP, XN and software bits may change while an entry is valid.
        let may_change = 0b11 << 6 | 0b11 << 53 | 0b1111 << 55;
        let changed = (old ^ new) & !may_change;
        assert!(
            changed == 0,
            "descriptor at {address:x} goes from {old:x} to {new:x} without a break"
        );
    }
}

/// What a leaf descriptor says about the first page it covers.
fn decode(descriptor: u64, output: u64, shift: u64) -> Seen {
    assert!(
        output % (1 << shift) == 0,
        "block {descriptor:x} is not aligned"
    );
    assert!(
        descriptor >> 10 & 1 == 1,
        "access flag clear in {descriptor:x}"
    );
    assert!(
        descriptor >> 48 & 0b1_1111 == 0,
        "reserved or contiguous bits in {descriptor:x}"
    );
    let memory = (descriptor >> 2 & 0b1111) as u8;
    assert!(
        memory < 4 || descriptor >> 8 & 0b11 == 0b11,
        "normal memory must be inner-shareable"
    );
    let execute = u8::from(descriptor >> 54 & 1 == 0);
    Seen {
        frame: Some(output >> 12),
        rwx: (descriptor >> 6 & 0b11) as u8 | execute << 2,
        memory,
    }
}

fn at_page(entry: Cached, wanted: u64) -> Seen {
    match entry {
        Cached::Leaf { page, seen, .. } | Cached::Combined { page, seen, .. } => Seen {
            frame: seen.frame.map(|frame| frame + (wanted - page)),
            ..seen
        },
        Cached::Table { .. } => unreachable!(),
    }
}

/// Whether a core that has both in its TLB is lost. Different permissions are no contradiction.
fn contradict(old: &Cached, new: &Cached) -> bool {
    match (*old, *new) {
        (
            Cached::Leaf { page, pages, seen },
            Cached::Leaf {
                page: page2,
                pages: pages2,
                seen: seen2,
            },
        ) => {
            let apart = page + pages <= page2 || page2 + pages2 <= page;
            let same = (page, pages, seen.frame, seen.memory)
                == (page2, pages2, seen2.frame, seen2.memory);
            !apart && !same
        }
        (
            Cached::Table {
                page, base, level, ..
            },
            Cached::Table {
                page: page2,
                base: base2,
                level: level2,
                ..
            },
        ) => (page, level) == (page2, level2) && base != base2,
        (
            Cached::Leaf { page, pages, .. },
            Cached::Table {
                page: page2,
                pages: pages2,
                ..
            },
        )
        | (
            Cached::Table {
                page: page2,
                pages: pages2,
                ..
            },
            Cached::Leaf { page, pages, .. },
        ) => (page, pages) == (page2, pages2) && pages > 1,
        _ => false,
    }
}

impl PhysicalMemory for Simulated {
    fn read(&self, address: Pa) -> u64 {
        assert!(address.get() % 8 == 0);
        self.seen_by(View::All, address.get())
    }

    fn write(&mut self, address: Pa, value: u64) {
        let address = address.get();
        assert!(address % 8 == 0);
        let old = self.seen_by(View::All, address);
        let visited = self.visited.contains(&(address >> 12));
        if visited {
            self.check_bits(address, old, value);
        }
        if old % 2 == 1 && value % 2 == 0 {
            self.broken.insert(address);
        }
        self.uses.writes += 1;
        self.unpublished.insert(address, value);
        self.newest = Some((address, value));
        if visited {
            self.other_cores();
        }
    }

    fn publish(&mut self) {
        for (address, value) in std::mem::take(&mut self.unpublished) {
            self.frame(address >> 12)[(address as usize & 0xfff) / 8] = value;
        }
        self.newest = None;
        self.other_cores();
    }

    fn zero(&mut self, frames: Span<Pa>) {
        let (first, bytes) = (frames.start().get(), frames.bytes());
        assert!(first % 4096 == 0 && bytes % 4096 == 0 && bytes <= 1 << 30);
        for frame in first >> 12..(first + bytes) >> 12 {
            self.frames.insert(frame, Box::new([0; 512]));
        }
    }

    fn copy_page(&mut self, from: Pa, to: Pa) {
        let words = *self.frame(from.get() >> 12);
        *self.frame(to.get() >> 12) = words;
    }
}

impl TlbMaintenance for Simulated {
    fn invalidate_ipa(&mut self, context: Context, ipa: Ipa) {
        self.uses.by_ipa += 1;
        self.begun.push(Maintenance::Ipa(
            (context.vttbr() >> 48) as u16,
            ipa.get() >> 12,
        ));
        self.other_cores();
    }

    fn invalidate_stage_1(&mut self, context: Context) {
        self.uses.stage_1 += 1;
        self.begun
            .push(Maintenance::Stage1((context.vttbr() >> 48) as u16));
        self.other_cores();
    }

    fn invalidate_all(&mut self, context: Context) {
        self.uses.all += 1;
        self.begun
            .push(Maintenance::All((context.vttbr() >> 48) as u16));
        self.other_cores();
    }

    /// Until here the operations begun may have happened in any order: the worst is that combined entries went first, and were
    /// made again from what was still there of Stage 2.
    fn complete(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        self.needs_isb |= !begun.is_empty();
        let (stage_1, others): (Vec<_>, Vec<_>) = begun
            .into_iter()
            .partition(|maintenance| matches!(maintenance, Maintenance::Stage1(_)));
        for maintenance in stage_1 {
            self.carry_out(maintenance);
        }
        self.other_cores();
        for maintenance in others {
            self.carry_out(maintenance);
        }
        // A DSB waits for stores too, but they may have been seen only after the maintenance.
        self.other_cores();
        self.publish();
    }

    fn synchronize(&mut self) {
        self.needs_isb = false;
    }
}
