//! The physical side of the console: what goes out on the wire, whose line it is, and where its cursor stands.
//!
//! # The format
//! * A line is `[name] `, its text, CR LF. With colour the tag is `ESC[0;COLOURm[name]ESC[0m `.
//! * If the text holds an escape sequence, exactly one `ESC[0m` precedes the line's end.
//! * A line broken off for another's sake ends with DEL CR LF; its rest begins with `[name>] `.
//! * A CR that no LF follows is the guest's own; the tag is repeated after it.
//! * A byte that must not act on the terminal is sent as two of [`NIBBLES`], high half first. Terminals ignore them.
//!
//! So each guest's exact output can be put together again. Which line comes when is decided by the parent.

use super::{EL2_CHANNEL, filter::Piece, queue::ByteQueue};
use alloc::vec::Vec;
use arrayvec::ArrayString;
use core::fmt::{self, Write};

/// The control characters that stand for the sixteen halves of a hidden byte. None of them acts on a terminal, is flow
/// control, or ends an escape sequence.
pub const NIBBLES: [u8; 16] =
    [0x01, 0x02, 0x03, 0x04, 0x06, 0x10, 0x12, 0x14, 0x15, 0x16, 0x17, 0x19, 0x1c, 0x1d, 0x1e, 0x1f];
