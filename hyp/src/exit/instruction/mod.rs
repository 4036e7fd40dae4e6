//! A64 instructions that access memory, decoded and carried out: all loads and stores of the encoding group "Loads and
//! Stores" (Arm ARM C4.1.94) that a guest is offered, and DC ZVA.
//!
//! For accesses that the syndrome does not describe (ESR_EL2.ISV = 0). Pure: registers and memory are traits, and where
//! the instruction came from and what is at its address does not belong here. The order of accesses (acquire, release)
//! is not recorded: each exit to EL2 and back synchronises.
//!
//! Not decoded, and `None`: prefetches, which never fault; what is UNDEFINED or CONSTRAINED UNPREDICTABLE; and features
//! that no guest is offered: pointer authentication (LDRAA), memory tagging, 64-byte accesses, SVE, MOPS, LRCPC3, LSE128.
//! Data is little-endian: guests are not offered the other way, and its accesses
//! of this kind are refused.

mod atomic;
mod elements;
mod execute;
mod scalar;
mod vector;
mod word;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use elements::{Elements, Extension, Lane, MAX_BYTES, Places, Vectors, number, write_number};
pub use execute::{Bus, Footprint, Registers};
use word::Word;

/// An instruction that accesses memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub operation: Operation,
    /// Where it does it.
    pub addressing: Addressing,
    /// LDTR, STTR and their like: the access has EL0's permissions.
    pub is_unprivileged: bool,
}

/// What an instruction does with memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Each element goes from memory to its register.
    Load(Elements),
    /// Each element goes from its register to memory.
    Store(Elements),
    /// As a load, and the address is marked for exclusive access.
    LoadExclusive(Elements),
    /// As a store, if the address still is marked.
    StoreExclusive {
        /// What is stored.
        elements: Elements,
        /// The register that tells whether it was: 0 or 1.
        status: u8,
    },
    /// Memory is read, modified and written at once; what was read goes to a register.
    Modify {
        /// How it is modified.
        modification: Modification,
        /// The width in bytes: 1, 2, 4 or 8.
        bytes: u8,
        /// The register of the other operand.
        operand: u8,
        /// The register for what was read.
        target: u8,
    },
    /// Memory is read, compared with registers, and written if equal; what was read goes to the registers compared.
    CompareAndSwap {
        /// The width of one register's part in bytes: 1, 2, 4 or 8.
        bytes: u8,
        /// Two neighbouring registers rather than one.
        is_pair: bool,
        /// The (first) register compared, and loaded.
        compare: u8,
        /// The (first) register stored.
        new: u8,
    },
    /// DC ZVA: zeroes the block that the address is in.
    ZeroBlock,
}

/// How an atomic instruction modifies memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modification {
    /// The sum.
    Add,
    /// Bits set in the operand are cleared.
    Clear,
    /// Exclusive or.
    ExclusiveOr,
    /// Or.
    Set,
    /// The greater of two signed numbers.
    SignedMaximum,
    /// The smaller of two signed numbers.
    SignedMinimum,
    /// The greater of two unsigned numbers.
    UnsignedMaximum,
    /// The smaller of two unsigned numbers.
    UnsignedMinimum,
    /// The operand itself.
    Swap,
}

/// How an address is found, and what becomes of its base register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressing {
    /// What the offset is added to.
    pub base: Base,
    /// The offset.
    pub offset: Offset,
    /// How both are used.
    pub mode: Mode,
}

/// What an offset is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A general register; 31 is the stack pointer.
    Pointer(u8),
    /// A general register; 31 is XZR (DC ZVA).
    Value(u8),
    /// The address of the instruction itself.
    ProgramCounter,
}

/// What is added to a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// A number of bytes.
    Immediate(i64),
    /// A general register.
    Register {
        /// Its number; 31 is XZR.
        index: u8,
        /// How much of it.
        extend: Extend,
        /// Shifted left by so many bits, 0 to 4.
        shift: u8,
    },
}

