//! The Stage-2 descriptor of VMSAv8-64 with the 4 KiB granule (Arm ARM, D8.3 and D8.4).
//!
//! Here belongs what the 64 bits mean, and nothing about where they are kept or in which order they may change.

use crate::address::{Address, Ipa, PAGE_SHIFT, Pa, Span};
use core::fmt;

/// Entries in one table.
pub const ENTRIES: u64 = 1 << ENTRY_BITS;

/// Base-2 logarithm of [`ENTRIES`].
pub(crate) const ENTRY_BITS: u32 = 9;

/// Bytes in one descriptor.
pub const DESCRIPTOR_BYTES: u64 = 8;

const VALID: u64 = 1 << 0;
/// With [`VALID`]: a table (levels 0-2) or a page (level 3), else a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEMORY_TYPE_SHIFT: u32 = 2;
const READABLE: u64 = 1 << 6;
const WRITABLE: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESS_FLAG: u64 = 1 << 10;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const EXECUTE_NEVER: u64 = 1 << 54;
const SOFTWARE_SHIFT: u32 = 55;

/// A level of lookup, 0 to 3. Level 3 holds pages; blocks exist at levels 1 (1 GiB) and 2 (2 MiB).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Level(u8);

impl Level {
    /// One entry covers 512 GiB; never a leaf with this granule (without FEAT_LPA2).
    pub const ZERO: Self = Self(0);
    /// One entry covers 1 GiB.
    pub const ONE: Self = Self(1);
    /// One entry covers 2 MiB.
    pub const TWO: Self = Self(2);
    /// One entry covers a page.
    pub const PAGE: Self = Self(3);

    /// The level as the architecture numbers it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Base-2 logarithm of the bytes that one entry of this level covers.
    #[must_use]
    pub const fn shift(self) -> u32 {
        PAGE_SHIFT + ENTRY_BITS * (3 - self.0 as u32)
    }

    /// Bytes that one entry of this level covers.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// The level below; `None` for pages.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 < 3 { Some(Self(self.0 + 1)) } else { None }
    }

    /// Whether an entry of this level may map memory itself.
    #[must_use]
    pub const fn allows_leaf(self) -> bool {
        self.0 > 0
    }

    /// The span that the entry for `ipa` covers; saturated at the end of the 64-bit space, which no table reaches.
    pub(crate) fn entry_span(self, ipa: Ipa) -> Option<Span<Ipa>> {
        Span::new(Ipa::from_value(ipa.get() & !(self.bytes() - 1)), self.bytes())
    }
}

/// What a guest may do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Access {
    /// Loads, and the walks of the guest's own tables.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches, at EL1 and EL0 alike.
    pub execute: bool,
}

impl Access {
    /// Every access faults (with a permission fault: the page stays mapped).
    pub const NONE: Self = Self { read: false, write: false, execute: false };
    /// Loads only.
    pub const READ: Self = Self { read: true, ..Self::NONE };
    /// Loads and instruction fetches.
    pub const READ_EXECUTE: Self = Self { execute: true, ..Self::READ };
    /// Loads and stores: what a device's registers need.
    pub const READ_WRITE: Self = Self { write: true, ..Self::READ };
    /// Everything: a guest's RAM.
    pub const ALL: Self = Self { execute: true, ..Self::READ_WRITE };

    /// The same without stores.
    #[must_use]
    pub const fn without_write(self) -> Self {
        Self { write: false, ..self }
    }

    /// The same with stores.
    #[must_use]
    pub const fn with_write(self) -> Self {
        Self { write: true, ..self }
    }

    const fn bits(self) -> u64 {
        let read = if self.read { READABLE } else { 0 };
        let write = if self.write { WRITABLE } else { 0 };
        let execute = if self.execute { 0 } else { EXECUTE_NEVER };
        read | write | execute
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |allowed, letter| if allowed { letter } else { '-' };
        write!(out, "{}{}{}", letter(self.read, 'r'), letter(self.write, 'w'), letter(self.execute, 'x'))
    }
}

/// How memory behaves: the Stage-2 `MemAttr` field (Arm ARM, D8.6.5, FEAT_S2FWB not used).
///
/// Stage 2 can only make stronger what the guest's Stage 1 asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryType {
    /// Normal memory, inner and outer write-back, inner shareable: RAM. The guest decides.
    Normal,
    /// Normal memory, non-cacheable.
    NormalNonCacheable,
    /// Device-nGnRE: a device's registers.
    Device,
    /// Device-nGnRnE: no early write acknowledgement either.
    DeviceStrict,
}

