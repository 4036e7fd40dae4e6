//! Where there is room in memory, found in a blob before there is a heap that could hold an index of it.
//!
//! Only what takes memory is read here, and what cannot be read leaves no room: [`Tree::parse`](super::Tree::parse) is to
//! say what is wrong.

use super::blob::Blob;
use super::cells::Cells;
use super::walk::{Walk, Walked};
use crate::span::Span;
use core::iter;

/// Finds `bytes` of memory that nobody has: no reservation, not the initrd, none of `taken`. They begin at a multiple of
/// `alignment` (a power of two), as high in a region of memory as that allows.
///
/// `blob` may be followed by other bytes. Takes time linear in its size, times the number of its reservations.
pub fn find_room(blob: &[u8], bytes: u64, alignment: u64, taken: &[Span]) -> Option<Span> {
    let blob = Blob::new(blob).ok()?;
    let layout = Layout::read(&blob)?;
    let regions = layout.root.clone().filter(|node| node.depth == 1 && node.is_memory && node.is_enabled);
    let mut regions = regions.flat_map(|node| spans(node.registers, layout.root_cells));
    regions.find_map(|region| {
        let mut end = region.end();
        // Each round is below another reservation: none comes twice.
        loop {
            let start = end.checked_sub(bytes)? & !(alignment - 1);
            let room = Span::new(start, bytes).filter(|room| region.covers(*room))?;
            match layout.obstacles(&blob).chain(taken.iter().copied()).find(|one| one.overlaps(room)) {
                Some(obstacle) => end = obstacle.start(),
                None => return Some(room),
            }
        }
    })
}

/// The numbers of cells of an address and of a size.
type CellCounts = (usize, usize);

/// Where in the blob it says what memory is taken.
struct Layout<'blob> {
    /// From the root on.
    root: Walk<'blob>,
    root_cells: CellCounts,
    /// Its first child on, if there is a `/reserved-memory`.
    reserved: Option<Walk<'blob>>,
    reserved_cells: CellCounts,
    initrd: Option<Span>,
}

impl<'blob> Layout<'blob> {
    fn read(blob: &Blob<'blob>) -> Option<Self> {
        let mut walk = Walk::new(*blob);
        let root = walk.clone();
        let root_cells = walk.next()?.cells;
        let mut layout = Self { root, root_cells, reserved: None, reserved_cells: root_cells, initrd: None };
        while let Some(node) = walk.next() {
            match node.name {
                _ if node.depth != 1 => {}
                // As in `by_path`, the first counts.
                "reserved-memory" if layout.reserved.is_none() => {
                    // Its children are where it says: nobody moves them by `ranges`.
                    if !node.ranges.is_empty() {
                        return None;
                    }
                    (layout.reserved, layout.reserved_cells) = (Some(walk.clone()), node.cells);
                }
                "chosen" => layout.initrd = node.initrd(),
                _ => {}
            }
        }
        // Whether it ends as it should, or reservations may lie behind what is damaged.
        walk.is_at_end().then_some(layout)
    }

    /// What of the memory is not free.
    fn obstacles(&self, blob: &Blob<'blob>) -> impl Iterator<Item = Span> {
        let children = self.reserved.clone().into_iter().flatten().take_while(|node: &Walked| node.depth > 1);
        let cells = self.reserved_cells;
        let regions = children.filter(|node| node.depth == 2).flat_map(move |node| spans(node.registers, cells));
        regions.chain(blob.reservations()).chain(self.initrd)
    }
}

/// The regions in a `reg`, as far as it can be read.
fn spans(registers: &[u8], (address, size): CellCounts) -> impl Iterator<Item = Span> {
    let mut cells = Cells::new(registers).unwrap_or_default();
    iter::from_fn(move || {
        if cells.is_empty() || address + size == 0 {
            return None;
        }
        Span::new(cells.take_number(address)?, cells.take_number(size)?)
    })
}
