//! The image's first instructions: the arm64 Linux header and self-relocation; then the runtime's start.

use core::arch::global_asm;
use core::cell::UnsafeCell;

/// CNTPCT and CNTVCT as the guest's first two instructions read them.
#[repr(C)]
struct AtEntry(UnsafeCell<[u64; 2]>);

// SAFETY: written by the first instructions only, when nothing else runs.
unsafe impl Sync for AtEntry {}

#[unsafe(link_section = ".uninitialized")]
static AT_ENTRY: AtEntry = AtEntry(UnsafeCell::new([0; 2]));

/// CNTPCT_EL0 and CNTVCT_EL0 as the guest's first two instructions read them: the physical one is the number of
/// instructions since reset, on a machine that counts them (and where nobody pretends another value).
pub fn counters_at_entry() -> [u64; 2] {
    // SAFETY: written before any Rust code ran, and never again.
    unsafe { *AT_ENTRY.0.get() }
}

// The header is the arm64 Linux boot protocol's (Documentation/arch/arm64/booting.rst): code0 is the branch over it;
// flags say little endian, 4 KiB pages, anywhere in memory. x1 to x3 are free then.
global_asm!(
    r#"
    .section .head, "ax"
    .global bench_head
bench_head:
    b       1f
    .long   0
    .quad   0
    .quad   __image_size
    .quad   0xa
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

1:  mrs     x1, cntpct_el0
    mrs     x2, cntvct_el0
    msr     daifset, #0xf
    adrp    x3, {at_entry}
    add     x3, x3, :lo12:{at_entry}
    stp     x1, x2, [x3]

    // Linked at 0: each R_AARCH64_RELATIVE (type 1027) adds the load address to its addend.
    adrp    x20, __image_start
    adrp    x1, __rela_start
    add     x1, x1, :lo12:__rela_start
    adrp    x2, __rela_end
    add     x2, x2, :lo12:__rela_end
2:  cmp     x1, x2
    b.hs    3f
    ldp     x3, x4, [x1]
    ldr     x5, [x1, #16]
    add     x1, x1, #24
    cmp     w4, #1027
    b.ne    2b
    add     x5, x5, x20
    str     x5, [x3, x20]
    b       2b
3:  b       _start
    "#,
    at_entry = sym AT_ENTRY,
);