impl MemoryType {
    const fn bits(self) -> u64 {
        match self {
            Self::Normal => 0b1111 << MEMORY_TYPE_SHIFT | INNER_SHAREABLE,
            Self::NormalNonCacheable => 0b0101 << MEMORY_TYPE_SHIFT | INNER_SHAREABLE,
            Self::Device => 0b0001 << MEMORY_TYPE_SHIFT,
            Self::DeviceStrict => 0b0000 << MEMORY_TYPE_SHIFT,
        }
    }

    const fn of(bits: u64) -> Self {
        match bits >> MEMORY_TYPE_SHIFT & 0b1111 {
            0b0000 => Self::DeviceStrict,
            0b0001 => Self::Device,
            0b0101 => Self::NormalNonCacheable,
            _ => Self::Normal,
        }
    }

    /// Whether this is a device's memory, which no frame pool knows.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self, Self::Device | Self::DeviceStrict)
    }
}

/// Four bits of a descriptor that the hardware ignores (bits 58 to 55) and that this hypervisor uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct SoftwareState(u8);

impl SoftwareState {
    /// Nothing special.
    pub const NONE: Self = Self(0);
    /// The frame is shared and read-only: the first write gets a copy.
    pub const COPY_ON_WRITE: Self = Self(1 << 0);
    /// The frame is not this guest's and not counted (a device, a shared region, the archive): it is not given back on
    /// unmapping.
    pub const BORROWED: Self = Self(1 << 1);
    /// Access is restricted for a trace.
    pub const TRACED: Self = Self(1 << 2);

    /// The state with these bits; `None` above 15.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 16 { Some(Self(bits)) } else { None }
    }

    /// The state's bits, 0 to 15.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the frame is this guest's alone, and goes back with its mapping.
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.0 & (Self::COPY_ON_WRITE.0 | Self::BORROWED.0) == 0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These bits without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// All that a leaf descriptor says besides the output address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Attributes {
    /// What the guest may do.
    pub access: Access,
    /// How the memory behaves.
    pub memory: MemoryType,
    /// What the hypervisor remembers.
    pub state: SoftwareState,
}

impl Attributes {
    /// A guest's own RAM.
    pub const RAM: Self = Self { access: Access::ALL, memory: MemoryType::Normal, state: SoftwareState::NONE };
    /// RAM shared read-only and counted, copied on the first write.
    pub const SHARED: Self =
        Self { access: Access::READ_EXECUTE, memory: MemoryType::Normal, state: SoftwareState::COPY_ON_WRITE };
    /// RAM of the archive, copied on the first write.
    pub const ARCHIVE: Self =
        Self { state: SoftwareState::COPY_ON_WRITE.with(SoftwareState::BORROWED), ..Self::SHARED };
    /// A device passed through.
    pub const DEVICE: Self =
        Self { access: Access::READ_WRITE, memory: MemoryType::Device, state: SoftwareState::BORROWED };
}

/// What a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Faults on use; the other bits are the hypervisor's.
    Invalid,
    /// Points to the table of the next level.
    Table(Pa),
    /// A block (levels 1, 2) or a page (level 3) with its output address.
    Leaf(Pa),
}

/// One 64-bit Stage-2 descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Descriptor(u64);

impl Descriptor {
    /// Nothing here.
    pub const EMPTY: Self = Self(0);

    /// The descriptor with these bits, whatever they are.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The descriptor's bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// An invalid descriptor that remembers `state` in bits the hardware ignores.
    #[must_use]
    pub const fn invalid(state: SoftwareState) -> Self {
        Self((state.0 as u64) << SOFTWARE_SHIFT)
    }

    /// A descriptor for the next level's table at `table`, of which the low 12 bits are ignored.
    #[must_use]
    pub const fn table(table: Pa) -> Self {
        Self(table.get() & ADDRESS | TABLE_OR_PAGE | VALID)
    }

    /// A block or, at level 3, a page. `output` must be aligned to the level's size. The access flag is set: nobody
    /// ages guest memory by it.
    #[inline(always)]
    #[must_use]
    pub const fn leaf(level: Level, output: Pa, attributes: Attributes) -> Self {
        let kind = if level.0 == 3 { TABLE_OR_PAGE | VALID } else { VALID };
        let software = (attributes.state.0 as u64) << SOFTWARE_SHIFT;
        let bits = attributes.access.bits() | attributes.memory.bits() | software | ACCESS_FLAG;
        Self(output.get() & ADDRESS | bits | kind)
    }

