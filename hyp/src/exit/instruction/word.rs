//! The fields of an instruction word.

/// A 32-bit instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u32);

impl Word {
    /// The `count` bits from `low` on; `count` is below 32.
    pub const fn field(self, low: u32, count: u32) -> u32 {
        self.0 >> low & ((1 << count) - 1)
    }

    /// The bit at `index`.
    pub const fn bit(self, index: u32) -> bool {
        self.field(index, 1) != 0
    }

    /// The `count` bits from `low` on as a signed number.
    pub const fn signed(self, low: u32, count: u32) -> i64 {
        ((self.0 << (32 - low - count)) as i32 >> (32 - count)) as i64
    }

    /// The register number in the five bits from `low` on.
    pub const fn register(self, low: u32) -> u8 {
        self.field(low, 5) as u8
    }

    /// Whether the five bits from `low` on are ones, as they are where a register is not used.
    pub const fn is_unused(self, low: u32) -> bool {
        self.register(low) == 31
    }
}
