//! A simulated machine that is as nasty as the architecture allows.
//!
//! Its memory starts out full of junk that looks like descriptors. A descriptor write may be seen by other cores at
//! once, late, or before an earlier one, until it is published. Its TLB keeps every translation and every table
//! pointer that any core ever met, for ever, unless the right TLBI under the right VMID has been completed. While
//! an operation runs, the other cores walk the watched pages after every single step, and must see the state before
//! or the state after.
//!
//! Nothing here uses a constant or a helper of the code under test: addresses come in as bare numbers, and the
//! walker is written from the Arm ARM a second time.
#![allow(dead_code)]

pub mod checks;
pub mod model;
pub mod operations;
pub mod sharing;
mod walker;
pub mod world;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use tessera_memory::{Context, Ipa, Pa, PhysicalMemory, Span, TlbMaintenance};
use walker::{Cached, End, at_page, contradict};

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

#[derive(Clone, Copy, Debug)]
enum Maintenance {
    Ipa(u16, u64),
    Stage1(u16),
    All(u16),
}

/// What all cores have cached, by VMID. Shared, so that a test can look while an operation runs.
#[derive(Clone, Default)]
pub struct Tlb(Rc<RefCell<HashMap<u16, Vec<Cached>>>>);

impl Tlb {
    /// Whether anything is cached that leads from these pages to memory.
    pub fn knows(&self, regime: Regime, first: u64, count: u64) -> bool {
        let leads = |entry: &Cached| match *entry {
            Cached::Leaf { page, pages, .. } | Cached::Combined { page, pages, .. } => {
                page < first + count && first < page + pages
            }
            Cached::Table { .. } => false,
        };
        self.of(regime.vmid()).iter().any(leads)
    }

    fn of(&self, vmid: u16) -> Vec<Cached> {
        self.0.borrow().get(&vmid).cloned().unwrap_or_default()
    }

    fn retain(&self, vmid: u16, keeps: impl Fn(&Cached) -> bool) {
        self.0.borrow_mut().entry(vmid).or_default().retain(keeps);
    }
}

#[derive(Default)]
pub struct Simulated {
    frames: HashMap<u64, Box<[u64; 512]>>,
    unpublished: HashMap<u64, u64>,
    newest: Option<(u64, u64)>,
    tlb: Tlb,
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

    /// The TLBs, to look into during an operation.
    pub fn tlb(&self) -> Tlb {
        self.tlb.clone()
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
        self.frames.get(&frame).is_some_and(|words| words.iter().all(|word| *word == 0))
    }

    fn seen_by(&self, view: View, address: u64) -> u64 {
        match view {
            View::All => self.unpublished.get(&address).copied().unwrap_or_else(|| self.word(address)),
            View::None => self.word(address),
            View::NewestOnly => match self.newest {
                Some((newest, value)) if newest == address => value,
                _ => self.word(address),
            },
        }
    }

    /// The next operation begins: the other cores watch these pages.
    pub fn begin(&mut self, watches: Vec<Watch>) {
        self.watches = watches;
        self.broken.clear();
        self.visited.clear();
        self.other_cores();
    }

    /// The operation says that it is complete: what any core may still have cached must be as `expected` says,
    /// under every VMID that there is.
    pub fn end(&mut self, regimes: &[Regime], mut expected: impl FnMut(u16, u64) -> Option<Seen>) {
        assert!(self.unpublished.is_empty(), "writes are not published: {:x?}", self.unpublished);
        assert!(self.begun.is_empty(), "TLB maintenance is not complete: {:?}", self.begun);
        assert!(!self.needs_isb, "no ISB after TLB maintenance");
        for watch in &mut self.watches {
            watch.before = watch.after;
        }
        self.broken.clear();
        self.other_cores();
        self.watches.clear();
        for (vmid, entries) in self.tlb.0.borrow().iter() {
            let regime = regimes.iter().find(|regime| regime.vmid() == *vmid);
            for entry in entries {
                let regime = regime.unwrap_or_else(|| panic!("{entry:x?} is left of VMID {vmid}, which is gone"));
                self.check_cached(*regime, entry, &mut expected);
            }
        }
    }

