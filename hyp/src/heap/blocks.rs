//! Blocks of memory of any size: small ones are cut from pages, and what comes back waits for the next one of its size; large
//! ones are whole pages.
//!
//! Nothing is merged until pages are wanted: each page counts what of it is used, so those that nobody uses are found then.

use core::alloc::Layout;
use core::ptr::{NonNull, with_exposed_provenance_mut};

use super::pages::{Pages, Run};

/// Bytes of a page.
pub const PAGE: usize = tessera_memory::PAGE_SIZE as usize;
/// Small blocks have a multiple of so many bytes, and lie at one.
const GRAIN: usize = 16;
/// A page of small blocks begins with its [`Head`].
const HEAD_BYTES: usize = GRAIN;
/// The largest of them, so that two are in a page.
const MOST_BYTES: usize = (PAGE - HEAD_BYTES) / 2 / GRAIN * GRAIN;

/// What a page of small blocks begins with.
struct Head {
    /// Bytes in its blocks that somebody has.
    used: usize,
}

/// [`Head::used`] of a page that is none any more.
const GONE: usize = usize::MAX;

/// What a free block begins with: the address of the next one of its size, or 0.
struct Free {
    next: usize,
}

/// The heap.
pub struct Blocks {
    pages: Pages,
    /// Address of the page that new blocks are cut from, from its end on, and how much of it is whole; 0 if there is none.
    cut: (usize, usize),
    /// By size: address of the first free block, or 0.
    free: [usize; MOST_BYTES / GRAIN + 1],
    /// Bytes in all blocks that somebody has, and bytes there are.
    used: usize,
    all: usize,
}

impl Blocks {
    /// A heap of nothing.
    pub const fn empty() -> Self {
        Self { pages: Pages::none(), cut: (0, 0), free: [0; MOST_BYTES / GRAIN + 1], used: 0, all: 0 }
    }

    /// Adds the whole pages from `start` to `end`.
    ///
    /// # Safety
    /// It is memory that can be written, and has no other use, now or later.
    pub unsafe fn add(&mut self, start: usize, end: usize) {
        let (first, end) = (start.div_ceil(PAGE), end / PAGE);
        if first < end {
            self.pages.give(Run { first, count: end - first });
            self.all += (end - first) * PAGE;
        }
    }

    /// Bytes that are allocated, and bytes there are.
    pub fn usage(&self) -> (usize, usize) {
        (self.used, self.all)
    }

    /// Whether so many bytes are free in whole pages.
    pub fn has_free(&mut self, bytes: usize) -> bool {
        let count = bytes.div_ceil(PAGE);
        self.pages.count() >= count || {
            self.reclaim();
            self.pages.count() >= count
        }
    }

    /// A block for `layout`; `None` if there is none.
    pub fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let bytes = bytes(layout);
        let place = match bytes {
            ..=MOST_BYTES => self.small(bytes, layout.align())?,
            _ if layout.align() <= PAGE => self.whole_pages(bytes)?,
            _ => return None,
        };
        self.used += bytes;
        NonNull::new(with_exposed_provenance_mut(place))
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It was allocated here for `layout`, and nobody uses it any more.
    pub unsafe fn release(&mut self, block: NonNull<u8>, layout: Layout) {
        let (bytes, place) = (bytes(layout), block.as_ptr().expose_provenance());
        self.used -= bytes;
        if bytes > MOST_BYTES {
            self.pages.give(Run { first: place / PAGE, count: bytes / PAGE });
        } else {
            // SAFETY: the page of a small block has a head, used under the lock around the heap.
            unsafe { (*head(place)).used -= bytes };
            self.list(place, bytes);
        }
    }

    /// Takes all free pages out for good, but for one or as many as are wanted for `kept` free bytes.
    pub fn take_pages(&mut self, kept: usize) -> Pages {
        self.reclaim();
        let in_used_pages = self.all - self.used - self.pages.count() * PAGE;
        let count = kept.saturating_sub(in_used_pages).div_ceil(PAGE).max(1);
        let kept = self.pages.take(count);
        let taken = core::mem::replace(&mut self.pages, Pages::none());
        self.all -= taken.count() * PAGE;
        if let Some(first) = kept {
            self.pages.give(Run { first, count });
        }
        taken
    }

    /// Whole pages; the first one's address.
    #[inline(never)]
    fn whole_pages(&mut self, bytes: usize) -> Option<usize> {
        let count = bytes / PAGE;
        let first = self.pages.take(count).or_else(|| {
            self.reclaim();
            self.pages.take(count)
        });
        first.map(|first| first * PAGE)
    }

