//! EL2's heap: what is allocated at boot, and little after. Guests cannot make it grow.
//!
//! Boot gives it more than it needs, sized by what there is to read and to build, and takes back whole pages that nobody
//! has in the end. If it is empty nevertheless, boot says so.

mod blocks;
mod pages;

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, Ordering};

use blocks::{Blocks, PAGE};
use pages::Pages;
use spin::Once;

use crate::lock::Mutex;

/// Bytes that the image brings along: enough to discover a small board. The rest is added from the board's memory.
const FIRST_BYTES: usize = 64 * 1024;

struct LockedHeap(Mutex<Blocks>);

#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: LockedHeap = LockedHeap(Mutex::new(Blocks::empty()));

/// What becomes, during boot, of a wish for so many bytes that cannot be granted.
static EXHAUSTED: Once<fn(usize) -> !> = Once::new();
/// What boot has left over was taken back: it is over.
static IS_TAKEN_BACK: AtomicBool = AtomicBool::new(false);

#[repr(C, align(4096))]
struct FirstMemory(MaybeUninit<[u8; FIRST_BYTES]>);
/// Apart from what is cleared at the start, since nothing of it is read before it is written.
#[cfg_attr(target_os = "none", unsafe(link_section = ".uninitialized"))]
static mut FIRST_MEMORY: FirstMemory = FirstMemory(MaybeUninit::uninit());

/// Makes the heap usable; `exhausted` is called when it has too little. Call once, when the MMU is on (the lock needs it).
pub fn initialize(exhausted: fn(usize) -> !) {
    EXHAUSTED.call_once(|| exhausted);
    let start = &raw mut FIRST_MEMORY as usize;
    // SAFETY: the array has no other use.
    unsafe { HEAP.0.lock().add(start, start + FIRST_BYTES) };
}

/// Adds machine memory to the heap, in whole pages.
///
/// # Safety
/// The span is RAM that EL2 maps for writing and that has no other use, now or later.
pub unsafe fn extend(start: u64, bytes: u64) {
    // SAFETY: as the caller says.
    unsafe { HEAP.0.lock().add(start as usize, (start + bytes) as usize) };
}

/// Bytes that are allocated, and bytes there are.
pub fn usage() -> (usize, usize) {
    HEAP.0.lock().usage()
}

/// Whether so many bytes in whole pages are free, in pieces that may be small.
pub fn has_free(bytes: usize) -> bool {
    HEAP.0.lock().has_free(bytes)
}

/// Takes whole free pages out of the heap for good, but for `kept` bytes; gives each run's first address and bytes.
pub fn take_back(kept: usize) -> impl Iterator<Item = (u64, u64)> {
    IS_TAKEN_BACK.store(true, Ordering::Relaxed);
    let taken: Pages = HEAP.0.lock().take_pages(kept);
    taken.into_runs().map(|run| ((run.first * PAGE) as u64, (run.count * PAGE) as u64))
}

/// There is no memory for `layout`: boot ends, what comes after it has to do without.
#[cold]
fn none(layout: Layout) -> *mut u8 {
    match EXHAUSTED.get().filter(|_| !IS_TAKEN_BACK.load(Ordering::Relaxed)) {
        Some(exhausted) => exhausted(layout.size()),
        None => null_mut(),
    }
}

// SAFETY: a lock around an allocator that keeps the contract.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory = self.0.lock().allocate(layout);
        memory.map_or_else(|| none(layout), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: allocated here with this layout (contract of the trait).
            unsafe { self.0.lock().release(pointer, layout) };
        }
    }
}