/// How much of an offset register counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extend {
    /// Its lower 32 bits, unsigned (UXTW).
    Unsigned32,
    /// Its lower 32 bits, signed (SXTW).
    Signed32,
    /// All of it (LSL, SXTX).
    Whole,
}

/// How base and offset are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The address is their sum; the base stays.
    Offset,
    /// The address is their sum, which the base becomes.
    PreIndex,
    /// The address is the base, which becomes their sum.
    PostIndex,
}

type Decoder = fn(Word) -> Option<Instruction>;

/// The classes of instructions: which bits count, what they are, who decodes the rest.
const CLASSES: [(u32, u32, Decoder); 16] = [
    (0x3b00_0000, 0x3900_0000, scalar::unsigned_offset),
    (0x3b20_0c00, 0x3800_0000, scalar::unscaled_offset),
    (0x3b20_0c00, 0x3800_0400, scalar::post_index),
    (0x3f20_0c00, 0x3800_0800, scalar::unprivileged),
    (0x3b20_0c00, 0x3800_0c00, scalar::pre_index),
    (0x3b20_0c00, 0x3820_0800, scalar::register_offset),
    (0x3a00_0000, 0x2800_0000, scalar::pair),
    (0x3b00_0000, 0x1800_0000, scalar::literal),
    (0x3f20_0c00, 0x1900_0000, scalar::unscaled_offset),
    (0x3f00_0000, 0x0800_0000, atomic::exclusive_or_ordered),
    (0x3f20_0c00, 0x3820_0000, atomic::modify),
    (0xbfbf_0000, 0x0c00_0000, vector::multiple_structures),
    (0xbfa0_0000, 0x0c80_0000, vector::multiple_structures_post_index),
    (0xbf9f_0000, 0x0d00_0000, vector::single_structure),
    (0xbf80_0000, 0x0d80_0000, vector::single_structure_post_index),
    (0xffff_ffe0, 0xd50b_7420, zero_block),
];

impl Instruction {
    /// Decodes an instruction; `None` for all that is not listed in the head of this module.
    pub fn decode(word: u32) -> Option<Self> {
        let (_, _, decode) = CLASSES.iter().find(|(mask, value, _)| word & mask == *value)?;
        decode(Word(word)).filter(Self::is_predictable)
    }

    fn new(operation: Operation, addressing: Addressing) -> Self {
        Self { operation, addressing, is_unprivileged: false }
    }

    /// Whether it reads memory.
    pub fn reads(&self) -> bool {
        !matches!(self.operation, Operation::Store(_) | Operation::StoreExclusive { .. } | Operation::ZeroBlock)
    }

    /// Whether it writes memory, or may.
    pub fn writes(&self) -> bool {
        !matches!(self.operation, Operation::Load(_) | Operation::LoadExclusive(_))
    }

    /// Whether it may have faulted as a write (ESR_EL2.WnR), or as a read: what does both may as either.
    pub fn may_fault(&self, is_write: bool) -> bool {
        if is_write { self.writes() } else { self.reads() }
    }

    /// Neither does it load a register twice, nor write one back that it also loads or stores (Arm ARM K1.2).
    fn is_predictable(&self) -> bool {
        let elements = match &self.operation {
            Operation::Load(elements) | Operation::LoadExclusive(elements) => {
                if elements.name_one_twice() {
                    return false;
                }
                elements
            }
            Operation::Store(elements) => elements,
            _ => return true,
        };
        match (self.addressing.mode, self.addressing.base) {
            (Mode::PreIndex | Mode::PostIndex, Base::Pointer(base @ 0..31)) => !elements.have_general(base),
            _ => true,
        }
    }
}

impl Addressing {
    /// A base register, and no more.
    const fn plain(base: u8) -> Self {
        Self { base: Base::Pointer(base), offset: Offset::Immediate(0), mode: Mode::Offset }
    }
}

fn zero_block(word: Word) -> Option<Instruction> {
    let addressing = Addressing { base: Base::Value(word.register(0)), ..Addressing::plain(0) };
    Some(Instruction::new(Operation::ZeroBlock, addressing))
}
