//! From the keyboard to the guests: the escape key, what it can be followed by, and the queue before a guest's UART.
//!
//! What a command does is the parent's business; here bytes become [`Key`]s.

use super::queue::ByteQueue;

/// `Ctrl-]`, the key that begins a command.
pub const ESCAPE_KEY: u8 = 0x1d;
/// How many bytes wait for a guest whose receive FIFO is full.
const INPUT_CAPACITY: usize = 1024;

/// What becomes of a byte from the physical UART.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It was a command, or the beginning of one, and is done with.
    Nothing,
    /// It is for the guest of this channel.
    ToGuest {
        /// The guest's channel, 1 or more.
        channel: usize,
        /// What it is to receive.
        byte: u8,
    },
    /// The user wants everything switched off.
    Quit,
    /// The user wants the machine to start again.
    Reboot,
}

/// A byte after the escape key has been looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Nothing,
    Byte(u8),
    Focus(usize),
    Help,
    Raw,
    Quit,
    Reboot,
}

/// Remembers whether the escape key was the last one.
#[derive(Debug, Default)]
pub(super) struct Keys {
    escaped: bool,
}

impl Keys {
    /// What `byte` means. An unknown command is nothing: it must not reach a guest by mistake.
    pub fn press(&mut self, byte: u8) -> Key {
        if !core::mem::take(&mut self.escaped) {
            self.escaped = byte == ESCAPE_KEY;
            return if self.escaped { Key::Nothing } else { Key::Byte(byte) };
        }
        match byte {
            ESCAPE_KEY => Key::Byte(ESCAPE_KEY),
            b'0' => Key::Focus(10),
            b'1'..=b'9' => Key::Focus(usize::from(byte - b'0')),
            b'h' | b'?' => Key::Help,
            b'r' => Key::Raw,
            b'q' | b'x' => Key::Quit,
            b'b' => Key::Reboot,
            _ => Key::Nothing,
        }
    }
}

/// Input on its way to one guest, whose UART takes only a few bytes at a time.
#[derive(Debug)]
pub struct InputQueue {
    bytes: ByteQueue,
}

impl InputQueue {
    /// An empty queue for 1 KiB.
    pub fn new() -> Self {
        Self { bytes: ByteQueue::new(INPUT_CAPACITY) }
    }

    /// Appends `byte`; false, and it is lost, when the guest has left 1 KiB unread.
    pub fn push(&mut self, byte: u8) -> bool {
        self.bytes.push(byte)
    }

    /// Hands bytes to `receive` until it refuses one (that one stays) or none is left.
    pub fn deliver(&mut self, mut receive: impl FnMut(u8) -> bool) {
        while let Some(byte) = self.bytes.peek() {
            if !receive(byte) {
                return;
            }
            self.bytes.pop();
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Default for InputQueue {
    fn default() -> Self {
        Self::new()
    }
}
