//! A script: what to wait for and what to send, in order.
//!
//! Reading, writing, printing and the time limit are the caller's.

use super::{
    argument::{self, ArgumentError},
    demultiplexer::{Demultiplexer, EL2_NAME},
};
use regex::bytes::{Regex, RegexBuilder};
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

/// `Ctrl-]`, which begins a command to EL2.
const ESCAPE_KEY: u8 = 0x1d;
/// How many guests the digits can reach.
const REACHABLE: usize = 10;
/// Sent at once: EL2 keeps 1 KiB for each guest, and a guest reads it 16 bytes at a time.
const CHUNK: usize = 64;
/// Between chunks, so that a slow guest can keep up.
const PAUSE: Duration = Duration::from_millis(20);

/// One step of a script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Wait until the guest has written this since its last match.
    Expect {
        /// The guest's name, or `tessera` for EL2's own lines.
        vm: String,
        /// What to look for, in [`Demultiplexer::text`]. `^` and `$` are the start and end of lines; the end of what
        /// has come so far counts as the end of a line.
        pattern: Regex,
    },
    /// Send this to the guest, or as keys after `Ctrl-]` to EL2.
    Send {
        /// The guest's name.
        vm: String,
        /// What it is to receive.
        bytes: Vec<u8>,
    },
}

impl Step {
    /// The step that `--expect VM:REGEX` asks for. In the regex `\e` is ESC.
    pub fn expect(argument: &str) -> Result<Self, ArgumentError> {
        let (vm, pattern) = argument::split(argument)?;
        let pattern = RegexBuilder::new(&argument::with_escape_key(pattern))
            .multi_line(true)
            .build()
            .map_err(|error| ArgumentError::new(argument, error.to_string()))?;
        Ok(Self::Expect { vm: vm.to_string(), pattern })
    }

    /// The step that `--send VM:TEXT` asks for. Escapes: `\n \r \t \\ \e \xHH`. Nothing is added.
    pub fn send(argument: &str) -> Result<Self, ArgumentError> {
        let (vm, text) = argument::split(argument)?;
        Ok(Self::Send { vm: vm.to_string(), bytes: argument::unescape(argument, text)? })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Expect { vm, pattern } => write!(formatter, "expect {vm}: {pattern}"),
            Self::Send { vm, bytes } => write!(formatter, "send {vm}: {}", bytes.escape_ascii()),
        }
    }
}

/// A script that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptError {
    /// A step names a guest that the system does not have.
    UnknownVm {
        /// The name in the step.
        vm: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A step sends to a guest beyond the tenth, which no key can reach.
    Unreachable {
        /// The name in the step.
        vm: String,
    },
}

impl fmt::Display for ScriptError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::UnknownVm { vm, known } => {
                write!(formatter, "there is no guest '{vm}'; there are: {}", known.join(", "))
            }
            Self::Unreachable { vm } => {
                write!(formatter, "nothing can be sent to '{vm}': only to the first {REACHABLE} guests")
            }
        }
    }
}

impl std::error::Error for ScriptError {}

/// What the caller is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes to the physical UART, then ask again.
    Send(Vec<u8>),
    /// Ask again when the demultiplexer has got more bytes, or at this time.
    Wait {
        /// When to ask again though nothing came; None if only output can bring the script on.
        until: Option<Instant>,
    },
    /// All steps are done.
    Done,
}

/// A script being carried out.
#[derive(Debug)]
pub struct Script {
    steps: Vec<Step>,
    /// The index of the step that is being done.
    current: usize,
    guests: Vec<String>,
    /// How much of each guest's text is matched already.
    matched: HashMap<String, usize>,
    /// The guest that has the keyboard, once we gave it.
    focus: Option<usize>,
    chunks: VecDeque<Vec<u8>>,
    /// When the next chunk may be sent.
    quiet_until: Option<Instant>,
}

