//! One channel's side of the console: output that waits for its turn, and since when.
//!
//! Which channel's turn it is, is decided by the parent.

use super::{filter::Filter, queue::ByteQueue};

/// Output that waits beyond this many bytes may break any line.
const FORCE: usize = 256;
/// What a channel can hold back; in raw mode the oldest lines beyond that are dropped.
const CAPACITY: usize = 2048;

/// One source of output.
#[derive(Debug)]
pub struct Channel {
    pub filter: Filter,
    held: ByteQueue,
    /// How many line ends are among the held bytes.
    held_lines: usize,
    /// When the first of the held bytes came, in ticks.
    held_since: u64,
    /// When the last byte came, in ticks.
    last_write: u64,
    /// Lines that were dropped and not reported yet.
    pub dropped: u32,
    /// What is held is an answer to the user, who waits for it.
    pub urgent: bool,
}

impl Channel {
    pub fn new() -> Self {
        Self {
            filter: Filter::new(),
            held: ByteQueue::new(CAPACITY),
            held_lines: 0,
            held_since: 0,
            last_write: 0,
            dropped: 0,
            urgent: false,
        }
    }

    /// Whether anything waits.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether what waits contains the end of a line.
    pub fn holds_line(&self) -> bool {
        self.held_lines != 0
    }

    /// Whether another byte can wait.
    pub fn can_hold(&self) -> bool {
        self.held.room() != 0
    }

    /// Notes that a byte was shown at once.
    pub fn touch(&mut self, now: u64) {
        self.last_write = now;
    }

    /// When the last byte came.
    pub fn last_write(&self) -> u64 {
        self.last_write
    }

    /// Lets `byte` wait; false when there is no room.
    pub fn hold(&mut self, byte: u8, now: u64) -> bool {
        if self.held.is_empty() {
            self.held_since = now;
        }
        let held = self.held.push(byte);
        if held {
            self.last_write = now;
            self.held_lines += usize::from(byte == b'\n');
        }
        held
    }

    /// Takes the oldest held byte.
    pub fn release(&mut self, now: u64) -> Option<u8> {
        let byte = self.held.pop()?;
        if byte == b'\n' {
            self.held_lines -= 1;
            // What is left is a new line, whose waiting begins now.
            self.held_since = now;
        }
        self.urgent &= self.holds();
        Some(byte)
    }

    /// Drops the oldest held line. With `begun` its beginning is on the wire already: it is cut, and its end stays.
    pub fn drop_line(&mut self, begun: bool, now: u64) {
        if begun && self.held.peek() == Some(b'\n') {
            // Nothing is left of the begun line but its end; that of the line after it will do as well.
            self.release(now);
        }
        if self.held_lines == 0 {
            // All of it is of one line.
            self.held.clear();
            self.urgent = false;
        }
        while let Some(byte) = self.held.peek().filter(|byte| !begun || *byte != b'\n') {
            self.release(now);
            if byte == b'\n' {
                break;
            }
        }
        self.dropped = self.dropped.saturating_add(1);
    }

    /// When the held bytes may be shown at the start of a line, in ticks.
    pub fn ready_at(&self, patience: &Patience) -> u64 {
        if self.urgent || self.held_lines != 0 || self.held.len() >= FORCE {
            return self.held_since;
        }
        let idle = self.last_write.saturating_add(patience.unfinished);
        idle.min(self.held_since.saturating_add(patience.longest))
    }

    /// When the held bytes may break a line to which its owner added last at `owner_active`, in ticks.
    pub fn may_break_at(&self, owner_active: u64, patience: &Patience) -> u64 {
        if self.urgent || self.held.len() >= FORCE {
            return self.held_since;
        }
        let waited = self.held_since.saturating_add(patience.longest);
        self.ready_at(patience).max(waited.min(owner_active.saturating_add(patience.owner_idle)))
    }
}

/// How long things wait, in ticks.
#[derive(Debug)]
pub struct Patience {
    /// An unfinished line is shown when nothing was added for so long.
    pub unfinished: u64,
    /// A line on the wire may be broken when nothing was added for so long.
    pub owner_idle: u64,
    /// Nothing that is complete waits longer than this.
    pub longest: u64,
}

impl Patience {
    pub fn new(ticks_per_second: u64) -> Self {
        let milliseconds = |count: u64| (ticks_per_second / 1000).max(1).saturating_mul(count);
        Self { unfinished: milliseconds(50), owner_idle: milliseconds(20), longest: milliseconds(100) }
    }
}
