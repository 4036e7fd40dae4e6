//! A decoded instruction carried out, on registers and memory that are traits.
//!
//! Elements are moved in order. Registers change after the last element was read, the base register last of all: an
//! access that fails leaves them as they were, and the instruction can be repeated.

use arrayvec::ArrayVec;

use super::{
    Addressing, Base, Element, Extend, Extension, Instruction, MAX_ELEMENTS, Mode, Modification, Offset, Operation,
    Register,
};

/// DC ZVA, in bytes: that is how wide most devices' registers are.
const ZEROED_AT_ONCE: u8 = 4;

/// The registers of the guest.
pub trait Registers {
    /// General register `index`; 31 is XZR.
    fn general(&self, index: u8) -> u64;
    /// Sets general register `index`; 31 is XZR.
    fn set_general(&mut self, index: u8, value: u64);
    /// The stack pointer in use.
    fn stack_pointer(&self) -> u64;
    /// Sets the stack pointer in use.
    fn set_stack_pointer(&mut self, value: u64);
    /// The address of the instruction.
    fn program_counter(&self) -> u64;
    /// SIMD and floating-point register `index`.
    fn vector(&mut self, index: u8) -> u128;
    /// Sets SIMD and floating-point register `index`.
    fn set_vector(&mut self, index: u8, value: u128);
}

/// What is at the addresses that an instruction accesses.
pub trait Bus {
    /// Why an access fails.
    type Error;
    /// Reads `bytes` (1, 2, 4 or 8) at `offset` from the start of the footprint.
    ///
    /// # Errors
    /// What is there cannot be read.
    fn load(&mut self, offset: u64, bytes: u64) -> Result<u64, Self::Error>;
    /// Writes the lower `bytes` (1, 2, 4 or 8) of `value` at `offset` from the start of the footprint.
    ///
    /// # Errors
    /// What is there cannot be written.
    fn store(&mut self, offset: u64, bytes: u64, value: u64) -> Result<(), Self::Error>;
}

/// What an instruction is going to access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The first virtual address.
    pub start: u64,
    /// How many bytes from there; addresses wrap.
    pub bytes: u64,
    /// What its base register becomes.
    new_base: Option<u64>,
}

impl Footprint {
    /// Whether `address` is accessed; the tag in its top byte does not count.
    pub fn contains(&self, address: u64) -> bool {
        const TAG_BITS: u32 = 8;
        (address.wrapping_sub(self.start) << TAG_BITS) >> TAG_BITS < self.bytes
    }
}

impl Addressing {
    /// The address, and what the base becomes.
    fn resolve(&self, registers: &impl Registers) -> (u64, Option<u64>) {
        let base = match self.base {
            Base::Pointer(31) => registers.stack_pointer(),
            Base::Pointer(index) | Base::Value(index) => registers.general(index),
            Base::ProgramCounter => registers.program_counter(),
        };
        let sum = base.wrapping_add(self.offset.value(registers));
        match self.mode {
            Mode::Offset => (sum, None),
            Mode::PreIndex => (sum, Some(sum)),
            Mode::PostIndex => (base, Some(sum)),
        }
    }
}

impl Offset {
    fn value(self, registers: &impl Registers) -> u64 {
        match self {
            Self::Immediate(offset) => offset as u64,
            Self::Register { index, extend, shift } => {
                let value = registers.general(index);
                let extended = match extend {
                    Extend::Unsigned32 => value & 0xffff_ffff,
                    Extend::Signed32 => value as i32 as u64,
                    Extend::Whole => value,
                };
                extended << shift
            }
        }
    }
}

impl Instruction {
    /// What it accesses with these registers; `block` is what DC ZVA zeroes, in bytes (DCZID_EL0.BS), a power of two.
    pub fn footprint(&self, registers: &impl Registers, block: u64) -> Footprint {
        let (address, new_base) = self.addressing.resolve(registers);
        let (start, bytes) = match &self.operation {
            Operation::ZeroBlock => (address & !(block - 1), block),
            operation => (address, operation.bytes()),
        };
        Footprint { start, bytes, new_base }
    }

