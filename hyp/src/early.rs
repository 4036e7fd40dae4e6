//! The console before the device tree is read, if the image was told of one; with the MMU off, so without locks or heap. Where
//! the tree's console has no driver, EL2's last words go here too.
//! The first instructions write to it too, see `arch::start`.

use core::fmt::{self, Write};
use core::ptr;

use tessera_abi::early_console::EarlyConsole;
use tessera_platform::Span;

unsafe extern "C" {
    /// In the image's header.
    static EARLY_CONSOLE: EarlyConsole;
}

/// How often a UART that does not get ready is asked.
const PATIENCE: u32 = 1 << 20;

struct Early(EarlyConsole);

impl Write for Early {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
        Ok(())
    }
}

impl Early {
    fn send(&self, byte: u8) {
        let (status, data) = (self.0.status as *const u32, self.0.data as *mut u32);
        // SAFETY: whoever wrote the image says that these are the UART's registers; nobody else uses it yet.
        let is_ready = || unsafe { status.read_volatile() } & self.0.mask == self.0.ready;
        if (0..PATIENCE).any(|_| is_ready()) {
            // SAFETY: as above.
            unsafe { data.write_volatile(u32::from(byte)) };
        }
    }
}

fn console() -> EarlyConsole {
    // SAFETY: the record is part of the image, which nobody writes while it runs.
    unsafe { ptr::read_volatile(&raw const EARLY_CONSOLE) }
}

/// Whether the console is the UART with these registers.
pub fn is_at(registers: Span) -> bool {
    registers.contains(console().data)
}

/// Its registers, if there is one.
pub fn registers() -> Option<Span> {
    let EarlyConsole { data, status, .. } = console();
    let (first, last) = (data.min(status), data.max(status));
    if data == 0 { None } else { Span::between(first, last.checked_add(4)?) }
}

/// Says something, in lines that end with `\n`, if there is a console; its registers are mapped as long as there is no other.
pub fn say(text: fmt::Arguments) {
    let console = console();
    if console.data != 0 {
        // `Early` takes everything.
        let _ = Early(console).write_fmt(text);
    }
}
