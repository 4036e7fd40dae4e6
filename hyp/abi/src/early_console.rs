//! The UART an image may be told of before it starts, so that it speaks from the first instruction. Whoever writes the image
//! for a board fills the record; in the image as built it is empty.

/// Where the record lies: bytes from the image's start, behind the arm64 Linux header.
pub const OFFSET: usize = 64;
/// What it begins with.
pub const MAGIC: [u8; 8] = *b"earlycon";
/// How many [`Setting`]s there can be.
pub const SETTINGS: usize = 8;

/// How to send a byte: when `status & mask == ready`, write it to `data`. All registers are of 32 bits.
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
    /// What is done first, in this order, up to the first that is empty.
    pub settings: [Setting; SETTINGS],
    /// Empty: where the settings end if there are as many as there can be.
    pub end: Setting,
}

/// Some bits of a register, and what they are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Setting {
    /// The register's machine address, 0 for none; with [`Self::QUESTION`] a question.
    pub address: u64,
    /// Its bits that matter.
    pub mask: u32,
    /// What they become; of a question, what they must be to skip all that follows: the UART works already.
    pub value: u32,
}

impl Setting {
    /// In an address: nothing is written, see [`Self::value`].
    pub const QUESTION: u64 = 1;

    /// Bits `mask` of the register at `address` become `value`.
    pub const fn write(address: u64, mask: u32, value: u32) -> Self {
        Self { address, mask, value }
    }

    /// Nothing more is done if bits `mask` of the register at `address` are `value` already.
    pub const fn unless(address: u64, mask: u32, value: u32) -> Self {
        Self { address: address | Self::QUESTION, mask, value }
    }

    fn to_bytes(self) -> [u8; 16] {
        let wide = u128::from(self.address) | u128::from(self.mask) << 64 | u128::from(self.value) << 96;
        wide.to_le_bytes()
    }
}

impl EarlyConsole {
    /// The record as it lies in the image.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        let words = [self.data.to_le_bytes(), self.status.to_le_bytes()];
        let halves = [self.mask.to_le_bytes(), self.ready.to_le_bytes()];
        let settings = self.settings.map(Setting::to_bytes);
        let parts = self.magic.iter().chain(words.as_flattened()).chain(halves.as_flattened());
        let parts = parts.chain(settings.as_flattened());
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = *part);
        bytes
    }
}