    /// What it moves at once, in order: offsets from the start of the footprint, and bytes (1, 2, 4 or 8). What is read and
    /// written is there once; of a store exclusive, what it would store.
    pub fn accesses(&self, footprint: &Footprint) -> impl Iterator<Item = (u64, u64)> {
        let (elements, even) = match &self.operation {
            Operation::Load(elements)
            | Operation::Store(elements)
            | Operation::LoadExclusive(elements)
            | Operation::StoreExclusive { elements, .. } => (&elements[..], None),
            Operation::Modify { bytes, .. } | Operation::CompareAndSwap { bytes, .. } => (&[][..], Some(*bytes)),
            Operation::ZeroBlock => (&[][..], Some(ZEROED_AT_ONCE)),
        };
        let bytes = u64::from(even.unwrap_or(1));
        let evenly = even.map_or(0, |_| footprint.bytes / bytes);
        let parts = elements.iter().flat_map(Element::parts).map(|part| (part.offset, part.bytes));
        parts.chain((0..evenly).map(move |number| (number * bytes, bytes)))
    }

    /// Carries it out, but for the program counter.
    ///
    /// A store exclusive stores nothing and says so in its status: that an address is marked is the processor's own
    /// knowledge, which is gone when EL2 returns. A load exclusive is a load; so the caller sees to it that no loop waits
    /// for both. Atomic instructions are atomic only as far as `bus` is.
    ///
    /// # Errors
    /// That of the first access that fails; no register has changed then.
    pub fn execute<B: Bus>(
        &self,
        footprint: &Footprint,
        registers: &mut impl Registers,
        bus: &mut B,
    ) -> Result<(), B::Error> {
        match &self.operation {
            Operation::Load(elements) | Operation::LoadExclusive(elements) => load(elements, registers, bus)?,
            Operation::Store(elements) => store(elements, registers, bus)?,
            Operation::StoreExclusive { status, .. } => registers.set_general(*status, 1),
            Operation::Modify { modification, bytes, operand, target } => {
                let old = load_part(bus, 0, u64::from(*bytes))?;
                let new = modification.apply(*bytes, old, registers.general(*operand));
                bus.store(0, u64::from(*bytes), new)?;
                registers.set_general(*target, old);
            }
            Operation::CompareAndSwap { bytes, is_pair, compare, new } => {
                compare_and_swap(u64::from(*bytes), 1 + u8::from(*is_pair), (*compare, *new), registers, bus)?;
            }
            Operation::ZeroBlock => {
                self.accesses(footprint).try_for_each(|(offset, bytes)| bus.store(offset, bytes, 0))?;
            }
        }
        self.write_back(footprint, registers);
        Ok(())
    }

    fn write_back(&self, footprint: &Footprint, registers: &mut impl Registers) {
        match (footprint.new_base, self.addressing.base) {
            (Some(value), Base::Pointer(31)) => registers.set_stack_pointer(value),
            (Some(value), Base::Pointer(index)) => registers.set_general(index, value),
            _ => {}
        }
    }
}

impl Operation {
    /// How many bytes it accesses; of a block that DC ZVA zeroes the caller knows the size.
    fn bytes(&self) -> u64 {
        match self {
            Self::Load(elements)
            | Self::Store(elements)
            | Self::LoadExclusive(elements)
            | Self::StoreExclusive { elements, .. } => elements.iter().map(|element| u64::from(element.bytes)).sum(),
            Self::Modify { bytes, .. } => u64::from(*bytes),
            Self::CompareAndSwap { bytes, is_pair, .. } => u64::from(*bytes) << u32::from(*is_pair),
            Self::ZeroBlock => 0,
        }
    }
}

/// What a bus gives may have more bits than were asked for.
fn load_part<B: Bus>(bus: &mut B, offset: u64, bytes: u64) -> Result<u64, B::Error> {
    Ok(bus.load(offset, bytes)? & mask(bytes))
}

fn load<B: Bus>(elements: &[Element], registers: &mut impl Registers, bus: &mut B) -> Result<(), B::Error> {
    let mut values = ArrayVec::<u128, MAX_ELEMENTS>::new();
    for element in elements {
        values.push(element.load(bus)?);
    }
    for (element, value) in elements.iter().zip(values) {
        element.put(value, registers);
    }
    Ok(())
}

fn store<B: Bus>(elements: &[Element], registers: &mut impl Registers, bus: &mut B) -> Result<(), B::Error> {
    for element in elements {
        let value = element.take(registers);
        for part in element.parts() {
            bus.store(part.offset, part.bytes, (value >> part.shift) as u64 & mask(part.bytes))?;
        }
    }
    Ok(())
}

