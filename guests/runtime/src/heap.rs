//! The heap behind `alloc`: a fixed piece of the guest's image, enough for names and messages.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};

use buddy_system_allocator::Heap;
use spin::Mutex;

/// Bytes of heap.
const SIZE: usize = 256 * 1024;

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u8; SIZE]>);

// SAFETY: only the allocator uses it, under its lock.
unsafe impl Sync for Memory {}

#[unsafe(link_section = ".uninitialized")]
static MEMORY: Memory = Memory(UnsafeCell::new([0; SIZE]));

struct Allocator(Mutex<Heap<32>>);

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(Mutex::new(Heap::empty()));

/// Gives the heap its memory; called once, before the guest's main function.
pub(crate) fn init() {
    // SAFETY: the memory is this allocator's alone, and it is given once.
    unsafe { ALLOCATOR.0.lock().init(MEMORY.0.get() as usize, SIZE) };
}

// SAFETY: the buddy heap gives out disjoint blocks of the layout asked for.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller gives back what `alloc` gave with this layout.
            unsafe { self.0.lock().dealloc(block, layout) };
        }
    }
}
