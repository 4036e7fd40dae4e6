//! Taking the physical UART's bytes apart into each guest's own output.
//!
//! The format is described in the hypervisor's `console::terminal`; this is its counterpart, and a property test runs
//! them against each other. What EL2 sends while a guest has the terminal for itself (raw mode) cannot be told apart;
//! scripts do not use that mode.

use super::transcript::Transcript;

/// The name under which EL2's own lines are found.
pub const EL2_NAME: &str = "tessera";
const RESET: &[u8] = b"\x1b[0m";
/// What stands for the halves of a byte that must not act on a terminal.
const NIBBLES: [u8; 16] =
    [0x01, 0x02, 0x03, 0x04, 0x06, 0x10, 0x12, 0x14, 0x15, 0x16, 0x17, 0x19, 0x1c, 0x1d, 0x1e, 0x1f];
/// Precedes the line end of a line that will be continued.
const BREAK: u8 = 0x7f;
const ESCAPE: u8 = 0x1b;

/// New output of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The guest's name, [`EL2_NAME`] for EL2, empty for what nobody's tag precedes (firmware, for instance).
    pub vm: String,
    /// What it wrote. Line ends are `\n` alone.
    pub bytes: Vec<u8>,
}

/// Where in a physical line the bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At its start: a tag is expected.
    Start,
    /// In what a source wrote.
    Text,
    /// After CR: a line end or the guest's own.
    Returned,
    /// After the mark of a broken line: its line end is not the guest's.
    Broken,
    /// In a line without a tag.
    Untagged,
}

/// Takes the console's bytes, cut anywhere, and keeps each guest's output.
///
/// `[name] ` tags, their colours, continued lines and hidden bytes are undone: what comes out is what the guest wrote,
/// except that `\r\n` (and `\r\r\n`) is `\n`. Unfinished lines are there as soon as their bytes are.
#[derive(Debug)]
pub struct Demultiplexer {
    /// Index 0 is what has no tag, 1 is EL2.
    names: Vec<String>,
    transcripts: Vec<Transcript>,
    state: State,
    /// Whose line it is.
    source: usize,
    /// Bytes whose meaning is not known yet: a tag's beginning, or a [`RESET`]'s.
    kept: Vec<u8>,
    /// The first half of a hidden byte.
    half: Option<u8>,
}

/// Whether bytes are a tag.
enum Tag {
    Of(usize),
    Unfinished,
    None,
}

impl Demultiplexer {
    /// For a system with these guests; EL2 itself need not be named.
    pub fn new(guests: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut names = vec![String::new(), EL2_NAME.to_string()];
        names.extend(guests.into_iter().map(Into::into));
        Self {
            transcripts: names.iter().map(|_| Transcript::default()).collect(),
            names,
            state: State::Start,
            source: 0,
            kept: Vec::new(),
            half: None,
        }
    }

