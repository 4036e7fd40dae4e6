//! One physical UART shared by many guests: tagging, focus, input.
//!
//! [`Console`] is a state machine without any knowledge of hardware. The caller gives it the guests' bytes with
//! [`write`](Console::write), EL2's log with [`log_line`](Console::log_line) and the keyboard's bytes with
//! [`input`](Console::input); it feeds the UART from [`next_output`](Console::next_output) while the UART has room, and
//! calls [`expire`](Console::expire) at [`deadline`](Console::deadline). Times are ticks of one monotonic counter.
//!
//! A channel whose unfinished line is on the wire writes straight through, so a prompt and its echo are seen at once.
//! What the others write meanwhile waits (bounded) until their line is complete or they fall silent; then the
//! unfinished line is broken off, and continued later with a mark. The format is described in `terminal`; xtask's
//! demultiplexer is its counterpart. Nothing is lost or reordered within a guest. No memory is taken after `new`.
//!
//! In raw mode the focused guest has the terminal for itself; the others' output waits, and when it is too much the
//! oldest lines are dropped and counted. Outside raw mode a guest cannot move the cursor onto another's text (`filter`),
//! but a terminal narrower than its lines wraps them without a tag.
//!
//! The UART itself, the guests' emulated UARTs and locks do not belong here.

mod channel;
mod commands;
mod filter;
mod input;
mod outlet;
mod queue;
mod terminal;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use arrayvec::ArrayVec;
use channel::{Channel, Patience};
use core::fmt::{self, Write};
pub use input::{ESCAPE_KEY, Input, InputQueue};
use input::{Key, Keys};
pub use outlet::{Outlet, Wire, Work, Written};
pub use queue::ByteQueue;
use terminal::Terminal;

/// The channel of EL2 itself. Guests are 1, 2, ... in the order of [`Console::new`].
pub const EL2_CHANNEL: usize = 0;
/// The name that EL2's own lines carry.
pub const EL2_NAME: &str = "tessera";
/// EL2's log lines are cut here, in bytes.
const LOG_LINE_LIMIT: usize = 512;
/// So many waiting bytes are shown in one go, since others wait for the console meanwhile.
const SHOWN_AT_ONCE: usize = 8;

/// How a console is set up.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Frequency of the counter that the times are read from, in Hz.
    pub ticks_per_second: u64,
    /// Whether tags are coloured.
    pub colour: bool,
}

/// Who has the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Everybody, line by line.
    Tagged,
    /// One guest as soon as EL2 has said so.
    Entering,
    /// One guest for itself.
    Raw,
    /// Everybody as soon as the terminal is brought back in order.
    Leaving,
}

/// The shared console.
#[derive(Debug)]
pub struct Console {
    terminal: Terminal,
    channels: Vec<Channel>,
    patience: Patience,
    keys: Keys,
    /// The channel that gets the input.
    focus: usize,
    mode: Mode,
    /// The guest that has the terminal for itself, in all modes but `Tagged`.
    raw_channel: usize,
    /// In raw mode: that guest is in the middle of a line.
    raw_line_unfinished: bool,
    /// The latest time heard of, in ticks.
    now: u64,
    /// When the unfinished line was begun or continued, in ticks.
    owner_since: u64,
    /// Who is asked first when several wait.
    turn: usize,
    /// How many bytes wait in all channels.
    waiting: usize,
    /// Some of what waits may be shown, and was too much for one go, or for the room there was.
    has_more: bool,
}

impl Console {
    /// A console for EL2 and `guests`, whose names make their tags (the first 32 of letters, digits, `-`, `_`, `.`).
    /// The first guest has the focus.
    pub fn new(guests: &[&str], settings: Settings) -> Self {
        let mut console = Self {
            channels: Vec::new(),
            terminal: Terminal::new(settings.colour),
            patience: Patience::new(settings.ticks_per_second),
            keys: Keys::default(),
            focus: 1,
            mode: Mode::Tagged,
            raw_channel: 1,
            raw_line_unfinished: false,
            now: 0,
            owner_since: 0,
            turn: 0,
            waiting: 0,
            has_more: false,
        };
        console.add([EL2_NAME].iter().chain(guests));
        console
    }

