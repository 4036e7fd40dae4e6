//! Random encodings of every class, and random words: what the decoder makes of them is what `yaxpeax-arm` does.

use proptest::test_runner::{RngAlgorithm, TestRng};
use std::collections::BTreeMap;

use proptest::prelude::Rng;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction as Disassembled, Operand, SIMDSizeCode, ShiftStyle, SizeCode};

use super::super::{
    Addressing, Base, CLASSES, Elements, Extend, Extension, Instruction, Lane, Mode, Modification, Offset, Operation,
    Places,
};

const WORDS_PER_CLASS: usize = 30_000;

/// An instruction with its elements spelt out.
#[derive(Debug, PartialEq)]
struct Spelt {
    /// Its elements are [`NONE`].
    instruction: Instruction,
    elements: Vec<Element>,
}

/// One access.
#[derive(Debug, PartialEq)]
struct Element {
    register: Register,
    /// How many bytes lie before it.
    offset: u64,
    bytes: u8,
}

/// What an element goes to or comes from.
#[derive(Debug, PartialEq)]
enum Register {
    General { index: u8, extension: Extension },
    Vector(Lane),
}

/// Stands for elements that are elsewhere.
const NONE: Elements = Elements { bytes: 1, count: 0, places: Places::Scalar { indices: [0; 2] } };

impl Spelt {
    fn of(mut instruction: Instruction) -> Self {
        let elements = match &mut instruction.operation {
            Operation::Load(elements)
            | Operation::Store(elements)
            | Operation::LoadExclusive(elements)
            | Operation::StoreExclusive { elements, .. } => core::mem::replace(elements, NONE),
            _ => NONE,
        };
        let mut registers = Vec::new();
        if let Places::General { indices, extension } = elements.places {
            let indices = indices.into_iter().take(elements.count.into());
            registers.extend(indices.map(|index| Register::General { index, extension }));
        }
        elements.for_each_lane(|lane| registers.push(Register::Vector(lane)));
        assert_eq!(registers.len(), usize::from(elements.count));
        let bytes = elements.bytes;
        let offset = |number| number as u64 * u64::from(bytes);
        let element = |(number, register)| Element { register, offset: offset(number), bytes };
        Self { instruction, elements: registers.into_iter().enumerate().map(element).collect() }
    }
}

#[test]
fn every_class_is_decoded_as_a_disassembler_does() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for (mask, value, _) in CLASSES {
        let mut decoded = 0;
        let words = (0..WORDS_PER_CLASS).map(|_| value | random.next_u32() & !mask);
        compare(words.inspect(|word| decoded += usize::from(Instruction::decode(*word).is_some())));
        assert!(decoded > WORDS_PER_CLASS / 100, "{value:#x}: only {decoded} mean anything");
    }
}

#[test]
fn nothing_else_is_decoded() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    compare((0..300_000).map(|_| random.next_u32()));
}

