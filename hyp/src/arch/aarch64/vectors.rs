//! Entering a guest is a function that returns why it came back; a fault of EL2 itself never returns.

use core::arch::{asm, global_asm};

/// The general-purpose registers of a guest while EL2 runs. The assembly below knows the layout; while the guest runs,
/// SP_EL2 points here.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct GeneralRegisters {
    /// X0 to X30.
    pub x: [u64; 31],
    /// EL2's own stack pointer while the guest runs.
    own_stack: u64,
}

impl GeneralRegisters {
    /// All zero.
    pub const RESET: Self = Self { x: [0; 31], own_stack: 0 };
}

/// Which vector brought the guest back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector(u64);

impl Vector {
    /// A synchronous exception: ESR_EL2 says which.
    pub const SYNCHRONOUS: Self = Self(0);
    /// An IRQ or FIQ for EL2. The third vector is that of an SError (asynchronous abort).
    pub const INTERRUPT: Self = Self(1);
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
    /// Runs the guest whose registers X0 points to; returns with its `Vector` in X0 and all but X19, X29 and SP lost.
    fn enter_guest_registers();

    /// The vector table for VBAR_EL2.
    pub static exception_vectors: u8;

    /// The same, but that each exit of a guest first calls the firmware's function that TPIDR_EL2 holds.
    pub static hardened_vectors: u8;
}

/// Runs the guest whose registers are given until its next exit.
///
/// # Safety
/// EL2 must be set up for this guest: ELR_EL2, SPSR_EL2, VTTBR_EL2, HCR_EL2 and its EL1 registers; `registers` is not
/// aliased.
#[inline(always)]
pub unsafe fn enter_guest(registers: *mut GeneralRegisters) -> Vector {
    let vector: u64;
    // Not a plain call: the compiler knows best which few of its registers are worth saving. X19 and X29 it cannot name.
    // SAFETY: as the caller says; what the assembly changes is listed.
    unsafe {
        asm!(
            "bl {enter}",
            enter = sym enter_guest_registers,
            inlateout("x0") registers => vector,
            out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _,
            out("x25") _, out("x26") _, out("x27") _, out("x28") _,
            clobber_abi("C"),
        );
    }
    Vector(vector)
}

global_asm!(
    r#"
    // X2 to X29, to or from the register file at \base.
    .macro general_pairs operation, base
    \operation x2, x3, [\base, #16]
    \operation x4, x5, [\base, #32]
    \operation x6, x7, [\base, #48]
    \operation x8, x9, [\base, #64]
    \operation x10, x11, [\base, #80]
    \operation x12, x13, [\base, #96]
    \operation x14, x15, [\base, #112]
    \operation x16, x17, [\base, #128]
    \operation x18, x19, [\base, #144]
    \operation x20, x21, [\base, #160]
    \operation x22, x23, [\base, #176]
    \operation x24, x25, [\base, #192]
    \operation x26, x27, [\base, #208]
    \operation x28, x29, [\base, #224]
    .endm

    .section .text.enter_guest, "ax"
    .global enter_guest_registers
    .balign 64
enter_guest_registers:
    stp     x19, x29, [sp, #-32]!
    str     x30, [sp, #16]
    mov     x1, sp
    str     x1, [x0, #248]
    mov     sp, x0
    general_pairs ldp, x0
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    // No speculation past the return (CVE-2018-3639 class).
    dsb     nsh
    isb

    // Firmware is called before the first branch, and may change X0 to X17.
    .macro leave_guest vector, hardened
    .balign 128
    stp     x0, x1, [sp]
    general_pairs stp, sp
    .if     \hardened
    mrs     x0, tpidr_el2
    smc     #0
    .endif
    str     x30, [sp, #240]
    ldr     x1, [sp, #248]
    mov     x0, #\vector
    mov     sp, x1
    ldr     x30, [sp, #16]
    ldp     x19, x29, [sp], #32
    ret
    .endm

    // A fault of EL2. Its stack may be what faulted, so the frame lies elsewhere. TPIDR_EL2 only carries X0 over:
    // nothing runs afterwards that would want its value.
    .macro fatal offset
    .balign 128
    fatal_now \offset
    .endm

    .macro fatal_now offset
    msr     tpidr_el2, x0
    adrp    x0, __fatal_stack_top
    sub     x0, x0, #272
    str     x1, [x0, #8]
    mov     x1, #\offset
    b       fatal_entry
    .endm

    // X0: address, X1: what is stored, X2: which access. Returns what was loaded in X0, and 0 in X1; 1 if the hardware
    // refused. EL2 selects SP_EL0 here alone, so that only a refusal arrives at the first vector. The barrier keeps the
    // error of a write from becoming another guest's.
    .global guarded_access
    .equ    GUARDED_BYTES, 92
guarded_access:
    adr     x3, 1f
    add     x3, x3, x2, lsl #3
    msr     spsel, #0
    br      x3
1:  ldrb    w0, [x0]
    b       2f
    ldrh    w0, [x0]
    b       2f
    ldr     w0, [x0]
    b       2f
    ldr     x0, [x0]
    b       2f
    strb    w1, [x0]
    b       2f
    strh    w1, [x0]
    b       2f
    str     w1, [x0]
    b       2f
    str     x1, [x0]
2:  dsb     sy
    msr     spsel, #1
    mov     x1, #0
    ret
    .org    guarded_access + GUARDED_BYTES

fatal_entry:
    str     x1, [x0, #256]
    general_pairs stp, x0
    mov     x1, sp
    stp     x30, x1, [x0, #240]
    mrs     x1, tpidr_el2
    str     x1, [x0]
    mov     sp, x0
    b       fatal_exception

    .macro  vectors hardened
    // In the guarded access: its caller goes on, on its own stack again. At any other fault the X1 and X2 reported are
    // those of this question.
    mrs     x1, elr_el2
    adr     x2, guarded_access
    sub     x2, x1, x2
    cmp     x2, #GUARDED_BYTES
    mov     x1, #1
    b.hs    1f
    ret
1:  fatal_now 0x000
    fatal   0x080
    fatal   0x100
    fatal   0x180
    fatal   0x200
    fatal   0x280
    fatal   0x300
    // An SError, which EL2 takes nowhere but in `take_system_error`: masked from here on.
    .balign 128
    mrs     x0, spsr_el2
    orr     x0, x0, #0x100
    msr     spsr_el2, x0
    eret
    dsb     nsh
    isb
    // From a guest, whether its EL0 runs AArch64 or AArch32. FIQ stands for an interrupt too: firmware that leaves
    // ours in Group 0 would signal it so.
    .rept 2
    leave_guest 0, \hardened
    leave_guest 1, \hardened
    leave_guest 1, \hardened
    leave_guest 2, \hardened
    .endr
    .endm

    .section .vectors, "ax"
    .global exception_vectors
    .balign 2048
exception_vectors:
    vectors 0
    .global hardened_vectors
    .balign 2048
hardened_vectors:
    vectors 1
    "#
);