    /// A block that was free, or else a new one.
    fn small(&mut self, bytes: usize, alignment: usize) -> Option<usize> {
        let free = if alignment <= GRAIN { self.unlist(bytes / GRAIN) } else { None };
        let place = match free {
            Some(place) => place,
            None => self.cut(bytes, alignment).or_else(|| self.find(bytes, alignment))?,
        };
        // SAFETY: the page of a small block has a head, used under the lock around the heap.
        unsafe { (*head(place)).used += bytes };
        Some(place)
    }

    /// A new block of the page that is cut.
    fn cut(&mut self, bytes: usize, alignment: usize) -> Option<usize> {
        let offset = self.cut.1.saturating_sub(bytes) & !(alignment - 1);
        if offset < HEAD_BYTES {
            return None;
        }
        self.cut.1 = offset;
        Some(self.cut.0 + offset)
    }

    /// A new block of the next page to cut, or else of a larger free one.
    #[inline(never)]
    fn find(&mut self, bytes: usize, alignment: usize) -> Option<usize> {
        self.cut_anew(bytes, alignment).or_else(|| self.fitting(bytes, alignment))
    }

    fn cut_anew(&mut self, bytes: usize, alignment: usize) -> Option<usize> {
        let page = self.whole_pages(PAGE)?;
        let (old, whole) = self.cut;
        self.list(old + HEAD_BYTES, whole.saturating_sub(HEAD_BYTES).min(MOST_BYTES));
        // SAFETY: a page that was just taken.
        unsafe { head(page).write(Head { used: 0 }) };
        self.cut = (page, (PAGE - bytes) & !(alignment - 1));
        Some(page + self.cut.1)
    }

    /// The smallest free block that has the bytes, when there are no pages left; it is shortened.
    fn fitting(&mut self, bytes: usize, alignment: usize) -> Option<usize> {
        let grains = (bytes / GRAIN..self.free.len()).filter(|_| alignment <= GRAIN);
        let (grains, place) = grains.into_iter().find_map(|grains| Some((grains, self.unlist(grains)?)))?;
        self.list(place + bytes, grains * GRAIN - bytes);
        Some(place)
    }

    /// Takes a free block of so many grains.
    fn unlist(&mut self, grains: usize) -> Option<usize> {
        let first = self.free.get_mut(grains).filter(|first| **first != 0)?;
        let place = *first;
        // SAFETY: free blocks are the heap's, and were written when they were listed.
        *first = unsafe { (*with_exposed_provenance_mut::<Free>(place)).next };
        Some(place)
    }

    /// Lists a free block; one of no bytes is none.
    fn list(&mut self, place: usize, bytes: usize) {
        if let Some(first) = self.free.get_mut(bytes / GRAIN).filter(|_| bytes > 0) {
            // SAFETY: a block of the heap's that nobody has, at a multiple of GRAIN.
            unsafe { with_exposed_provenance_mut::<Free>(place).write(Free { next: *first }) };
            *first = place;
        }
    }

    /// Makes pages of those whose blocks are all free.
    #[cold]
    fn reclaim(&mut self) {
        for grains in 0..self.free.len() {
            // What stays is listed again.
            let mut next = self.free.get_mut(grains).map_or(0, core::mem::take);
            while next != 0 {
                let place = next;
                // SAFETY: free blocks are the heap's, and were written when they were listed; their pages have heads.
                let used = unsafe {
                    next = (*with_exposed_provenance_mut::<Free>(place)).next;
                    &mut (*head(place)).used
                };
                match *used {
                    0 => {
                        *used = GONE;
                        self.pages.give(Run { first: place / PAGE, count: 1 });
                    }
                    GONE => {}
                    _ => self.list(place, grains * GRAIN),
                }
            }
        }
        // SAFETY: the page that is cut has a head.
        if self.cut.0 != 0 && unsafe { (*head(self.cut.0)).used } == GONE {
            self.cut = (0, 0);
        }
    }
}

/// The bytes of the block for `layout`.
fn bytes(layout: Layout) -> usize {
    // A multiple without a division: alignments are powers of two.
    let multiple = |of: usize| (layout.size().max(1) + (of - 1)) & !(of - 1);
    match multiple(layout.align().max(GRAIN)) {
        bytes @ ..=MOST_BYTES => bytes,
        _ => multiple(layout.align().max(PAGE)),
    }
}

