//! The physical UART with the shared console on it; EL2's log. The way out of the machine is `leave`'s.
//!
//! Any core writes: what the UART has no room for waits in a ring, from which the core that takes the UART's interrupt
//! sends on ([`serve`]). All that is done under the lock is counted: nobody waits for it for more than some 2,000
//! instructions.
//!
//! Lock order: a guest's UART, then the terminal. Nothing is taken after the terminal.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::lock::Mutex;
use tessera_platform::board::{Board, Console as ConsoleUart};
use tessera_platform::mmio::wait_until;
use tessera_platform::timer::Clock;
use tessera_platform::uart::Uart;

use crate::arch::aarch64 as arch;
use crate::arguments::Arguments;
use crate::console::{Console, EL2_NAME, Outlet, Settings, Wire};
pub use crate::console::{Work, Written};
use crate::early;

/// The UART with the console on it.
struct Terminal {
    outlet: Outlet<Uart>,
    clock: Option<Clock>,
    colour: bool,
    /// The last line is one of boot's and goes on.
    is_marking: bool,
}

static TERMINAL: Mutex<Terminal> =
    Mutex::new(Terminal { outlet: Outlet::new(), clock: None, colour: false, is_marking: false });

impl Wire for Uart {
    #[inline(always)]
    fn is_full(&self) -> bool {
        self.transmit_full()
    }

    #[inline(always)]
    fn put(&mut self, byte: u8) {
        self.put_now(byte);
    }

    fn get(&mut self) -> Option<u8> {
        self.get()
    }

    fn tell_of_room(&mut self, tells: bool) {
        if tells { self.enable_transmit_interrupt() } else { self.disable_transmit_interrupt() }
    }
}

impl Terminal {
    fn now(&self) -> u64 {
        self.clock.map_or(0, Clock::now)
    }

    /// Says what boot does next, past the console, and waits until the UART has taken it.
    fn mark(&mut self, next: &str) {
        let Outlet { wire: Some(uart), console, .. } = &mut self.outlet else { return };
        while let Some(byte) = console.as_mut().and_then(Console::next_output) {
            uart.put_waiting(byte);
        }
        let (open, name, close) = match core::mem::replace(&mut self.is_marking, true) {
            true => (", ", "", ""),
            false => ("[", EL2_NAME, "] boot: "),
        };
        for byte in [open, name, close, next].into_iter().flat_map(str::bytes) {
            uart.put_waiting(byte);
        }
    }

    /// Ends the line of boot's marks: somebody else is going to speak.
    fn end_marks(&mut self) {
        if let (Some(uart), true) = (&mut self.outlet.wire, core::mem::take(&mut self.is_marking)) {
            for byte in b"\r\n" {
                uart.put_waiting(*byte);
            }
        }
    }
}

/// Speaks on the UART that the device tree names, from here on.
///
/// # Safety
/// Its registers must be mapped at their machine addresses, or the MMU off, for good.
pub unsafe fn open(uart: &ConsoleUart) {
    // SAFETY: as the caller says.
    let Some(mut driver) = (unsafe { Uart::new(uart) }) else { return };
    driver.initialize(uart.clock, uart.baud);
    let mut terminal = TERMINAL.lock();
    terminal.outlet.wire = Some(driver);
}

/// Whether there is a UART to speak on.
pub fn is_open() -> bool {
    TERMINAL.lock().outlet.wire.is_some()
}

/// Says which stage of boot begins. If the board stops there, this is its last word; so it has left when this returns.
pub fn mark(stage: &str) {
    TERMINAL.lock().mark(stage);
}

