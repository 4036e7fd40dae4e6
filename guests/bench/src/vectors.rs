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
"#,
    guest_runtime::save_general!(),
    r#"
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
"#,
    guest_runtime::restore_general!(),
    r#"
    ldp     x0, x1, [sp]
    add     sp, sp, #272
    eret
"#,
    handler = sym HANDLER,
);
