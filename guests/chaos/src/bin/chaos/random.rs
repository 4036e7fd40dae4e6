//! Numbers at random, the same for the same seed, and values that are likelier to hurt than any.

use crate::ground;

/// A generator (xorshift64*): small, and each core has its own.
pub struct Random(u64);

impl Random {
    /// The sequence of core `core` for `seed`.
    pub fn new(seed: u64, core: usize) -> Self {
        let mixed = (seed ^ (core as u64 + 1) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(mixed | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    /// Once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// What a register may hold: the ends of ranges, single bits, addresses, anything.
    pub fn value(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => self.below(256),
            4 => self.next() >> 32,
            5 => self.address(),
            _ => self.next(),
        }
    }

    /// Where an access may go: a device, its edge, a hole, the end of memory, scratch memory.
    pub fn address(&mut self) -> u64 {
        let base = match self.below(16) {
            0..=8 => self.pick(&ground::devices()),
            9..=11 => self.pick(&ground::EDGES),
            12 => ground::scratch().end(),
            13 => self.next() & 0x00ff_ffff_f000,
            _ => ground::scratch().start + self.below(ground::scratch().size),
        };
        let offset = match self.below(4) {
            0 => self.below(16).wrapping_sub(8),
            1 => self.below(0x1000) & !3,
            2 => self.below(0x1_0000) & !7,
            _ => self.below(0x2_0000),
        };
        base.wrapping_add(offset) | self.pick(&ground::ALIASES)
    }
}
