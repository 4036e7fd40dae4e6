//! Commit: the writes, in the order that no walker of any core ever sees half of something.
//!
//! Everything was checked and all tables were taken before ([`super::plan`], [`super::spare`]). A table is filled
//! and published before it is linked. What was valid is broken and flushed before something else is made of it;
//! only permissions and software bits may change in place (Arm ARM, D8.16.1).

use super::flush::Flush;
use super::plan::Target;
use super::spare::Spare;
use super::walk::{Mapping, Slot, Table};
use crate::address::{Ipa, Pa, Span};
use crate::descriptor::{Access, Attributes, Descriptor, Kind, SoftwareState};
use crate::error::Error;
use crate::frames::{TableFrames, table_span};
use crate::machine::{Context, Machine, PhysicalMemory};

/// Fills `table` for its part of `target`; the caller publishes.
pub(super) fn map(table: Table, target: &Target, spare: &mut Spare, memory: &mut impl PhysicalMemory) {
    for slot in table.slots(target.ipa) {
        match (slot.kind(memory), target.leaf_for(slot)) {
            (Kind::Table(base), _) => {
                if let Some(child) = slot.child(base) {
                    map(child, target, spare, memory);
                }
            }
            (Kind::Invalid, Some(pa)) => slot.write(Descriptor::leaf(slot.level, pa, target.attributes), memory),
            (Kind::Invalid, None) => map_below(slot, target, spare, memory),
            (Kind::Leaf(_), _) => {}
        }
    }
}

/// A new table for an empty slot: filled, published, and only then linked.
fn map_below(slot: Slot, target: &Target, spare: &mut Spare, memory: &mut impl PhysicalMemory) {
    let Some(child) = spare.next(memory).and_then(|base| slot.child(base)) else {
        return;
    };
    map(child, target, spare, memory);
    memory.publish();
    slot.write(Descriptor::table(child.base), memory);
}

/// Breaks all leaves of `slot` that are in `span`, and the tables in which nothing is left.
///
/// A broken descriptor keeps everything but its valid bit, so that [`Collector`] finds what was there, after the
/// flush.
pub(super) fn break_slot(slot: Slot, span: Span<Ipa>, flush: &mut Flush, memory: &mut impl PhysicalMemory) {
    let descriptor = slot.read(memory);
    let breaks = match descriptor.kind(slot.level) {
        Kind::Invalid => false,
        Kind::Leaf(_) => true,
        Kind::Table(base) => slot.child(base).is_some_and(|child| break_table(child, span, flush, memory)),
    };
    if breaks {
        slot.write(descriptor.broken(), memory);
        flush.add(slot.ipa);
    }
}

/// Says whether nothing valid is left in `table`.
fn break_table(table: Table, span: Span<Ipa>, flush: &mut Flush, memory: &mut impl PhysicalMemory) -> bool {
    for slot in table.slots(span) {
        break_slot(slot, span, flush, memory);
    }
    is_without_valid(table, memory)
}

fn is_without_valid(table: Table, memory: &impl PhysicalMemory) -> bool {
    let Some(whole) = Span::new(table.first, table.entries << table.level.shift()) else {
        return false;
    };
    !table.slots(whole).any(|slot| slot.read(memory).is_valid())
}

/// Goes over a broken span, now that no TLB knows it: reports each mapping, gives back each table.
pub(super) struct Collector<'a, F, T> {
    removed: F,
    tables: &'a mut T,
    given: u64,
    result: Result<(), Error>,
}

impl<'a, F: FnMut(&mut T, Mapping) -> Result<(), Error>, T: TableFrames> Collector<'a, F, T> {
    pub fn new(removed: F, tables: &'a mut T) -> Self {
        Self { removed, tables, given: 0, result: Ok(()) }
    }

    /// How many tables were given back, and the first error.
    pub fn finish(self) -> (u64, Result<(), Error>) {
        (self.given, self.result)
    }

    /// Clears the broken descriptors of `span` in `table` and below.
    pub fn collect(&mut self, table: Table, span: Span<Ipa>, memory: &mut impl PhysicalMemory) {
        for slot in table.slots(span) {
            let descriptor = slot.read(memory);
            match descriptor.kind_if_valid(slot.level) {
                Kind::Invalid => {}
                Kind::Leaf(pa) => self.take_leaf(slot, pa, descriptor, memory),
                Kind::Table(base) => {
                    let Some(child) = slot.child(base) else {
                        continue;
                    };
                    self.collect(child, span, memory);
                    self.take_table(slot, child, descriptor, memory);
                }
            }
        }
    }

