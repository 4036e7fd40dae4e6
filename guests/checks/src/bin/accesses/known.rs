//! Accesses whose result is known: identification registers, and two that keep what is written. The registers are chosen
//! so that each access has one right result.

use core::arch::asm;

use guest_runtime::checks::Outcome;
use guest_runtime::console::PL011;
use guest_runtime::{Machine, ensure_equal, mmio};

/// PL011 PeriphID0 to 3 and PCellID0 to 3, one byte in each word.
const IDS: u64 = PL011 as u64 + 0xfe0;
/// Two neighbouring registers that keep what is written: IBRD (16 bits) and FBRD (6 bits).
pub const IBRD: u64 = PL011 as u64 + 0x24;
pub const FBRD: u64 = IBRD + 4;

/// Runs one load from x1 (with x3 as an offset register holding 8) and gives x0, x2 and x1 as they are afterwards.
macro_rules! load {
    ($base:expr, $($instruction:literal),+) => {{
        let (first, second, base): (u64, u64, u64);
        // SAFETY: reads device registers without side effects.
        unsafe {
            asm!(
                ".arch_extension fp", ".arch_extension simd", $($instruction),+,
                inout("x0") u64::MAX => first, inout("x1") $base => base, inout("x2") u64::MAX => second,
                inout("x3") 8u64 => _, options(nostack)
            );
        }
        (first, second, base)
    }};
}

/// Runs one store to x1 of x0, x2 and v0 (which holds x0 and x2) and gives x1 as it is afterwards.
macro_rules! store {
    ($base:expr, $first:expr, $second:expr, $($instruction:literal),+) => {{
        let base: u64;
        // SAFETY: writes registers that only set the baud rate.
        unsafe {
            asm!(
                ".arch_extension fp", ".arch_extension simd",
                "fmov d0, x0", "mov v0.d[1], x2", $($instruction),+,
                in("x0") $first as u64, inout("x1") $base => base, in("x2") $second as u64, in("x3") 4u64,
                options(nostack)
            );
        }
        base
    }};
}

pub fn plain_loads(_: &Machine) -> Outcome {
    ensure_equal!(load!(IDS, "ldr w0, [x1]").0, 0x11, "LDR");
    ensure_equal!(load!(IDS, "ldr w0, [x1, #4]").0, 0x10, "LDR with an offset");
    ensure_equal!(load!(IDS + 8, "ldur w0, [x1, #-8]").0, 0x11, "LDUR");
    ensure_equal!(load!(IDS, "ldrb w0, [x1]").0, 0x11, "LDRB");
    ensure_equal!(load!(IDS, "ldrh w0, [x1]").0, 0x11, "LDRH");
    ensure_equal!(load!(IDS, "ldar w0, [x1]").0, 0x11, "LDAR");
    Ok(())
}

/// PCellID1 is 0xf0: negative as a byte, positive as anything wider.
pub fn sign_extension(_: &Machine) -> Outcome {
    let cell = IDS + 0x14;
    ensure_equal!(load!(cell, "ldrsb x0, [x1]").0, 0xffff_ffff_ffff_fff0, "LDRSB to 64 bits");
    ensure_equal!(load!(cell, "ldrsb w0, [x1]").0, 0xffff_fff0, "LDRSB to 32 bits");
    ensure_equal!(load!(cell, "ldrsh x0, [x1]").0, 0xf0, "LDRSH");
    ensure_equal!(load!(cell, "ldrsw x0, [x1]").0, 0xf0, "LDRSW");
    ensure_equal!(load!(cell, "ldrsb x0, [x1], #1").0, 0xffff_ffff_ffff_fff0, "LDRSB, post-indexed");
    Ok(())
}

pub fn pre_and_post_index(_: &Machine) -> Outcome {
    ensure_equal!(load!(IDS, "ldr w0, [x1], #4"), (0x11, u64::MAX, IDS + 4), "LDR, post-indexed");
    ensure_equal!(load!(IDS, "ldr w0, [x1, #4]!"), (0x10, u64::MAX, IDS + 4), "LDR, pre-indexed");
    ensure_equal!(load!(IDS, "ldrb w0, [x1], #-1"), (0x11, u64::MAX, IDS - 1), "LDRB, post-indexed");
    ensure_equal!(load!(IDS, "ldrh w0, [x1, #16]!"), (0x0d, u64::MAX, IDS + 16), "LDRH, pre-indexed");
    Ok(())
}

