//! The guest's exception vectors: an interrupt reads the counter as early as can be, saves every general register as
//! an ordinary kernel does, and calls the handler. All else goes to the runtime's vectors.

use core::arch::global_asm;
use core::sync::atomic::{AtomicUsize, Ordering};

use guest_runtime::write_register;

/// Instructions of the vector before it reads the counter.
pub const BEFORE_COUNTER: u64 = 2;

/// Called with interrupts masked and the counter as it was on entry.
pub type Handler = extern "C" fn(entered: u64);

static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Makes these vectors the calling core's.
pub fn install() {
    unsafe extern "C" {
        static bench_vectors: u8;
    }
    write_register!("vbar_el1", &raw const bench_vectors as u64);
}

/// Says who handles interrupts from now on.
pub fn set_handler(handler: Handler) {
    HANDLER.store(handler as usize, Ordering::SeqCst);
}

global_asm!(
    r#"
.macro to_runtime offset
    .balign 128
    b       exception_vectors + \offset
.endm

.section .text.bench_vectors, "ax"
.balign 2048
.global bench_vectors
bench_vectors:
    to_runtime 0x000
    to_runtime 0x080
    to_runtime 0x100
    to_runtime 0x180
    to_runtime 0x200
    .balign 128
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mrs     x0, cntvct_el0
    b       bench_interrupt
    to_runtime 0x300
    to_runtime 0x380
    to_runtime 0x400
    to_runtime 0x480
    to_runtime 0x500
    to_runtime 0x580
    to_runtime 0x600
    to_runtime 0x680
    to_runtime 0x700
    to_runtime 0x780

bench_interrupt:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x30, x2, [sp, #240]
    str     x3, [sp, #256]
    adrp    x1, {handler}
    ldr     x1, [x1, :lo12:{handler}]
    blr     x1
    ldp     x30, x2, [sp, #240]
    ldr     x3, [sp, #256]
    msr     elr_el1, x2
    msr     spsr_el1, x3
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldp     x0, x1, [sp]
    add     sp, sp, #272
    eret
"#,
    handler = sym HANDLER,
);
