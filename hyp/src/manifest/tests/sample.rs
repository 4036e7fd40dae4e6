//! A system with a bit of everything, and ways to break it.

use std::string::{String, ToString};
use std::sync::LazyLock;
use std::vec::Vec;

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use crate::archive::Archive;

/// The files that [`good`] speaks of.
pub(super) fn archive() -> Archive<'static> {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let own = blob(&DeviceTree::new());
        let image: &[u8] = &[1; 5000];
        pack(&[("linux", image), ("initrd", &[2; 16]), ("rtos", &[3; 300]), ("own.dtb", &own)])
    });
    Archive::parse(&BYTES).expect("a good archive")
}

fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, data) in files.iter().chain(&[("TRAILER!!!", &[][..])]) {
        let start = archive.len() + 110;
        let name_bytes = (start + name.len() + 1).next_multiple_of(4096) - start;
        let fields = [1, 0o100_644, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name_bytes, 0];
        archive.extend_from_slice(b"070701");
        fields.iter().for_each(|field| archive.extend(std::format!("{field:08x}").bytes()));
        archive.extend_from_slice(name.as_bytes());
        archive.resize(start + name_bytes, 0);
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// The blob of a tree.
pub(super) fn blob(tree: &DeviceTree) -> Vec<u8> {
    tree.to_dtb()
}

/// Sets a property; `path` is the node's path, a slash, and the property's name.
pub(super) fn set(tree: &mut DeviceTree, path: &str, value: impl ToPropertyValue) {
    let (node, property) = path.rsplit_once('/').expect("a path");
    let node = if node.is_empty() { "/" } else { node };
    let node = tree.find_node_mut(node).unwrap_or_else(|| panic!("no node {node}"));
    node.add_property(DeviceTreeProperty::new_unchecked(property.to_string(), value));
}

/// Removes a property, or a node.
pub(super) fn remove(tree: &mut DeviceTree, path: &str) {
    let (node, name) = path.rsplit_once('/').expect("a path");
    let node = if node.is_empty() { "/" } else { node };
    let node = tree.find_node_mut(node).unwrap_or_else(|| panic!("no node {node}"));
    let removed = node.remove_property(name).is_some() || node.remove_child(name).is_some();
    assert!(removed, "there is no {path}");
}

/// Adds an empty node.
pub(super) fn add(tree: &mut DeviceTree, path: &str) {
    let (parent, name) = path.rsplit_once('/').expect("a path");
    let parent = if parent.is_empty() { "/" } else { parent };
    let parent = tree.find_node_mut(parent).unwrap_or_else(|| panic!("no node {parent}"));
    parent.add_child(DeviceTreeNode::new_unchecked(name.to_string()));
}

/// Two numbers of 64 bits.
pub(super) fn pair(first: u64, second: u64) -> Vec<u8> {
    [first.to_be_bytes(), second.to_be_bytes()].concat()
}

const NOTHING: [u32; 0] = [];

/// `linux` counts its cores and shares its image, `rtos` asks for core, memory and a device of the machine.
pub(super) fn good() -> DeviceTree {
    let mut tree = DeviceTree::new();
    set(&mut tree, "/compatible", "tessera,system");
    set(&mut tree, "/format-version", 1u32);
    set(&mut tree, "/description", "Two guests");
    linux(&mut tree, "/vm@0");
    rtos(&mut tree, "/vm@1");
    tree
}

/// The same, and `rtos` shares its core by all means that there are.
pub(super) fn shared() -> DeviceTree {
    let mut tree = good();
    set(&mut tree, "/housekeeping", 3u32);
    Writer { tree: &mut tree, vm: "/vm@1" }
        .set("restart-limit", 5u32)
        .set("restart-delay", 20_000_000u64)
        .set("priority", 20u32)
        .set("weight", 30u32)
        .set("budget", 2_000_000u64)
        .set("period", 10_000_000u64);
    Writer { tree: &mut tree, vm: "/core@0" }
        .set("core", 0u32)
        .set("frame", 20_000_000u64)
        .set("lend", NOTHING)
        .set("window@0/vm", "rtos")
        .set("window@0/start", 0u64)
        .set("window@0/length", 5_000_000u64)
        .set("window@989680/vm", "rtos")
        .set("window@989680/start", 10_000_000u64)
        .set("window@989680/length", 10_000_000u64)
        .set("window@989680/lend", NOTHING);
    tree
}

/// Sets properties of `vm`, making nodes as they are needed.
struct Writer<'a> {
    tree: &'a mut DeviceTree,
    vm: &'a str,
}

