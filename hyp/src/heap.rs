//! EL2's heap: what is allocated at boot, and little after. Guests cannot make it grow.
//!
//! Boot gives it more than it needs, sized by what there is to read and to build, and takes back whole pages that nobody
//! has in the end. If it is empty nevertheless, boot says so.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use buddy_system_allocator::Heap;
use spin::{Mutex, Once};
use tessera_memory::PAGE_SIZE;

/// Bytes that the image brings along: enough to discover a small board. The rest is added from the board's memory.
const FIRST_BYTES: usize = 64 * 1024;
/// Free blocks that are taken back at most; what is left stays in the heap. They are large.
const MOST_BLOCKS: usize = 64;
/// The largest block that is taken back in one piece: 2^9 pages.
const LARGEST_ORDER: usize = 9;

struct LockedHeap(Mutex<Heap<32>>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Mutex::new(Heap::empty()));

/// What becomes, during boot, of a wish for so many bytes that cannot be granted.
static EXHAUSTED: Once<fn(usize) -> !> = Once::new();
/// Bytes that were taken back: boot is over if there are any.
static TAKEN_BACK: AtomicUsize = AtomicUsize::new(0);

#[repr(C, align(4096))]
struct FirstMemory(MaybeUninit<[u8; FIRST_BYTES]>);
/// Apart from what is cleared at the start, since nothing of it is read before it is written.
#[unsafe(link_section = ".uninitialized")]
static mut FIRST_MEMORY: FirstMemory = FirstMemory(MaybeUninit::uninit());

/// Makes the heap usable; `exhausted` is called when it has too little. Call once, when the MMU is on (the lock needs it).
pub fn initialize(exhausted: fn(usize) -> !) {
    EXHAUSTED.call_once(|| exhausted);
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
    let taken_back = TAKEN_BACK.load(Ordering::Relaxed);
    (heap.stats_alloc_actual() - taken_back, heap.stats_total_bytes() - taken_back)
}

/// Bytes that are not allocated, in pieces that may be small.
pub fn free_bytes() -> usize {
    let (used, all) = usage();
    all - used
}

/// Free blocks of whole pages, each its machine address and bytes.
pub type Blocks = ArrayVec<(u64, u64), MOST_BLOCKS>;

/// Takes whole free pages out of the heap for good, but for `kept` bytes: the largest blocks first.
pub fn take_back(kept: usize) -> Blocks {
    let mut heap = HEAP.0.lock();
    let block = |bytes| Layout::from_size_align(bytes, PAGE_SIZE as usize).ok();
    let spare = block(kept.next_power_of_two()).and_then(|layout| Some((heap.alloc(layout).ok()?, layout)));
    let mut taken = Blocks::new();
    for bytes in (0..=LARGEST_ORDER).rev().map(|order| (PAGE_SIZE as usize) << order) {
        let Some(layout) = block(bytes) else { continue };
        while !taken.is_full()
            && let Ok(start) = heap.alloc(layout)
        {
            taken.push((start.as_ptr().expose_provenance() as u64, bytes as u64));
        }
    }
    if let Some((start, layout)) = spare {
        // SAFETY: allocated above, with this layout.
        unsafe { heap.dealloc(start, layout) };
    }
    TAKEN_BACK.fetch_add(taken.iter().map(|(_, bytes)| *bytes as usize).sum(), Ordering::Relaxed);
    taken
}

// SAFETY: a lock around an allocator that keeps the contract.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory = self.0.lock().alloc(layout);
        let is_boot = TAKEN_BACK.load(Ordering::Relaxed) == 0;
        match (memory, EXHAUSTED.get().filter(|_| is_boot)) {
            (Ok(memory), _) => memory.as_ptr(),
            (Err(()), Some(exhausted)) => exhausted(layout.size()),
            (Err(()), None) => null_mut(),
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: allocated here with this layout (contract of the trait).
            unsafe { self.0.lock().dealloc(pointer, layout) };
        }
    }
}
