//! The least that an EL2 can cost: it saves and restores x0 to x30, dispatches on the exception class and answers.
//!
//! It answers HVC, reads of ID registers (zero), and every access to the interrupt controller's first 2 MiB (reads as
//! zero). The guest's flat image lies 2 MiB behind this one; `cargo xtask bench` puts it there. It knows QEMU's
//! `virt` machine only, has one core, and interrupts go straight to EL1: a measure, not a hypervisor.
#![no_std]
#![no_main]

use core::arch::global_asm;

global_asm!(
    r#"
    .section .head, "ax"
    .global stub_head
stub_head:
    b       1f
    .long   0
    .quad   0
    // As large as the guest behind may become.
    .quad   0x1000000
    .quad   0xa
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

1:  mov     x19, x0
    msr     daifset, #0xf
    adrp    x0, stub_stack_top
    mov     sp, x0

    // Stage 2, Arm ARM D8.3: the first gigabyte in 2 MiB device blocks but for the interrupt controller's, and seven
    // gigabytes of memory behind it.
    adrp    x0, stub_level_1
    adrp    x1, stub_level_2
    orr     x2, x1, #3
    str     x2, [x0]
    mov     x2, #0x7fd
    mov     x3, #1
2:  orr     x4, x2, x3, lsl #30
    str     x4, [x0, x3, lsl #3]
    add     x3, x3, #1
    cmp     x3, #8
    b.lo    2b
    mov     x2, #0x4c1
    mov     x3, #0
3:  orr     x4, x2, x3, lsl #21
    str     x4, [x1, x3, lsl #3]
    add     x3, x3, #1
    cmp     x3, #512
    b.lo    3b
    str     xzr, [x1, #(0x08000000 >> 21 << 3)]

    msr     vttbr_el2, x0
    // T0SZ 25, start at level 1, write-back and inner shareable walks, 40-bit addresses.
    ldr     x0, =0x80023559
    msr     vtcr_el2, x0
    // VM, TID3, RW.
    ldr     x0, =0x80040001
    msr     hcr_el2, x0
    mov     x0, #0x33ff
    msr     cptr_el2, x0
    mov     x0, #3
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    msr     mdcr_el2, xzr
    msr     hstr_el2, xzr
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4
    cbz     x0, 4f
    mov     x0, #0xf
    msr     s3_4_c12_c9_5, x0       // ICC_SRE_EL2
4:  ldr     x0, =0x30d00800
    msr     sctlr_el1, x0
    adrp    x0, stub_vectors
    msr     vbar_el2, x0
    dsb     sy
    tlbi    vmalls12e1
    dsb     sy
    adrp    x0, stub_head
    add     x0, x0, #0x200000
    msr     elr_el2, x0
    mov     x0, #0x3c5
    msr     spsr_el2, x0
    isb
    mov     x0, x19
    mov     x1, #0
    mov     x2, #0
    mov     x3, #0
    eret
    .ltorg

    .balign 4096
stub_vectors:
    .space  0x400
    stp     x0, x1, [sp, #-256]!
    b       stub_entry
    .balign 2048

stub_entry:
"#,
    guest_runtime::save_general!(),
    r#"
    str     x30, [sp, #240]
    mrs     x1, esr_el2
    lsr     x2, x1, #26
    cmp     x2, #0x16
    b.eq    stub_call
    cmp     x2, #0x24
    b.eq    stub_access
    cmp     x2, #0x18
    b.ne    .

    // A system register: zero into Rt, ESR_EL2.ISS bits 9 to 5.
    ubfx    x3, x1, #5, #5
    b       stub_zero
    // A data abort: zero into the register, ESR_EL2.ISS bits 20 to 16, of a load (bit 6 is clear).
stub_access:
    ubfx    x3, x1, #16, #5
    tbnz    x1, #6, stub_skip
stub_zero:
    str     xzr, [sp, x3, lsl #3]
stub_skip:
    mrs     x3, elr_el2
    add     x3, x3, #4
    msr     elr_el2, x3
    b       stub_exit

stub_call:
    mov     w3, #0x84000000
    cmp     w0, w3
    b.eq    5f
    add     w3, w3, #8
    cmp     w0, w3
    b.eq    6f
    mov     x0, #-1
    str     x0, [sp]
    b       stub_exit
    // SYSTEM_OFF is the firmware's.
6:  smc     #0
    // PSCI_VERSION: 1.1.
5:  mov     w0, #0x10001
    str     x0, [sp]

stub_exit:
"#,
    guest_runtime::restore_general!(),
    r#"
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp], #256
    eret

    // Not cleared by loaders: it is part of the image.
    .section .data.stub, "aw"
    .balign 4096
stub_level_1:
    .space  4096
stub_level_2:
    .space  4096
    .space  4096
stub_stack_top:
    .space  4096
    "#
);
