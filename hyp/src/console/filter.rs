//! What of a guest's output may reach a terminal that others share.
//!
//! A guest must not clear the screen, move onto another's line, or make the terminal answer. [`Filter`] cuts one
//! guest's bytes into [`Piece`]s: text, line ends, harmless sequences, and what must be hidden. How pieces look on the
//! wire, and where the cursor is, is `terminal`'s business.

/// The longest escape sequence that is recognized, in bytes: a colour in 24 bits for both fore- and background fits.
pub const SEQUENCE_LIMIT: usize = 40;

const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const TAB: u8 = 0x09;
const LINE_FEED: u8 = 0x0a;
const CARRIAGE_RETURN: u8 = 0x0d;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;
/// The first UTF-8 byte of U+0080..U+00BF, of which the first half are control characters (C1, ECMA-48).
const C1_LEAD: u8 = 0xc2;

/// A piece of one guest's output.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One ASCII byte that moves the cursor to the right.
    Text(u8),
    /// One byte that may leave the cursor where it is: of a letter beyond ASCII, or the bell.
    Other(u8),
    /// The end of a line.
    LineEnd,
    /// Back to the start of the same line.
    Return,
    /// Move left by so many columns, by these bytes.
    Left(u32, &'a [u8]),
    /// Move right by so many columns, by these bytes.
    Right(u32, &'a [u8]),
    /// An escape sequence that changes only the line from the cursor on: colours, erasing.
    Sequence(&'a [u8]),
    /// Bytes that must not act on the terminal.
    Hidden(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// In a sequence whose bytes so far are kept.
    Sequence,
    /// In a string (a title, for instance) that ends with BEL or ESC: hidden byte by byte.
    String,
}

/// Cuts one guest's output into pieces. Keeps at most one unfinished sequence.
#[derive(Debug)]
pub struct Filter {
    state: State,
    kept: [u8; SEQUENCE_LIMIT],
    length: usize,
    /// A carriage return came; what it means depends on the next byte.
    returned: bool,
}

impl Filter {
    /// A filter at the start of a line.
    pub const fn new() -> Self {
        Self { state: State::Ground, kept: [0; SEQUENCE_LIMIT], length: 0, returned: false }
    }

    /// Whether the next byte is looked at on its own.
    pub fn is_idle(&self) -> bool {
        self.state == State::Ground && !self.returned
    }

    /// Takes the guest's next byte and gives `put` what is now known. `\r...\r\n` is one line end.
    pub fn push(&mut self, byte: u8, put: &mut impl FnMut(Piece)) {
        if self.returned {
            match byte {
                CARRIAGE_RETURN => return,
                LINE_FEED => {}
                _ => put(Piece::Return),
            }
            self.returned = false;
        }
        match self.state {
            State::Ground => self.ground(byte, put),
            State::Sequence => self.sequence(byte, put),
            State::String => self.string(byte, put),
        }
    }

    /// Gives back what is kept, in the guest's order, and forgets it.
    pub fn take_kept(&mut self, put: &mut impl FnMut(u8)) {
        self.kept.iter().take(self.length).for_each(|byte| put(*byte));
        if self.returned {
            put(CARRIAGE_RETURN);
        }
        *self = Self::new();
    }

    fn ground(&mut self, byte: u8, put: &mut impl FnMut(Piece)) {
        match byte {
            LINE_FEED => put(Piece::LineEnd),
            CARRIAGE_RETURN => self.returned = true,
            ESCAPE | C1_LEAD => {
                self.enter(State::Sequence);
                self.keep(byte);
            }
            BACKSPACE => put(Piece::Left(1, &[BACKSPACE])),
            BELL | 0x80..=0xff => put(Piece::Other(byte)),
            TAB | 0x20..=0x7e => put(Piece::Text(byte)),
            0..=0x1f | DELETE => put(Piece::Hidden(&[byte])),
        }
    }

    fn sequence(&mut self, byte: u8, put: &mut impl FnMut(Piece)) {
        if self.kept.first() == Some(&C1_LEAD) {
            return self.second_of_two(byte, put);
        }
        // A control character inside a sequence breaks it off; so does a full buffer.
        if !(0x20..DELETE).contains(&byte) || !self.keep(byte) {
            put(Piece::Hidden(self.kept()));
            self.enter(State::Ground);
            return self.ground(byte, put);
        }
        let is_csi = self.kept.get(1) == Some(&b'[');
        match (self.length, byte) {
            (2, b'[') => {}
            (2, b']' | b'P' | b'X' | b'^' | b'_') => {
                put(Piece::Hidden(self.kept()));
                self.enter(State::String);
            }
            (_, 0x40..=0x7e) if is_csi => {
                put(control_sequence(self.kept()));
                self.enter(State::Ground);
            }
            (_, 0x30..=0x7e) if !is_csi => {
                put(Piece::Hidden(self.kept()));
                self.enter(State::Ground);
            }
            _ => {}
        }
    }

    /// After [`C1_LEAD`]: a control character, or the first half of a letter.
    fn second_of_two(&mut self, byte: u8, put: &mut impl FnMut(Piece)) {
        self.enter(State::Ground);
        if (0x80..=0x9f).contains(&byte) {
            return put(Piece::Hidden(&[C1_LEAD, byte]));
        }
        put(Piece::Other(C1_LEAD));
        self.ground(byte, put);
    }

    fn string(&mut self, byte: u8, put: &mut impl FnMut(Piece)) {
        match byte {
            // ESC begins the terminator `ESC \`, which is a hidden sequence of its own.
            LINE_FEED | CARRIAGE_RETURN | ESCAPE => {
                self.enter(State::Ground);
                self.ground(byte, put);
            }
            BELL => {
                self.enter(State::Ground);
                put(Piece::Hidden(&[byte]));
            }
            _ => put(Piece::Hidden(&[byte])),
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.length = 0;
    }

    fn kept(&self) -> &[u8] {
        self.kept.get(..self.length).unwrap_or_default()
    }

    fn keep(&mut self, byte: u8) -> bool {
        let Some(slot) = self.kept.get_mut(self.length) else {
            return false;
        };
        *slot = byte;
        self.length += 1;
        true
    }
}

/// What a whole `ESC [ parameters final` does (ECMA-48 section 8.3).
fn control_sequence(bytes: &[u8]) -> Piece<'_> {
    let [ESCAPE, b'[', parameters @ .., last] = bytes else {
        return Piece::Hidden(bytes);
    };
    let plain = parameters.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'));
    match (last, parameters) {
        (b'm' | b'@' | b'P' | b'X', _) if plain => Piece::Sequence(bytes),
        (b'K' | b'J', [] | [b'0']) => Piece::Sequence(bytes),
        (b'C', _) => columns(parameters).map_or(Piece::Hidden(bytes), |count| Piece::Right(count, bytes)),
        (b'D', _) => columns(parameters).map_or(Piece::Hidden(bytes), |count| Piece::Left(count, bytes)),
        _ => Piece::Hidden(bytes),
    }
}

/// The count of a cursor movement: none and 0 mean 1.
fn columns(parameters: &[u8]) -> Option<u32> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    let number = parameters.iter().try_fold(0u32, |sum, byte| sum.checked_mul(10)?.checked_add(digit(byte)?))?;
    Some(number.max(1))
}