    fn check_cached(&self, regime: Regime, entry: &Cached, expected: &mut impl FnMut(u16, u64) -> Option<Seen>) {
        match *entry {
            Cached::Leaf { page, pages, .. } | Cached::Combined { page, pages, .. } => {
                for page in [page, page + pages / 2, page + pages - 1] {
                    let right = expected(regime.vmid(), page);
                    assert!(at_page(*entry, page).fits(right), "stale: {entry:x?}, {page:x} should be {right:x?}");
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
        let cached = self.tlb.of(vmid);
        for entry in cached.iter().filter(|entry| entry.covers(watch.page)) {
            match *entry {
                Cached::Table { base, level, .. } => {
                    let mut tables = Vec::new();
                    let end = self.walk(view, (level + 1, base), false, watch.page, &mut tables);
                    self.met(watch, end, &tables);
                }
                Cached::Leaf { page, pages, seen } => self.cache(vmid, Cached::Combined { page, pages, seen }),
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
                let allowed = watch.before.is_none() || watch.after.is_none() || self.broken.contains(&address);
                assert!(allowed, "a fault at {address:x}, not broken, for a page mapped before and after: {watch:x?}");
            }
            End::Leaf(leaf) => {
                let seen = at_page(leaf, watch.page);
                let right = seen.fits(watch.before) || seen.fits(watch.after);
                assert!(right, "another core saw {seen:x?}, neither before nor after: {watch:x?}");
                self.cache(vmid, leaf);
            }
        }
    }

    /// Caches an entry; two entries that contradict each other are what break-before-make is there to prevent.
    fn cache(&mut self, vmid: u16, new: Cached) {
        let mut tlb = self.tlb.0.borrow_mut();
        let entries = tlb.entry(vmid).or_default();
        if entries.contains(&new) {
            return;
        }
        for old in entries.iter() {
            assert!(!contradict(old, &new), "TLB conflict, no break before make: {old:x?} and {new:x?}");
        }
        entries.push(new);
    }

    fn carry_out(&mut self, maintenance: Maintenance) {
        match maintenance {
            Maintenance::Ipa(vmid, page) => {
                let keeps = |entry: &Cached| matches!(entry, Cached::Combined { .. }) || !entry.covers(page);
                self.tlb.retain(vmid, keeps);
            }
            Maintenance::Stage1(vmid) => {
                self.tlb.retain(vmid, |entry| !matches!(entry, Cached::Combined { .. }));
            }
            Maintenance::All(vmid) => {
                self.tlb.0.borrow_mut().remove(&vmid);
            }
        }
    }

    fn check_bits(&self, address: u64, old: u64, new: u64) {
        if old.is_multiple_of(2) || new.is_multiple_of(2) {
            return;
        }
        // Only S2AP, XN and software bits may change while an entry is valid.
        let may_change = 0b11 << 6 | 0b11 << 53 | 0b1111 << 55;
        let changed = (old ^ new) & !may_change;
        assert!(changed == 0, "descriptor at {address:x} goes from {old:x} to {new:x} without a break");
    }
}

impl PhysicalMemory for Simulated {
    fn read(&self, address: Pa) -> u64 {
        assert!(address.get().is_multiple_of(8));
        self.seen_by(View::All, address.get())
    }

    fn write(&mut self, address: Pa, value: u64) {
        let address = address.get();
        assert!(address.is_multiple_of(8));
        let old = self.seen_by(View::All, address);
        let visited = self.visited.contains(&(address >> 12));
        if visited {
            self.check_bits(address, old, value);
        }
        if old % 2 == 1 && value.is_multiple_of(2) {
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
        self.begun.push(Maintenance::Ipa((context.vttbr() >> 48) as u16, ipa.get() >> 12));
        self.other_cores();
    }

    fn invalidate_stage_1(&mut self, context: Context) {
        self.uses.stage_1 += 1;
        self.begun.push(Maintenance::Stage1((context.vttbr() >> 48) as u16));
        self.other_cores();
    }

    fn invalidate_all(&mut self, context: Context) {
        self.uses.all += 1;
        self.begun.push(Maintenance::All((context.vttbr() >> 48) as u16));
        self.other_cores();
    }

    /// Until here the operations begun may have happened in any order: the worst is that combined entries went
    /// first, and were made again from what was still there of Stage 2.
    fn complete(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        self.needs_isb |= !begun.is_empty();
        let (stage_1, others): (Vec<_>, Vec<_>) =
            begun.into_iter().partition(|maintenance| matches!(maintenance, Maintenance::Stage1(_)));
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
