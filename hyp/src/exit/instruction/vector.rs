//! LD1 to LD4 and ST1 to ST4: structures of vector elements (Arm ARM C4.1.94: "Advanced SIMD load/store").

use super::scalar::transfer;
use super::word::Word;
use super::{Addressing, Base, Elements, Extend, Instruction, Mode, Offset, Places};

/// Whole registers, one after the other or element by element in turn.
pub fn multiple_structures(word: Word) -> Option<Instruction> {
    let elements = multiple_elements(word)?;
    Some(transfer(word.bit(22), elements, Addressing::plain(word.register(5))))
}

/// As [`multiple_structures`], post-indexed.
pub fn multiple_structures_post_index(word: Word) -> Option<Instruction> {
    post_index(word, multiple_elements(word)?)
}

/// One element of each register, or one for all elements of a register.
pub fn single_structure(word: Word) -> Option<Instruction> {
    let elements = single_elements(word)?;
    Some(transfer(word.bit(22), elements, Addressing::plain(word.register(5))))
}

/// As [`single_structure`], post-indexed.
pub fn single_structure_post_index(word: Word) -> Option<Instruction> {
    post_index(word, single_elements(word)?)
}

/// The base goes on by a register, or by the bytes moved where that is 31.
fn post_index(word: Word, elements: Elements) -> Option<Instruction> {
    let offset = match word.register(16) {
        31 => Offset::Immediate(elements.size() as i64),
        index => Offset::Register { index, extend: Extend::Whole, shift: 0 },
    };
    let addressing = Addressing { base: Base::Pointer(word.register(5)), offset, mode: Mode::PostIndex };
    Some(transfer(word.bit(22), elements, addressing))
}

fn multiple_elements(word: Word) -> Option<Elements> {
    // How many times, and how many registers in turn each time.
    let (rounds, in_turn) = match word.field(12, 4) {
        0b0000 => (1, 4),
        0b0010 => (4, 1),
        0b0100 => (1, 3),
        0b0110 => (3, 1),
        0b0111 => (1, 1),
        0b1000 => (1, 2),
        0b1010 => (2, 1),
        _ => return None,
    };
    let (register_bytes, bytes) = (if word.bit(30) { 16 } else { 8 }, 1 << word.field(10, 2));
    if bytes == register_bytes && in_turn != 1 {
        return None;
    }
    let lanes = register_bytes / bytes;
    let places = Places::Structures { first: word.register(0), rounds, in_turn, lanes };
    Some(Elements { bytes, count: rounds * in_turn * lanes, places })
}

fn single_elements(word: Word) -> Option<Elements> {
    let registers = (word.field(13, 1) << 1 | word.field(21, 1)) as u8 + 1;
    if word.field(14, 2) == 3 {
        return replicated_elements(word, registers);
    }
    let (q, s, size) = (word.field(30, 1), word.field(12, 1), word.field(10, 2));
    let (index, scale) = match (word.field(14, 2), size, s) {
        (0, _, _) => (q << 3 | s << 2 | size, 0),
        (1, 0b00 | 0b10, _) => (q << 2 | s << 1 | size >> 1, 1),
        (2, 0b00, _) => (q << 1 | s, 2),
        (2, 0b01, 0) => (q, 3),
        _ => return None,
    };
    let places = Places::Lane { first: word.register(0), at: (index << scale) as u8 };
    Some(Elements { bytes: 1 << scale, count: registers, places })
}

/// LD1R to LD4R.
fn replicated_elements(word: Word, registers: u8) -> Option<Elements> {
    let (is_load, s) = (word.bit(22), word.bit(12));
    if !is_load || s {
        return None;
    }
    let (register_bytes, bytes) = (if word.bit(30) { 16 } else { 8 }, 1 << word.field(10, 2));
    let places = Places::Replicated { first: word.register(0), copies: register_bytes / bytes };
    Some(Elements { bytes, count: registers, places })
}
