//! A leap into code that may do anything, and the way back from wherever it ends.
//!
//! The code gets all registers, a state (SPSR) and, if it wants, tables of its own. Whatever exception it takes comes to
//! vectors that trust nothing it had: neither its registers nor its stack, and where it may have broken the translation, not
//! that either. They lie at two addresses, in the lower and in the upper half of virtual addresses: code that breaks the one
//! half runs in the other.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use guest_runtime::{MAX_CORES, read_register, register, write_register};

use crate::ground;

/// Bytes between two cores' contexts.
const STRIDE: usize = 1024;

/// What one core's leap needs. The assembly below knows it by offsets.
#[repr(C, align(1024))]
pub struct Context {
    /// x0 to x30 of the code.
    pub x: [u64; 31],
    /// Its stack pointers.
    pub sp: u64,
    /// Where it begins.
    pub start: u64,
    /// Its PSTATE.
    pub state: u64,
    /// Its TTBR0_EL1; only for code in the upper half.
    pub tables: u64,
    /// What is added to addresses: 0, or what leads to the upper half.
    pub half: u64,
    /// Whether the translation has to be put right afterwards.
    pub breaks: u64,
    /// TTBR0_EL1, TTBR1_EL1, TCR_EL1, MAIR_EL1, SCTLR_EL1 and VBAR_EL1 as they belong.
    ground: [u64; 6],
    /// x19 to x30 and SP of who leaps.
    own: [u64; 13],
    /// Whether code runs that leapt.
    is_away: u64,
    /// How it ended.
    pub end: End,
}

/// How the code ended.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct End {
    /// Which of the sixteen vectors.
    pub vector: u64,
    /// ESR_EL1.
    pub syndrome: u64,
    /// FAR_EL1.
    pub address: u64,
    /// ELR_EL1.
    pub at: u64,
}

impl End {
    /// The exception class of a synchronous exception.
    pub fn class(&self) -> Option<u64> {
        (self.vector & 3 == 0).then_some(self.syndrome >> 26)
    }

    /// Whether it was an interrupt, of either kind.
    pub fn is_interrupt(&self) -> bool {
        matches!(self.vector & 3, 1 | 2)
    }
}

#[repr(C, align(1024))]
struct Contexts(UnsafeCell<[Context; MAX_CORES]>);

// SAFETY: each core uses its own, by its index.
unsafe impl Sync for Contexts {}

const NEW: Context = Context {
    x: [0; 31],
    sp: 0,
    start: 0,
    state: 0,
    tables: 0,
    half: 0,
    breaks: 0,
    ground: [0; 6],
    own: [0; 13],
    is_away: 0,
    end: End { vector: 0, syndrome: 0, address: 0, at: 0 },
};

static CONTEXTS: Contexts = Contexts(UnsafeCell::new([NEW; MAX_CORES]));

unsafe extern "C" {
    static chaos_vectors: u8;
    fn chaos_leap(context: *mut Context);
}

/// This core's context.
pub fn context() -> &'static mut Context {
    const { assert!(size_of::<Context>() == STRIDE) };
    let index = register::core_index() % MAX_CORES;
    // SAFETY: each core uses its own, in one place at a time.
    unsafe { &mut *CONTEXTS.0.get().cast::<Context>().add(index) }
}

/// Makes what this core's translation is now what it comes back to, and takes its exceptions from here on.
pub fn settle() {
    let vectors = &raw const chaos_vectors as u64;
    context().ground = [
        read_register!("ttbr0_el1"),
        read_register!("ttbr1_el1"),
        read_register!("tcr_el1"),
        read_register!("mair_el1"),
        read_register!("sctlr_el1"),
        vectors,
    ];
    write_register!("vbar_el1", vectors);
}

/// Leaps as the context says. Its registers stay what they were for the next leap.
pub fn leap(context: &mut Context) {
    // SAFETY: comes back with the calling convention kept, by whatever exception; what the code can write is no Rust object.
    unsafe { chaos_leap(context) };
}

/// An exception while nothing had leapt: this guest itself is wrong, or somebody changed it.
extern "C" fn fallen(end: &End) -> ! {
    panic!("an exception outside any action: {end:x?}, core {}", register::core_index());
}

/// What is added to an address in the lower half to get the same in the upper half.
pub const UPPER: u64 = ground::UPPER;

