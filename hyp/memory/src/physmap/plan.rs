//! Check: whether a change can be made, and how many tables it takes. Nothing is changed here.

use super::walk::{Slot, Table, lookup};
use crate::address::{Address, Ipa, Pa, Span};
use crate::descriptor::{Attributes, Kind, Level};
use crate::error::Error;
use crate::machine::PhysicalMemory;

/// What a span is to be mapped to.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub ipa: Span<Ipa>,
    pub pa: Pa,
    pub attributes: Attributes,
}

impl Target {
    /// Where a slot's descriptor points if it maps its part of the span by one leaf; `None` if it must be a table.
    pub fn leaf_for(&self, slot: Slot) -> Option<Pa> {
        if !slot.level.allows_leaf() || !slot.is_within(self.ipa) {
            return None;
        }
        let offset = slot.ipa.offset_from(self.ipa.start())?;
        self.pa.checked_add(offset).filter(|pa| pa.is_aligned(slot.level.bytes()))
    }
}

/// How many tables mapping `target` takes.
///
/// # Errors
/// [`Error::AlreadyMapped`] if any of it is.
pub(super) fn tables_to_map(table: Table, target: &Target, memory: &impl PhysicalMemory) -> Result<u64, Error> {
    let mut tables = 0;
    for slot in table.slots(target.ipa) {
        tables += match slot.kind(memory) {
            Kind::Leaf(_) => return Err(Error::AlreadyMapped(slot.ipa.max(target.ipa.start()))),
            Kind::Table(base) => match slot.child(base) {
                Some(child) => tables_to_map(child, target, memory)?,
                None => 0,
            },
            Kind::Invalid => tables_below(slot, target),
        };
    }
    Ok(tables)
}

/// How many tables are needed below an empty slot.
fn tables_below(slot: Slot, target: &Target) -> u64 {
    if target.leaf_for(slot).is_some() {
        return 0;
    }
    // Where the child would be does not matter: only its shape is used.
    let Some(child) = slot.child(Pa::from_value(0)) else {
        return 0;
    };
    if child.level == Level::PAGE {
        return 1;
    }
    1 + child.slots(target.ipa).map(|slot| tables_below(slot, target)).sum::<u64>()
}

/// How many tables it takes to have no block that lies partly in `span`.
pub(super) fn tables_to_split(root: Table, span: Span<Ipa>, memory: &impl PhysicalMemory) -> u64 {
    let (first, _) = lookup(root, span.start(), memory);
    let (last, _) = lookup(root, span.last(), memory);
    let at_start = tables_to_split_slot(first, span, memory);
    if first.address == last.address { at_start } else { at_start + tables_to_split_slot(last, span, memory) }
}

fn tables_to_split_slot(slot: Slot, span: Span<Ipa>, memory: &impl PhysicalMemory) -> u64 {
    match slot.kind(memory) {
        Kind::Leaf(_) => splits_below(slot, span),
        _ => 0,
    }
}

/// A block partly in `span` takes a table, and so do the blocks in that at either edge of the span.
fn splits_below(slot: Slot, span: Span<Ipa>) -> u64 {
    if slot.is_within(span) {
        return 0;
    }
    let Some(child) = slot.child(Pa::from_value(0)) else {
        return 0;
    };
    let partly = |slot: &Slot| !slot.is_within(span);
    1 + child.slots(span).filter(partly).map(|slot| splits_below(slot, span)).sum::<u64>()
}

/// Whether all of `span` is mapped.
///
/// # Errors
/// [`Error::NotMapped`] with the first address that is not.
pub(super) fn check_mapped(table: Table, span: Span<Ipa>, memory: &impl PhysicalMemory) -> Result<(), Error> {
    for slot in table.slots(span) {
        match slot.kind(memory) {
            Kind::Leaf(_) => {}
            Kind::Table(base) => match slot.child(base) {
                Some(child) => check_mapped(child, span, memory)?,
                None => return Err(Error::NotMapped(slot.ipa)),
            },
            Kind::Invalid => return Err(Error::NotMapped(slot.ipa.max(span.start()))),
        }
    }
    Ok(())
}
