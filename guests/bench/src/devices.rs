//! Loads and stores to registers of emulated devices.

use guest_runtime::mmio::read32;

use crate::ticks_of;

/// The PL011's flags, as an offset (TRM 3.3.3).
pub const UART_FLAGS: usize = 0x18;
/// Nothing waits to be sent.
const EMPTY: u32 = 1 << 7;
/// How often the flags are looked at before the UART counts as stuck.
const PATIENCE: u32 = 1_000_000;

/// Reading the 32-bit register at `address`.
pub fn read(address: usize) -> u64 {
    ticks_of!("ldr {value:w}, [{address}]", value = out(reg) _, address = in(reg) address)
}

/// Writing `value` to the 32-bit register at `address`, which is no memory that Rust owns.
pub fn write(address: usize, value: u32) -> u64 {
    ticks_of!("str {value:w}, [{address}]", value = in(reg) value, address = in(reg) address)
}

/// Writing a byte to the PL011 at `base` once all before it are sent; `None` if they never are.
pub fn write_when_empty(base: usize, byte: u8) -> Option<u64> {
    (0..PATIENCE).any(|_| read32(base + UART_FLAGS) & EMPTY != 0).then(|| write(base, byte.into()))
}
