//! `memcpy` and `memset`, as compiled code calls them, by pairs of registers.
//!
//! They stand in for those of compiler-builtins, which move 8 bytes at a time and take three times as long. Boot calls
//! them before the MMU is on too, when only aligned accesses work: bytes up to a multiple of 8, then pairs of words.

use core::arch::global_asm;

global_asm!(
    r#"
    // x0: target, x1: source, x2: bytes. Returns the target.
    .section .text.memcpy, "ax"
    .global memcpy
    .type memcpy, %function
memcpy:
    mov     x3, x0
    eor     x4, x0, x1
    tst     x4, #7
    b.ne    7f
1:  tst     x3, #7
    b.eq    2f
    cbz     x2, 92f
    ldrb    w4, [x1], #1
    strb    w4, [x3], #1
    sub     x2, x2, #1
    b       1b
2:  subs    x2, x2, #256
    b.lo    4f
3:  .rept   16
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
    .endr
    subs    x2, x2, #256
    b.hs    3b
4:  adds    x2, x2, #256 - 16
    b.mi    6f
5:  ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
    subs    x2, x2, #16
    b.pl    5b
6:  add     x2, x2, #16
    tbz     x2, #3, 7f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
    sub     x2, x2, #8
    // Not both at a multiple of 8: words of 4 bytes, if all are at one of 4.
7:  orr     x4, x3, x1
    tst     x4, #3
    b.ne    9f
    subs    x2, x2, #4
    b.lo    82f
81: ldr     w4, [x1], #4
    str     w4, [x3], #4
    subs    x2, x2, #4
    b.hs    81b
82: add     x2, x2, #4
9:  cbz     x2, 92f
91: ldrb    w4, [x1], #1
    strb    w4, [x3], #1
    subs    x2, x2, #1
    b.ne    91b
92: ret
    .size memcpy, . - memcpy

    // x0: target, w1: the byte, x2: bytes. Returns the target.
    .section .text.memset, "ax"
    .global memset
    .type memset, %function
memset:
    mov     x4, #0x0101010101010101
    and     x1, x1, #0xff
    mul     x1, x1, x4
    mov     x3, x0
1:  tst     x3, #7
    b.eq    2f
    cbz     x2, 9f
    strb    w1, [x3], #1
    sub     x2, x2, #1
    b       1b
2:  subs    x2, x2, #256
    b.lo    4f
3:  .rept   16
    stp     x1, x1, [x3], #16
    .endr
    subs    x2, x2, #256
    b.hs    3b
4:  adds    x2, x2, #256 - 16
    b.mi    6f
5:  stp     x1, x1, [x3], #16
    subs    x2, x2, #16
    b.pl    5b
6:  add     x2, x2, #16
    tbz     x2, #3, 7f
    str     x1, [x3], #8
    sub     x2, x2, #8
7:  cbz     x2, 9f
8:  strb    w1, [x3], #1
    subs    x2, x2, #1
    b.ne    8b
9:  ret
    .size memset, . - memset
    "#
);
