//! Reading a device tree: nodes, their properties, and the questions that several nodes answer together (where a
//! register is in machine addresses, which interrupt a device raises).
//!
//! What a particular kind of device means to the hypervisor belongs in [`crate::board`]. Nothing here trusts the
//! blob: it is checked in [`Tree::parse`], references (phandles, aliases, `interrupt-parent`) are followed a bounded
//! number of times, and nothing recurses.

mod blob;
mod cells;
mod dma;
mod error;
mod index;
pub(crate) mod interrupts;
mod node;
mod registers;
mod room;
mod walk;

pub(crate) use blob::Models;
pub use cells::Cells;
pub use error::BoardError;
pub use node::DeviceNode;
pub use room::find_room;

use crate::span::Span;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use blob::{Blob, NodeEntry};
use index::Phandles;

/// How deep nodes may be nested. Boards reach 8.
pub const MAX_DEPTH: usize = 32;
/// How many nodes there may be. The largest boards have about 3000; the index takes 20 bytes of heap for each.
pub const MAX_NODES: usize = 8192;
/// How many properties a node may have. `__symbols__` of the largest boards reaches about 2000.
pub const MAX_PROPERTIES: usize = 4096;

/// A device tree whose structure was checked, with an index of its nodes.
pub struct Tree<'blob> {
    blob: Blob<'blob>,
    /// In tree order; the root is the first.
    nodes: Vec<NodeEntry>,
    /// Sorted (phandle, index of the node).
    phandles: Phandles,
}

impl<'blob> Tree<'blob> {
    /// Checks the structure of `blob` (which may be followed by other bytes) and indexes its nodes.
    ///
    /// Takes time linear in its size, and as much heap as [`Self::most_heap`] says.
    pub fn parse(blob: &'blob [u8]) -> Result<Self, BoardError> {
        let (tree, result) = Self::parse_to_error(blob)?;
        result.map(|()| tree)
    }

    /// The same, with what stands before the first error of a blob whose header and parts are right: to say on that board's
    /// console what is wrong.
    pub fn parse_to_error(blob: &'blob [u8]) -> Result<(Self, Result<(), BoardError>), BoardError> {
        let blob = Blob::new(blob)?;
        let (nodes, phandles, result) = blob.index();
        // A heap's code is a tenth of a slice's sort.
        Ok((Self { blob, nodes, phandles: BinaryHeap::from(phandles).into_sorted_vec() }, result))
    }

    /// The most heap, in bytes, that [`Self::parse`] takes for `blob`, by its header alone.
    pub fn most_heap(blob: &[u8]) -> usize {
        let structure = blob::structure_bytes(blob);
        let nodes = blob::most_nodes(structure / 4);
        // A node with a phandle takes 28 bytes; a list of phandles that grows, 24 bytes for each.
        (nodes * size_of::<NodeEntry>()).next_power_of_two() + structure
    }

    /// The root node.
    pub fn root(&self) -> DeviceNode<'_> {
        DeviceNode { tree: self, index: 0 }
    }

    /// All nodes: the root first, parents before children, siblings as they stand in the blob.
    pub fn nodes(&self) -> impl Iterator<Item = DeviceNode<'_>> {
        (0..self.nodes.len()).map(|index| DeviceNode { tree: self, index })
    }

    /// The node that other nodes call `phandle`.
    pub fn by_phandle(&self, phandle: u32) -> Option<DeviceNode<'_>> {
        let first = self.phandles.partition_point(|&(handle, _)| handle < phandle);
        let &(handle, index) = self.phandles.get(first)?;
        (handle == phandle).then_some(DeviceNode { tree: self, index: usize::from(index) })
    }

    /// The node at `path`: absolute (`/soc/serial@7e201000`), or relative to an alias (`serial0`, `soc/serial`).
    /// A part without unit address finds the first node of that name with any (Devicetree Specification 0.4, 2.2.3).
    pub fn by_path(&self, path: &str) -> Option<DeviceNode<'_>> {
        if path.starts_with('/') {
            return self.descend(self.root(), path);
        }
        let (alias, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        let target = self.descend(self.root(), "/aliases")?.string(alias)?;
        // An alias of an alias is not a thing: so no chain, and no cycle.
        let start = target.starts_with('/').then(|| self.descend(self.root(), target))??;
        self.descend(start, rest)
    }

    /// The node that the tree's source calls `label`; only trees compiled with `dtc -@` know their labels.
    pub fn by_label(&self, label: &str) -> Option<DeviceNode<'_>> {
        let path = self.by_path("/__symbols__")?.string(label)?;
        path.starts_with('/').then(|| self.by_path(path))?
    }

    /// The node that a person means: a path, an alias or a label.
    pub fn find(&self, name: &str) -> Option<DeviceNode<'_>> {
        self.by_path(name).or_else(|| self.by_label(name))
    }

    /// The nodes whose `compatible` names one of `models` and that are not disabled.
    pub fn compatible_with<'tree>(&'tree self, models: &'tree [&str]) -> impl Iterator<Item = DeviceNode<'tree>> {
        self.nodes().filter(|node| node.is_compatible(models) && node.is_enabled())
    }

    /// The spans of the memory reservation block.
    pub fn reservations(&self) -> impl Iterator<Item = Span> + '_ {
        self.blob.reservations()
    }

    fn descend<'tree>(&'tree self, from: DeviceNode<'tree>, path: &str) -> Option<DeviceNode<'tree>> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.take(MAX_DEPTH).try_fold(from, |node, part| node.child(part))
    }
}