    /// Adds guests, in the order of their channels, behind those that it has.
    pub fn add<'a>(&mut self, names: impl Iterator<Item = &'a &'a str> + Clone) {
        self.channels.extend(names.clone().map(|_| Channel::new()));
        self.terminal.add(names.copied());
    }

    /// Takes one byte of a guest's output at time `now`. False when there is no room: the caller keeps the byte, and
    /// tries again after output was taken. EL2's channel and those that do not exist swallow everything.
    pub fn write(&mut self, channel: usize, byte: u8, now: u64) -> bool {
        self.advance(now);
        if channel == EL2_CHANNEL || channel >= self.channels.len() {
            return true;
        }
        if self.goes_straight(channel) {
            self.show(channel, byte);
            self.wait_over();
            return true;
        }
        self.hold(channel, byte)
    }

    /// Takes a byte that may go to the UART at once and as it is: a printable one on the channel's own line, when nobody and
    /// nothing waits. False, and nothing is done, if it is none: [`write`](Self::write) takes it.
    #[inline]
    pub fn pass(&mut self, channel: usize, byte: u8, now: u64) -> bool {
        let is_printable = matches!(byte, b' '..=b'~');
        if !is_printable || self.waiting != 0 || self.mode != Mode::Tagged {
            return false;
        }
        let Some(source) = self.channels.get_mut(channel).filter(|source| source.filter.is_idle()) else {
            return false;
        };
        let passes = self.terminal.pass(channel);
        if passes {
            self.now = self.now.max(now);
            source.touch(self.now);
        }
        passes
    }

    /// Whether anything waits for time to pass or for room.
    pub fn is_waiting(&self) -> bool {
        self.anybody_waits()
    }

    /// Whether [`write`](Self::write) would take a byte of `channel` now.
    pub fn room(&self, channel: usize) -> bool {
        self.goes_straight(channel) || self.drops(channel) || self.channels.get(channel).is_none_or(Channel::can_hold)
    }

    /// Takes one line (or several) of EL2's log, without a line end. It appears whole: nothing comes between its
    /// letters. When output is not taken, the oldest lines that wait are dropped and counted.
    pub fn log_line(&mut self, text: fmt::Arguments, now: u64) {
        self.advance(now);
        let is_answer = self.channels.first().is_some_and(|own| own.urgent);
        let nobody_else = self.terminal.owner().is_none() && !self.anybody_waits();
        let straight = self.mode == Mode::Tagged && nobody_else && !is_answer;
        let mut line = LogLine(ArrayVec::new());
        // Only a limit that was reached is an error here.
        let _ = line.write_fmt(text);
        if straight && self.show_plain(EL2_CHANNEL, &line.0) {
            self.show(EL2_CHANNEL, b'\n');
        } else {
            line.0.iter().chain(b"\n").for_each(|byte| _ = self.hold(EL2_CHANNEL, *byte));
        }
        self.pump();
    }

    /// The next byte for the physical UART, to be called while that has room.
    pub fn next_output(&mut self) -> Option<u8> {
        let byte = self.output().first().copied()?;
        self.terminal.sent(1);
        Some(byte)
    }

    /// The next bytes for the physical UART; empty if there are none.
    pub fn output(&mut self) -> &[u8] {
        // What waits comes when all that was shown before is gone. A byte may show nothing, but 41 in a row do not.
        while self.has_more && self.terminal.is_drained() {
            self.pump();
        }
        self.terminal.output()
    }

    /// The UART has taken so many of them.
    pub fn sent(&mut self, count: usize) {
        self.terminal.sent(count);
    }

    /// Whether the next output has to be brought on from what waits in the channels.
    pub fn is_drained(&self) -> bool {
        self.terminal.is_drained()
    }

    /// When [`expire`](Self::expire) is to be called, in ticks; None when nothing waits for time to pass.
    pub fn deadline(&self) -> Option<u64> {
        if self.waiting == 0 {
            return None;
        }
        let waiting = |channel: &usize| self.terminal.owner() != Some(*channel) && self.holds(*channel);
        let times = (0..self.channels.len()).filter(waiting).map(|channel| self.due(channel));
        times.filter(|time| *time > self.now && self.mode != Mode::Raw).min()
    }

    /// Shows what has waited long enough.
    pub fn expire(&mut self, now: u64) {
        self.advance(now);
        self.pump();
    }

    /// Takes a byte from the physical UART.
    pub fn input(&mut self, byte: u8, now: u64) -> Input {
        self.advance(now);
        match self.keys.press(byte) {
            Key::Byte(byte) if self.focus < self.channels.len() => {
                return Input::ToGuest { channel: self.focus, byte };
            }
            Key::Quit => return Input::Quit,
            Key::Reboot => return Input::Reboot,
            Key::Focus(guest) => self.set_focus(guest),
            Key::Help => self.help(),
            Key::Raw => self.toggle_raw(),
            Key::Nothing | Key::Byte(_) => {}
        }
        Input::Nothing
    }

    /// Shows all that waits, whatever line it breaks, and ends raw mode: for the moments before the machine goes off.
    /// The caller then takes the output.
    pub fn flush(&mut self) {
        if self.mode == Mode::Raw {
            self.mode = Mode::Leaving;
        }
        for channel in &mut self.channels {
            channel.urgent = channel.holds();
        }
        self.pump();
    }

    /// For a panic: all that must be printed before the next byte starts a fresh line. Afterwards the caller may print
    /// by itself, or go on with [`log_line`](Self::log_line) and [`next_output`](Self::next_output).
    pub fn emergency(&mut self) -> impl Iterator<Item = u8> + '_ {
        self.flush();
        core::iter::from_fn(|| {
            self.next_output().or_else(|| {
                self.terminal.break_line();
                self.terminal.next_output()
            })
        })
    }

    fn advance(&mut self, now: u64) {
        // Cores read the counter before they take the lock, so a time may be a little older than the last.
        self.now = self.now.max(now);
    }
}

