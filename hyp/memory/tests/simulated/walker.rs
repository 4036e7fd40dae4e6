//! The hardware's table walker, and what TLBs may keep of its walks: written from the Arm ARM a second time.

use super::{Regime, Seen, Simulated, View};
use std::collections::HashSet;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cached {
    /// A leaf of Stage 2: first page, pages, and what the first page is.
    Leaf { page: u64, pages: u64, seen: Seen },
    /// The same as part of an entry of both stages.
    Combined { page: u64, pages: u64, seen: Seen },
    /// A table: what it translates, and where it is.
    Table { page: u64, pages: u64, base: u64, level: u32 },
}

impl Cached {
    pub(super) fn covers(&self, wanted: u64) -> bool {
        let (Self::Leaf { page, pages, .. } | Self::Combined { page, pages, .. } | Self::Table { page, pages, .. }) =
            *self;
        wanted >= page && wanted - page < pages
    }
}

/// How a walk ended.
pub(super) enum End {
    Fault { address: u64 },
    Leaf(Cached),
}

impl Simulated {
    /// The hardware walker from `level`, whose table is at `base`. Puts every table pointer it follows into `tables`.
    pub(super) fn walk(&self, view: View, start: (u32, u64), root: bool, page: u64, tables: &mut Vec<Cached>) -> End {
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
            let index = if concatenated { ipa >> shift } else { (ipa >> shift) % 512 };
            concatenated = false;
            let address = base + index * 8;
            let descriptor = self.seen_by(view, address);
            let pages = 1u64 << (shift - 12);
            let first = page / pages * pages;
            let output = descriptor & 0xffff_ffff_f000;
            match (level, descriptor % 4) {
                (_, 0 | 2) | (0 | 3, 1) => return End::Fault { address },
                (0..=2, 3) => {
                    tables.push(Cached::Table { page: first, pages, base: output, level });
                    level += 1;
                    base = output;
                }
                _ => {
                    let seen = decode(descriptor, output, shift);
                    return End::Leaf(Cached::Leaf { page: first, pages, seen });
                }
            }
        }
    }

    pub(super) fn walk_root(&self, view: View, regime: Regime, page: u64, tables: &mut Vec<Cached>) -> End {
        let bits = 64 - (regime.vtcr % 64);
        assert!(page >> (bits - 12) == 0, "the test walks outside the IPA space");
        let level = match regime.vtcr / 64 % 4 {
            2 => 0,
            1 => 1,
            _ => 2,
        };
        self.walk(view, (level, regime.vttbr & 0xffff_ffff_fffe), true, page, tables)
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
}

/// What a leaf descriptor says about the first page it covers.
pub(super) fn decode(descriptor: u64, output: u64, shift: u64) -> Seen {
    assert!(output.is_multiple_of(1 << shift), "block {descriptor:x} is not aligned");
    assert!(descriptor >> 10 & 1 == 1, "access flag clear in {descriptor:x}");
    assert!(descriptor >> 48 & 0b1_1111 == 0, "reserved or contiguous bits in {descriptor:x}");
    let memory = (descriptor >> 2 & 0b1111) as u8;
    assert!(memory < 4 || descriptor >> 8 & 0b11 == 0b11, "normal memory must be inner-shareable");
    let execute = u8::from(descriptor >> 54 & 1 == 0);
    Seen { frame: Some(output >> 12), rwx: (descriptor >> 6 & 0b11) as u8 | execute << 2, memory }
}

pub(super) fn at_page(entry: Cached, wanted: u64) -> Seen {
    match entry {
        Cached::Leaf { page, seen, .. } | Cached::Combined { page, seen, .. } => {
            Seen { frame: seen.frame.map(|frame| frame + (wanted - page)), ..seen }
        }
        Cached::Table { .. } => unreachable!(),
    }
}

/// Whether a core that has both in its TLB is lost. Different permissions are no contradiction.
pub(super) fn contradict(old: &Cached, new: &Cached) -> bool {
    match (*old, *new) {
        (Cached::Leaf { page, pages, seen }, Cached::Leaf { page: page2, pages: pages2, seen: seen2 }) => {
            let apart = page + pages <= page2 || page2 + pages2 <= page;
            let same = (page, pages, seen.frame, seen.memory) == (page2, pages2, seen2.frame, seen2.memory);
            !apart && !same
        }
        (Cached::Table { page, base, level, .. }, Cached::Table { page: page2, base: base2, level: level2, .. }) => {
            (page, level) == (page2, level2) && base != base2
        }
        (Cached::Leaf { page, pages, .. }, Cached::Table { page: page2, pages: pages2, .. })
        | (Cached::Table { page: page2, pages: pages2, .. }, Cached::Leaf { page, pages, .. }) => {
            (page, pages) == (page2, pages2) && pages > 1
        }
        _ => false,
    }
}
