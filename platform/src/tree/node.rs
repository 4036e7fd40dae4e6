//! One node and its own properties. Questions that other nodes help to answer are in the sibling modules.

use super::blob::NodeEntry;
use super::{BoardError, Cells, Models, Tree};
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// A node of a [`Tree`].
#[derive(Clone, Copy)]
pub struct DeviceNode<'tree> {
    pub(super) tree: &'tree Tree<'tree>,
    pub(super) index: usize,
}

/// The same place of the same tree.
impl PartialEq for DeviceNode<'_> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.tree, other.tree) && self.index == other.index
    }
}

impl Eq for DeviceNode<'_> {}

impl<'tree> DeviceNode<'tree> {
    fn entry(self) -> Option<&'tree NodeEntry> {
        self.tree.nodes.get(self.index)
    }

    /// The tree it is of.
    pub fn tree(self) -> &'tree Tree<'tree> {
        self.tree
    }

    /// Where it stands in tree order: the root is 0, and each node is behind its parent.
    pub fn position(self) -> usize {
        self.index
    }

    /// Whether it is `other` or below it.
    pub fn is_within(self, other: Self) -> bool {
        self.ancestors().any(|node| node == other)
    }

    /// Its name with unit address, as `serial@7e201000`; empty for the root.
    pub fn name(self) -> &'tree str {
        self.entry().map_or("", |entry| self.tree.blob.name(entry))
    }

    /// Its parent; `None` for the root.
    pub fn parent(self) -> Option<Self> {
        let parent = usize::from(self.entry()?.parent);
        (parent < self.index).then_some(Self { tree: self.tree, index: parent })
    }

    /// Itself, its parent, and so on to the root.
    pub fn ancestors(self) -> impl Iterator<Item = Self> {
        core::iter::successors(Some(self), |node| node.parent())
    }

    /// Its child nodes.
    pub fn children(self) -> impl Iterator<Item = Self> {
        self.child_entries().map(move |(_, index)| Self { tree: self.tree, index })
    }

    /// The entries of its child nodes, and where they stand.
    fn child_entries(self) -> impl Iterator<Item = (&'tree NodeEntry, usize)> {
        let first = self.index.saturating_add(1);
        let later = self.tree.nodes.get(first..).unwrap_or_default().iter().zip(first..);
        // In tree order the descendants of a node follow it at once, and they alone have parents from it on.
        let descendants = later.take_while(move |(entry, _)| usize::from(entry.parent) >= self.index);
        descendants.filter(move |(entry, _)| usize::from(entry.parent) == self.index)
    }

    /// The child called `name`; without unit address the first child of that name with any.
    pub fn child(self, name: &str) -> Option<Self> {
        let blob = &self.tree.blob;
        let mut similar = None;
        for (entry, index) in self.child_entries().filter(|(entry, _)| blob.is_called(entry, name, true)) {
            let node = Self { tree: self.tree, index };
            if blob.is_called(entry, name, false) {
                return Some(node);
            }
            similar = similar.or(Some(node));
        }
        similar
    }

    /// Whether `name` is its name but for the unit address.
    pub fn has_base_name(self, name: &str) -> bool {
        self.is_called(name, true)
    }

    fn is_called(self, name: &str, bare: bool) -> bool {
        self.entry().is_some_and(|entry| self.tree.blob.is_called(entry, name, bare))
    }

    /// Its absolute path; `/` for the root.
    pub fn path(self) -> String {
        let mut names: Vec<_> = self.ancestors().map(Self::name).collect();
        names.reverse();
        if names.len() == 1 { String::from("/") } else { names.join("/") }
    }

    /// Its properties, name and value.
    pub fn properties(self) -> impl Iterator<Item = (&'tree str, &'tree [u8])> {
        self.entry().into_iter().flat_map(|entry| self.tree.blob.properties(entry))
    }

    /// The name of its first property that is not among `known`.
    pub fn unknown_property(self, known: &[&str]) -> Option<&'tree str> {
        self.tree.blob.unknown_property(self.entry()?, known)
    }

    /// The value of a property.
    pub fn property(self, name: &str) -> Option<&'tree [u8]> {
        self.tree.blob.property(self.entry()?, name)
    }

    /// The first (often the only) string of a property; `None` too if it is not NUL-terminated text.
    pub fn string(self, name: &str) -> Option<&'tree str> {
        self.strings(name).next()
    }

    /// The strings of a property, as far as they are text.
    pub fn strings(self, name: &str) -> impl Iterator<Item = &'tree str> + use<'tree> {
        let value = self.property(name).and_then(|value| value.strip_suffix(&[0]));
        value
            .into_iter()
            .flat_map(|value| value.split(|&byte| byte == 0))
            .map_while(|text| core::str::from_utf8(text).ok())
    }

    /// The cells of a property; `None` too if it is no whole number of them.
    pub fn cells(self, name: &str) -> Option<Cells<'tree>> {
        Cells::new(self.property(name)?)
    }

    /// The number that a property of exactly one cell is.
    pub fn u32(self, name: &str) -> Option<u32> {
        Cells::one(self.property(name)?)
    }

    /// The number that a property of one or two cells is: trees write addresses both ways.
    pub fn u64(self, name: &str) -> Option<u64> {
        let mut cells = self.cells(name)?;
        if cells.is_empty() { None } else { cells.take_number(cells.len()) }
    }

    /// Whether its `compatible` names one of `models`.
    pub fn is_compatible(self, models: &[&str]) -> bool {
        self.compatible().any(|text| models.iter().any(|model| model.as_bytes() == text))
    }

    /// Whether its `compatible` names one of `models`.
    pub(crate) fn is_one_of(self, models: &Models) -> bool {
        self.compatible().any(|text| models.has(text))
    }

    /// Its `compatible` in words, which are compared faster; none if it has none.
    #[inline]
    pub(crate) fn compatible_words(self) -> &'tree [u32] {
        self.entry().and_then(|entry| self.tree.blob.compatible(entry)).map_or(&[], |property| property.value_words())
    }

    /// The texts in its `compatible`, each up to its NUL.
    #[inline]
    fn compatible(self) -> impl Iterator<Item = &'tree [u8]> {
        let value = self.entry().and_then(|entry| self.tree.blob.compatible(entry));
        let mut rest = value.map_or(&[][..], |property| property.value());
        core::iter::from_fn(move || {
            let (text, behind) = rest.split_at(rest.iter().position(|byte| *byte == 0)?);
            rest = behind.get(1..).unwrap_or_default();
            Some(text)
        })
    }

    /// Whether neither it nor a node above it is disabled: `status` is absent, `okay` or `ok`.
    pub fn is_enabled(self) -> bool {
        self.ancestors().all(|node| match node.property("status") {
            None => true,
            Some(_) => matches!(node.string("status"), Some("okay" | "ok")),
        })
    }

    /// The frequency in Hz of the clock that feeds it, if it is written here or its first clock is a fixed one.
    pub fn clock_frequency(self) -> Option<u32> {
        let fixed = || {
            let clock = self.tree.by_phandle(self.cells("clocks")?.next()?)?;
            clock.is_compatible(&["fixed-clock"]).then(|| clock.u32("clock-frequency"))?
        };
        self.u32("clock-frequency").or_else(fixed)
    }

    /// An error in `property` of this node (empty: in the node as a whole).
    pub fn error(
        self,
        property: impl Into<Cow<'static, str>>,
        problem: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> BoardError {
        BoardError::new(self.path(), property, problem, remedy)
    }
}
