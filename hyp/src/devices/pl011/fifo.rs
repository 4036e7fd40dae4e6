//! The UART's FIFO memory. When it may be used in full is the UART's business.

/// How many bytes a FIFO has in revisions before r1p5 (DDI 0183).
pub const DEPTH: usize = 16;

/// Bytes in order of arrival.
#[derive(Debug, Clone)]
pub struct Fifo {
    bytes: [u8; DEPTH],
    first: usize,
    length: usize,
}

impl Fifo {
    pub const fn new() -> Self {
        Self { bytes: [0; DEPTH], first: 0, length: 0 }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends `byte` unless `depth` (at most [`DEPTH`]) bytes are there already.
    pub fn push(&mut self, byte: u8, depth: usize) -> bool {
        if self.length >= depth.min(DEPTH) {
            return false;
        }
        self.bytes[(self.first + self.length) % DEPTH] = byte;
        self.length += 1;
        true
    }

    /// The oldest byte, left in place.
    pub fn peek(&self) -> Option<u8> {
        (!self.is_empty()).then(|| self.bytes[self.first % DEPTH])
    }

    pub fn pop(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.first = (self.first + 1) % DEPTH;
        self.length -= 1;
        Some(byte)
    }
}
