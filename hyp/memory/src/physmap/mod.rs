//! The PhysMap: one guest's map from physical (IPA) to machine addresses. It *is* the guest's Stage-2 table.
//!
//! There is no second copy of what is mapped where: what the hypervisor must remember about a page is in the software
//! bits of its descriptor. Here belong the map's operations and the order in which a live table changes; frames and
//! their sharing counts belong to [`crate::frames`], faults and what they mean to the hypervisor.
//!
//! Every operation checks everything and takes all the tables it needs first; then it commits, and cannot fail
//! half-way.
//!
//! While a descriptor is broken (replaced, split, merged) another core of the guest may meet a translation fault
//! for a page that is mapped before and after. Its handler takes the same lock as the change and asks
//! [`PhysMap::resolve`], which finds it allowed: it is repeated. So is a permission fault where another core was first.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `geometry` | address bits, start level, VTCR_EL2 |
//! | `walk` | finding descriptors |
//! | `plan`, `spare` | check: can it be done, and with which tables |
//! | `change`, `flush` | commit: the writes and the TLB sequence |
//! | `resolve` | what becomes of an access that was refused |
//! | `copy` | copy on write |

mod change;
mod copy;
mod flush;
mod geometry;
mod plan;
mod resolve;
mod spare;
mod walk;

pub use geometry::{DEFAULT_IPA_BITS, Geometry};
pub use resolve::Outcome;
pub use walk::Mapping;

use crate::address::{Address, Ipa, Pa, Span};
use crate::descriptor::{Access, Attributes, Descriptor, Kind, Level, SoftwareState};
use crate::error::Error;
use crate::frames::TableFrames;
use crate::machine::{Context, Machine, PhysicalMemory};
use crate::vmid::Vmid;
use change::Collector;
use flush::Flush;
use plan::Target;
use spare::Spare;
use walk::Table;

/// A guest's Stage-2 table under one VMID. A VM has one or, in shadow modes, several.
///
/// Dropping it leaks its tables and leaves what TLBs hold: [`Self::teardown`] is the end.
#[derive(Debug)]
pub struct PhysMap {
    geometry: Geometry,
    context: Context,
    root: Table,
    table_frames: u64,
}

impl PhysMap {
    /// An empty map. No TLB holds anything under `vmid`.
    ///
    /// # Errors
    /// [`Error::OutOfFrames`] if there are no frames for the root.
    pub fn new(
        geometry: Geometry,
        vmid: Vmid,
        tables: &mut impl TableFrames,
        memory: &mut impl PhysicalMemory,
    ) -> Result<Self, Error> {
        let frames = tables.take(geometry.root_order())?.scrub(memory);
        memory.publish();
        let base = frames.start();
        let entries = geometry.root_entries();
        let root = Table { base, level: geometry.start_level(), first: Ipa::from_value(0), entries };
        let context = Context::new(vmid, base);
        Ok(Self { geometry, context, root, table_frames: frames.page_count() })
    }

