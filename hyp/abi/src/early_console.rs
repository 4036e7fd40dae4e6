//! The UART an image may be told of before it starts, so that it speaks from the first instruction. Whoever writes the image
//! for a board fills the record; in the image as built it is empty.

/// Where the record lies: bytes from the image's start, behind the arm64 Linux header.
pub const OFFSET: usize = 64;
/// What it begins with.
pub const MAGIC: [u8; 8] = *b"earlycon";

/// How to send a byte: when `status & mask == ready`, write it to `data`. Both are 32-bit registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EarlyConsole {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Machine address of the register that sends; 0 if there is no such UART.
    pub data: u64,
    /// Machine address of the register that says whether it can.
    pub status: u64,
    /// Its bits that matter.
    pub mask: u32,
    /// What they are when it can.
    pub ready: u32,
}

impl EarlyConsole {
    /// The record as it lies in the image.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        let words = [self.data.to_le_bytes(), self.status.to_le_bytes()];
        let halves = [self.mask.to_le_bytes(), self.ready.to_le_bytes()];
        let parts = self.magic.iter().chain(words.as_flattened()).chain(halves.as_flattened());
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = *part);
        bytes
    }
}