impl Writer<'_> {
    fn set(&mut self, property: &str, value: impl ToPropertyValue) -> &mut Self {
        let path = std::format!("{}/{property}", self.vm);
        let (node, _) = path.rsplit_once('/').expect("a path");
        if self.tree.find_node(node).is_none() {
            add(self.tree, node);
        }
        set(self.tree, &path, value);
        self
    }

    fn gic_and_console(&mut self) -> &mut Self {
        self.set("gic/distributor", 0x0800_0000u64)
            .set("gic/cpu-interface", 0x0801_0000u64)
            .set("gic/redistributors", 0x080a_0000u64)
            .set("device@9000000/kind", "pl011")
            .set("device@9000000/reg", pair(0x0900_0000, 0x1000))
            .set("device@9000000/interrupts", [1u32, 4])
            .set("device@9000000/console", NOTHING)
    }
}

fn linux(tree: &mut DeviceTree, vm: &str) {
    Writer { tree, vm }
        .set("vm-name", "linux")
        .set("cpus", 2u32)
        .set("entry", 0x4020_0000u64)
        .set("command-line", "console=ttyAMA0")
        .set("initrd", pair(0x4800_0000, 16))
        .set("share-image", NOTHING)
        .set("memory@40000000/reg", pair(0x4000_0000, 0x1000_0000))
        .set("segment@40200000/reg", pair(0x4020_0000, 0x10_0000))
        .set("segment@40200000/file", "linux")
        .set("segment@40200000/image", NOTHING)
        .set("segment@48000000/reg", pair(0x4800_0000, 0x1000))
        .set("segment@48000000/file", "initrd")
        .set("device-tree/reg", pair(0x4000_0000, 0x1_0000))
        .gic_and_console();
}

fn rtos(tree: &mut DeviceTree, vm: &str) {
    Writer { tree, vm }
        .set("vm-name", "rtos")
        .set("cores", [0u32])
        .set("entry", 0x5000_0000u64)
        .set("on-reset", "stop")
        .set("on-crash", "restart")
        .set("memory@50000000/reg", pair(0x5000_0000, 0x100_0000))
        .set("memory@50000000/machine", 0x5000_0000u64)
        .set("memory@0/reg", pair(0, 0x1000))
        .set("memory@0/firmware", NOTHING)
        .set("segment@50000000/reg", pair(0x5000_0000, 300))
        .set("segment@50000000/file", "rtos")
        .set("segment@50000000/image", NOTHING)
        .set("device-tree/reg", pair(0x5080_0000, 0x1_0000))
        .set("device-tree/file", "own.dtb")
        .gic_and_console()
        .set("device@a000000/kind", "passthrough")
        .set("device@a000000/reg", pair(0x0a00_0000, 0x1000))
        .set("device@a000000/machine", 0x0a00_3000u64)
        .set("device@a000000/interrupts", [40u32, 1])
        .set("device@a000000/node-name", "virtio_mmio")
        .set("device@a000000/compatible", "virtio,mmio")
        .set("device@a000000/properties/dma-coherent", NOTHING);
}

/// The message with which the manifest that `change` makes of the good one is refused.
pub(super) fn refused(change: impl FnOnce(&mut DeviceTree)) -> String {
    let mut tree = good();
    change(&mut tree);
    let error = crate::manifest::Manifest::parse(&blob(&tree), &archive());
    let text = error.expect_err("this manifest is broken").to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}
