//! Loads and stores of one register or of two: all addressing modes (Arm ARM C4.1.94).

use super::word::Word;
use super::{Addressing, Base, Elements, Extend, Extension, Instruction, Mode, Offset, Operation, Places};

/// What a load or store of one register moves.
struct Single {
    is_load: bool,
    elements: Elements,
}

impl Single {
    /// The fields size, V, opc and Rt, which mean the same in all forms but the literal one.
    fn decode(word: Word) -> Option<Self> {
        let (size, opc, index) = (word.field(30, 2), word.field(22, 2), word.register(0));
        let (is_load, places, scale) = match (word.bit(26), opc, size) {
            (false, 0, _) => (false, zero_extended(index), size),
            (false, 1, _) => (true, zero_extended(index), size),
            // Size 3 would be a prefetch.
            (false, 2, 0..=2) => (true, extended(index, Extension::SignTo64), size),
            (false, 3, 0..=1) => (true, extended(index, Extension::SignTo32), size),
            (true, 0 | 1, _) => (opc == 1, vector(index), size),
            (true, 2 | 3, 0) => (opc == 3, vector(index), 4),
            _ => return None,
        };
        Some(Self { is_load, elements: Elements { bytes: 1 << scale, count: 1, places } })
    }

    fn scale(&self) -> u8 {
        self.elements.bytes.trailing_zeros() as u8
    }

    fn at(self, addressing: Addressing) -> Instruction {
        transfer(self.is_load, self.elements, addressing)
    }
}

/// `count` general registers, zero-extended.
pub(super) fn general(indices: [u8; 2], count: u8, bytes: u8) -> Elements {
    Elements { bytes, count, places: Places::General { indices, extension: Extension::Zero } }
}

fn zero_extended(index: u8) -> Places {
    extended(index, Extension::Zero)
}

fn extended(index: u8, extension: Extension) -> Places {
    Places::General { indices: [index; 2], extension }
}

fn vector(index: u8) -> Places {
    Places::Scalar { indices: [index; 2] }
}

pub(super) fn transfer(is_load: bool, elements: Elements, addressing: Addressing) -> Instruction {
    let operation = if is_load { Operation::Load(elements) } else { Operation::Store(elements) };
    Instruction::new(operation, addressing)
}

fn immediate(word: Word, offset: i64, mode: Mode) -> Addressing {
    Addressing { base: Base::Pointer(word.register(5)), offset: Offset::Immediate(offset), mode }
}

/// LDR, STR with an unsigned offset in units of the element.
pub fn unsigned_offset(word: Word) -> Option<Instruction> {
    let single = Single::decode(word)?;
    let offset = i64::from(word.field(10, 12)) << single.scale();
    Some(single.at(immediate(word, offset, Mode::Offset)))
}

/// LDUR, STUR, LDAPUR, STLUR.
pub fn unscaled_offset(word: Word) -> Option<Instruction> {
    unscaled(word, Mode::Offset)
}

/// LDR, STR, post-indexed.
pub fn post_index(word: Word) -> Option<Instruction> {
    index(word, Mode::PostIndex)
}

/// LDR, STR, pre-indexed.
pub fn pre_index(word: Word) -> Option<Instruction> {
    index(word, Mode::PreIndex)
}

/// LDTR, STTR.
pub fn unprivileged(word: Word) -> Option<Instruction> {
    Some(Instruction { is_unprivileged: true, ..unscaled(word, Mode::Offset)? })
}

fn index(word: Word, mode: Mode) -> Option<Instruction> {
    unscaled(word, mode)
}

fn unscaled(word: Word, mode: Mode) -> Option<Instruction> {
    Some(Single::decode(word)?.at(immediate(word, word.signed(12, 9), mode)))
}

/// LDR, STR with a register as the offset.
pub fn register_offset(word: Word) -> Option<Instruction> {
    let single = Single::decode(word)?;
    let extend = match word.field(13, 3) {
        0b010 => Extend::Unsigned32,
        0b110 => Extend::Signed32,
        0b011 | 0b111 => Extend::Whole,
        _ => return None,
    };
    let shift = if word.bit(12) { single.scale() } else { 0 };
    let offset = Offset::Register { index: word.register(16), extend, shift };
    Some(single.at(Addressing { base: Base::Pointer(word.register(5)), offset, mode: Mode::Offset }))
}

/// LDR (literal), LDRSW (literal).
pub fn literal(word: Word) -> Option<Instruction> {
    let index = word.register(0);
    let (places, bytes) = match (word.bit(26), word.field(30, 2)) {
        (false, 0) => (zero_extended(index), 4),
        (false, 1) => (zero_extended(index), 8),
        (false, 2) => (extended(index, Extension::SignTo64), 4),
        (true, size @ 0..=2) => (vector(index), 4 << size),
        // A prefetch, or nothing.
        _ => return None,
    };
    let offset = Offset::Immediate(word.signed(5, 19) << 2);
    let addressing = Addressing { base: Base::ProgramCounter, offset, mode: Mode::Offset };
    Some(transfer(true, Elements { bytes, count: 1, places }, addressing))
}

/// LDP, STP, LDNP, STNP, LDPSW.
pub fn pair(word: Word) -> Option<Instruction> {
    let (is_vector, opc, is_load) = (word.bit(26), word.field(30, 2), word.bit(22));
    let mode = match word.field(23, 2) {
        1 => Mode::PostIndex,
        3 => Mode::PreIndex,
        _ => Mode::Offset,
    };
    let is_non_temporal = word.field(23, 2) == 0;
    let (extension, bytes) = match (is_vector, opc) {
        (false, 0) => (Extension::Zero, 4),
        (false, 1) if is_load && !is_non_temporal => (Extension::SignTo64, 4),
        (false, 2) => (Extension::Zero, 8),
        (true, 0..=2) => (Extension::Zero, 4 << opc),
        _ => return None,
    };
    let indices = [word.register(0), word.register(10)];
    let places = if is_vector { Places::Scalar { indices } } else { Places::General { indices, extension } };
    let elements = Elements { bytes, count: 2, places };
    Some(transfer(is_load, elements, immediate(word, word.signed(15, 7) * i64::from(bytes), mode)))
}