/// Whose turn it is.
impl Console {
    /// Whether `channel` may write to the wire without waiting.
    fn goes_straight(&self, channel: usize) -> bool {
        let turn = match self.mode {
            Mode::Raw => channel == self.raw_channel,
            _ => self.terminal.owner().is_none_or(|owner| owner == channel),
        };
        turn && !self.holds(channel) && self.terminal.has_room()
    }

    fn holds(&self, channel: usize) -> bool {
        self.channels.get(channel).is_some_and(Channel::holds)
    }

    fn anybody_waits(&self) -> bool {
        self.waiting != 0 || matches!(self.mode, Mode::Entering | Mode::Leaving)
    }

    /// Whether `channel` loses its oldest lines rather than waiting for room.
    fn drops(&self, channel: usize) -> bool {
        channel == EL2_CHANNEL || (self.mode == Mode::Raw && channel != self.raw_channel)
    }

    fn hold(&mut self, channel: usize, byte: u8) -> bool {
        let (now, drops) = (self.now, self.drops(channel));
        let begun = self.terminal.is_line_begun(channel);
        let Some(held) = self.channels.get_mut(channel) else {
            return true;
        };
        let before = held.len();
        if drops && !held.can_hold() {
            held.drop_line(begun, now);
        }
        let taken = held.hold(byte, now);
        self.waiting = (self.waiting + held.len()).saturating_sub(before);
        if channel != EL2_CHANNEL {
            self.pump();
        }
        taken
    }

    /// When what `channel` holds may be shown, in ticks.
    fn due(&self, channel: usize) -> u64 {
        let Some(held) = self.channels.get(channel) else {
            return u64::MAX;
        };
        match self.terminal.owner().and_then(|owner| self.channels.get(owner)) {
            Some(owner) => held.may_break_at(owner.last_write(), &self.patience),
            None => held.ready_at(&self.patience),
        }
    }

    /// Whose held byte is to be shown next.
    fn next_channel(&self) -> Option<usize> {
        if self.mode == Mode::Raw {
            return Some(self.raw_channel).filter(|channel| self.holds(*channel));
        }
        let owner = self.terminal.owner().filter(|owner| self.holds(*owner));
        if owner.is_some_and(|owner| self.keeps_line(owner)) {
            return owner;
        }
        let count = self.channels.len();
        let mut order = (self.turn..count).chain(0..self.turn.min(count));
        let other =
            order.find(|channel| owner != Some(*channel) && self.holds(*channel) && self.due(*channel) <= self.now);
        other.or(owner)
    }