    /// Whether the hardware uses the descriptor.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// What the descriptor is at `level`. The encoding that is reserved at levels 0 and 3 counts as invalid, as in
    /// the hardware.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self, level: Level) -> Kind {
        if !self.is_valid() {
            return Kind::Invalid;
        }
        self.kind_if_valid(level)
    }

    /// What the descriptor says that it would be, were it valid: what [`Self::broken`] has left. Never anything for a
    /// descriptor that [`Self::invalid`] made.
    #[inline(always)]
    #[must_use]
    pub const fn kind_if_valid(self, level: Level) -> Kind {
        let address = Pa::new(self.0 & ADDRESS);
        match (self.0 & TABLE_OR_PAGE != 0, level.0) {
            (true, 0..=2) => Kind::Table(address),
            (true, 3) => Kind::Leaf(address),
            (false, 1 | 2) if self.0 & ACCESS_FLAG != 0 => Kind::Leaf(address),
            _ => Kind::Invalid,
        }
    }

    /// The same with only the valid bit cleared: the "break" of break-before-make, from which the rest can be read.
    #[must_use]
    pub const fn broken(self) -> Self {
        Self(self.0 & !VALID)
    }

    /// What a leaf says about its memory.
    #[inline(always)]
    #[must_use]
    pub const fn attributes(self) -> Attributes {
        let access = Access {
            read: self.0 & READABLE != 0,
            write: self.0 & WRITABLE != 0,
            execute: self.0 & EXECUTE_NEVER == 0,
        };
        Attributes { access, memory: MemoryType::of(self.0), state: self.state() }
    }

    /// The software bits, of an invalid descriptor too.
    #[must_use]
    pub const fn state(self) -> SoftwareState {
        SoftwareState((self.0 >> SOFTWARE_SHIFT & 0b1111) as u8)
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Descriptor({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_encoded_as_the_architecture_says() {
        // Written out by hand from the Arm ARM, not with this module's constants.
        let page = Descriptor::leaf(Level::PAGE, Pa::new(0x8_1234_5000), Attributes::RAM);
        assert_eq!(page.bits(), 0x8_1234_5000 | 0x7ff);
        let block = Descriptor::leaf(Level::TWO, Pa::new(0x4020_0000), Attributes::SHARED);
        assert_eq!(block.bits(), 1 << 55 | 0x4020_0000 | 0x77d);
        let device = Descriptor::leaf(Level::PAGE, Pa::new(0x900_0000), Attributes::DEVICE);
        assert_eq!(device.bits(), 1 << 56 | 1 << 54 | 0x900_0000 | 0x4c7);
        assert_eq!(Descriptor::table(Pa::new(0x7000)).bits(), 0x7003);
    }

    #[test]
    fn attributes_survive_the_encoding() {
        for access in 0..8 {
            let access = Access { read: access & 1 != 0, write: access & 2 != 0, execute: access & 4 != 0 };
            for memory in
                [MemoryType::Normal, MemoryType::NormalNonCacheable, MemoryType::Device, MemoryType::DeviceStrict]
            {
                for state in 0..16 {
                    let state = SoftwareState::from_bits(state).unwrap();
                    let attributes = Attributes { access, memory, state };
                    let leaf = Descriptor::leaf(Level::ONE, Pa::new(0xc000_0000), attributes);
                    assert_eq!(leaf.attributes(), attributes);
                    assert_eq!(leaf.kind(Level::ONE), Kind::Leaf(Pa::new(0xc000_0000)));
                    assert_eq!(leaf.broken().kind(Level::ONE), Kind::Invalid);
                    assert_eq!(leaf.broken().kind_if_valid(Level::ONE), Kind::Leaf(Pa::new(0xc000_0000)));
                }
            }
        }
    }

    #[test]
    fn reserved_encodings_are_invalid() {
        assert_eq!(Descriptor::from_bits(0x401).kind(Level::PAGE), Kind::Invalid);
        assert_eq!(Descriptor::from_bits(0x401).kind(Level::ZERO), Kind::Invalid);
        let kept = Descriptor::invalid(SoftwareState::TRACED);
        assert!(!kept.is_valid());
        assert_eq!(kept.state(), SoftwareState::TRACED);
        assert_eq!(kept.kind_if_valid(Level::TWO), Kind::Invalid);
    }

    #[test]
    fn levels_cover_what_the_granule_says() {
        assert_eq!(Level::PAGE.bytes(), 4096);
        assert_eq!(Level::TWO.bytes(), 2 << 20);
        assert_eq!(Level::ONE.bytes(), 1 << 30);
        assert_eq!(Level::ZERO.bytes(), 512 << 30);
        assert!(!Level::ZERO.allows_leaf() && Level::PAGE.next().is_none());
    }
}