/// Where the head of the page is in which a small block lies.
fn head(place: usize) -> *mut Head {
    with_exposed_provenance_mut(place & !(PAGE - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const MEMORY: usize = 16 * PAGE;

    #[repr(align(4096))]
    struct Memory([u8; MEMORY]);

    /// A heap of its own memory, and where that is.
    fn heap() -> (Blocks, Box<Memory>) {
        let mut memory = Box::new(Memory([0; MEMORY]));
        let start = memory.0.as_mut_ptr().expose_provenance();
        let mut blocks = Blocks::empty();
        // SAFETY: memory of its own, which the caller keeps.
        unsafe { blocks.add(start, start + MEMORY) };
        (blocks, memory)
    }

    fn layout(bytes: usize, alignment: usize) -> Layout {
        Layout::from_size_align(bytes, alignment).expect("a layout")
    }

    fn release(blocks: &mut Blocks, all: impl IntoIterator<Item = (NonNull<u8>, Layout)>) {
        for (block, layout) in all {
            // SAFETY: each test hands in what it allocated so.
            unsafe { blocks.release(block, layout) };
        }
    }

    #[test]
    fn small_blocks_that_came_back_are_pages_again() {
        let (mut blocks, _memory) = heap();
        let small: Vec<_> = core::iter::from_fn(|| Some((blocks.allocate(layout(20, 4))?, layout(20, 4)))).collect();
        assert_eq!((small.len(), blocks.has_free(1)), (16 * ((PAGE - 16) / 32), false));
        release(&mut blocks, small);
        assert!(blocks.has_free(MEMORY) && blocks.usage() == (0, MEMORY));
        assert!(blocks.allocate(layout(MEMORY, PAGE)).is_some() && blocks.allocate(layout(1, 1)).is_none());
    }

    #[test]
    fn the_last_free_block_is_used_by_smaller_ones() {
        let (mut blocks, _memory) = heap();
        let large = layout(MOST_BYTES, 8);
        let all: Vec<_> = core::iter::from_fn(|| Some((blocks.allocate(large)?, large))).collect();
        assert_eq!(all.len(), 32);
        release(&mut blocks, all.into_iter().take(1));
        let small = core::iter::from_fn(|| blocks.allocate(layout(16, 16))).count();
        assert_eq!(small, MOST_BYTES / 16 + 16, "and what was left at each page's beginning");
        assert!(blocks.allocate(layout(8, 2 * PAGE)).is_none(), "no page lies so");
    }

    #[test]
    fn what_is_taken_out_is_not_allocated_any_more() {
        let (mut blocks, _memory) = heap();
        let kept = blocks.allocate(layout(100, 8)).expect("memory");
        let taken = blocks.take_pages(3 * PAGE - 200);
        assert_eq!((taken.count(), blocks.usage()), (13, (112, 3 * PAGE)), "most of the first one is free");
        release(&mut blocks, [(kept, layout(100, 8))]);
        assert!(blocks.has_free(3 * PAGE) && !blocks.has_free(4 * PAGE));
        assert_eq!(blocks.take_pages(0).count(), 2, "one stays");
    }

    proptest! {
        /// Blocks lie within the memory at multiples of their alignment, overlap no other, and all of it comes back.
        #[test]
        fn no_two_have_a_byte_in_common(
            steps in prop::collection::vec((prop_oneof![0usize..100, 0usize..9000], 0u32..13, 0u8..5), 1..300)
        ) {
            let (mut blocks, memory) = heap();
            let start = memory.0.as_ptr().expose_provenance();
            let mut taken = BTreeMap::new();
            for (bytes, alignment, what) in steps {
                let wanted = layout(bytes, 1 << alignment);
                if what < 2 && let Some((_, one)) = taken.pop_first() {
                    release(&mut blocks, [one]);
                } else if let Some(block) = blocks.allocate(wanted) {
                    let address = block.as_ptr().expose_provenance();
                    prop_assert!(address.is_multiple_of(wanted.align()) && address >= start);
                    prop_assert!(address + bytes <= start + MEMORY);
                    // SAFETY: so many bytes were asked for.
                    unsafe { block.write_bytes(0xa5, bytes) };
                    taken.insert(address, (block, wanted));
                }
                if what == 4 {
                    prop_assert!(!blocks.has_free(MEMORY - blocks.usage().0 + 1));
                }
                let ends = taken.iter().map(|(address, (_, layout))| address + layout.size().max(1));
                prop_assert!(ends.zip(taken.keys().skip(1)).all(|(end, next)| end <= *next));
            }
            release(&mut blocks, taken.into_values());
            prop_assert!(blocks.has_free(MEMORY) && blocks.usage() == (0, MEMORY));
        }
    }
}
