//! The guest's console: a PL011 used by polling. Its interrupts are the business of guests that test them.

use core::fmt::{self, Write};

use spin::Mutex;

use crate::mmio;

/// Where QEMU's `virt` has its PL011.
pub const PL011: usize = 0x0900_0000;

/// Data register.
const DR: usize = PL011;
/// Flag register: bit 4 receive FIFO empty, bit 5 transmit FIFO full.
const FR: usize = PL011 + 0x18;
/// Control register.
const CR: usize = PL011 + 0x30;
/// Control register: UART, transmitter and receiver enabled.
const CR_ENABLE: u32 = 1 | 1 << 8 | 1 << 9;

static LOCK: Mutex<Pl011> = Mutex::new(Pl011 { enabled: false });

/// The UART; only this module makes one.
struct Pl011 {
    enabled: bool,
}

impl Pl011 {
    fn put(&mut self, byte: u8) {
        if !self.enabled {
            mmio::write32(CR, CR_ENABLE);
            self.enabled = true;
        }
        while mmio::read32(FR) & 1 << 5 != 0 {}
        mmio::write32(DR, u32::from(byte));
    }
}

impl Write for Pl011 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

/// Writes formatted text; a line written in one call is not mixed with those of other cores.
pub fn print(text: fmt::Arguments) {
    // A PL011 write cannot fail.
    let _ = LOCK.lock().write_fmt(text);
}

/// Opens the console for a core that reports a panic, whoever holds it.
pub(crate) fn force_unlock() {
    // SAFETY: the caller is about to end the guest; mixed output is the worst that can follow.
    unsafe { LOCK.force_unlock() };
}

/// Takes one received byte, if there is one.
#[must_use]
pub fn read_byte() -> Option<u8> {
    if mmio::read32(FR) & 1 << 4 != 0 {
        return None;
    }
    Some(mmio::read32(DR) as u8)
}

/// Prints without a line end.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}

/// Prints one line.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($argument)*))) };
}
