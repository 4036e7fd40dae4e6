//! Vector registers and condition flags, which EL2 does not use but might lose.

use core::sync::atomic::Ordering;

use guest_runtime::checks::Outcome;
use guest_runtime::{Machine, ensure_equal, psci, timer};

use crate::{FAILURES, HARMLESS_DEVICE, HOLD, meet, on_all_cores, own};

/// Fills v0 to v31, FPCR and FPSR from the seed, makes exits, waits, and counts the registers that changed.
fn lost_vector_registers(seed: u64, exits: u64) -> u64 {
    unsafe extern "C" {
        fn vector_registers_lost(seed: u64, exits: u64, device: usize, wait: u64) -> u64;
    }
    // SAFETY: the assembly keeps the calling convention; vector registers are nobody's on this soft-float target.
    unsafe { vector_registers_lost(own(seed), exits, HARMLESS_DEVICE, timer::ticks(HOLD)) }
}

core::arch::global_asm!(
    r#"
.arch_extension fp
.arch_extension simd
.section .text.vector_registers_lost, "ax"
.global vector_registers_lost
vector_registers_lost:
    stp     x19, x20, [sp, #-48]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    mov     x19, x0
    mov     x20, x1
    mov     x21, x2
    mov     x24, x3
    mov     x3, #(3 << 20)
    msr     cpacr_el1, x3
    isb
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x3, x19, #\n
    fmov    d\n, x3
    mvn     x3, x3
    mov     v\n\().d[1], x3
    .endr
    // FPCR.RMode and FZ, FPSR's sticky bits.
    and     x22, x19, #0b111
    lsl     x22, x22, #22
    msr     fpcr, x22
    and     x23, x19, #0x1f
    msr     fpsr, x23
1:  mov     x0, #0x84000000
    hvc     #0
    ldr     w3, [x21]
    subs    x20, x20, #1
    b.ne    1b
    isb
    mrs     x3, cntvct_el0
    add     x24, x24, x3
2:  isb
    mrs     x3, cntvct_el0
    cmp     x3, x24
    b.lo    2b
    mov     x0, #0
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x3, x19, #\n
    mvn     x4, x3
    umov    x5, v\n\().d[0]
    umov    x6, v\n\().d[1]
    cmp     x3, x5
    ccmp    x4, x6, #0, eq
    cinc    x0, x0, ne
    .endr
    mrs     x3, fpcr
    mrs     x4, fpsr
    cmp     x3, x22
    ccmp    x4, x23, #0, eq
    cinc    x0, x0, ne
    msr     fpcr, xzr
    ldp     x23, x24, [sp, #32]
    ldp     x21, x22, [sp, #16]
    ldp     x19, x20, [sp], #48
    ret
"#
);

pub fn vector_registers_survive(_: &Machine) -> Outcome {
    ensure_equal!(lost_vector_registers(0x0123_4567_89ab_cd0a, 1000), 0, "vector registers lost");
    Ok(())
}

fn vectors_job(core: usize) {
    meet();
    let lost = lost_vector_registers((core as u64 + 1) << 40, 3000);
    FAILURES.fetch_add(usize::from(lost != 0), Ordering::SeqCst);
}

pub fn vector_registers_survive_on_all_cores(machine: &Machine) -> Outcome {
    on_all_cores(machine, vectors_job)
}

/// NZCV after an HVC and a device access is what it was before.
pub fn condition_flags_survive(_: &Machine) -> Outcome {
    for flags in 0..16u64 {
        let after: u64;
        // SAFETY: a PSCI call and a device read; registers that they change are named.
        unsafe {
            core::arch::asm!(
                "msr nzcv, {flags}", "hvc #0", "ldr {scratch:w}, [{device}]", "mrs {after}, nzcv",
                flags = in(reg) flags << 28, device = in(reg) HARMLESS_DEVICE, scratch = out(reg) _,
                after = lateout(reg) after, inout("x0") u64::from(psci::VERSION) => _,
                out("x1") _, out("x2") _, out("x3") _,
            );
        }
        ensure_equal!(after >> 28, flags, "NZCV");
    }
    Ok(())
}
