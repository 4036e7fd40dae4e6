//! The tables of EL2's own translation: each address is mapped to itself (Arm ARM D8.3, 4 KiB granule, 48 address bits).
//!
//! Only the tables belong here; what is mapped how, and when they come into use, is for `boot` and `arch`. A map is built
//! once from spans that do not overlap, so nothing is ever split or replaced: that is what makes it cheap.

use core::fmt;
use core::ops::Range;

use alloc::boxed::Box;
use alloc::vec::Vec;

const ENTRIES: usize = 512;
const PAGE: u64 = 4096;
/// First address beyond the map.
const LIMIT: u64 = 1 << 48;
/// The level whose entries are pages.
const LAST_LEVEL: u32 = 3;
/// Bits 1 and 0 of a table's entry, and of a page.
const TABLE_OR_PAGE: u64 = 0b11;
const ADDRESS: u64 = (LIMIT - 1) & !(PAGE - 1);

#[repr(align(4096))]
struct Table([u64; ENTRIES]);

impl Table {
    fn address(&self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }
}

/// Why a span cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// There is something at this address already.
    Overlap(u64),
    /// It is not made of whole pages below 2^48.
    Span(u64, u64),
}

impl fmt::Display for MapError {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Overlap(address) => write!(out, "two uses of the memory or registers at {address:#x}"),
            Self::Span(start, end) => write!(out, "{start:#x} to {end:#x} are no whole pages below 2^48"),
        }
    }
}

/// The most tables that a map of these spans takes, each with its first address and its end: hardly one too many, if they
/// come in rising order.
pub fn most_tables(spans: impl IntoIterator<Item = (u64, u64)>) -> usize {
    let mut count = 1;
    let mut last = [u64::MAX; LAST_LEVEL as usize];
    for (start, end) in spans.into_iter().filter(|(start, end)| start < end) {
        for (level, last) in (0..LAST_LEVEL).zip(&mut last) {
            let bytes = entry_bytes(level);
            let edges = [(start, start / bytes), (end, (end - 1) / bytes)];
            // A table is below an entry of which the span has a part, and below each that it touches of the root.
            for (_, entry) in edges.iter().filter(|(edge, _)| level == 0 || !edge.is_multiple_of(bytes)) {
                count += usize::from(core::mem::replace(last, *entry) != *entry);
            }
            if level == 0 {
                count += (edges[1].1 - edges[0].1).saturating_sub(1) as usize;
            }
        }
    }
    count
}

/// The tables, the root first.
pub struct IdentityMap {
    tables: Vec<Box<Table>>,
}

impl IdentityMap {
    /// A map of nothing.
    pub fn empty() -> Self {
        Self { tables: [new_table()].into() }
    }

    /// Machine address of the root table.
    pub fn root(&self) -> u64 {
        self.tables.first().map_or(0, |table| table.address())
    }

    /// Maps `start..end` by descriptors with these attributes, bit 0 (valid) among them, in blocks as large as may be.
    ///
    /// # Errors
    /// Something is mapped there already, or it is not made of whole pages. The map is not to be used then.
    pub fn map(&mut self, start: u64, end: u64, attributes: u64) -> Result<(), MapError> {
        if start > end || end > LIMIT || !start.is_multiple_of(PAGE) || !end.is_multiple_of(PAGE) {
            return Err(MapError::Span(start, end));
        }
        self.fill(0, 0, start..end, attributes)
    }

    /// Writes the entries of the pages from `start` to `end`, which are mapped singly, anew: with these attributes, or as
    /// nothing if they are 0. False if one is not mapped so.
    pub fn rewrite(&mut self, start: u64, end: u64, attributes: u64) -> bool {
        let mut page = start;
        while page < end {
            let Some(entries) = self.page_entries(page) else { return false };
            let count = entries.len().min(((end - page) / PAGE) as usize);
            let entries = entries.get_mut(..count).unwrap_or_default();
            entries.fill(0);
            if attributes != 0 {
                write_free(entries, page | attributes | TABLE_OR_PAGE, PAGE);
            }
            page += count as u64 * PAGE;
        }
        true
    }

    /// The entries from that of `page` to the end of its table, if it has one; never empty.
    fn page_entries(&mut self, page: u64) -> Option<&mut [u64]> {
        let mut table = 0;
        for level in 0..LAST_LEVEL {
            let entry = self.entries(table, index(page, level)).first().copied()?;
            let is_table = entry & TABLE_OR_PAGE == TABLE_OR_PAGE;
            table = self.tables.iter().position(|other| is_table && other.address() == entry & ADDRESS)?;
        }
        Some(self.entries(table, index(page, LAST_LEVEL))).filter(|entries| !entries.is_empty())
    }