global_asm!(
    r#"
.macro chaos_entry vector
    .balign 128
    mov     x0, #\vector
    b       chaos_back
.endm

.section .text.chaos, "ax"
.balign 2048
.global chaos_vectors
chaos_vectors:
    chaos_entry 0
    chaos_entry 1
    chaos_entry 2
    chaos_entry 3
    chaos_entry 4
    chaos_entry 5
    chaos_entry 6
    chaos_entry 7
    chaos_entry 8
    chaos_entry 9
    chaos_entry 10
    chaos_entry 11
    chaos_entry 12
    chaos_entry 13
    chaos_entry 14
    chaos_entry 15

// x2 = this core's context, in the half that this runs in.
.macro find_context
    mrs     x1, mpidr_el1
    and     x1, x1, #7
    adrp    x2, {contexts}
    add     x2, x2, :lo12:{contexts}
    add     x2, x2, x1, lsl #10
.endm

chaos_back:
    find_context
    mrs     x3, esr_el1
    mrs     x4, far_el1
    mrs     x5, elr_el1
    ldr     x6, [x2, #{breaks}]
    cbz     x6, 2f
    ldp     x7, x8, [x2, #{ground}]
    ldp     x9, x10, [x2, #{ground} + 16]
    ldp     x11, x12, [x2, #{ground} + 32]
    msr     mair_el1, x10
    msr     tcr_el1, x9
    msr     ttbr0_el1, x7
    msr     ttbr1_el1, x8
    isb
    msr     sctlr_el1, x11
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    msr     vbar_el1, x12
    ldr     x6, [x2, #{half}]
    adr     x7, 2f
    sub     x7, x7, x6
    br      x7
2:  find_context
    stp     x0, x3, [x2, #{end}]
    stp     x4, x5, [x2, #{end} + 16]
    msr     spsel, #1
    ldr     x6, [x2, #{is_away}]
    cbz     x6, 3f
    str     xzr, [x2, #{is_away}]
    msr     mdscr_el1, xzr
    ldp     x19, x20, [x2, #{own}]
    ldp     x21, x22, [x2, #{own} + 16]
    ldp     x23, x24, [x2, #{own} + 32]
    ldp     x25, x26, [x2, #{own} + 48]
    ldp     x27, x28, [x2, #{own} + 64]
    ldp     x29, x30, [x2, #{own} + 80]
    ldr     x6, [x2, #{own} + 96]
    mov     sp, x6
    // By a return: it makes PSTATE what it belongs to be, PAN and all the rest.
    mov     x6, #0x3c5
    msr     spsr_el1, x6
    msr     elr_el1, x30
    eret
3:  ldr     x6, [x2, #{own} + 96]
    mov     sp, x6
    add     x0, x2, #{end}
    b       {fallen}

.global chaos_leap
chaos_leap:
    stp     x19, x20, [x0, #{own}]
    stp     x21, x22, [x0, #{own} + 16]
    stp     x23, x24, [x0, #{own} + 32]
    stp     x25, x26, [x0, #{own} + 48]
    stp     x27, x28, [x0, #{own} + 64]
    stp     x29, x30, [x0, #{own} + 80]
    mov     x1, sp
    str     x1, [x0, #{own} + 96]
    mov     x1, #1
    str     x1, [x0, #{is_away}]
    ldr     x1, [x0, #{half}]
    cbz     x1, 4f
    add     x0, x0, x1
    adr     x2, 5f
    add     x2, x2, x1
    br      x2
5:  ldr     x3, [x0, #{tables}]
    ldr     x4, [x0, #{ground} + 40]
    add     x4, x4, x1
    msr     vbar_el1, x4
    msr     ttbr0_el1, x3
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
4:  ldp     x2, x3, [x0, #{sp}]
    msr     elr_el1, x3
    msr     sp_el0, x2
    mov     sp, x2
    ldr     x3, [x0, #{state}]
    msr     spsr_el1, x3
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
"#,
    contexts = sym CONTEXTS,
    fallen = sym fallen,
    breaks = const offset_of!(Context, breaks),
    ground = const offset_of!(Context, ground),
    half = const offset_of!(Context, half),
    end = const offset_of!(Context, end),
    is_away = const offset_of!(Context, is_away),
    own = const offset_of!(Context, own),
    tables = const offset_of!(Context, tables),
    sp = const offset_of!(Context, sp),
    state = const offset_of!(Context, state),
);