    fn take_leaf(&mut self, slot: Slot, pa: Pa, descriptor: Descriptor, memory: &mut impl PhysicalMemory) {
        if descriptor.is_valid() {
            return;
        }
        slot.write(Descriptor::EMPTY, memory);
        if let Some(mapping) = slot.mapping(pa, descriptor) {
            let removed = (self.removed)(self.tables, mapping);
            self.result = self.result.and(removed);
        }
    }

    fn take_table(&mut self, slot: Slot, child: Table, descriptor: Descriptor, memory: &mut impl PhysicalMemory) {
        if descriptor.is_valid() {
            return;
        }
        slot.write(Descriptor::EMPTY, memory);
        self.given += 1;
        let given = table_span(child.base).and_then(|frames| self.tables.give(frames));
        self.result = self.result.and(given);
    }
}

/// Changes permissions and software state in place, where that changes something. All blocks lie wholly in `span`.
pub(super) fn protect(
    table: Table,
    span: Span<Ipa>,
    change: &mut impl FnMut(&Mapping) -> (Access, SoftwareState),
    flush: &mut Flush,
    memory: &mut impl PhysicalMemory,
) {
    for slot in table.slots(span) {
        let descriptor = slot.read(memory);
        match descriptor.kind(slot.level) {
            Kind::Invalid => {}
            Kind::Table(base) => {
                if let Some(child) = slot.child(base) {
                    protect(child, span, change, flush, memory);
                }
            }
            Kind::Leaf(pa) => {
                let Some(mapping) = slot.mapping(pa, descriptor) else {
                    continue;
                };
                let (access, state) = change(&mapping);
                protect_leaf(slot, &mapping, Attributes { access, state, ..mapping.attributes }, flush, memory);
            }
        }
    }
}

fn protect_leaf(slot: Slot, old: &Mapping, new: Attributes, flush: &mut Flush, memory: &mut impl PhysicalMemory) {
    if new == old.attributes {
        return;
    }
    slot.write(Descriptor::leaf(slot.level, old.pa, new), memory);
    if new.access != old.attributes.access {
        flush.add(slot.ipa);
    }
}

/// Makes the block in `slot` a table of smaller leaves that say the same.
pub(super) fn split(slot: Slot, context: Context, spare: &mut Spare, machine: &mut impl Machine) {
    let block = slot.read(machine);
    let Kind::Leaf(pa) = block.kind(slot.level) else {
        return;
    };
    let (Some(ipa), Some(child)) = (slot.span(), spare.next(machine).and_then(|base| slot.child(base))) else {
        return;
    };
    map(child, &Target { ipa, pa, attributes: block.attributes() }, spare, machine);
    machine.publish();
    replace(slot, block, Descriptor::table(child.base), context, machine);
}

/// Break before make: `old` is in `slot`, and no TLB knows it any more when `new` is there.
pub(super) fn replace(slot: Slot, old: Descriptor, new: Descriptor, context: Context, machine: &mut impl Machine) {
    slot.write(old.broken(), machine);
    super::flush::flush_page(context, slot.ipa, machine);
    slot.write(new, machine);
    machine.publish();
}

/// Makes the table in `slot` one block, if its leaves add up to one, and returns the table, now unused.
pub(super) fn merge(slot: Slot, context: Context, machine: &mut impl Machine) -> Option<Table> {
    let link = slot.read(machine);
    let Kind::Table(base) = link.kind(slot.level) else {
        return None;
    };
    let child = slot.child(base)?;
    let block = block_for(slot, child, machine)?;
    let mut flush = Flush::new(context);
    flush.add_pages(slot.span()?);
    slot.write(link.broken(), machine);
    flush.run(machine);
    slot.write(block, machine);
    machine.publish();
    Some(child)
}

/// The block that says the same as all of `child`, if there is one.
fn block_for(slot: Slot, child: Table, memory: &impl PhysicalMemory) -> Option<Descriptor> {
    let first = child.slot(slot.ipa).read(memory);
    let Kind::Leaf(pa) = first.kind(child.level) else {
        return None;
    };
    let target = Target { ipa: slot.span()?, pa, attributes: first.attributes() };
    target.leaf_for(slot)?;
    let same = |slot: Slot| {
        let leaf = target.leaf_for(slot).map(|pa| Descriptor::leaf(slot.level, pa, target.attributes));
        leaf == Some(slot.read(memory))
    };
    child.slots(target.ipa).all(same).then(|| Descriptor::leaf(slot.level, pa, target.attributes))
}
