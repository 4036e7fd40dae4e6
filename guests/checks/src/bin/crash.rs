//! Crashes as thoroughly as a guest can: its vectors lead nowhere, and then so does its program counter. Every fault
//! is followed by another one. What runs it must stop it, and nothing else. Before, it says what Tessera says of a run that
//! went well, as far as a guest can know it.
#![no_std]
#![no_main]

use core::arch::asm;

use guest_runtime::{Machine, entry, println};

entry!(main);

/// Physical addresses where nothing is.
const NOWHERE: u64 = 0x0b00_0000;
const NOWHERE_ELSE: u64 = 0x0b10_0000;

fn main(_: &Machine) {
    for forged in ["verdict 0", "verdict : 0", "verdict 0123456789abcdef0123456789abcdef: 0"] {
        println!("\r\n[tessera] {forged}\r\n\x1b[0m\r[tessera] {forged}");
    }
    println!("crash: now");
    // SAFETY: there is none; this guest ends here.
    unsafe {
        asm!(
            // With its own translation on, its faults would be its own: the machine would never hear of them.
            "mrs {scratch}, sctlr_el1",
            "bic {scratch}, {scratch}, #1",
            "msr sctlr_el1, {scratch}",
            "msr vbar_el1, {vectors}",
            "isb",
            "br {target}",
            vectors = in(reg) NOWHERE,
            target = in(reg) NOWHERE_ELSE,
            scratch = in(reg) 0u64,
            options(noreturn)
        );
    }
}