    /// Whether the line's owner, which has more to show, goes on before others: to the end of its line, but not for
    /// ever. Without this, two that write much would break each other's line at every byte.
    fn keeps_line(&self, owner: usize) -> bool {
        let until = self.owner_since.saturating_add(self.patience.longest);
        self.now < until || self.channels.get(owner).is_some_and(Channel::holds_line)
    }

    /// Shows what waits and may be shown, as far as there is room, in steps.
    fn pump(&mut self) {
        self.has_more = (0..SHOWN_AT_ONCE).all(|_| self.show_waiting());
    }

    /// Shows one byte that waits; false if none may be shown.
    fn show_waiting(&mut self) -> bool {
        if !self.terminal.has_room() {
            // `next_output` makes room.
            return true;
        }
        self.change_mode();
        let Some(channel) = self.next_channel() else { return false };
        let now = self.now;
        let Some(byte) = self.channels.get_mut(channel).and_then(|held| held.release(now)) else { return false };
        self.waiting = self.waiting.saturating_sub(1);
        self.report_dropped(channel);
        self.show(channel, byte);
        if self.terminal.owner().is_none() {
            self.turn = channel + 1;
        }
        true
    }

    /// A byte went straight through; others may have waited long enough.
    fn wait_over(&mut self) {
        if self.anybody_waits() {
            self.pump();
        }
    }

    /// Goes from one mode to the next when its time has come; there is room.
    fn change_mode(&mut self) {
        let Self { terminal, channels, mode, raw_channel, .. } = self;
        match mode {
            Mode::Entering if !channels.first().is_some_and(Channel::holds) => {
                terminal.break_line();
                if let Some(channel) = channels.get_mut(*raw_channel) {
                    channel.filter.take_kept(&mut |byte| terminal.put_raw(byte));
                }
                self.raw_line_unfinished = terminal.is_line_begun(*raw_channel);
                *mode = Mode::Raw;
            }
            Mode::Leaving => {
                terminal.restore(*raw_channel, self.raw_line_unfinished);
                *mode = Mode::Tagged;
            }
            Mode::Entering | Mode::Raw | Mode::Tagged => {}
        }
    }

    /// Puts a byte on the wire; there is room.
    fn show(&mut self, channel: usize, byte: u8) {
        let Self { terminal, channels, now, .. } = self;
        let Some(source) = channels.get_mut(channel) else {
            return;
        };
        source.touch(*now);
        if terminal.owner() != Some(channel) {
            self.owner_since = *now;
        }
        if self.mode == Mode::Raw {
            self.raw_line_unfinished = byte != b'\n';
            terminal.put_raw(byte);
        } else if source.filter.is_idle() && matches!(byte, b' '..=b'~') {
            terminal.put_printable(channel, byte);
        } else {
            source.filter.push(byte, &mut |piece| terminal.put(channel, piece));
        }
    }

    /// Puts printable text on the wire; false, and nothing is done, if it is something else or there is no room for it.
    fn show_plain(&mut self, channel: usize, text: &[u8]) -> bool {
        let Self { terminal, channels, now, .. } = self;
        let Some(source) = channels.get_mut(channel).filter(|source| source.filter.is_idle()) else { return false };
        let shown = text.iter().all(|byte| matches!(byte, b' '..=b'~')) && terminal.put_text(channel, text);
        if shown {
            source.touch(*now);
            self.owner_since = *now;
        }
        shown
    }

    /// Says what is missing, where a new line of `channel` begins.
    fn report_dropped(&mut self, channel: usize) {
        if self.terminal.is_line_begun(channel) {
            return;
        }
        let Some(held) = self.channels.get_mut(channel) else {
            return;
        };
        let dropped = core::mem::take(&mut held.dropped);
        if dropped != 0 {
            self.terminal.notice_dropped(channel, dropped);
        }
    }
}

/// A line of EL2's log, as far as it is not cut.
struct LogLine(ArrayVec<u8, LOG_LINE_LIMIT>);

impl Write for LogLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text = text.as_bytes();
        let fits = text.get(..self.0.remaining_capacity()).unwrap_or(text);
        let _ = self.0.try_extend_from_slice(fits);
        if fits.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
