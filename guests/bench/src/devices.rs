//! Loads and stores to registers of emulated devices.

use crate::ticks_of;

/// Reading the 32-bit register at `address`.
pub fn read(address: usize) -> u64 {
    ticks_of!("ldr {value:w}, [{address}]", value = out(reg) _, address = in(reg) address)
}

/// Writing `value` to the 32-bit register at `address`, which is no memory that Rust owns.
pub fn write(address: usize, value: u32) -> u64 {
    ticks_of!("str {value:w}, [{address}]", value = in(reg) value, address = in(reg) address)
}
