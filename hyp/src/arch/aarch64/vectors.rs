//! Entering a guest is a function that returns why it came back; a fault of EL2 itself never returns.

use core::arch::global_asm;

/// The general-purpose state of a guest while EL2 runs. The assembly below knows its layout.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct GeneralRegisters {
    /// X0 to X30.
    pub x: [u64; 31],
    /// The preferred return address (`ELR_EL2`).
    pub pc: u64,
    /// The saved program status (`SPSR_EL2`).
    pub pstate: u64,
}

/// Which vector brought the guest back.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vector {
    /// A synchronous exception: ESR_EL2 says which.
    Synchronous = 0,
    /// An IRQ or FIQ for EL2.
    Interrupt = 1,
    /// An SError (asynchronous abort).
    SystemError = 2,
}

/// The register file at a fault of EL2 itself, as `fatal_exception` gets it.
#[repr(C)]
pub struct FatalFrame {
    /// X0 to X30.
    pub x: [u64; 31],
    /// The stack pointer at the fault.
    pub sp: u64,
    /// The offset of the vector taken in the table (Arm ARM D1.3.1).
    pub vector: u64,
}

unsafe extern "C" {
    /// Runs the guest whose registers are given until its next exit.
    ///
    /// # Safety
    /// EL2 must be set up for this guest: VTTBR_EL2, HCR_EL2 and its EL1 registers; `registers` is not aliased.
    pub fn enter_guest(registers: *mut GeneralRegisters) -> Vector;

    /// The vector table for VBAR_EL2.
    pub static exception_vectors: u8;
}

global_asm!(
    r#"
    .section .text.enter_guest, "ax"
    .global enter_guest
    .balign 64
enter_guest:
    stp     x29, x30, [sp, #-112]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    str     x0, [sp, #96]
    ldp     x1, x2, [x0, #248]
    msr     elr_el2, x1
    msr     spsr_el2, x2
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
    // No speculation past the return (CVE-2018-3639 class).
    dsb     nsh
    isb

    .macro leave_guest vector
    .balign 128
    stp     x0, x1, [sp, #-16]!
    ldr     x0, [sp, #112]
    mov     x1, #\vector
    b       guest_left
    .endm

guest_left:
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    ldp     x2, x3, [sp], #16
    mrs     x4, elr_el2
    mrs     x5, spsr_el2
    stp     x2, x3, [x0]
    stp     x30, x4, [x0, #240]
    str     x5, [x0, #256]
    mov     x0, x1
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #112
    ret

    // A fault of EL2. Its stack may be what faulted, so the frame lies elsewhere. TPIDR_EL2 only carries X0 over:
    // nothing runs afterwards that would want its value.
    .macro fatal offset
    .balign 128
    msr     tpidr_el2, x0
    adrp    x0, __fatal_stack_top
    sub     x0, x0, #272
    str     x1, [x0, #8]
    mov     x1, #\offset
    b       fatal_entry
    .endm

fatal_entry:
    str     x1, [x0, #256]
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    mov     x1, sp
    stp     x30, x1, [x0, #240]
    mrs     x1, tpidr_el2
    str     x1, [x0]
    mov     sp, x0
    b       fatal_exception

    .section .vectors, "ax"
    .global exception_vectors
    .balign 2048
exception_vectors:
    fatal   0x000
    fatal   0x080
    fatal   0x100
    fatal   0x180
    fatal   0x200
    fatal   0x280
    fatal   0x300
    fatal   0x380
    // From a guest, whether its EL0 runs AArch64 or AArch32. FIQ stands for an interrupt too: firmware that leaves
    // ours in Group 0 would signal it so.
    .rept 2
    leave_guest 0
    leave_guest 1
    leave_guest 1
    leave_guest 2
    .endr
    "#
);