pub fn register_offsets(_: &Machine) -> Outcome {
    ensure_equal!(load!(IDS + 8, "ldr w0, [x1, x3]").0, 0x0d, "LDR with a register offset");
    ensure_equal!(load!(IDS - 16, "ldr w0, [x1, x3, lsl #2]").0, 0x0d, "LDR with a shifted offset");
    ensure_equal!(load!(IDS + 8, "ldr w0, [x1, w3, sxtw]").0, 0x0d, "LDR with an extended offset");
    Ok(())
}

pub fn pairs(_: &Machine) -> Outcome {
    ensure_equal!(load!(IDS, "ldp w0, w2, [x1]"), (0x11, 0x10, IDS), "LDP");
    ensure_equal!(load!(IDS, "ldp w0, w2, [x1], #8"), (0x11, 0x10, IDS + 8), "LDP, post-indexed");
    ensure_equal!(load!(IDS, "ldp w0, w2, [x1, #16]!"), (0x0d, 0xf0, IDS + 16), "LDP, pre-indexed");
    ensure_equal!(load!(IDS + 16, "ldpsw x0, x2, [x1]"), (0x0d, 0xf0, IDS + 16), "LDPSW");
    ensure_equal!(load!(IDS, "ldnp w0, w2, [x1]"), (0x11, 0x10, IDS), "LDNP");
    Ok(())
}

pub fn vector_loads(_: &Machine) -> Outcome {
    ensure_equal!(load!(IDS, "ldr s0, [x1]", "fmov w0, s0").0, 0x11, "LDR to a vector register");
    ensure_equal!(load!(IDS, "ldr b0, [x1], #1", "fmov w0, s0").0, 0x11, "LDR of a byte to a vector register");
    let pair = load!(IDS, "ldp s0, s1, [x1]", "fmov w0, s0", "fmov w2, s1");
    ensure_equal!(pair, (0x11, 0x10, IDS), "LDP to vector registers");
    Ok(())
}

/// A load to the zero register is done, and changes nothing.
pub fn zero_register(_: &Machine) -> Outcome {
    ensure_equal!(load!(IDS, "ldr wzr, [x1]"), (u64::MAX, u64::MAX, IDS), "LDR to WZR");
    ensure_equal!(load!(IDS, "ldp w0, wzr, [x1], #8"), (0x11, u64::MAX, IDS + 8), "LDP to WZR");
    store!(IBRD, 0, 0, "str wzr, [x1]");
    ensure_equal!(mmio::read32(IBRD as usize), 0, "IBRD after STR of WZR");
    Ok(())
}

/// The loaded value wins where the base is the target (without write-back).
pub fn loads_into_their_own_base(_: &Machine) -> Outcome {
    ensure_equal!(load!(IDS, "ldr w1, [x1]").2, 0x11, "LDR to its base");
    ensure_equal!(load!(IDS, "ldp w1, w0, [x1]"), (0x10, u64::MAX, 0x11), "LDP to its base");
    Ok(())
}

pub fn divisors() -> (u32, u32) {
    (mmio::read32(IBRD as usize), mmio::read32(FBRD as usize))
}

pub fn stores_of_every_kind(_: &Machine) -> Outcome {
    store!(IBRD, 0x1111, 0, "str w0, [x1]");
    store!(FBRD, 0x11, 0, "stur w0, [x1]");
    ensure_equal!(divisors(), (0x1111, 0x11), "STR and STUR");
    ensure_equal!(store!(IBRD, 0x2222, 0, "str w0, [x1], #4"), FBRD, "base after STR, post-indexed");
    ensure_equal!(store!(IBRD, 0x22, 0, "str w0, [x1, #4]!"), FBRD, "base after STR, pre-indexed");
    ensure_equal!(divisors(), (0x2222, 0x22), "STR with write-back");
    store!(IBRD, 0x3333, 0x33, "stp w0, w2, [x1]");
    ensure_equal!(divisors(), (0x3333, 0x33), "STP");
    ensure_equal!(store!(IBRD, 0x0444, 0x04, "stp w0, w2, [x1], #8"), IBRD + 8, "base after STP");
    ensure_equal!(divisors(), (0x0444, 0x04), "STP, post-indexed");
    store!(IBRD, 0x15, 0, "str w0, [x1, x3]");
    store!(IBRD, 0x5555, 0, "str s0, [x1]");
    ensure_equal!(divisors(), (0x5555, 0x15), "STR with a register offset, and of a vector register");
    store!(IBRD, 0x6666, 0, "stlr w0, [x1]");
    store!(FBRD, 0x26, 0, "strb w0, [x1]");
    ensure_equal!(divisors(), (0x6666, 0x26), "STLR and STRB");
    Ok(())
}
