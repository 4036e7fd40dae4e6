//! What one guest has written so far.
//!
//! Where the bytes come from does not belong here.

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// Where in an escape sequence (ECMA-48 5.3, 5.4) the output stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    Control,
    String,
}

/// One guest's output, exact and as plain text.
#[derive(Debug, Default)]
pub struct Transcript {
    #[cfg(test)]
    output: Vec<u8>,
    text: Vec<u8>,
    state: State,
}

impl Transcript {
    /// Appends output.
    pub fn extend(&mut self, bytes: &[u8]) {
        #[cfg(test)]
        self.output.extend_from_slice(bytes);
        for byte in bytes {
            self.add_text(*byte);
        }
    }

    /// All output, exactly: what the tests compare.
    #[cfg(test)]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// All output without escape sequences, NUL and BEL.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    fn add_text(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::String, BELL) => State::Ground,
            (_, ESCAPE) => State::Escape,
            (State::Escape, b'[') => State::Control,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape | State::Control, 0x20..=0x2f) => self.state,
            (State::Escape, 0x30..=0x7e) | (State::Control, 0x40..=0x7e) => State::Ground,
            (State::Control, 0x30..=0x3f) => State::Control,
            (State::String, byte) if byte != b'\n' => State::String,
            (_, 0 | BELL) => State::Ground,
            _ => {
                self.text.push(byte);
                State::Ground
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &[u8], text: &[u8]) {
        let mut transcript = Transcript::default();
        transcript.extend(output);
        assert_eq!(transcript.output(), output);
        assert_eq!(transcript.text(), text);
    }

    #[test]
    fn text_is_without_escape_sequences() {
        check(b"a\x1b[1;32mb\x1b[0m\x1b[6nc\n", b"abc\n");
        check(b"\x1b]0;title\x07/ # \x1b[J\x1b(B\x1b7x", b"/ # x");
        check(b"\x1b]0;title\x1b\\y\0\x07z", b"yz");
    }

    #[test]
    fn an_unfinished_sequence_ends_with_the_line() {
        check(b"\x1b]0;title\nnext", b"\nnext");
        check(b"\x1b[12\nnext", b"\nnext");
    }
}