    /// The map's shape: the hypervisor needs its VTCR_EL2.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// VMID and root: the hypervisor needs its VTTBR_EL2.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context
    }

    /// How many frames the tables take.
    #[must_use]
    pub fn table_frames(&self) -> u64 {
        self.table_frames
    }

    /// What maps `ipa`, if anything does.
    #[must_use]
    pub fn translate(&self, ipa: Ipa, memory: &impl PhysicalMemory) -> Option<Mapping> {
        if ipa.get() >> self.geometry.ipa_bits() != 0 {
            return None;
        }
        walk::translate(self.root, ipa, memory)
    }

    /// Everything that is mapped in `span`, one item for each descriptor, in rising order. The first and the last may
    /// reach beyond the span.
    pub fn mappings<'a, M: PhysicalMemory>(
        &self,
        span: Span<Ipa>,
        memory: &'a M,
    ) -> impl Iterator<Item = Mapping> + use<'a, M> {
        let space = self.geometry.space().ok();
        walk::Mappings { root: self.root, memory, rest: space.and_then(|space| space.intersection(span)) }
    }

    /// Maps all of `ipa`, which must not be mapped, to machine memory from `pa` on, with the largest descriptors
    /// that fit.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutsideIpaSpace`], [`Error::OutsidePaSpace`], [`Error::AlreadyMapped`], or lack
    /// of frames for tables. Then nothing has changed.
    pub fn map(
        &mut self,
        ipa: Span<Ipa>,
        pa: Pa,
        attributes: Attributes,
        tables: &mut impl TableFrames,
        machine: &mut impl Machine,
    ) -> Result<(), Error> {
        self.geometry.check_ipa(ipa)?;
        self.geometry.check_pa(pa, ipa.bytes())?;
        let target = Target { ipa, pa, attributes };
        let needed = plan::tables_to_map(self.root, &target, machine)?;
        let mut spare = Spare::take(needed, tables, machine)?;
        change::map(self.root, &target, &mut spare, machine);
        // Nothing invalid is ever cached: there is nothing to flush, but the walkers must see it.
        machine.publish();
        machine.synchronize();
        self.settle(needed, spare, tables, machine)
    }

    /// Unmaps whatever is mapped in `span`; a block that is partly in it is split.
    ///
    /// `removed` is called for each mapping when no TLB knows it any more: only then may its frames be freed. It gets
    /// the source of tables too, through which that can be done ([`crate::frames::OwnedTables::release`]).
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutsideIpaSpace`], or lack of frames for a split: then nothing has changed.
    /// The first error of `removed`, or of giving a table back: then everything is unmapped all the same.
    pub fn unmap<T: TableFrames>(
        &mut self,
        span: Span<Ipa>,
        tables: &mut T,
        machine: &mut impl Machine,
        removed: impl FnMut(&mut T, Mapping) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.geometry.check_ipa(span)?;
        self.split_edges(span, tables, machine)?;
        let mut flush = Flush::new(self.context);
        for slot in self.root.slots(span) {
            change::break_slot(slot, span, &mut flush, machine);
        }
        flush.run(machine);
        let mut collector = Collector::new(removed, tables);
        collector.collect(self.root, span, machine);
        machine.publish();
        let (given, result) = collector.finish();
        self.table_frames = self.table_frames.saturating_sub(given);
        result
    }

    /// Changes what the guest may do in `span`, all of which must be mapped; a block that is partly in it is split.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutsideIpaSpace`], [`Error::NotMapped`], or lack of frames for a split. Then
    /// nothing has changed.
    pub fn protect(
        &mut self,
        span: Span<Ipa>,
        access: Access,
        tables: &mut impl TableFrames,
        machine: &mut impl Machine,
    ) -> Result<(), Error> {
        self.protect_with(span, tables, machine, |old| (access, old.attributes.state))
    }

    /// Changes access and software state in `span` as `change` says for each mapping, all of which must be mapped.
    ///
    /// # Errors
    /// As for [`Self::protect`].
    pub fn protect_with(
        &mut self,
        span: Span<Ipa>,
        tables: &mut impl TableFrames,
        machine: &mut impl Machine,
        mut change: impl FnMut(&Mapping) -> (Access, SoftwareState),
    ) -> Result<(), Error> {
        self.geometry.check_ipa(span)?;
        plan::check_mapped(self.root, span, machine)?;
        self.split_edges(span, tables, machine)?;
        let mut flush = Flush::new(self.context);
        change::protect(self.root, span, &mut change, &mut flush, machine);
        if flush.is_empty() {
            machine.publish();
        }
        flush.run(machine);
        Ok(())
    }

    /// Lets the page at `ipa`, which is mapped, be at `pa` from now on; a block around it is split. Returns what
    /// mapped it before: no TLB knows that any more.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutsideIpaSpace`], [`Error::OutsidePaSpace`], [`Error::NotMapped`], or lack of
    /// frames for a split. Then nothing has changed.
    pub fn replace_page(
        &mut self,
        ipa: Ipa,
        pa: Pa,
        attributes: Attributes,
        tables: &mut impl TableFrames,
        machine: &mut impl Machine,
    ) -> Result<Mapping, Error> {
        let page = Span::page(ipa).ok_or(Error::Unaligned)?;
        self.geometry.check_ipa(page)?;
        self.geometry.check_pa(pa, page.bytes())?;
        plan::check_mapped(self.root, page, machine)?;
        self.split_edges(page, tables, machine)?;
        let (slot, old) = walk::lookup(self.root, ipa, machine);
        let mapping = walk::translate(self.root, ipa, machine).ok_or(Error::NotMapped(ipa))?;
        change::replace(slot, old, Descriptor::leaf(slot.level, pa, attributes), self.context, machine);
        Ok(mapping)
    }

    /// Splits the block around `ipa` until its descriptor is of `level` or below. What is mapped does not change.
    ///
    /// # Errors
    /// [`Error::OutsideIpaSpace`], [`Error::NotMapped`], or lack of frames for tables. Then nothing has changed.
    pub fn split(
        &mut self,
        ipa: Ipa,
        level: Level,
        tables: &mut impl TableFrames,
        machine: &mut impl Machine,
    ) -> Result<(), Error> {
        let part = level.entry_span(ipa).ok_or(Error::OutsideIpaSpace(ipa))?;
        if part.last().get() >> self.geometry.ipa_bits() != 0 {
            return Err(Error::OutsideIpaSpace(ipa));
        }
        self.translate(ipa, machine).ok_or(Error::NotMapped(ipa))?;
        self.split_edges(part, tables, machine)
    }

    /// Makes blocks of smaller descriptors, wherever in (and around) `span` they add up to one: after a trace is
    /// gone, say. Returns how many tables that saved.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutsideIpaSpace`]: then nothing has changed. The error of giving a table back.
    pub fn merge(
        &mut self,
        span: Span<Ipa>,
        tables: &mut impl TableFrames,
        machine: &mut impl Machine,
    ) -> Result<u64, Error> {
        self.geometry.check_ipa(span)?;
        let before = self.table_frames;
        self.merge_below(self.root, span, tables, machine)?;
        Ok(before - self.table_frames)
    }

    /// The end of the map. No core runs under it any more. All is unmapped as by [`Self::unmap`], the root is given
    /// back, and no TLB holds anything under the VMID, which may be used again.
    ///
    /// # Errors
    /// The first error of `removed`, or of giving a table back. The map is gone all the same.
    pub fn teardown<T: TableFrames>(
        mut self,
        tables: &mut T,
        machine: &mut impl Machine,
        removed: impl FnMut(&mut T, Mapping) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let unmapped = self.unmap(self.geometry.space()?, tables, machine, removed);
        flush::flush_all(self.context, machine);
        let root = self.root.frames().ok_or(Error::OutsidePaSpace(self.root.base))?;
        unmapped.and(tables.give(root))
    }

    /// Drops everything that TLBs hold of this map.
    pub fn flush(&self, machine: &mut impl Machine) {
        flush::flush_all(self.context, machine);
    }

    /// Splits the blocks that lie partly in `span`.
    fn split_edges(
        &mut self,
        span: Span<Ipa>,
        tables: &mut impl TableFrames,
        machine: &mut impl Machine,
    ) -> Result<(), Error> {
        let needed = plan::tables_to_split(self.root, span, machine);
        if needed == 0 {
            return Ok(());
        }
        let mut spare = Spare::take(needed, tables, machine)?;
        for edge in [span.start(), span.last()] {
            self.split_at_edge(edge, span, &mut spare, machine);
        }
        self.settle(needed, spare, tables, machine)
    }

    fn split_at_edge(&self, edge: Ipa, span: Span<Ipa>, spare: &mut Spare, machine: &mut impl Machine) {
        loop {
            let (slot, descriptor) = walk::lookup(self.root, edge, machine);
            let partly = matches!(descriptor.kind(slot.level), Kind::Leaf(_)) && !slot.is_within(span);
            if !partly || spare.len() == 0 {
                return;
            }
            change::split(slot, self.context, spare, machine);
        }
    }

    fn merge_below(
        &mut self,
        table: Table,
        span: Span<Ipa>,
        tables: &mut impl TableFrames,
        machine: &mut impl Machine,
    ) -> Result<(), Error> {
        for slot in table.slots(span) {
            let Kind::Table(base) = slot.kind(machine) else {
                continue;
            };
            let Some(child) = slot.child(base) else {
                continue;
            };
            self.merge_below(child, span, tables, machine)?;
            if let Some(unused) = change::merge(slot, self.context, machine) {
                self.table_frames -= 1;
                tables.give(crate::frames::table_span(unused.base)?)?;
            }
        }
        Ok(())
    }

    /// After a commit for which `taken` tables were taken: counts those used, gives back the others.
    fn settle(
        &mut self,
        taken: u64,
        spare: Spare,
        tables: &mut impl TableFrames,
        memory: &mut impl PhysicalMemory,
    ) -> Result<(), Error> {
        self.table_frames += taken - spare.len();
        spare.give_back(tables, memory)
    }
}
