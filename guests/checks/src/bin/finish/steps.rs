//! Software steps over instructions that trap (Arm ARM D2.12): after one step the address is one instruction on.

use core::arch::global_asm;

use guest_runtime::checks::Outcome;
use guest_runtime::console::PL011;
use guest_runtime::{Machine, ensure_equal, register};

use crate::with_timer;

/// Exception class: a software step at the same level.
const CLASS_STEP: u64 = 0x33;
/// The UART's flag register.
const FLAGS: u64 = PL011 as u64 + 0x18;
/// Its interrupt mask: nobody uses its interrupts.
const MASK: u64 = PL011 as u64 + 0x38;

#[repr(C)]
struct Step {
    syndrome: u64,
    address: u64,
}

unsafe extern "C" {
    /// Steps over the instruction at `code`, at EL1, with x1 = `argument`.
    fn step_over(code: u64, argument: u64, step: *mut Step);
}

global_asm!(
    r#"
.section .text.step_over, "ax"
.balign 2048
step_over_vectors:
    .space  0x200
    // SP is as it was: no instruction that is stepped over changes it.
    msr     mdscr_el1, xzr
    isb
    ldr     x9, [sp, #88]
    mrs     x10, esr_el1
    mrs     x11, elr_el1
    stp     x10, x11, [x9]
    ldr     x9, [sp, #96]
    msr     vbar_el1, x9
    ldr     x9, [sp, #104]
    msr     daif, x9
    isb
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #112]
    ldp     x29, x30, [sp], #128
    ret
    .balign 2048
.global step_over
step_over:
    stp     x29, x30, [sp, #-128]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #112]
    str     x2, [sp, #88]
    mrs     x9, vbar_el1
    str     x9, [sp, #96]
    mrs     x9, daif
    str     x9, [sp, #104]
    msr     daifset, #0xf
    adr     x9, step_over_vectors
    msr     vbar_el1, x9
    msr     elr_el1, x0
    // EL1h, all masked but debug exceptions; SS.
    mov     x9, #0x1c5
    movk    x9, #0x20, lsl #16
    msr     spsr_el1, x9
    // KDE and SS.
    mov     x9, #0x2001
    msr     mdscr_el1, x9
    isb
    // PSCI_VERSION, for calls.
    mov     x0, #0x84000000
    eret
"#
);

/// Steps over `instruction`, with x1 = `argument`.
fn step(instruction: u32, argument: u64) -> Outcome {
    let code = register::assemble(instruction) as usize as u64;
    let mut step = Step { syndrome: 0, address: 0 };
    // SAFETY: the assembly keeps the calling convention; the instructions change registers that a call may.
    unsafe { step_over(code, argument, &raw mut step) };
    ensure_equal!(step.syndrome >> 26 & 0x3f, CLASS_STEP, "class of the exception after {instruction:#x}");
    ensure_equal!(step.address.wrapping_sub(code), 4, "bytes stepped over by {instruction:#x}");
    Ok(())
}

pub fn over_what_does_not_trap(_: &Machine) -> Outcome {
    // nop
    step(0xd503_201f, 0)
}

pub fn over_device_accesses(_: &Machine) -> Outcome {
    // ldr w2, [x1]; ldp w2, w4, [x1]; ldrsb x2, [x1]
    [0xb940_0022, 0x2940_1022, 0x3980_0022].into_iter().try_for_each(|load| step(load, FLAGS))?;
    // str wzr, [x1]; stp wzr, wzr, [x1]
    [0xb900_003f, 0x2900_7c3f].into_iter().try_for_each(|store| step(store, MASK))?;
    // dc civac, x1
    step(0xd50b_7e21, FLAGS)
}

pub fn over_registers(_: &Machine) -> Outcome {
    // mrs x2, id_aa64pfr0_el1; mrs x2, cntp_ctl_el0; msr cntp_ctl_el0, x1.
    [0xd538_0402, 0xd53b_e222, 0xd51b_e221].into_iter().try_for_each(|access| step(access, 0))
}

pub fn over_calls(_: &Machine) -> Outcome {
    // hvc #0; smc #0
    [0xd400_0002, 0xd400_0003].into_iter().try_for_each(|call| step(call, 0))
}

pub fn over_a_wait(machine: &Machine) -> Outcome {
    // wfi
    with_timer(machine, || step(0xd503_207f, 0))
}