/// A part of an element that a bus can carry.
struct Part {
    offset: u64,
    bytes: u64,
    /// Where in the element it is, in bits.
    shift: u32,
}

impl Element {
    /// The whole element, or the two halves of one of 16 bytes.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let (offset, bytes) = (u64::from(self.offset), u64::from(self.bytes.min(8)));
        (0..u32::from(self.bytes.div_ceil(8))).map(move |part| Part {
            offset: offset + 8 * u64::from(part),
            bytes,
            shift: 64 * part,
        })
    }

    fn load<B: Bus>(&self, bus: &mut B) -> Result<u128, B::Error> {
        let mut value = 0;
        for part in self.parts() {
            value |= u128::from(load_part(bus, part.offset, part.bytes)?) << part.shift;
        }
        Ok(value)
    }

    /// Puts what was loaded into the register.
    fn put(&self, value: u128, registers: &mut impl Registers) {
        match self.register {
            Register::General { index, extension } => {
                registers.set_general(index, self.extend(value as u64, extension))
            }
            Register::Vector { index, at, copies, keeps_rest } => {
                let mut whole = if keeps_rest { registers.vector(index) } else { 0 };
                for copy in 0..copies {
                    let shift = 8 * u32::from(at + copy * self.bytes);
                    whole = whole & !(wide_mask(self.bytes) << shift) | value << shift;
                }
                registers.set_vector(index, whole);
            }
        }
    }

    /// What is to be stored of the register; bits above the element's do not count.
    fn take(&self, registers: &mut impl Registers) -> u128 {
        match self.register {
            Register::General { index, .. } => u128::from(registers.general(index)),
            Register::Vector { index, at, .. } => registers.vector(index) >> (8 * u32::from(at)),
        }
    }

    fn extend(&self, value: u64, extension: Extension) -> u64 {
        let signed = sign_extend(value, self.bytes) as u64;
        match extension {
            Extension::Zero => value,
            Extension::SignTo32 => signed & 0xffff_ffff,
            Extension::SignTo64 => signed,
        }
    }
}

/// The lower `bytes` bytes: 1 to 8.
fn mask(bytes: u64) -> u64 {
    u64::MAX >> (64 - 8 * bytes)
}

/// The lower `bytes` bytes: 1 to 16.
fn wide_mask(bytes: u8) -> u128 {
    u128::MAX >> (128 - 8 * u32::from(bytes))
}

/// The lower `bytes` bytes (1 to 8) of a value as a signed number.
fn sign_extend(value: u64, bytes: u8) -> i64 {
    let unused = 64 - 8 * u32::from(bytes);
    (value << unused) as i64 >> unused
}

impl Modification {
    /// What memory becomes, of which the lower `bytes` count.
    fn apply(self, bytes: u8, old: u64, operand: u64) -> u64 {
        let operand = operand & mask(u64::from(bytes));
        let is_less = sign_extend(old, bytes) < sign_extend(operand, bytes);
        let new = match self {
            Self::Add => old.wrapping_add(operand),
            Self::Clear => old & !operand,
            Self::ExclusiveOr => old ^ operand,
            Self::Set => old | operand,
            Self::SignedMaximum => {
                if is_less {
                    operand
                } else {
                    old
                }
            }
            Self::SignedMinimum => {
                if is_less {
                    old
                } else {
                    operand
                }
            }
            Self::UnsignedMaximum => old.max(operand),
            Self::UnsignedMinimum => old.min(operand),
            Self::Swap => operand,
        };
        new & mask(u64::from(bytes))
    }
}

fn compare_and_swap<B: Bus>(
    bytes: u64,
    count: u8,
    (compare, new): (u8, u8),
    registers: &mut impl Registers,
    bus: &mut B,
) -> Result<(), B::Error> {
    let mut old = [0; 2];
    let mut is_equal = true;
    for (number, value) in (0..count).zip(&mut old) {
        *value = load_part(bus, u64::from(number) * bytes, bytes)?;
        is_equal &= *value == registers.general(compare + number) & mask(bytes);
    }
    if is_equal {
        for number in 0..count {
            let value = registers.general(new + number) & mask(bytes);
            bus.store(u64::from(number) * bytes, bytes, value)?;
        }
    }
    (0..count).zip(old).for_each(|(number, value)| registers.set_general(compare + number, value));
    Ok(())
}