/// Fails with one word for each mnemonic on which the two disagree.
fn compare(words: impl Iterator<Item = u32>) {
    let mut wrong = BTreeMap::new();
    for word in words {
        if let Err((name, why)) = check(word) {
            wrong.entry(name).or_insert(why);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_values().collect::<Vec<_>>().join("\n"));
}

fn check(word: u32) -> Result<(), (String, String)> {
    let ours = Instruction::decode(word).map(Spelt::of);
    let mut theirs = Disassembled::default();
    let known = InstDecoder::default().decode_into(&mut theirs, &mut U8Reader::new(&word.to_le_bytes())).is_ok();
    let (name, text) = if known { (theirs.opcode.to_string(), theirs.to_string()) } else { Default::default() };
    let expected = known.then(|| expected(&theirs)).flatten().filter(|expected| !is_refused(word, expected));
    let agrees = ours == expected;
    let class = format!("{name} {} {}", ours.is_some(), expected.is_some());
    if agrees { Ok(()) } else { Err((class, format!("{word:#010x} `{text}`:\n {ours:x?}\n {expected:x?}"))) }
}

/// What the disassembler knows and the decoder refuses on purpose: CONSTRAINED UNPREDICTABLE encodings, and some that are
/// unallocated (it does not look at all fixed bits).
fn is_refused(word: u32, instruction: &Spelt) -> bool {
    is_unallocated(word) || is_unused_register_named(word) || names_register_twice(instruction)
}

/// Structures of vector elements: bit 31; bit 21 of whole registers; elements of eight bytes in half registers.
fn is_unallocated(word: u32) -> bool {
    let (is_multiple, in_turn) = (word & 0x3f00_0000 == 0x0c00_0000, matches!(word >> 12 & 15, 0 | 4 | 8));
    let one_doubleword = word >> 30 & 1 == 0 && word >> 10 & 3 == 3;
    word & 0x3e00_0000 == 0x0c00_0000
        && (word >> 31 == 1 || is_multiple && (word >> 21 & 1 == 1 || in_turn && one_doubleword))
}

/// Register fields that an instruction does not use shall be ones.
fn is_unused_register_named(word: u32) -> bool {
    let (status, second) = (word >> 16 & 31 != 31, word >> 10 & 31 != 31);
    match word & 0x3f20_0000 {
        // Exclusive pairs and CASP; CAS.
        0x0820_0000 if word >> 31 == 1 => word >> 22 & 3 == 1 && status || word >> 23 & 1 == 1 && second,
        0x0820_0000 => second,
        0x0800_0000 => second || word >> 22 & 3 != 0 && status,
        // LDAPR.
        0x3820_0000 => word >> 10 & 0x3f == 0x30 && status,
        _ => false,
    }
}

fn names_register_twice(Spelt { instruction, elements }: &Spelt) -> bool {
    let names =
        |element: &Element, number| matches!(element.register, Register::General { index, .. } if index == number);
    let base = match instruction.addressing.base {
        Base::Pointer(base) if base != 31 => Some(base),
        _ => None,
    };
    match &instruction.operation {
        Operation::Load(_) | Operation::LoadExclusive(_) | Operation::Store(_) => {
            let is_load = !matches!(instruction.operation, Operation::Store(_));
            let twice = is_load && elements.len() == 2 && elements[0].register == elements[1].register;
            let base = base.filter(|_| instruction.addressing.mode != Mode::Offset);
            twice || base.is_some_and(|base| elements.iter().any(|element| names(element, base)))
        }
        Operation::StoreExclusive { status, .. } => {
            elements.iter().any(|element| names(element, *status)) || base == Some(*status)
        }
        _ => false,
    }
}

/// The disassembler's words in ours; `None` if it is no load or store that a guest is offered.
fn expected(theirs: &Disassembled) -> Option<Spelt> {
    let name = theirs.opcode.to_string();
    let operands: Vec<Operand> =
        theirs.operands.iter().copied().filter(|operand| !matches!(operand, Operand::Nothing)).collect();
    if name == "sys" {
        return zero_block(&theirs.to_string()).map(Spelt::of);
    }
    let is_access = ["ld", "st", "cas", "swp"].iter().any(|start| name.starts_with(start));
    let is_hidden = ["ldra", "ldg", "stg", "st2g", "stz", "st64", "ld64"].iter().any(|start| name.starts_with(start));
    if !is_access || is_hidden {
        return None;
    }
    let addressing = addressing(operands.last()?)?;
    let (operation, elements) = operation(&name, &operands)?;
    let is_unprivileged = name.starts_with("ldtr") || name.starts_with("sttr");
    Some(Spelt { instruction: Instruction { operation, addressing, is_unprivileged }, elements })
}

fn zero_block(text: &str) -> Option<Instruction> {
    let register = text.strip_prefix("sys #0x3, c7, c4, #0x1, ")?;
    let index = if register == "xzr" { 31 } else { register.strip_prefix('x')?.parse().ok()? };
    let addressing = Addressing { base: Base::Value(index), offset: Offset::Immediate(0), mode: Mode::Offset };
    Some(Instruction { operation: Operation::ZeroBlock, addressing, is_unprivileged: false })
}

fn addressing(operand: &Operand) -> Option<Addressing> {
    let pointer = |base: u16| Base::Pointer(base as u8);
    let at = |base, offset, mode| Some(Addressing { base, offset, mode });
    match *operand {
        Operand::PCOffset(offset) => at(Base::ProgramCounter, Offset::Immediate(offset), Mode::Offset),
        Operand::RegPreIndex(base, offset, writes_back) => {
            let mode = if writes_back { Mode::PreIndex } else { Mode::Offset };
            at(pointer(base), Offset::Immediate(offset.into()), mode)
        }
        Operand::RegPostIndex(base, offset) => at(pointer(base), Offset::Immediate(offset.into()), Mode::PostIndex),
        Operand::RegPostIndexReg(base, index) => {
            let offset = Offset::Register { index: index as u8, extend: Extend::Whole, shift: 0 };
            at(pointer(base), offset, Mode::PostIndex)
        }
        Operand::RegRegOffset(base, index, size, style, amount) => {
            let extend = match (style, size) {
                (ShiftStyle::UXTW, _) => Extend::Unsigned32,
                (ShiftStyle::SXTW, _) => Extend::Signed32,
                (ShiftStyle::LSL | ShiftStyle::UXTX | ShiftStyle::SXTX, SizeCode::X) => Extend::Whole,
                // Reserved; it reads them as if they were not.
                _ => return None,
            };
            let offset = Offset::Register { index: index as u8, extend, shift: amount };
            at(pointer(base), offset, Mode::Offset)
        }
        _ => None,
    }
}

fn operation(name: &str, operands: &[Operand]) -> Option<(Operation, Vec<Element>)> {
    // Only the load that acquires, and no store, is spelt so.
    let is_load = name.starts_with("ld");
    if name.as_bytes()[2].is_ascii_digit() {
        let operation = if is_load { Operation::Load(NONE) } else { Operation::Store(NONE) };
        return Some((operation, structures(name, &operands[0])?));
    }
    if name.starts_with("cas") {
        return Some((compare_and_swap(name, operands), Vec::new()));
    }
    if let Some(modification) = modification(name) {
        let (operand, target) = (general(&operands[0])?, general(&operands[1])?);
        let operation = Operation::Modify { modification, bytes: bytes(name, &operands[1]), operand, target };
        return Some((operation, Vec::new()));
    }
    let is_exclusive = ["ldx", "ldax", "stx", "stlx"].iter().any(|start| name.starts_with(start));
    let registers = &operands[usize::from(is_exclusive && !is_load)..operands.len() - 1];
    let mut elements = Vec::new();
    for register in registers {
        let bytes = bytes(name, register);
        let offset = elements.len() as u64 * u64::from(bytes);
        elements.push(Element { register: transfer(name, register)?, offset, bytes });
    }
    let operation = match (is_exclusive, is_load) {
        (false, true) => Operation::Load(NONE),
        (false, false) => Operation::Store(NONE),
        (true, true) => Operation::LoadExclusive(NONE),
        (true, false) => Operation::StoreExclusive { elements: NONE, status: general(&operands[0])? },
    };
    Some((operation, elements))
}

fn compare_and_swap(name: &str, operands: &[Operand]) -> Operation {
    let register = |operand: &Operand| match *operand {
        Operand::RegisterPair(_, index) => index as u8,
        ref other => general(other).unwrap(),
    };
    let (compare, new) = (register(&operands[0]), register(&operands[1]));
    Operation::CompareAndSwap { bytes: bytes(name, &operands[0]), is_pair: name.starts_with("casp"), compare, new }
}

fn modification(name: &str) -> Option<Modification> {
    let names = [
        ("swp", Modification::Swap),
        ("ldadd", Modification::Add),
        ("ldclr", Modification::Clear),
        ("ldeor", Modification::ExclusiveOr),
        ("ldset", Modification::Set),
        ("ldsmax", Modification::SignedMaximum),
        ("ldsmin", Modification::SignedMinimum),
        ("ldumax", Modification::UnsignedMaximum),
        ("ldumin", Modification::UnsignedMinimum),
    ];
    names.iter().find(|(start, _)| name.starts_with(start)).map(|(_, modification)| *modification)
}

/// The last letters of a mnemonic say the width, or else the register does.
fn bytes(name: &str, register: &Operand) -> u8 {
    match (register, name) {
        (Operand::SIMDRegister(size, _), _) => simd_bytes(*size),
        (_, "ldpsw") => 4,
        _ if name.ends_with("sw") => 4,
        _ if name.ends_with('b') => 1,
        _ if name.ends_with('h') => 2,
        (Operand::Register(SizeCode::W, _) | Operand::RegisterPair(SizeCode::W, _), _) => 4,
        _ => 8,
    }
}

fn simd_bytes(size: SIMDSizeCode) -> u8 {
    match size {
        SIMDSizeCode::B => 1,
        SIMDSizeCode::H => 2,
        SIMDSizeCode::S => 4,
        SIMDSizeCode::D => 8,
        SIMDSizeCode::Q => 16,
    }
}

fn general(operand: &Operand) -> Option<u8> {
    match *operand {
        Operand::Register(_, index) => Some(index as u8),
        _ => None,
    }
}

fn transfer(name: &str, operand: &Operand) -> Option<Register> {
    let is_signed = ["sb", "sh", "sw"].iter().any(|end| name.ends_with(end)) && name.starts_with("ld");
    match *operand {
        Operand::SIMDRegister(_, index) => {
            Some(Register::Vector(Lane { index: index as u8, at: 0, copies: 1, keeps_rest: false }))
        }
        Operand::Register(size, index) => {
            let extension = match (is_signed, size) {
                (false, _) => Extension::Zero,
                (true, SizeCode::W) => Extension::SignTo32,
                (true, SizeCode::X) => Extension::SignTo64,
            };
            Some(Register::General { index: index as u8, extension })
        }
        _ => None,
    }
}

/// LD1 to LD4R: the elements' order as the manual's pseudocode has it.
fn structures(name: &str, operand: &Operand) -> Option<Vec<Element>> {
    let in_turn = usize::from(name.as_bytes()[2] - b'0');
    let mut places = Vec::new();
    let bytes = match *operand {
        Operand::SIMDRegisterGroup(width, first, size, count) => {
            let (count, lanes) = (usize::from(count), usize::from(simd_bytes(width) / simd_bytes(size)));
            if name.ends_with('r') {
                places.extend((0..count).map(|register| (first, register, 0, lanes, false)));
            } else {
                for group in 0..count / in_turn {
                    for lane in 0..lanes {
                        let one_of_each = (group * in_turn..).take(in_turn);
                        places.extend(one_of_each.map(|register| (first, register, lane, 1, lane != 0)));
                    }
                }
            }
            simd_bytes(size)
        }
        Operand::SIMDRegisterGroupLane(first, size, count, lane) => {
            places.extend((0..usize::from(count)).map(|register| (first, register, usize::from(lane), 1, true)));
            simd_bytes(size)
        }
        _ => return None,
    };
    let element = |(number, (first, register, lane, copies, keeps_rest)): (usize, (u16, usize, usize, usize, bool))| {
        let index = ((usize::from(first) + register) % 32) as u8;
        let register = Register::Vector(Lane { index, at: lane as u8 * bytes, copies: copies as u8, keeps_rest });
        Element { register, offset: number as u64 * u64::from(bytes), bytes }
    };
    Some(places.into_iter().enumerate().map(element).collect())
}
