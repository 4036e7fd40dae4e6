//! A decoded instruction carried out, on registers and memory that are traits.
//!
//! What goes over the bus is all that an instruction moves, in order: between it and the registers stands a buffer.
//! Registers change after the last element was read, the base register last of all: an access that fails leaves them as they
//! were, and the instruction can be repeated.

use super::elements::{MAX_BYTES, extend, number, sign_extend, write_number};
use super::{Addressing, Base, Elements, Extend, Instruction, Mode, Modification, Offset, Operation, Places, Vectors};

/// DC ZVA, in bytes: that is how wide most devices' registers are.
const ZEROED_AT_ONCE: u64 = 4;

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
    /// The SIMD and floating-point registers.
    fn vectors(&mut self) -> &Vectors;
    /// Changes SIMD and floating-point registers.
    fn change_vectors(&mut self, change: impl FnOnce(&mut Vectors));
}

/// What is at the addresses that an instruction accesses.
pub trait Bus {
    /// Why an access fails.
    type Error;
    /// Fills `data` with what is at `offset` from the start of the footprint on, `unit` bytes (1, 2, 4 or 8) at a time.
    ///
    /// # Errors
    /// What is there cannot be read.
    fn load(&mut self, offset: u64, unit: u64, data: &mut [u8]) -> Result<(), Self::Error>;
    /// Writes `data` at `offset` from the start of the footprint on, likewise.
    ///
    /// # Errors
    /// What is there cannot be written.
    fn store(&mut self, offset: u64, unit: u64, data: &[u8]) -> Result<(), Self::Error>;
}

/// What an instruction is going to access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The first virtual address.
    pub start: u64,
    /// How many bytes from there; addresses wrap.
    pub bytes: u64,
    /// How many of them are moved at once: 1, 2, 4 or 8.
    pub unit: u64,
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
        let (bytes, unit) = self.operation.extent();
        match self.operation {
            Operation::ZeroBlock => Footprint { start: address & !(block - 1), bytes: block, unit, new_base },
            _ => Footprint { start: address, bytes, unit, new_base },
        }
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
            Operation::Load(elements) | Operation::LoadExclusive(elements) => {
                load(elements, footprint, registers, bus)?
            }
            Operation::Store(elements) => store(elements, footprint, registers, bus)?,
            Operation::StoreExclusive { status, .. } => registers.set_general(*status, 1),
            Operation::Modify { modification, bytes, operand, target } => {
                let [old] = load_values(bus, footprint.unit, 1)?;
                let new = modification.apply(*bytes, old, registers.general(*operand));
                store_values(bus, footprint.unit, &[new])?;
                registers.set_general(*target, old);
            }
            Operation::CompareAndSwap { is_pair, compare, new, .. } => {
                compare_and_swap(footprint.unit, 1 + usize::from(*is_pair), (*compare, *new), registers, bus)?;
            }
            Operation::ZeroBlock => zero(footprint, bus)?,
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
    /// How many bytes it accesses, and how many at once; of a block that DC ZVA zeroes the caller knows the size.
    fn extent(&self) -> (u64, u64) {
        match self {
            Self::Load(elements)
            | Self::Store(elements)
            | Self::LoadExclusive(elements)
            | Self::StoreExclusive { elements, .. } => (elements.size() as u64, u64::from(elements.bytes.min(8))),
            Self::Modify { bytes, .. } => (u64::from(*bytes), u64::from(*bytes)),
            Self::CompareAndSwap { bytes, is_pair, .. } => {
                (u64::from(*bytes) << u32::from(*is_pair), u64::from(*bytes))
            }
            Self::ZeroBlock => (0, ZEROED_AT_ONCE),
        }
    }
}

fn load<B: Bus>(
    elements: &Elements,
    footprint: &Footprint,
    registers: &mut impl Registers,
    bus: &mut B,
) -> Result<(), B::Error> {
    let mut buffer = [0; MAX_BYTES];
    let data = &mut buffer[..elements.size().min(MAX_BYTES)];
    bus.load(0, footprint.unit, data)?;
    let mut values = data.chunks_exact(usize::from(elements.bytes));
    match elements.places {
        Places::General { indices, extension } => {
            for (index, value) in indices.into_iter().zip(values) {
                registers.set_general(index, extend(number(value), elements.bytes, extension));
            }
        }
        _ => registers.change_vectors(|vectors| {
            elements.for_each_lane(|lane| lane.put(values.next().unwrap_or_default(), vectors));
        }),
    }
    Ok(())
}

fn store<B: Bus>(
    elements: &Elements,
    footprint: &Footprint,
    registers: &mut impl Registers,
    bus: &mut B,
) -> Result<(), B::Error> {
    let mut buffer = [0; MAX_BYTES];
    let data = &mut buffer[..elements.size().min(MAX_BYTES)];
    let mut places = data.chunks_exact_mut(usize::from(elements.bytes));
    match elements.places {
        Places::General { indices, .. } => {
            indices.into_iter().zip(places).for_each(|(index, place)| write_number(registers.general(index), place));
        }
        _ => {
            let vectors = registers.vectors();
            elements.for_each_lane(|lane| lane.take(vectors, places.next().unwrap_or_default()));
        }
    }
    bus.store(0, footprint.unit, data)
}

fn zero<B: Bus>(footprint: &Footprint, bus: &mut B) -> Result<(), B::Error> {
    let zeros = [0; MAX_BYTES];
    for offset in (0..footprint.bytes).step_by(MAX_BYTES) {
        let now = (footprint.bytes - offset).min(MAX_BYTES as u64) as usize;
        bus.store(offset, footprint.unit, &zeros[..now])?;
    }
    Ok(())
}

/// Reads the first `count` (at most `N`) numbers of `bytes` bytes each; the others are 0.
fn load_values<B: Bus, const N: usize>(bus: &mut B, bytes: u64, count: usize) -> Result<[u64; N], B::Error> {
    let mut buffer = [0; MAX_BYTES];
    let data = &mut buffer[..(bytes as usize * count).min(MAX_BYTES)];
    bus.load(0, bytes, data)?;
    let mut values = [0; N];
    values.iter_mut().zip(data.chunks_exact(bytes as usize)).for_each(|(value, data)| *value = number(data));
    Ok(values)
}

/// Writes numbers of `bytes` bytes each.
fn store_values<B: Bus>(bus: &mut B, bytes: u64, values: &[u64]) -> Result<(), B::Error> {
    let mut buffer = [0; MAX_BYTES];
    let data = &mut buffer[..(bytes as usize * values.len()).min(MAX_BYTES)];
    data.chunks_exact_mut(bytes as usize).zip(values).for_each(|(data, value)| write_number(*value, data));
    bus.store(0, bytes, data)
}

/// The lower `bytes` bytes: 1 to 8.
fn mask(bytes: u64) -> u64 {
    u64::MAX >> (64 - 8 * bytes)
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
    count: usize,
    (compare, new): (u8, u8),
    registers: &mut impl Registers,
    bus: &mut B,
) -> Result<(), B::Error> {
    let old: [u64; 2] = load_values(bus, bytes, count)?;
    let old = &old[..count.min(2)];
    let values = |first: u8| [first, first | 1].map(|index| registers.general(index) & mask(bytes));
    if old == &values(compare)[..old.len()] {
        store_values(bus, bytes, &values(new)[..old.len()])?;
    }
    (compare..).zip(old).for_each(|(index, value)| registers.set_general(index, *value));
    Ok(())
}