    /// Maps what of `span` lies below entries of table number `table`, which is of level `level`.
    fn fill(&mut self, table: usize, level: u32, span: Range<u64>, attributes: u64) -> Result<(), MapError> {
        let bytes = entry_bytes(level);
        let first = span.start.next_multiple_of(bytes).min(span.end);
        let last = (span.end & !(bytes - 1)).max(first);
        self.fill_below(table, level, span.start..first, attributes)?;
        if level == 0 {
            for start in (first..last).step_by(bytes as usize) {
                self.fill_below(table, level, start..start + bytes, attributes)?;
            }
        } else {
            let kind = if level == LAST_LEVEL { TABLE_OR_PAGE } else { 0 };
            let count = ((last - first) / bytes) as usize;
            let entries = self.entries(table, index(first, level)).get_mut(..count).unwrap_or_default();
            let used = write_free(entries, first | attributes | kind, bytes);
            used.map_or(Ok(()), |used| Err(MapError::Overlap(first + used as u64 * bytes)))?;
        }
        self.fill_below(table, level, last..span.end, attributes)
    }

    /// Maps a part of one entry of a table, in the table below it, which is made if there is none.
    fn fill_below(&mut self, table: usize, level: u32, part: Range<u64>, attributes: u64) -> Result<(), MapError> {
        if part.is_empty() {
            return Ok(());
        }
        let index = index(part.start, level);
        let entry = self.entries(table, index).first().copied().unwrap_or(0);
        let below = match entry & TABLE_OR_PAGE {
            0 => self.add_table(table, index),
            TABLE_OR_PAGE => self.tables.iter().position(|other| other.address() == entry & ADDRESS),
            _ => None,
        };
        self.fill(below.ok_or(MapError::Overlap(part.start))?, level + 1, part, attributes)
    }

    /// A new table below an entry.
    fn add_table(&mut self, table: usize, index: usize) -> Option<usize> {
        let new = new_table();
        *self.entries(table, index).first_mut()? = new.address() | TABLE_OR_PAGE;
        self.tables.push(new);
        Some(self.tables.len() - 1)
    }

    /// A table's entries from `first` on.
    fn entries(&mut self, table: usize, first: usize) -> &mut [u64] {
        self.tables.get_mut(table).and_then(|table| table.0.get_mut(first..)).unwrap_or_default()
    }
}

fn new_table() -> Box<Table> {
    Box::new(Table([0; ENTRIES]))
}

/// Writes descriptors, each by `step` above the last one, over entries of nothing; the number of one that is used, if one is.
fn write_free(entries: &mut [u64], descriptor: u64, step: u64) -> Option<usize> {
    let (eights, rest) = entries.as_chunks::<8>();
    let is_free = |[a, b, c, d, e, f, g, h]: &[u64; 8]| a | b | c | d | e | f | g | h == 0;
    if !eights.iter().all(is_free) || rest.iter().any(|entry| *entry != 0) {
        return entries.iter().position(|entry| *entry != 0);
    }
    write_entries(entries, descriptor, step);
    None
}

/// Writes descriptors, each by `step` above the last one. Eight at a time: boot writes thousands.
pub fn write_entries(entries: &mut [u64], mut descriptor: u64, step: u64) {
    let (eights, rest) = entries.as_chunks_mut::<8>();
    for eight in eights {
        let (second, two) = (descriptor + step, 2 * step);
        let [third, fourth] = [descriptor + two, second + two];
        let four = 2 * two;
        *eight = [descriptor, second, third, fourth, descriptor + four, second + four, third + four, fourth + four];
        descriptor += 2 * four;
    }
    for entry in rest {
        *entry = descriptor;
        descriptor += step;
    }
}

/// How much an entry of a table of this level covers.
fn entry_bytes(level: u32) -> u64 {
    PAGE << (9 * (LAST_LEVEL - level))
}

