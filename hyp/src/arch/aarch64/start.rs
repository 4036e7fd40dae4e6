//! The first instructions of each core: the arm64 Linux image header, self-relocation, a stack.
//!
//! Runs with the MMU off, so it touches no atomic and no lock. Everything after the stack is Rust, in `boot`.

use core::arch::global_asm;

// The header is the arm64 Linux boot protocol's (Documentation/arch/arm64/booting.rst), so that every loader that
// boots Linux boots this image: code0 branches over it; flags say little endian, 4 KiB pages, anywhere in memory.
//
// Where the image was told of a UART (`tessera_abi::early_console`), boot writes the name of the hypervisor to it letter by
// letter: a board that stops has said how far it came. T: it runs; e: relocated; s: cleared; s: caches are as they should be.
global_asm!(
    r#"
    .macro say letter
    cbz     x21, 99f
    mov     w2, #0x100000
98: ldr     w1, [x22]
    and     w1, w1, w23
    cmp     w1, w24
    b.eq    97f
    subs    w2, w2, #1
    b.ne    98b
97: mov     w1, #\letter
    str     w1, [x21]
99:
    .endm

    // Nothing is known of what ran before: exceptions use SP_EL2, data is little-endian, MMU and caches are off (SCTLR_EL2).
    .macro own_state
    msr     spsel, #1
    ldr     w1, =0x30c50830
    msr     sctlr_el2, x1
    isb
    .endm

    // A cache operation on each line from x1 to x2, both at page boundaries.
    .macro each_line operation
    mrs     x3, ctr_el0
    ubfx    x3, x3, #16, #4
    mov     x4, #4
    lsl     x4, x4, x3
93: .rept   8
    dc      \operation, x1
    add     x1, x1, x4
    .endr
    cmp     x1, x2
    b.lo    93b
    .endm

    .section .head, "ax"
    .global _start
_start:
    b       1f
    .long   0
    .quad   0
    .quad   __image_size
    .quad   0xa
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0
    .global EARLY_CONSOLE
EARLY_CONSOLE:
    .ascii  "earlycon"
    .quad   0, 0
    .long   0, 0
    .zero   9 * 16

1:  msr     daifset, #0xf
    mov     x19, x0
    adrp    x20, __image_start
    // At another exception level it is not ours; that is said later.
    mrs     x1, CurrentEL
    cmp     x1, #8
    b.ne    0f
    own_state
0:
    ldp     x21, x22, [x20, #72]
    ldp     w23, w24, [x20, #88]
    cbz     x21, 3f

    // Its settings: x1 the address, bit 0 of which makes it a question, w2 the bits, w3 their value.
    add     x4, x20, #96
0:  ldp     x1, x2, [x4], #16
    cbz     x1, 3f
    lsr     x3, x2, #32
    tbnz    x1, #0, 2f
    ldr     w5, [x1]
    bic     w5, w5, w2
    orr     w5, w5, w3
    str     w5, [x1]
    b       0b
2:  ldur    w5, [x1, #-1]
    and     w5, w5, w2
    cmp     w5, w3
    b.ne    0b
3:  say     'T'

    // Dirty lines of what was here before could be written back over what is written now past the caches.
    adrp    x1, __text_end
    adrp    x2, __written_early_end
    each_line civac
    dsb     sy

    // Linked at 0: the load address is added to each word that holds an address. They are listed in packed form (SHT_RELR
    // of the ELF gABI): an even entry is where such a word is, an odd one has a bit, from bit 1 on, for each of the 63 words
    // behind those before. (Linkers may leave odd ones without any at the end.)
    adrp    x1, __relr_start
    add     x1, x1, :lo12:__relr_start
    adrp    x2, __relr_end
    add     x2, x2, :lo12:__relr_end
2:  cmp     x1, x2
    b.hs    4f
    ldr     x3, [x1], #8
    tbnz    x3, #0, 3f
    add     x4, x3, x20
    ldr     x5, [x4]
    add     x5, x5, x20
    str     x5, [x4], #8
    b       2b
3:  lsr     x3, x3, #1
    cbz     x3, 6f
5:  rbit    x6, x3
    clz     x6, x6
    ldr     x5, [x4, x6, lsl #3]
    add     x5, x5, x20
    str     x5, [x4, x6, lsl #3]
    sub     x6, x3, #1
    ands    x3, x3, x6
    b.ne    5b
6:  add     x4, x4, #63 * 8
    b       2b

4:  say     'e'
    adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
5:  cmp     x1, x2
    b.hs    6f
    stp     xzr, xzr, [x1]
    stp     xzr, xzr, [x1, #16]
    stp     xzr, xzr, [x1, #32]
    stp     xzr, xzr, [x1, #48]
    add     x1, x1, #64
    b       5b

    // What was written with the caches off must not be hidden by stale lines when they come on. Of the stacks and the
    // tables there are none any more, and what is not cached is not read ahead.
6:  say     's'
    dsb     sy
    adrp    x1, __text_end
    adrp    x2, __bss_end + 4095
    each_line ivac
    ic      iallu
    dsb     sy
    isb

    say     's'

    adrp    x1, __boot_stack_top
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    mov     x1, x20
    b       tessera_boot

    // A secondary core from a spin table, whose X0 holds nothing: the record that was left for it.
    .global spin_table_start
spin_table_start:
    adrp    x0, SPIN_TABLE_RECORD
    ldr     x0, [x0, :lo12:SPIN_TABLE_RECORD]

    // A secondary core. x0: its `SecondaryStart` (machine address, cleaned to the point of coherency).
    .global secondary_start
secondary_start:
    msr     daifset, #0xf
    own_state
    ldp     x1, x2, [x0]            // TTBR0_EL2, TCR_EL2
    ldp     x3, x4, [x0, #16]       // MAIR_EL2, SCTLR_EL2
    ldp     x5, x6, [x0, #32]       // stack top, HCR_EL2
    msr     hcr_el2, x6
    msr     ttbr0_el2, x1
    msr     tcr_el2, x2
    msr     mair_el2, x3
    isb
    tlbi    alle2
    ic      iallu
    dsb     sy
    isb
    msr     sctlr_el2, x4
    isb
    mov     sp, x5
    mov     x29, xzr
    mov     x30, xzr
    b       tessera_secondary
    "#
);
