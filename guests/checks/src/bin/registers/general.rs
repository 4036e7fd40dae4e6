//! X0 to X30, SP and the condition flags, while other guests have the core.

use core::sync::atomic::Ordering;

use guest_runtime::checks::Outcome;
use guest_runtime::register::{core_index, mask_interrupts};
use guest_runtime::{Machine, ensure_equal, timer};

use crate::{FAILURES, HOLD, is_odd, meet, on_all_cores, own};

unsafe extern "C" {
    /// Fills X5 to X30 from `seed`, moves SP down by `shift` bytes (a multiple of 16), waits `wait` ticks and counts the
    /// registers that changed, NZCV among them.
    fn general_lost_high(seed: u64, wait: u64, shift: u64) -> u64;
    /// The same with X0 to X25.
    fn general_lost_low(seed: u64, wait: u64, shift: u64) -> u64;
}

// Five registers cannot hold patterns: the seed, the end, SP as it should be, the counter, NZCV as they should be.
core::arch::global_asm!(
    r#"
.macro lost name, seed, end, stack, now, flags, others:vararg
.section .text.\name, "ax"
.global \name
\name:
    stp     x19, x20, [sp, #-96]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mov     \seed, x0
    mov     \now, sp
    sub     \stack, \now, x2
    str     \now, [\stack]
    mov     sp, \stack
    isb
    mrs     \now, cntvct_el0
    add     \end, \now, x1
    and     \flags, \seed, #0xf
    lsl     \flags, \flags, #28
    .irp    n, \others
    add     x\n, \seed, #\n
    .endr
    msr     nzcv, \flags
1:  isb
    mrs     \now, cntvct_el0
    sub     \now, \now, \end
    tbnz    \now, #63, 1b
    mrs     \now, nzcv
    cmp     \now, \flags
    cset    \end, ne
    mov     \now, sp
    cmp     \now, \stack
    cinc    \end, \end, ne
    .irp    n, \others
    sub     \now, x\n, #\n
    cmp     \now, \seed
    cinc    \end, \end, ne
    .endr
    mov     x0, \end
    ldr     \now, [\stack]
    mov     sp, \now
    ldp     x29, x30, [sp, #80]
    ldp     x27, x28, [sp, #64]
    ldp     x25, x26, [sp, #48]
    ldp     x23, x24, [sp, #32]
    ldp     x21, x22, [sp, #16]
    ldp     x19, x20, [sp], #96
    ret
.endm
lost general_lost_high, x0, x1, x2, x3, x4, 5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
lost general_lost_low, x26, x27, x28, x29, x30, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25
"#
);

fn lost_registers(seed: u64) -> u64 {
    let (seed, wait) = (own(seed), timer::ticks(HOLD));
    // The two guests are the same program: only this makes their stack pointers differ.
    let shift = if is_odd() { 64 } else { 256 };
    // SAFETY: the assembly keeps the calling convention; while SP is moved no interrupt is taken, and the bytes below it
    // are the stack's.
    unsafe { general_lost_high(seed, wait, shift) + general_lost_low(seed, wait, shift) }
}

pub fn general_registers_survive(_: &Machine) -> Outcome {
    mask_interrupts();
    ensure_equal!(lost_registers(0x5a5a_0f0f_3333_0a05), 0, "general registers lost");
    Ok(())
}

fn general_job(core: usize) {
    meet();
    let before = core_index();
    let lost = lost_registers(0x0123_4567_89ab_cdea << core);
    // Two guests' cores of different numbers may share one of the machine's.
    let is_wrong = lost != 0 || before != core || core_index() != core;
    FAILURES.fetch_add(usize::from(is_wrong), Ordering::SeqCst);
}

pub fn general_registers_survive_on_all_cores(machine: &Machine) -> Outcome {
    on_all_cores(machine, general_job)
}