fn index(address: u64, level: u32) -> usize {
    (address / entry_bytes(level)) as usize % ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const READ: u64 = 1 << 54 | 1;
    const WRITE: u64 = 1 << 53 | 1;

    /// What the processor would find: the translated address, the attributes, and how much the entry covers.
    fn walk(map: &IdentityMap, address: u64) -> Option<(u64, u64, u64)> {
        let mut table = &map.tables[0];
        for shift in [39, 30, 21, 12] {
            let entry = table.0[(address >> shift & 0x1ff) as usize];
            let target = entry & 0xffff_ffff_f000;
            match (entry & 3, shift) {
                (3, 12) | (1, 30 | 21) => {
                    let offset = address & ((1 << shift) - 1);
                    return Some((target | offset, entry & !0xffff_ffff_f002, 1 << shift));
                }
                (3, _) => {
                    table = map.tables.iter().find(|table| table.address() == target).expect("a table of the map")
                }
                (0, _) => return None,
                other => panic!("{other:?} is no descriptor"),
            }
        }
        None
    }

    #[test]
    fn large_spans_are_made_of_large_blocks() {
        let mut map = IdentityMap::empty();
        map.map(0x4020_0000, 0x1_0000_0000, WRITE).expect("free");
        map.map(0x900_0000, 0x900_1000, READ).expect("free");
        assert_eq!(walk(&map, 0x4020_1234), Some((0x4020_1234, WRITE, 2 << 20)));
        assert_eq!(walk(&map, 0xffff_ffff), Some((0xffff_ffff, WRITE, 1 << 30)));
        assert_eq!(walk(&map, 0x900_0ff8), Some((0x900_0ff8, READ, 4096)));
        for beside in [0x401f_ffff, 0x1_0000_0000, 0x8ff_ffff, 0x900_1000] {
            assert_eq!(walk(&map, beside), None);
        }
        assert_eq!(map.tables.len(), 5, "root, one of level 1, two of level 2, one of level 3");
    }

    #[test]
    fn hundreds_of_holes_cost_a_table_each_at_most() {
        let mut map = IdentityMap::empty();
        let spans: Vec<_> = (0..300u64).map(|i| (0x4000_0000 + i * (4 << 20), 0x403f_f000 + i * (4 << 20))).collect();
        for (start, end) in &spans {
            map.map(*start, *end, WRITE).expect("free");
        }
        assert_eq!((map.tables.len(), most_tables(spans)), (304, 304), "root, one, two, and one for each");
        assert_eq!(most_tables([(0, LIMIT)]), 513, "each entry of the root leads to a table");
        assert_eq!(most_tables([(4096, 4096)]), 1);
    }

    #[test]
    fn what_is_mapped_is_not_mapped_again() {
        let mut map = IdentityMap::empty();
        map.map(0x4000_0000, 0x8000_0000, WRITE).expect("free");
        assert_eq!(map.map(0x4000_1000, 0x4000_2000, READ), Err(MapError::Overlap(0x4000_1000)));
        map.map(0x20_1000, 0x20_2000, READ).expect("free");
        assert_eq!(map.map(0, 0x40_0000, WRITE), Err(MapError::Overlap(0x20_0000)));
        assert_eq!(map.map(0x20_0000, 0x20_3000, WRITE), Err(MapError::Overlap(0x20_1000)));
    }

    #[test]
    fn pages_can_change_what_they_are() {
        let mut map = IdentityMap::empty();
        map.map(0x3f_e000, 0x40_2000, READ).expect("free");
        assert!(map.rewrite(0x3f_f000, 0x40_1000, 0));
        assert_eq!((walk(&map, 0x3f_f000), walk(&map, 0x40_0000)), (None, None));
        assert!(map.rewrite(0x3f_f000, 0x40_1000, WRITE));
        assert_eq!(walk(&map, 0x40_0123), Some((0x40_0123, WRITE, 4096)));
        for kept in [0x3f_e000, 0x40_1000] {
            assert_eq!(walk(&map, kept), Some((kept, READ, 4096)));
        }
        map.map(0x60_0000, 0x80_0000, READ).expect("free");
        assert!(!map.rewrite(0x60_0000, 0x60_1000, WRITE), "a block");
        assert!(!map.rewrite(0x4000_0000, 0x4000_1000, WRITE), "nothing");
    }

    #[test]
    fn odd_spans_are_refused() {
        let mut map = IdentityMap::empty();
        for (start, end) in [(1, 4096), (0, 4095), (8192, 4096), (0, LIMIT + 4096)] {
            assert_eq!(map.map(start, end, READ), Err(MapError::Span(start, end)));
        }
        map.map(LIMIT - 4096, LIMIT, READ).expect("the last page");
        assert_eq!(walk(&map, LIMIT - 1), Some((LIMIT - 1, READ, 4096)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Spans around all block boundaries: each page of them leads to itself, none beside them is mapped.
        #[test]
        fn each_page_leads_to_itself(mut edges in prop::collection::btree_set(edge(), 2..9)) {
            let mut map = IdentityMap::empty();
            let mut spans = Vec::new();
            while let (Some(start), Some(end)) = (edges.pop_first(), edges.pop_first()) {
                let attributes = if spans.len() % 2 == 0 { READ } else { WRITE };
                prop_assert_eq!(map.map(start, end, attributes), Ok(()));
                spans.push((start, end, attributes));
            }
            let most = most_tables(spans.iter().map(|(start, end, _)| (*start, *end)));
            prop_assert!((map.tables.len()..=map.tables.len() + 1).contains(&most), "{most} for {}", map.tables.len());
            for (start, end, attributes) in &spans {
                for address in [*start, start + (end - start) / 2, end - 1] {
                    let (found, bits, _) = walk(&map, address).expect("mapped");
                    prop_assert_eq!((found, bits), (address, *attributes));
                }
                for beside in [start.checked_sub(1), Some(*end)].into_iter().flatten() {
                    let inside = spans.iter().any(|(start, end, _)| (*start..*end).contains(&beside));
                    prop_assert_eq!(walk(&map, beside).is_some(), inside);
                }
            }
        }
    }

    /// Pages near multiples of 2 MiB, 1 GiB and 512 GiB.
    fn edge() -> impl Strategy<Value = u64> {
        let block = prop_oneof![Just(2u64 << 20), Just(1 << 30), Just(1 << 39)];
        (block, 0u64..4, 0u64..3).prop_map(|(block, number, page)| block * number + page * PAGE)
    }
}
