//! The first write to a page: of memory that nothing has touched, and of an image that is shared.

use core::cell::{Cell, UnsafeCell};

use guest_runtime::Machine;
use guest_runtime::machine::Range;

use crate::samples::{self, Figures, SAMPLES, WARM_UP};
use crate::{calls, devices};

const PAGE: usize = 4096;
/// Pages written: each once.
const PAGES: usize = SAMPLES + WARM_UP;
/// What no device tree is larger than.
const LARGEST_TREE: u64 = 2 << 20;

/// The image's own pages, none of them zero.
#[repr(C, align(4096))]
struct Pages(UnsafeCell<[u64; PAGES * PAGE / 8]>);

// SAFETY: only the boot core measures.
unsafe impl Sync for Pages {}

#[unsafe(link_section = ".pages")]
static IMAGE_PAGES: Pages = Pages(UnsafeCell::new([0x5a5a_a5a5_3c3c_c3c3; PAGES * PAGE / 8]));

/// Writing pages that nothing has touched yet.
pub fn first_touch(machine: &Machine) -> Option<Figures> {
    let start = untouched(machine.memory, machine.tree as u64)?;
    write_each(start as usize)
}

/// Writing pages of the image for the first time.
pub fn first_write_to_image(_: &Machine) -> Option<Figures> {
    write_each(IMAGE_PAGES.0.get() as usize)
}

/// Memory near the end, where neither this image nor the tree lies.
fn untouched(memory: Range, tree: u64) -> Option<u64> {
    let size = (PAGES * PAGE) as u64;
    let tree = Range { start: tree.saturating_sub(size), size: LARGEST_TREE + size };
    let candidates = (1..8).map(|step| (memory.end() & !(PAGE as u64 - 1)).saturating_sub(step * (8 << 20)));
    let fits = |&start: &u64| !tree.contains(start, 0) && start > memory.start + memory.size / 4;
    candidates.filter(|&start| memory.contains(start, size)).find(fits)
}

fn write_each(start: usize) -> Option<Figures> {
    let page = Cell::new(start);
    let sample = || Some(devices::write(page.replace(page.get() + PAGE), 1));
    samples::measure(sample, calls::nothing)
}
