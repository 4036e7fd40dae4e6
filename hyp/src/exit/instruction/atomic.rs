//! Exclusive, ordered and atomic instructions (Arm ARM C4.1.94: "exclusive", "ordered", "compare and swap", "atomic
//! memory operations").

use super::scalar::{general, transfer};
use super::word::Word;
use super::{Addressing, Elements, Instruction, Modification, Operation};

/// LDXR to STLXP, LDAR to STLLR, CAS, CASP.
pub fn exclusive_or_ordered(word: Word) -> Option<Instruction> {
    let (is_not_exclusive, is_load, is_pair) = (word.bit(23), word.bit(22), word.bit(21));
    match (is_not_exclusive, is_pair, word.field(30, 2)) {
        (false, false, _) if word.is_unused(10) => exclusive(word, is_load, one(word)),
        (false, true, size @ 2..=3) => exclusive(word, is_load, two(word, 1 << size)),
        (false, true, size @ 0..=1) => compare_and_swap_pair(word, 4 << size),
        (true, false, _) => ordered(word, is_load),
        (true, true, size) => compare_and_swap(word, 1 << size),
        _ => None,
    }
}

fn addressing(word: Word) -> Addressing {
    Addressing::plain(word.register(5))
}

fn one(word: Word) -> Elements {
    general([word.register(0); 2], 1, 1 << word.field(30, 2))
}

fn two(word: Word, bytes: u8) -> Elements {
    general([word.register(0), word.register(10)], 2, bytes)
}

fn exclusive(word: Word, is_load: bool, elements: Elements) -> Option<Instruction> {
    let status = word.register(16);
    if is_load {
        return word.is_unused(16).then(|| Instruction::new(Operation::LoadExclusive(elements), addressing(word)));
    }
    // What is stored, or the base, must not be overwritten by the status.
    let overlaps = elements.have_general(status) || status != 31 && status == word.register(5);
    let operation = Operation::StoreExclusive { elements, status };
    (!overlaps).then(|| Instruction::new(operation, addressing(word)))
}

fn ordered(word: Word, is_load: bool) -> Option<Instruction> {
    let is_valid = word.is_unused(16) && word.is_unused(10);
    is_valid.then(|| transfer(is_load, one(word), addressing(word)))
}

fn compare_and_swap(word: Word, bytes: u8) -> Option<Instruction> {
    let (compare, new) = (word.register(16), word.register(0));
    let operation = Operation::CompareAndSwap { bytes, is_pair: false, compare, new };
    word.is_unused(10).then(|| Instruction::new(operation, addressing(word)))
}

fn compare_and_swap_pair(word: Word, bytes: u8) -> Option<Instruction> {
    let (compare, new) = (word.register(16), word.register(0));
    let is_valid = word.is_unused(10) && compare % 2 == 0 && new % 2 == 0;
    let operation = Operation::CompareAndSwap { bytes, is_pair: true, compare, new };
    is_valid.then(|| Instruction::new(operation, addressing(word)))
}

/// LDADD to LDUMIN and their forms without a result, SWP, LDAPR.
pub fn modify(word: Word) -> Option<Instruction> {
    /// A, R, o3 and opc of LDAPR: acquire without release, which no SWP has there.
    const LOAD_ACQUIRE: u32 = 0b10 << 4 | 0b1100;
    let modification = match word.field(12, 4) {
        0 => Modification::Add,
        1 => Modification::Clear,
        2 => Modification::ExclusiveOr,
        3 => Modification::Set,
        4 => Modification::SignedMaximum,
        5 => Modification::SignedMinimum,
        6 => Modification::UnsignedMaximum,
        7 => Modification::UnsignedMinimum,
        8 => Modification::Swap,
        _ if word.field(22, 2) << 4 | word.field(12, 4) == LOAD_ACQUIRE && word.is_unused(16) => {
            return Some(transfer(true, one(word), addressing(word)));
        }
        _ => return None,
    };
    let (bytes, operand, target) = (1 << word.field(30, 2), word.register(16), word.register(0));
    Some(Instruction::new(Operation::Modify { modification, bytes, operand, target }, addressing(word)))
}