impl Script {
    /// A script for a system with these guests, in the manifest's order (which the digits after `Ctrl-]` follow).
    ///
    /// # Errors
    /// When a step names a guest that does not exist or that cannot be sent to.
    pub fn new(steps: Vec<Step>, guests: &[impl AsRef<str>]) -> Result<Self, ScriptError> {
        let guests: Vec<String> = guests.iter().map(|name| name.as_ref().to_string()).collect();
        for step in &steps {
            check(step, &guests)?;
        }
        Ok(Self {
            steps,
            current: 0,
            guests,
            matched: HashMap::new(),
            focus: None,
            chunks: VecDeque::new(),
            quiet_until: None,
        })
    }

    /// Brings the script as far as it goes with what the guests have written, and says what to do next. Output that
    /// came before a step began counts for it, if it came after the same guest's last match.
    pub fn next(&mut self, console: &Demultiplexer, now: Instant) -> Action {
        loop {
            if let Some(until) = self.quiet_until.filter(|until| *until > now) {
                return Action::Wait { until: Some(until) };
            }
            if let Some(chunk) = self.chunks.pop_front() {
                self.quiet_until = Some(now + PAUSE);
                return Action::Send(chunk);
            }
            let Some(step) = self.steps.get(self.current).cloned() else {
                return Action::Done;
            };
            match step {
                Step::Expect { vm, pattern } if !self.find(console, &vm, &pattern) => {
                    return Action::Wait { until: None };
                }
                Step::Expect { .. } => {}
                Step::Send { vm, bytes } => self.queue(&vm, &bytes),
            }
            self.current += 1;
        }
    }

    /// The step that is being done and its number, from 1; None when all are done. For messages.
    pub fn current(&self) -> Option<(usize, &Step)> {
        let step = self.steps.get(self.current)?;
        Some((self.current + 1, step))
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is nothing to do from the start.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn find(&mut self, console: &Demultiplexer, vm: &str, pattern: &Regex) -> bool {
        let matched = self.matched.entry(vm.to_string()).or_default();
        let found = pattern.find_at(console.text(vm), *matched);
        if let Some(found) = found {
            *matched = found.end();
        }
        found.is_some()
    }

    /// Cuts what is to be sent into chunks, with what brings the keyboard to the guest before it. What is sent to EL2 are keys
    /// of its own, each after `Ctrl-]`.
    fn queue(&mut self, vm: &str, bytes: &[u8]) {
        let guest = self.guests.iter().position(|name| name == vm);
        if guest.is_none() {
            // A digit may move the keyboard.
            self.focus = None;
            return self.chunks.extend(bytes.iter().map(|key| vec![ESCAPE_KEY, *key]));
        }
        if let Some(index) = guest.filter(|_| guest != self.focus) {
            self.focus = guest;
            self.chunks.push_back(vec![ESCAPE_KEY, digit(index)]);
        }
        for part in bytes.chunks(CHUNK) {
            let doubled = part.iter().flat_map(|byte| [*byte].repeat(if *byte == ESCAPE_KEY { 2 } else { 1 }));
            self.chunks.push_back(doubled.collect());
        }
    }
}

/// The key for the guest of this index: `1` for the first, `0` for the tenth.
fn digit(index: usize) -> u8 {
    b'0' + ((index + 1) % 10) as u8
}

fn check(step: &Step, guests: &[String]) -> Result<(), ScriptError> {
    let (vm, sends) = match step {
        Step::Expect { vm, .. } => (vm, false),
        Step::Send { vm, .. } => (vm, true),
    };
    match guests.iter().position(|name| name == vm) {
        Some(index) if sends && index >= REACHABLE => Err(ScriptError::Unreachable { vm: vm.clone() }),
        Some(_) => Ok(()),
        None if vm != EL2_NAME => Err(ScriptError::UnknownVm { vm: vm.clone(), known: guests.to_vec() }),
        None => Ok(()),
    }
}
