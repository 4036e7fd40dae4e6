//! The physical UART with the shared console on it; EL2's log. The way out of the machine is `leave`'s.
//!
//! Any core writes: what the UART has no room for waits in a ring, from which the core that takes the UART's interrupt
//! sends on ([`serve`]). All that is done under the lock is counted: nobody waits for it for more than some 2,000
//! instructions.
//!
//! Lock order: a guest's UART, then the terminal. Nothing is taken after the terminal.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;
use tessera_platform::board::{Board, Console as ConsoleUart};
use tessera_platform::mmio::wait_until;
use tessera_platform::timer::Clock;
use tessera_platform::uart::Uart;

use crate::arch::aarch64 as arch;
use crate::arguments::Arguments;
use crate::console::{Console, EL2_NAME, Input, Settings};
use crate::early;

/// The UART, and what decides whose bytes go to it.
struct Terminal {
    uart: Option<Uart>,
    console: Option<Console>,
    clock: Option<Clock>,
    colour: bool,
    /// The last line is one of boot's and goes on.
    is_marking: bool,
    /// Output waits, and the UART's interrupt is to come when there is room.
    is_sending: bool,
    /// Channels with a byte that found no room.
    refused: u64,
    /// What was served last was input: others have their turn.
    has_served_input: bool,
}

static TERMINAL: Mutex<Terminal> = Mutex::new(Terminal {
    uart: None,
    console: None,
    clock: None,
    colour: false,
    is_marking: false,
    is_sending: false,
    refused: 0,
    has_served_input: false,
});

/// So many bytes are sent in one go by a guest's write. More than the UART's interrupt leaves in its FIFO, so it comes when
/// there is room.
const SENT_AT_ONCE: usize = 32;
/// The same for a line of EL2's own, and where that is all there is to do.
const SERVED_AT_ONCE: usize = 64;
/// To bring on what waited in the channels costs as much as to send so many bytes.
const BRINGING_ON: usize = 16;

/// What has become of a guest's byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is on its way.
    Shown,
    /// It is taken; something waits for its time: see [`deadline`].
    Waiting,
    /// There is no room: [`serve`] tells when it may be tried again.
    Refused,
}

/// One thing to do for the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A byte has come.
    Input(Input),
    /// The guest of this channel may try again with what it holds back.
    Resume(usize),
}

impl Terminal {
    fn now(&self) -> u64 {
        self.clock.map_or(0, Clock::now)
    }