/// Learns from the board how time is counted, and starts the log.
pub fn start_log(board: &Board, arguments: Arguments<'_>) {
    let mut terminal = TERMINAL.lock();
    terminal.clock = Clock::of_board(&board.timer);
    terminal.colour = arguments.colour;
    let settings = Settings { ticks_per_second: terminal.clock.map_or(1, Clock::frequency), colour: terminal.colour };
    terminal.outlet.console = Some(Console::new(&[], settings));
    drop(terminal);
    // Fails only if there is a logger already.
    if log::set_logger(&Log).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// Adds the guests that share the console, in the order of their channels from 1.
pub fn add_guests(names: &[&str]) {
    if let Some(console) = &mut TERMINAL.lock().outlet.console {
        console.add(names.iter());
    }
}

/// One core serves the console for all: others call it, see [`take_call`].
pub fn appoint_attendant() {
    TERMINAL.lock().outlet.has_attendant = true;
}

/// Whether somebody wrote what the core that serves does not know of; whoever asks calls it.
pub fn take_call() -> bool {
    TERMINAL.lock().outlet.take_call()
}

/// Lets the UART interrupt when bytes arrive.
pub fn enable_input() {
    if let Some(uart) = &mut TERMINAL.lock().outlet.wire {
        uart.enable_receive_interrupt();
    }
}

/// A byte of a guest's output.
pub fn write(channel: usize, byte: u8) -> Written {
    let mut terminal = TERMINAL.lock();
    let now = terminal.now();
    let outlet = &mut terminal.outlet;
    if outlet.pass(channel, byte, now) { Written::Shown } else { outlet.write(channel, byte, now) }
}

/// When `expire` wants to be called, in ticks.
pub fn deadline() -> Option<u64> {
    let mut terminal = TERMINAL.lock();
    let now = terminal.now();
    terminal.outlet.deadline(now)
}

/// Shows what has waited long enough. [`send_on`] goes on from there.
pub fn expire(now: u64) {
    TERMINAL.lock().outlet.expire(now);
}

/// Sends what waits for room and says what is to be done next, if anything: see [`Outlet::send_on`].
pub fn send_on() -> Option<Work> {
    TERMINAL.lock().outlet.send_on()
}

/// The same, and takes input: for the core that the UART interrupts, see [`Outlet::serve`].
pub fn serve() -> Option<Work> {
    let mut terminal = TERMINAL.lock();
    let now = terminal.now();
    terminal.outlet.serve(now)
}

/// EL2's own log: one tagged line each.
struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let mut terminal = TERMINAL.lock();
        terminal.end_marks();
        let now = terminal.now();
        if let Some(console) = &mut terminal.outlet.console {
            match record.level() {
                log::Level::Error => console.log_line(format_args!("error: {}", record.args()), now),
                log::Level::Warn => console.log_line(format_args!("warning: {}", record.args()), now),
                _ => console.log_line(*record.args(), now),
            }
        }
        terminal.outlet.pump_line();
    }

    fn flush(&self) {}
}

/// What EL2 says when it can go on no more: straight to the UART, past the console, in whole lines with its tag.
pub struct Emergency {
    at_line_start: bool,
}

impl Emergency {
    /// Takes the UART over, even from a core that holds it: nobody gives it back.
    pub fn begin() -> Self {
        static BEGUN: AtomicBool = AtomicBool::new(false);
        // Another core that is in trouble too keeps out of this one's words.
        if BEGUN.swap(true, Ordering::Relaxed) {
            arch::halt();
        }
        if TERMINAL.is_locked() {
            // SAFETY: at worst the holder was this core, which does not come back to it; another one waits at its next use.
            unsafe { TERMINAL.force_unlock() };
        }
        let mut terminal = TERMINAL.lock();
        terminal.end_marks();
        let Outlet { wire: Some(uart), console: Some(console), .. } = &mut terminal.outlet else {
            return Self { at_line_start: true };
        };
        for byte in console.emergency() {
            uart.put_waiting(byte);
        }
        Self { at_line_start: true }
    }
}

impl Write for Emergency {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut terminal = TERMINAL.lock();
        match &mut terminal.outlet.wire {
            Some(uart) => put_tagged(uart, text, &mut self.at_line_start),
            None => early::say(format_args!("{text}")),
        }
        Ok(())
    }
}

/// Puts EL2's own text straight on the UART, each line with its tag.
fn put_tagged(uart: &mut Uart, text: &str, at_line_start: &mut bool) {
    let mut put = |bytes: &[u8]| bytes.iter().for_each(|byte| _ = uart.put_waiting(*byte));
    for byte in text.bytes() {
        if core::mem::take(at_line_start) {
            put(b"[");
            put(EL2_NAME.as_bytes());
            put(b"] ");
        }
        if byte == b'\n' {
            put(b"\r");
            *at_line_start = true;
        }
        put(&[byte]);
    }
}

/// EL2's last words, to the UART itself.
struct LastWords<'a>(&'a mut Uart, bool);

impl Write for LastWords<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put_tagged(self.0, text, &mut self.1);
        Ok(())
    }
}

/// Sends what waits and then `last`, whole lines of EL2's own, and nothing after that: the machine is about to be left.
pub fn fall_silent(last: fmt::Arguments) {
    let mut terminal = TERMINAL.lock();
    terminal.end_marks();
    if let Outlet { wire: Some(uart), console, .. } = &mut terminal.outlet {
        if let Some(console) = console {
            // What waits for a guest's unfinished line too.
            for byte in console.emergency() {
                uart.put_waiting(byte);
            }
        }
        // It never fails.
        let _ = LastWords(uart, true).write_fmt(last);
        // Else the last line would be lost with the power. A UART that never gets idle is broken.
        let _ = wait_until(|| uart.transmit_idle());
    } else if last.as_str() != Some("") {
        early::say(format_args!("[{EL2_NAME}] {last}"));
    }
    // The lock is kept: nobody speaks after this.
    core::mem::forget(terminal);
}
