//! Stepping through programs by the processor's own means (Arm ARM D2.12), as a guest's debugger does.

use core::arch::global_asm;

use guest_runtime::Machine;
use guest_runtime::checks::Outcome;
use guest_runtime::ensure_equal;

unsafe extern "C" {
    /// Asks for a step at EL1 and returns ESR_EL1 of the exception that it makes, 0 if there is none.
    fn step_once() -> u64;
}

global_asm!(
    r#"
.section .text.step, "ax"
.balign 2048
step_vectors:
    .space  0x200
    mrs     x0, esr_el1
    msr     mdscr_el1, xzr
    isb
    eret
    .balign 2048
.global step_once
step_once:
    mov     x0, #0
    mrs     x5, daif
    msr     daifset, #0xf
    mrs     x3, vbar_el1
    adr     x4, step_vectors
    msr     vbar_el1, x4
    // KDE and SS.
    mov     x4, #0x2001
    msr     mdscr_el1, x4
    isb
    msr     daifclr, #8
    nop
    msr     daifset, #8
    msr     mdscr_el1, xzr
    msr     vbar_el1, x3
    isb
    msr     daif, x5
    ret
"#
);

/// MDSCR_EL1 traps, and a neighbour on the core has other values there.
pub fn single_step(_: &Machine) -> Outcome {
    // SAFETY: the assembly keeps the calling convention, and masks exceptions but its own.
    let syndrome = unsafe { step_once() };
    ensure_equal!(syndrome >> 26 & 0x3f, 0x33, "class of the exception of a step");
    Ok(())
}
