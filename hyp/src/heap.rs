//! EL2's heap: what is allocated at boot, and little after. Guests cannot make it grow.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};

use buddy_system_allocator::Heap;
use spin::Mutex;

/// Bytes that the image brings along: enough to discover the board. The rest is added from the board's memory.
const FIRST_BYTES: usize = 64 * 1024;

struct LockedHeap(Mutex<Heap<32>>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Mutex::new(Heap::empty()));

#[repr(C, align(4096))]
struct FirstMemory(MaybeUninit<[u8; FIRST_BYTES]>);
/// Apart from what is cleared at the start, since nothing of it is read before it is written.
#[unsafe(link_section = ".uninitialized")]
static mut FIRST_MEMORY: FirstMemory = FirstMemory(MaybeUninit::uninit());

/// Makes the heap usable. Call once, when the MMU is on (the lock needs it).
pub fn initialize() {
    let start = &raw mut FIRST_MEMORY as usize;
    // SAFETY: the array has no other use.
    unsafe { HEAP.0.lock().init(start, FIRST_BYTES) };
}

/// Adds machine memory to the heap.
///
/// # Safety
/// The span is RAM that EL2 maps for writing and that has no other use, now or later.
pub unsafe fn extend(start: u64, bytes: u64) {
    // SAFETY: as the caller says.
    unsafe { HEAP.0.lock().add_to_heap(start as usize, (start + bytes) as usize) };
}

/// Bytes that are allocated, and bytes there are.
pub fn usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.stats_alloc_actual(), heap.stats_total_bytes())
}

// SAFETY: a lock around an allocator that keeps the contract.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: allocated here with this layout (contract of the trait).
            unsafe { self.0.lock().dealloc(pointer, layout) };
        }
    }
}
