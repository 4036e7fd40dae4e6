//! The guest's console: a PL011 (or an SBSA UART, its subset) used by polling. Its interrupts are the business of
//! guests that test them.

use core::fmt::{self, Write};
use core::hint;
use core::sync::atomic::{AtomicUsize, Ordering};

use spin::Mutex;

use crate::machine::Uart;
use crate::mmio;

/// Where QEMU's `virt` has its PL011.
pub const PL011: usize = 0x0900_0000;

/// Data register, as all of these an offset.
const DR: usize = 0;
/// Flag register: bit 4 receive FIFO empty, bit 5 transmit FIFO full.
const FR: usize = 0x18;
/// Control register; an SBSA UART has none.
const CR: usize = 0x30;
/// Control register: UART, transmitter and receiver enabled.
const CR_ENABLE: u32 = 1 | 1 << 8 | 1 << 9;

static LOCK: Mutex<Pl011> = Mutex::new(Pl011 { enabled: false });
static BASE: AtomicUsize = AtomicUsize::new(PL011);

/// Says which UART it is; called once, by the boot core, before anything is printed.
pub(crate) fn init(uart: Uart) {
    BASE.store(uart.base, Ordering::Relaxed);
    LOCK.lock().enabled = uart.is_sbsa;
}

fn register(offset: usize) -> usize {
    BASE.load(Ordering::Relaxed) + offset
}

/// The UART; only this module makes one.
struct Pl011 {
    enabled: bool,
}

impl Pl011 {
    fn put(&mut self, byte: u8) {
        if !self.enabled {
            mmio::write32(register(CR), CR_ENABLE);
            self.enabled = true;
        }
        while mmio::read32(register(FR)) & 1 << 5 != 0 {}
        mmio::write32(register(DR), u32::from(byte));
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
    if mmio::read32(register(FR)) & 1 << 4 != 0 {
        return None;
    }
    Some(mmio::read32(register(DR)) as u8)
}

/// Shows `prompt` and reads a line into `line`, echoing it; returns it without its line end. What does not fit, and what
/// is not printable ASCII, is dropped.
pub fn read_line<'line>(prompt: &str, line: &'line mut [u8]) -> &'line str {
    crate::print!("{prompt}");
    let mut length = 0;
    loop {
        match read_byte() {
            Some(b'\r' | b'\n') => break,
            Some(byte @ b' '..=b'~') if length < line.len() => {
                crate::print!("{}", byte as char);
                line[length] = byte;
                length += 1;
            }
            Some(_) => {}
            None => hint::spin_loop(),
        }
    }
    crate::println!();
    str::from_utf8(&line[..length]).unwrap_or_default()
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
