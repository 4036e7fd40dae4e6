//! Nodes and properties, by names that are known to be good.

use alloc::string::ToString;
use alloc::vec::Vec;

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};

/// A node in the making. Names are either literals or checked with the manifest.
pub(super) struct Builder(DeviceTreeNode);

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Self(DeviceTreeNode::new_unchecked(name.to_string()))
    }

    pub(super) fn property(mut self, name: &str, value: impl ToPropertyValue) -> Self {
        self.0.add_property(DeviceTreeProperty::new_unchecked(name.to_string(), value));
        self
    }

    pub(super) fn u32(self, name: &str, value: u32) -> Self {
        self.property(name, value)
    }

    pub(super) fn flag(self, name: &str) -> Self {
        self.property(name, Vec::<u8>::new())
    }

    pub(super) fn string(self, name: &str, value: &str) -> Self {
        self.property(name, value)
    }

    pub(super) fn strings(self, name: &str, values: &[&str]) -> Self {
        self.property(name, values)
    }

    pub(super) fn child(mut self, child: DeviceTreeNode) -> Self {
        self.0.add_child(child);
        self
    }

    pub(super) fn build(self) -> DeviceTreeNode {
        self.0
    }
}

/// Numbers of two cells each.
pub(super) fn cells(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}