    /// Says what boot does next, past the console, and waits until the UART has taken it.
    fn mark(&mut self, next: &str) {
        let Some(uart) = &mut self.uart else { return };
        while let Some(byte) = self.console.as_mut().and_then(Console::next_output) {
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
        if let (Some(uart), true) = (&mut self.uart, core::mem::take(&mut self.is_marking)) {
            for byte in b"\r\n" {
                uart.put_waiting(*byte);
            }
        }
    }

    /// Gives the UART what it has room for, at most `count` bytes; the rest follows by interrupt.
    fn pump(&mut self, count: usize) {
        let (Some(uart), Some(console)) = (&mut self.uart, &mut self.console) else { return };
        let (mut left, mut has_room) = (count, true);
        while left > 0 && has_room {
            left = left.saturating_sub(if console.is_drained() { BRINGING_ON } else { 0 });
            let bytes = console.output();
            if bytes.is_empty() {
                if core::mem::take(&mut self.is_sending) {
                    uart.disable_transmit_interrupt();
                }
                return;
            }
            let bytes = bytes.get(..left.max(1)).unwrap_or(bytes);
            let sent = bytes.iter().take_while(|byte| uart.put(**byte)).count();
            has_room = sent == bytes.len();
            left = left.saturating_sub(sent);
            console.sent(sent);
        }
        if !core::mem::replace(&mut self.is_sending, true) {
            uart.enable_transmit_interrupt();
        }
    }

    /// The usual case: a byte that the UART takes at once; whether it is one.
    #[inline]
    fn pass(&mut self, channel: usize, byte: u8, now: u64) -> bool {
        let (Some(uart), Some(console)) = (&mut self.uart, &mut self.console) else { return false };
        let passes = !self.is_sending && !uart.transmit_full() && console.pass(channel, byte, now);
        if passes {
            uart.put_now(byte);
        }
        passes
    }

    #[inline(never)]
    fn write(&mut self, channel: usize, byte: u8, now: u64) -> Written {
        let Some(console) = &mut self.console else { return Written::Shown };
        let written = match console.write(channel, byte, now) {
            false => Written::Refused,
            true if console.is_waiting() => Written::Waiting,
            true => Written::Shown,
        };
        if written == Written::Refused {
            self.refused |= 1 << (channel & 63);
        }
        // Who is sending goes on by himself.
        if !self.is_sending {
            self.pump(SENT_AT_ONCE);
        }
        written
    }

    fn input(&mut self) -> Option<Input> {
        let now = self.now();
        let byte = self.uart.as_mut()?.get()?;
        self.console.as_mut().map(|console| console.input(byte, now))
    }

    /// The next channel that had no room and has some.
    fn next_resumable(&self) -> Option<usize> {
        let console = self.console.as_ref()?;
        let mut refused = self.refused;
        core::iter::from_fn(|| {
            let channel = refused.trailing_zeros() as usize;
            refused &= refused.wrapping_sub(1);
            (channel < 64).then_some(channel)
        })
        .find(|channel| console.room(*channel))
    }

    fn resume(&mut self) -> Option<Work> {
        let channel = self.next_resumable()?;
        self.refused &= !(1 << channel);
        Some(Work::Resume(channel))
    }

    fn serve_input(&mut self) -> Option<Work> {
        let input = self.input();
        self.has_served_input = input.is_some();
        input.map(Work::Input)
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
    terminal.uart = Some(driver);
}

/// Whether there is a UART to speak on.
pub fn is_open() -> bool {
    TERMINAL.lock().uart.is_some()
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
    drop(terminal);
    set_guests(&[]);
    // Fails only if there is a logger already.
    if log::set_logger(&Log).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// Names the guests that share the console, in the order of their channels from 1.
pub fn set_guests(names: &[&str]) {
    let mut terminal = TERMINAL.lock();
    let ticks_per_second = terminal.clock.map_or(1, Clock::frequency);
    let settings = Settings { ticks_per_second, colour: terminal.colour };
    terminal.pump(usize::MAX);
    terminal.console = Some(Console::new(names, settings));
}

/// Lets the UART interrupt when bytes arrive.
pub fn enable_input() {
    if let Some(uart) = &mut TERMINAL.lock().uart {
        uart.enable_receive_interrupt();
    }
}

/// A byte of a guest's output.
pub fn write(channel: usize, byte: u8) -> Written {
    let mut terminal = TERMINAL.lock();
    let now = terminal.now();
    if terminal.pass(channel, byte, now) { Written::Shown } else { terminal.write(channel, byte, now) }
}

/// When `expire` wants to be called, in ticks.
pub fn deadline() -> Option<u64> {
    let terminal = TERMINAL.lock();
    match terminal.next_resumable() {
        Some(_) => Some(terminal.now()),
        None => terminal.console.as_ref().and_then(Console::deadline),
    }
}

/// Shows what has waited long enough. [`serve`] goes on from there.
pub fn expire(now: u64) {
    let mut terminal = TERMINAL.lock();
    if let Some(console) = &mut terminal.console {
        console.expire(now);
    }
    terminal.pump(SENT_AT_ONCE);
}

/// Sends what waits for room and says what is to be done next, if anything. To be called again a few times, and if
/// something is left then, at [`deadline`] or by the UART's interrupt.
pub fn serve() -> Option<Work> {
    let mut terminal = TERMINAL.lock();
    terminal.pump(SERVED_AT_ONCE);
    if terminal.has_served_input {
        terminal.resume().or_else(|| terminal.serve_input())
    } else {
        terminal.serve_input().or_else(|| terminal.resume())
    }
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
        if let Some(console) = &mut terminal.console {
            match record.level() {
                log::Level::Error => console.log_line(format_args!("error: {}", record.args()), now),
                log::Level::Warn => console.log_line(format_args!("warning: {}", record.args()), now),
                _ => console.log_line(*record.args(), now),
            }
        }
        terminal.pump(SERVED_AT_ONCE);
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
        let Terminal { uart: Some(uart), console: Some(console), .. } = &mut *terminal else {
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
        match &mut terminal.uart {
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
    if let Terminal { uart: Some(uart), console, .. } = &mut *terminal {
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