/// Precedes the line end of a line that will be continued.
const BREAK: u8 = 0x7f;
const RESET: &[u8] = b"\x1b[0m";
const LINE_END: &[u8] = b"\r\n";
/// Colours (SGR parameters, ECMA-48 8.3.117) of EL2 and, in turn, of the guests.
const EL2_COLOUR: &str = "1";
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "96"];
/// Names are cut here, so that what one byte can cause to be sent is bounded.
pub const NAME_LIMIT: usize = 32;
/// More than any one byte of output can cause: a hidden sequence of 41 bytes, a break, two tags; and one notice.
const RESERVE: usize = 512;
const OUTPUT_CAPACITY: usize = 8192;
/// Undoes what a full-screen program may leave behind: colours, hidden cursor, scroll region, other screen, key modes.
const RESTORE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l\x1b[r\x1b[?1l\x1b>\x1b[999;1H\r\n";

/// How one channel's lines are marked.
#[derive(Debug)]
struct Tag {
    name: ArrayString<NAME_LIMIT>,
    colour: &'static str,
    /// The line begun earlier is not at its end yet.
    continued: bool,
}

/// The physical output and the state of its unfinished line.
#[derive(Debug)]
pub struct Terminal {
    output: ByteQueue,
    tags: Vec<Tag>,
    colour: bool,
    owner: Option<usize>,
    /// Columns between the tag and the cursor; never more than there are.
    column: u32,
    /// The furthest that `column` came on this line: moving right beyond it may stop at the terminal's margin.
    extent: u32,
    /// The unfinished line holds an escape sequence.
    escaped: bool,
}

impl Terminal {
    /// A terminal at the start of a line, without tags.
    pub fn new(colour: bool) -> Self {
        Self {
            output: ByteQueue::new(OUTPUT_CAPACITY),
            tags: Vec::new(),
            colour,
            owner: None,
            column: 0,
            extent: 0,
            escaped: false,
        }
    }

    /// Adds a tag for each of `names`; the first of all is EL2's.
    pub fn add<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let guest_colours = COLOURS.iter().cycle();
        let colours = core::iter::once(&EL2_COLOUR).chain(guest_colours).skip(self.tags.len());
        let tag = |(name, colour): (&str, &&'static str)| Tag { name: clean(name), colour, continued: false };
        self.tags.extend(names.zip(colours).map(tag));
    }

    /// Whether there is room for all that one byte of a guest can cause.
    pub fn has_room(&self) -> bool {
        self.output.room() >= RESERVE
    }

    /// Whether no output waits for the UART.
    pub fn is_drained(&self) -> bool {
        self.output.is_empty()
    }

    /// A printable byte on the channel's own line goes to the UART at once; false if it is another's or output waits.
    #[inline]
    pub fn pass(&mut self, channel: usize) -> bool {
        let passes = self.owner == Some(channel) && self.output.is_empty();
        if passes {
            self.column = self.column.saturating_add(1);
            self.extent = self.extent.max(self.column);
        }
        passes
    }

    /// The next byte for the UART.
    pub fn next_output(&mut self) -> Option<u8> {
        self.output.pop()
    }

    /// The next bytes for the UART, in one piece; empty if there are none.
    pub fn output(&self) -> &[u8] {
        self.output.oldest()
    }

    /// So many of them were sent.
    pub fn sent(&mut self, count: usize) {
        self.output.skip(count);
    }

    /// The channel whose line is unfinished on the wire.
    pub fn owner(&self) -> Option<usize> {
        self.owner
    }

    /// The name that `channel`'s lines carry.
    pub fn name(&self, channel: usize) -> ArrayString<NAME_LIMIT> {
        self.tags.get(channel).map_or_else(ArrayString::new, |tag| tag.name)
    }

    /// Whether a line of `channel` has begun on the wire and is not at its end.
    pub fn is_line_begun(&self, channel: usize) -> bool {
        self.owner == Some(channel) || self.tags.get(channel).is_some_and(|tag| tag.continued)
    }

    /// Says that the next `lines` of `channel` are missing, in a line of EL2's.
    pub fn notice_dropped(&mut self, channel: usize, lines: u32) {
        if self.is_line_begun(EL2_CHANNEL) {
            self.put(EL2_CHANNEL, Piece::LineEnd);
        }
        let name = self.name(channel);
        // Notice never fails.
        let _ = write!(Notice(self), "{lines} lines of {name} were dropped");
        self.put(EL2_CHANNEL, Piece::LineEnd);
    }

    /// The usual case in few instructions: a printable character on the channel's own line.
    pub fn put_printable(&mut self, channel: usize, byte: u8) {
        self.begin(channel);
        self.output.push(byte);
        self.column = self.column.saturating_add(1);
        self.extent = self.extent.max(self.column);
    }

    /// The same for several characters; false, and nothing is done, if there is no room.
    pub fn put_text(&mut self, channel: usize, text: &[u8]) -> bool {
        let has_room = self.output.room() >= RESERVE + text.len();
        if has_room {
            self.begin(channel);
            self.send(text);
            self.column = self.column.saturating_add(text.len() as u32);
            self.extent = self.extent.max(self.column);
        }
        has_room
    }

    /// Shows a piece of `channel`'s output; the caller has seen to it that there is room.
    pub fn put(&mut self, channel: usize, piece: Piece) {
        self.begin(channel);
        match piece {
            Piece::Text(byte) => self.put_printable(channel, byte),
            Piece::Other(byte) => self.send(&[byte]),
            Piece::LineEnd => self.end_line(channel),
            Piece::Return => self.return_to_start(channel),
            Piece::Left(count, bytes) if count <= self.column => self.move_to(self.column - count, bytes),
            Piece::Right(count, bytes) => self.move_to(self.column.saturating_add(count).min(self.extent), bytes),
            Piece::Sequence(bytes) => self.show(bytes),
            Piece::Left(_, bytes) | Piece::Hidden(bytes) => self.hide(bytes),
        }
    }

    /// Sends a byte as it is, whoever's line it is: for raw mode.
    pub fn put_raw(&mut self, byte: u8) {
        self.output.push(byte);
    }

    /// Breaks off the unfinished line, if there is one.
    pub fn break_line(&mut self) {
        let Some(channel) = self.owner else {
            return;
        };
        self.send_break();
        self.owner = None;
        self.set_continued(channel, true);
    }

    /// Brings a terminal that `channel` had for itself back to the start of a line.
    pub fn restore(&mut self, channel: usize, line_unfinished: bool) {
        self.send(RESTORE);
        self.owner = None;
        self.set_continued(channel, line_unfinished);
    }

    fn begin(&mut self, channel: usize) {
        if self.owner != Some(channel) {
            self.break_line();
            self.owner = Some(channel);
            self.send_tag(channel);
        }
    }

    fn end_line(&mut self, channel: usize) {
        self.reset_colours();
        self.send(LINE_END);
        self.owner = None;
        self.set_continued(channel, false);
    }

    fn return_to_start(&mut self, channel: usize) {
        self.reset_colours();
        self.send(b"\r");
        self.set_continued(channel, false);
        self.send_tag(channel);
    }

    fn send_break(&mut self) {
        self.reset_colours();
        self.send(&[BREAK]);
        self.send(LINE_END);
    }

    fn reset_colours(&mut self) {
        if self.escaped {
            self.send(RESET);
            self.escaped = false;
        }
    }

    fn move_to(&mut self, column: u32, bytes: &[u8]) {
        self.column = column;
        self.show(bytes);
    }

    fn show(&mut self, bytes: &[u8]) {
        self.escaped |= bytes.first() == Some(&0x1b);
        self.send(bytes);
    }

    fn hide(&mut self, bytes: &[u8]) {
        for byte in bytes {
            // Both indices are below 16.
            self.send(&[NIBBLES[usize::from(byte >> 4)], NIBBLES[usize::from(byte & 0xf)]]);
        }
    }

    fn send_tag(&mut self, channel: usize) {
        self.column = 0;
        self.extent = 0;
        let Some(tag) = self.tags.get(channel) else {
            return;
        };
        let mark = if tag.continued { ">" } else { "" };
        let parts: [&str; 8] = match self.colour {
            true => ["\x1b[0;", tag.colour, "m[", &tag.name, mark, "]", "\x1b[0m", " "],
            false => ["", "", "[", &tag.name, mark, "]", "", " "],
        };
        for part in parts {
            self.output.extend(part.as_bytes());
        }
    }

    fn set_continued(&mut self, channel: usize, continued: bool) {
        if let Some(tag) = self.tags.get_mut(channel) {
            tag.continued = continued;
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
    }
}

/// A name that can stand in a tag: letters, digits, `-`, `_`, `.`; the rest becomes `_`.
fn clean(name: &str) -> ArrayString<NAME_LIMIT> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let mut clean = ArrayString::new();
    for letter in name.chars().take(NAME_LIMIT) {
        clean.push(if fits(letter) { letter } else { '_' });
    }
    clean
}

/// Writes EL2's own short text straight to the terminal.
struct Notice<'a>(&'a mut Terminal);

impl fmt::Write for Notice<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.0.put_printable(EL2_CHANNEL, byte));
        Ok(())
    }
}