    /// Takes bytes of the physical UART; returns what they added, in order.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            self.take(*byte, &mut events);
        }
        events
    }

    /// All that `vm` wrote, exactly. Empty for a name that does not exist.
    #[cfg(test)]
    pub fn output(&self, vm: &str) -> &[u8] {
        self.transcript(vm).map_or(&[], Transcript::output)
    }

    /// All that `vm` wrote, without escape sequences, NUL and BEL: what [`Script`](super::Script) matches against.
    pub fn text(&self, vm: &str) -> &[u8] {
        self.transcript(vm).map_or(&[], Transcript::text)
    }

    fn transcript(&self, vm: &str) -> Option<&Transcript> {
        let index = self.names.iter().position(|name| name == vm)?;
        self.transcripts.get(index)
    }

    fn take(&mut self, byte: u8, events: &mut Vec<Event>) {
        match self.state {
            State::Start => self.take_start(byte, events),
            State::Text => self.take_text(byte, events),
            State::Returned if byte == b'\n' => {
                self.add(b"\n", events);
                self.state = State::Start;
            }
            State::Returned => {
                self.add(b"\r", events);
                self.state = State::Start;
                self.take_start(byte, events);
            }
            State::Broken if byte == b'\n' => self.state = State::Start,
            State::Broken => {}
            State::Untagged => self.take_untagged(byte, events),
        }
    }

    fn take_start(&mut self, byte: u8, events: &mut Vec<Event>) {
        self.kept.push(byte);
        match self.tag() {
            Tag::Unfinished => {}
            Tag::Of(source) => {
                self.source = source;
                self.state = State::Text;
                self.half = None;
                self.kept.clear();
            }
            Tag::None => {
                self.source = 0;
                self.state = State::Untagged;
                for byte in std::mem::take(&mut self.kept) {
                    self.take(byte, events);
                }
            }
        }
    }

    fn take_untagged(&mut self, byte: u8, events: &mut Vec<Event>) {
        match byte {
            b'\r' => {}
            b'\n' => {
                self.add(b"\n", events);
                self.state = State::Start;
            }
            _ => self.add(&[byte], events),
        }
    }

    fn take_text(&mut self, byte: u8, events: &mut Vec<Event>) {
        let ends = matches!(byte, b'\r' | BREAK);
        if !ends && self.keeps(byte) {
            return;
        }
        // Where the guest wrote an escape sequence, the console put one RESET before the line's end.
        let kept = std::mem::take(&mut self.kept);
        if !(ends && kept == RESET) {
            self.add(&kept, events);
        }
        match byte {
            b'\r' => self.state = State::Returned,
            BREAK => self.state = State::Broken,
            ESCAPE => {
                self.kept.push(ESCAPE);
            }
            _ => self.take_visible_or_hidden(byte, events),
        }
    }

    /// Keeps `byte` back if with it [`RESET`] goes on.
    fn keeps(&mut self, byte: u8) -> bool {
        let goes_on = !self.kept.is_empty() && RESET.get(self.kept.len()) == Some(&byte);
        if goes_on {
            self.kept.push(byte);
        }
        goes_on
    }

    fn take_visible_or_hidden(&mut self, byte: u8, events: &mut Vec<Event>) {
        let Some(value) = NIBBLES.iter().position(|nibble| *nibble == byte) else {
            self.half = None;
            return self.add(&[byte], events);
        };
        let value = value as u8; // Below 16.
        match self.half.take() {
            None => self.half = Some(value),
            Some(high) => self.add(&[high << 4 | value], events),
        }
    }

    /// What the kept bytes are as the beginning of a line.
    fn tag(&self) -> Tag {
        let (rest, reset) = match self.kept.strip_prefix(b"\x1b[0;") {
            None if b"\x1b[0;".starts_with(&self.kept) => return Tag::Unfinished,
            None => (self.kept.as_slice(), ""),
            Some(colour) => match colour.iter().position(|byte| !byte.is_ascii_digit()) {
                None => return Tag::Unfinished,
                Some(end) if colour[end] == b'm' => (&colour[end + 1..], "\x1b[0m"),
                Some(_) => return Tag::None,
            },
        };
        let mut result = Tag::None;
        for (index, name) in self.names.iter().enumerate().skip(1) {
            for mark in ["", ">"] {
                let tag = format!("[{name}{mark}]{reset} ");
                if tag.as_bytes() == rest {
                    return Tag::Of(index);
                }
                if tag.as_bytes().starts_with(rest) {
                    result = Tag::Unfinished;
                }
            }
        }
        result
    }

    fn add(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let (Some(transcript), Some(name)) = (self.transcripts.get_mut(self.source), self.names.get(self.source))
        else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        transcript.extend(bytes);
        match events.last_mut().filter(|event| event.vm == *name) {
            Some(event) => event.bytes.extend_from_slice(bytes),
            None => events.push(Event { vm: name.clone(), bytes: bytes.to_vec() }),
        }
    }
}
