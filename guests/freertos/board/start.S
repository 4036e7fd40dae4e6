/* From the loader to main: EL1, stack, FP on, translation and caches on, bss cleared. And the exception vectors. */

    .section .text.start, "ax"
    .global _start
_start:
    msr     daifset, #0xf
    msr     spsel, #1
    ldr     x0, =stack_top
    mov     sp, x0

    /* CPACR_EL1.FPEN: no traps of FP and SIMD. */
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0
    ldr     x0, =vectors
    msr     vbar_el1, x0
    isb

    ldr     x0, =bss_start
    ldr     x1, =bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b

2:  bl      translation_on
    bl      main
    b       .

/* Stage 1: virtual = physical. Attributes: 0 Device-nGnRnE, 1 write-back. */
translation_on:
    mov     x0, #0xff00
    msr     mair_el1, x0
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf
    mov     x2, #5
    cmp     x1, x2
    csel    x1, x1, x2, ls
    /* 4 KiB granule, inner shareable write-back walks, EPD1, T0SZ 25. */
    ldr     x0, =0x803519
    orr     x0, x0, x1, lsl #32
    msr     tcr_el1, x0
    ldr     x0, =level_1
    msr     ttbr0_el1, x0
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    /* RES1 bits, and I, C, M. */
    ldr     x0, =0x30d01805
    msr     sctlr_el1, x0
    isb
    ret

    .section .data.tables, "aw"
    .balign 4096
/* Level 1, 1 GiB each: devices below 0x40000000 (never executed), then memory by level_2. */
level_1:
    .quad   0x0060000000000401
    .quad   level_2 + 3
    .fill   510, 8, 0
/* Level 2, 2 MiB each: the first 4 MiB of memory, inner shareable and cacheable. */
level_2:
    .quad   0x40000705
    .quad   0x40200705
    .fill   510, 8, 0

/* One table serves before and after the scheduler starts. Tasks run on SP_EL0, interrupts on SP_EL1. */
    .section .text.vectors, "ax"
    .global _freertos_vector_table
    .balign 2048
vectors:
_freertos_vector_table:
    b       synchronous
    .balign 128
    b       FreeRTOS_IRQ_Handler
    .balign 128
    b       unexpected
    .balign 128
    b       unexpected
    .balign 128
    b       synchronous
    .balign 128
    b       FreeRTOS_IRQ_Handler
    .balign 128
    b       unexpected
    .balign 128
    b       unexpected
    .balign 128
    .rept   8
    b       unexpected
    .balign 128
    .endr

/* SVC is the kernel's yield; everything else is a crash, which the port would answer with a silent endless loop. */
synchronous:
    stp     x0, x1, [sp, #-16]!
    mrs     x0, esr_el1
    lsr     x0, x0, #26
    cmp     x0, #0x15
    b.ne    unexpected
    ldp     x0, x1, [sp], #16
    b       FreeRTOS_SWI_Handler

unexpected:
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    b       crashed

/* uint64_t float_registers_lost(uint64_t seed, uint64_t ticks)
 * Fills v0 to v31 from the seed, waits so many counter ticks, and counts the registers that then hold something else. */
    .text
    .global float_registers_lost
float_registers_lost:
    stp     d8, d9, [sp, #-64]!
    stp     d10, d11, [sp, #16]
    stp     d12, d13, [sp, #32]
    stp     d14, d15, [sp, #48]
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x2, x0, #\n
    dup     v\n\().2d, x2
    .endr
    isb
    mrs     x3, cntvct_el0
1:  isb
    mrs     x4, cntvct_el0
    sub     x4, x4, x3
    cmp     x4, x1
    b.lo    1b
    mov     x5, #0
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x2, x0, #\n
    umov    x3, v\n\().d[0]
    umov    x4, v\n\().d[1]
    cmp     x2, x3
    ccmp    x2, x4, #0, eq
    cinc    x5, x5, ne
    .endr
    mov     x0, x5
    ldp     d10, d11, [sp, #16]
    ldp     d12, d13, [sp, #32]
    ldp     d14, d15, [sp, #48]
    ldp     d8, d9, [sp], #64
    ret

    .section .note.GNU-stack, "", %progbits
