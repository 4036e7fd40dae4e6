//! How a machine ended: Tessera's own verdict, which is its last line on the console's wire.
//!
//! It carries a word that is drawn for each run and that no guest knows, so no guest can say it, not even one that has the
//! terminal for itself. Firmware may say something after it, but not Tessera: then the machine has started anew.

use std::hash::{BuildHasher, RandomState};

/// How a machine ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Tessera said how it went: 0 is well.
    Said(i32),
    /// It ended without that; the program's exit status, or None if a signal ended it.
    Silent(Option<i32>),
    /// It went off as if all were well, and Tessera was not heard at all.
    Unheard,
}

/// The word of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new one, always of the same length: the hypervisor's work is not to differ between runs.
    pub fn draw() -> Self {
        // Seeded by the system's random numbers, each time with other ones.
        let half = || RandomState::new().hash_one(0_u8);
        Self(format!("{:016x}{:016x}", half(), half()))
    }

    /// The boot argument that asks for a verdict with this word.
    pub fn argument(&self) -> String {
        format!("tessera.verdict={}", self.0)
    }

    /// What Tessera's last line is, up to the number.
    fn line(&self) -> Vec<u8> {
        [TAG, format!("verdict {}: ", self.0).as_bytes()].concat()
    }
}

/// What Tessera's own lines begin with.
const TAG: &[u8] = b"[tessera] ";

/// Tessera's last line, as far as it matters.
#[derive(Debug)]
pub struct Last {
    /// What a verdict is, up to the number.
    wanted: Vec<u8>,
    /// The line that comes, as much of it as a verdict has.
    line: Vec<u8>,
    /// The verdict, if it is the last that Tessera said.
    verdict: Option<i32>,
    /// Tessera has said something.
    is_heard: bool,
}

impl Last {
    /// Looks for the verdict with this word.
    pub fn new(token: &Token) -> Self {
        Self { wanted: token.line(), line: Vec::new(), verdict: None, is_heard: false }
    }

    /// Takes what came next.
    pub fn take(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.take_byte(*byte));
    }

    fn take_byte(&mut self, byte: u8) {
        // The number, CR, and one more that no verdict has.
        if self.line.len() < self.wanted.len() + 3 {
            self.line.push(byte);
        }
        if self.line == TAG {
            self.is_heard = true;
            self.verdict = None;
        }
        if byte == b'\n' {
            let line = std::mem::take(&mut self.line);
            if let Some([digit @ b'0'..=b'9', b'\r', b'\n']) = line.strip_prefix(self.wanted.as_slice()) {
                self.verdict = Some(i32::from(digit - b'0'));
            }
        }
    }

    /// How a machine ended whose program had this exit status: a verdict counts only if the machine went off.
    pub fn ending(&self, status: Option<i32>) -> Ending {
        match (status, self.verdict) {
            (Some(0), Some(verdict)) => Ending::Said(verdict),
            (Some(0), None) if !self.is_heard => Ending::Unheard,
            _ => Ending::Silent(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(token: &Token, pieces: &[String]) -> Option<i32> {
        let mut last = Last::new(token);
        pieces.iter().for_each(|piece| last.take(piece.as_bytes()));
        last.verdict
    }

    #[test]
    fn the_verdict_is_the_last_line_however_it_is_cut() {
        let token = Token::draw();
        let line = format!("[tessera] verdict {}: 1\r\n", token.0);
        assert_eq!(seen(&token, std::slice::from_ref(&line)), Some(1));
        let whole = format!("{}\r\n{line}", "x".repeat(500));
        for cut in 0..whole.len() {
            assert_eq!(seen(&token, &[whole[..cut].to_owned(), whole[cut..].to_owned()]), Some(1), "{cut}");
        }
        // A reset, and what came after it.
        assert_eq!(seen(&token, &[whole.clone(), "Tessera\r\n[tessera] boot: ".to_owned()]), None);
        assert_eq!(seen(&token, &[whole.clone(), "INFO: off\r\n".to_owned()]), Some(1), "firmware's last word");
        assert_eq!(seen(&token, &[whole, line.replace(": 1", ": 0")]), Some(0));
    }

    #[test]
    fn what_a_guest_can_say_is_no_verdict() {
        let token = Token::draw();
        let end = format!("verdict {}: 0\r\n", token.0);
        for forged in [
            format!("[hello] [tessera] {end}"),
            format!("[tessera] verdict {}: 0\r\n", Token::draw().0),
            "[tessera] verdict : 0\r\n".to_owned(),
            format!("[tessera] {}", end.trim_end()),
            format!("[tessera] {}x\r\n", end.trim_end()),
            format!("[tessera] {}\n", end.trim_end()),
            format!("x[tessera] {end}"),
            format!("[tessera] {}", end.replace(": 0", ": x")),
            String::new(),
        ] {
            assert_eq!(seen(&token, std::slice::from_ref(&forged)), None, "{forged}");
        }
    }

    #[test]
    fn a_machine_that_goes_off_well_said_so_or_was_not_heard() {
        let token = Token::draw();
        let ending = |text: &str, status| {
            let mut last = Last::new(&token);
            last.take(text.as_bytes());
            last.ending(status)
        };
        let verdict = format!("[tessera] verdict {}: 0\r\n", token.0);
        assert_eq!(ending(&verdict, Some(0)), Ending::Said(0));
        assert_eq!(ending(&verdict, Some(1)), Ending::Silent(Some(1)));
        assert_eq!(ending(&verdict, None), Ending::Silent(None));
        assert_eq!(ending("[tessera] boot: memory", Some(0)), Ending::Silent(Some(0)));
        assert_eq!(ending("Tessera\r\n[hello] [tessera] x\r\n", Some(0)), Ending::Unheard);
        assert_eq!(ending("", Some(1)), Ending::Silent(Some(1)));
    }

    #[test]
    fn no_two_runs_have_the_same_word() {
        let (one, other) = (Token::draw(), Token::draw());
        assert!(one != other && one.argument().len() == other.argument().len());
    }
}
