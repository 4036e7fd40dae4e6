//! From the first Rust instruction to the first guest instruction.
use crate::arch::aarch64 as arch;
use buddy_system_allocator::Heap;
use core::alloc::{GlobalAlloc, Layout};
struct A(spin::Mutex<Heap<32>>);
unsafe impl GlobalAlloc for A {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 { self.0.lock().alloc(l).map_or(core::ptr::null_mut(), |p| p.as_ptr()) }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) { unsafe { self.0.lock().dealloc(core::ptr::NonNull::new(p).unwrap(), l) } }
}
#[global_allocator]
static HEAP: A = A(spin::Mutex::new(Heap::empty()));
static mut POOL: [u64; 8192] = [0; 8192];

#[unsafe(no_mangle)]
extern "C" fn tessera_boot(dtb: u64, base: u64) -> ! {
    use core::fmt::Write;
    let mut out = crate::terminal::Emergency::begin();
    let _ = writeln!(out, "dtb {dtb:#x} base {base:#x} el {}", arch::current_exception_level());
    let (s, e) = arch::fault::image_span();
    arch::stage1::install_vectors();
    unsafe { arch::stage1::enable_early((s, e - s), (dtb, 1 << 20)) };
    let _ = writeln!(out, "mmu on");
    unsafe { HEAP.0.lock().init(&raw mut POOL as usize, 65536) };
    let mut map = arch::stage1::AddressSpace::new();
    map.map(0x40000000, 0x80000000, arch::stage1::Use::Write).unwrap();
    map.map(0x09000000, 0x09001000, arch::stage1::Use::Device).unwrap();
    map.map(s, s + 0x100000, arch::stage1::Use::Execute).unwrap();
    let (a, b) = arch::stage1::spans();
    map.map(a, e, arch::stage1::Use::Write).unwrap();
    let _ = b;
    unsafe { alloc::boxed::Box::leak(alloc::boxed::Box::new(map)).activate() };
    let _ = writeln!(out, "final map");
    unsafe { *(0x1000 as *mut u64) = 1 };
    arch::halt()
}
#[unsafe(no_mangle)]
extern "C" fn tessera_secondary() -> ! { arch::halt() }
#[panic_handler]
fn panic(i: &core::panic::PanicInfo) -> ! {
    use core::fmt::Write;
    let mut out = crate::terminal::Emergency::begin();
    let _ = writeln!(out, "{i}");
    arch::halt()
}
