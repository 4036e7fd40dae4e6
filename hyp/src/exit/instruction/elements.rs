//! What a load or store moves: where each element goes, and what its bytes mean there. An instruction with 64 elements is
//! described in a few bytes: which register each of them is for is computed.

/// V0 to V31, the lowest byte of each first.
pub type Vectors = [[u8; 16]; 32];

/// The most bytes that one load or store moves: four vector registers.
pub const MAX_BYTES: usize = 64;

/// What is moved, in the order in which it is: values of one width, next to each other in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements {
    /// The width of each in bytes: 1, 2, 4, 8 or 16.
    pub bytes: u8,
    /// How many there are.
    pub count: u8,
    /// Where each goes to or comes from.
    pub places: Places,
}

/// The registers behind elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// One or two general registers.
    General {
        /// Their numbers; 31 is XZR.
        indices: [u8; 2],
        /// What a load fills their upper bits with.
        extension: Extension,
    },
    /// The lowest element of one or two SIMD and floating-point registers; a load zeroes the rest.
    Scalar {
        /// Their numbers.
        indices: [u8; 2],
    },
    /// All elements of SIMD and floating-point registers in a row: an element of each of a few in turn.
    Structures {
        /// The first register.
        first: u8,
        /// How often registers take turns.
        rounds: u8,
        /// How many do.
        in_turn: u8,
        /// How many elements a register has.
        lanes: u8,
    },
    /// One element of each of a few SIMD and floating-point registers in a row; a load keeps the rest.
    Lane {
        /// The first register.
        first: u8,
        /// Where in each register the element lies, in bytes.
        at: u8,
    },
    /// All elements of a register at once, for each of a few in a row: for loads only.
    Replicated {
        /// The first register.
        first: u8,
        /// How many elements of a register are the same.
        copies: u8,
    },
}

/// A part of a SIMD and floating-point register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The register's number.
    pub index: u8,
    /// Where in the register the element lies, in bytes.
    pub at: u8,
    /// How often a load repeats it from there on.
    pub copies: u8,
    /// A load leaves the rest of the register as it is, rather than zero.
    pub keeps_rest: bool,
}

/// What a load to a general register fills its upper bits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Zeros.
    Zero,
    /// The sign up to bit 31, zeros above.
    SignTo32,
    /// The sign.
    SignTo64,
}

impl Elements {
    /// How many bytes they are in memory.
    pub fn size(&self) -> usize {
        usize::from(self.count) * usize::from(self.bytes)
    }

    /// Calls `visit` with the part of a SIMD and floating-point register behind each element, in order.
    // Loops in loops, as the manual has them: to compute each from its number would cost two divisions.
    #[inline(always)]
    pub fn for_each_lane(&self, mut visit: impl FnMut(Lane)) {
        let in_row = |first: u8, number: u8| first.wrapping_add(number) % 32;
        let mut lane = |index, at, copies, keeps_rest| visit(Lane { index, at, copies, keeps_rest });
        match self.places {
            Places::General { .. } => {}
            Places::Scalar { indices } => {
                indices.into_iter().take(usize::from(self.count)).for_each(|index| lane(index, 0, 1, false));
            }
            Places::Structures { first, rounds, in_turn, lanes } => {
                for round in 0..rounds {
                    for at in (0..lanes * self.bytes).step_by(usize::from(self.bytes)) {
                        // A load zeroes the upper half of a register it fills by half: the first element does.
                        (0..in_turn).for_each(|turn| lane(in_row(first, round * in_turn + turn), at, 1, at != 0));
                    }
                }
            }
            Places::Lane { first, at } => (0..self.count).for_each(|number| lane(in_row(first, number), at, 1, true)),
            Places::Replicated { first, copies } => {
                (0..self.count).for_each(|number| lane(in_row(first, number), 0, copies, false));
            }
        }
    }

    /// Whether a load would write one register twice.
    pub(super) fn name_one_twice(&self) -> bool {
        match self.places {
            Places::General { indices, .. } | Places::Scalar { indices } => self.count == 2 && indices[0] == indices[1],
            _ => false,
        }
    }

    /// Whether the general register `number` is among them.
    pub(super) fn have_general(&self, number: u8) -> bool {
        match self.places {
            Places::General { indices, .. } => indices[..usize::from(self.count.min(2))].contains(&number),
            _ => false,
        }
    }
}

impl Lane {
    /// Puts what was loaded into the register.
    pub(super) fn put(&self, value: &[u8], vectors: &mut Vectors) {
        let Some(register) = vectors.get_mut(usize::from(self.index)) else { return };
        if !self.keeps_rest {
            *register = [0; 16];
        }
        let mut places = &mut register[usize::from(self.at & 15)..];
        for _ in 0..self.copies {
            copy(value.len(), value, places);
            places = places.get_mut(value.len()..).unwrap_or_default();
        }
    }

    /// What is to be stored of the register.
    pub(super) fn take(&self, vectors: &Vectors, value: &mut [u8]) {
        if let Some(register) = vectors.get(usize::from(self.index)) {
            copy(value.len(), &register[usize::from(self.at & 15)..], value);
        }
    }
}

/// Copies the first `bytes` (1, 2, 4, 8 or 16): a call would cost more.
#[inline(always)]
fn copy(bytes: usize, from: &[u8], to: &mut [u8]) {
    fn whole<const N: usize>(from: &[u8], to: &mut [u8]) {
        if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
            *to = *from;
        }
    }
    match bytes {
        1 => whole::<1>(from, to),
        2 => whole::<2>(from, to),
        4 => whole::<4>(from, to),
        8 => whole::<8>(from, to),
        _ => whole::<16>(from, to),
    }
}

/// A little-endian number of at most 8 bytes.
pub fn number(data: &[u8]) -> u64 {
    data.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Writes the lower bytes of a number, as many as there is room for.
pub fn write_number(mut number: u64, data: &mut [u8]) {
    for byte in data {
        *byte = number as u8;
        number >>= 8;
    }
}

/// What becomes of `value`, of `bytes` bytes, in a general register.
pub(super) fn extend(value: u64, bytes: u8, extension: Extension) -> u64 {
    let signed = sign_extend(value, bytes) as u64;
    match extension {
        Extension::Zero => value,
        Extension::SignTo32 => signed & 0xffff_ffff,
        Extension::SignTo64 => signed,
    }
}

/// The lower `bytes` bytes (1 to 8) of a value as a signed number.
pub(super) fn sign_extend(value: u64, bytes: u8) -> i64 {
    let unused = 64 - 8 * u32::from(bytes);
    (value << unused) as i64 >> unused
}
