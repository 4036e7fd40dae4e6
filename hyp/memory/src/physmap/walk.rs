//! Finding the descriptors for an address or a span. Nothing is changed here.

use crate::address::{Address, Ipa, PAGE_SIZE, Pa, Span};
use crate::descriptor::{Attributes, DESCRIPTOR_BYTES, Descriptor, ENTRIES, Kind, Level};
use crate::machine::PhysicalMemory;

/// A stretch of guest memory that one descriptor maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// What the descriptor covers: a page, 2 MiB or 1 GiB.
    pub ipa: Span<Ipa>,
    /// Where that starts in machine memory.
    pub pa: Pa,
    /// What the guest may do and the hypervisor remembers.
    pub attributes: Attributes,
}

impl Mapping {
    /// The machine address of `ipa`; `None` if the descriptor does not cover it.
    #[must_use]
    pub fn pa_of(&self, ipa: Ipa) -> Option<Pa> {
        self.pa.checked_add(self.ipa.offset_of(ipa)?)
    }

    /// The frames it maps.
    #[must_use]
    pub fn frames(&self) -> Option<Span<Pa>> {
        Span::new(self.pa, self.ipa.bytes())
    }
}

/// A translation table: where it is and what it translates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub base: Pa,
    pub level: Level,
    /// The guest address that entry 0 translates.
    pub first: Ipa,
    pub entries: u64,
}

/// A place for a descriptor, and what it translates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub address: Pa,
    pub level: Level,
    pub ipa: Ipa,
}

impl Table {
    /// The slot for `ipa`, which the table translates.
    pub fn slot(self, ipa: Ipa) -> Slot {
        self.nth(self.index(ipa))
    }

    /// The slots that translate something of `span`, in rising order.
    pub fn slots(self, span: Span<Ipa>) -> impl Iterator<Item = Slot> {
        let coverage = self.entries << self.level.shift();
        let part = Span::new(self.first, coverage).and_then(|own| own.intersection(span));
        let range = part.map_or(0..0, |part| self.index(part.start())..self.index(part.last()) + 1);
        range.map(move |index| self.nth(index))
    }

    fn index(self, ipa: Ipa) -> u64 {
        ipa.get() >> self.level.shift() & (self.entries - 1)
    }

    /// Tables are aligned to their sizes, so that addresses are put together without a carry.
    fn nth(self, index: u64) -> Slot {
        Slot {
            address: Pa::from_value(self.base.get() | (index * DESCRIPTOR_BYTES)),
            level: self.level,
            ipa: Ipa::from_value(self.first.get() | (index << self.level.shift())),
        }
    }

    /// The frames it is in.
    pub fn frames(self) -> Option<Span<Pa>> {
        Span::new(self.base, (self.entries * DESCRIPTOR_BYTES).next_multiple_of(PAGE_SIZE))
    }
}

impl Slot {
    pub fn read(self, memory: &impl PhysicalMemory) -> Descriptor {
        Descriptor::from_bits(memory.read(self.address))
    }

    pub fn write(self, descriptor: Descriptor, memory: &mut impl PhysicalMemory) {
        memory.write(self.address, descriptor.bits());
    }

    pub fn kind(self, memory: &impl PhysicalMemory) -> Kind {
        self.read(memory).kind(self.level)
    }

    /// What the slot translates. Never wraps: a map has at most 48 bits.
    pub fn span(self) -> Option<Span<Ipa>> {
        Span::new(self.ipa, self.level.bytes())
    }

    /// Whether all that the slot translates lies in `span`.
    pub fn is_within(self, span: Span<Ipa>) -> bool {
        self.span().is_some_and(|own| span.covers(own))
    }

    /// The table at `base` below this slot; for a slot of pages there is none.
    pub fn child(self, base: Pa) -> Option<Table> {
        Some(Table { base, level: self.level.next()?, first: self.ipa, entries: ENTRIES })
    }

    /// What `descriptor`, a leaf for `pa` in this slot, maps.
    pub fn mapping(self, pa: Pa, descriptor: Descriptor) -> Option<Mapping> {
        Some(Mapping { ipa: self.span()?, pa, attributes: descriptor.attributes() })
    }
}

/// The slot at which the walk for `ipa` ends, and what is in it: never a table.
pub(super) fn lookup(root: Table, ipa: Ipa, memory: &impl PhysicalMemory) -> (Slot, Descriptor) {
    let mut slot = root.slot(ipa);
    loop {
        let descriptor = slot.read(memory);
        match descriptor.kind(slot.level) {
            Kind::Table(base) if let Some(table) = slot.child(base) => slot = table.slot(ipa),
            _ => return (slot, descriptor),
        }
    }
}

/// The leaf that maps `ipa`.
pub(super) fn translate(root: Table, ipa: Ipa, memory: &impl PhysicalMemory) -> Option<Mapping> {
    let (slot, descriptor) = lookup(root, ipa, memory);
    match descriptor.kind(slot.level) {
        Kind::Leaf(pa) => slot.mapping(pa, descriptor),
        _ => None,
    }
}

/// All mappings that have something of a span, in rising order.
pub(super) struct Mappings<'a, M> {
    pub root: Table,
    pub memory: &'a M,
    pub rest: Option<Span<Ipa>>,
}

impl<M: PhysicalMemory> Iterator for Mappings<'_, M> {
    type Item = Mapping;

    fn next(&mut self) -> Option<Mapping> {
        while let Some(rest) = self.rest {
            let (slot, descriptor) = lookup(self.root, rest.start(), self.memory);
            let own = slot.span()?;
            // Always further on, whatever is in the tables.
            let next = own.end().max(rest.start().checked_add(1)?);
            self.rest = Span::between(next, rest.end());
            if let Kind::Leaf(pa) = descriptor.kind(slot.level) {
                return slot.mapping(pa, descriptor);
            }
        }
        None
    }
}
