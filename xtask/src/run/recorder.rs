//! Where a run's output goes: standard output, a log file, and the tail that a failure shows.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::symbols::Symbolizer;

/// How many of the console's last lines a failure shows.
const TAIL_LINES: usize = 40;
/// A line without end must not fill the memory.
const LONGEST_LINE: usize = 4096;

/// Takes the console's bytes.
pub struct Recorder {
    symbolizer: Option<Symbolizer>,
    echo: bool,
    log: Option<File>,
    tail: Tail,
}

impl Recorder {
    /// `echo` prints everything as it comes; a log file, if named, gets the same.
    pub fn new(symbolizer: Option<Symbolizer>, echo: bool, log: Option<&Path>) -> Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        let log = log.map(create).transpose()?;
        Ok(Self { symbolizer, echo, log, tail: Tail::default() })
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        let bytes = match &mut self.symbolizer {
            Some(symbolizer) => symbolizer.filter(bytes),
            None => bytes.to_vec(),
        };
        if self.echo {
            let mut out = std::io::stdout().lock();
            // A closed pipe (`| head`) is the reader's choice and no reason to end the guests.
            drop(out.write_all(&bytes).and_then(|()| out.flush()));
        }
        self.note(&bytes);
    }

    /// Takes bytes that are no output of the machine but belong into the log and the tail.
    pub fn note(&mut self, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            drop(log.write_all(bytes));
        }
        self.tail.take(bytes);
    }

    /// The last lines, without control characters.
    pub fn tail(&self) -> String {
        self.tail.text()
    }
}

/// The last lines of a stream.
#[derive(Default)]
struct Tail {
    lines: std::collections::VecDeque<String>,
    line: Vec<u8>,
}

impl Tail {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.lines.push_back(plain(&line));
                let excess = self.lines.len().saturating_sub(TAIL_LINES);
                self.lines.drain(..excess);
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(*byte);
            }
        }
    }

    fn text(&self) -> String {
        let mut lines = Vec::from_iter(self.lines.iter().cloned());
        if !self.line.is_empty() {
            lines.push(plain(&self.line));
        }
        lines.join("\n")
    }
}

/// A line without escape sequences' first byte and other control characters: it is shown on another terminal.
fn plain(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_and_the_unfinished_one() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.take(format!("line {number}\r\n").as_bytes());
        }
        tail.take(b"\x1b[1mprompt");
        let text = tail.text();
        assert!(text.starts_with("line 60\n") && text.ends_with("line 99\n[1mprompt"), "{text}");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut tail = Tail::default();
        tail.take(&vec![b'x'; 100_000]);
        assert_eq!(tail.text().len(), LONGEST_LINE);
    }

    #[test]
    fn the_log_file_holds_what_came() {
        let folder = tempfile::tempdir().expect("temporary");
        let path = folder.path().join("log");
        let mut recorder = Recorder::new(None, false, Some(&path)).expect("created");
        recorder.take(b"one\r\n");
        recorder.note(b"two\n");
        assert_eq!(std::fs::read(&path).expect("there"), b"one\r\ntwo\n");
    }
}
