//! Device register access by single load and store instructions.
//!
//! Written in assembly so that the compiler can choose neither another width nor an addressing mode with write-back
//! (an emulated device may see only plain loads and stores). Every function takes an address that may be wrong on
//! purpose: what is read is data only, and what is written is the guest's own business.

use core::arch::asm;

macro_rules! access {
    ($read:ident, $write:ident, $type:ty, $load:literal, $store:literal) => {
        /// Reads the register at `address`.
        #[inline(always)]
        pub fn $read(address: usize) -> $type {
            let value: u64;
            // SAFETY: a plain load; a fault is taken by the vectors.
            unsafe { asm!($load, value = out(reg) value, address = in(reg) address, options(nostack)) };
            value as $type
        }

        /// Writes the register at `address`, which must not be memory that Rust owns.
        #[inline(always)]
        pub fn $write(address: usize, value: $type) {
            let value = u64::from(value);
            // SAFETY: a plain store to what is no Rust object, by the contract above.
            unsafe { asm!($store, value = in(reg) value, address = in(reg) address, options(nostack)) };
        }
    };
}

access!(read8, write8, u8, "ldrb {value:w}, [{address}]", "strb {value:w}, [{address}]");
access!(read16, write16, u16, "ldrh {value:w}, [{address}]", "strh {value:w}, [{address}]");
access!(read32, write32, u32, "ldr {value:w}, [{address}]", "str {value:w}, [{address}]");
access!(read64, write64, u64, "ldr {value:x}, [{address}]", "str {value:x}, [{address}]");
