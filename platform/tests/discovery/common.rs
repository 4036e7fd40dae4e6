//! Small device trees to read, written by another library than the reader under test.

use dtoolkit::ToPropertyValue;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use tessera_platform::tree::Tree;
use tessera_platform::{Board, BoardError};

/// A file's bytes, where a boot loader would put them: at a multiple of 8.
macro_rules! aligned {
    ($path:literal) => {{
        #[repr(align(8))]
        struct Aligned<T: ?Sized>(T);
        static BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        &BYTES.0
    }};
}

/// The real trees: see `blobs/README.md`.
pub const BLOBS: [(&str, &[u8]); 10] = [
    ("virt-gicv2-1", aligned!("../blobs/virt-gicv2-1.dtb")),
    ("virt-gicv2-2", aligned!("../blobs/virt-gicv2-2.dtb")),
    ("virt-gicv2-4", aligned!("../blobs/virt-gicv2-4.dtb")),
    ("virt-gicv2-8", aligned!("../blobs/virt-gicv2-8.dtb")),
    ("virt-gicv3-1", aligned!("../blobs/virt-gicv3-1.dtb")),
    ("virt-gicv3-2", aligned!("../blobs/virt-gicv3-2.dtb")),
    ("virt-gicv3-4", aligned!("../blobs/virt-gicv3-4.dtb")),
    ("virt-gicv3-8", aligned!("../blobs/virt-gicv3-8.dtb")),
    ("bcm2711-rpi-4-b", aligned!("../blobs/bcm2711-rpi-4-b.dtb")),
    ("bcm2711-rpi-4-b-qemu", aligned!("../blobs/bcm2711-rpi-4-b-qemu.dtb")),
];

/// A real tree by name.
pub fn blob(name: &str) -> &'static [u8] {
    BLOBS.iter().find(|(each, _)| *each == name).unwrap().1
}

/// What `find` finds in a blob; nothing in one that is no tree.
pub fn with_tree<T>(blob: &[u8], find: impl FnOnce(&Tree) -> Option<T>) -> Option<T> {
    find(&Tree::parse(blob).ok()?)
}

/// Phandle of the interrupt controller of [`Machine::new`].
pub const GIC: u32 = 1;

/// A device tree in the making.
#[derive(Clone)]
pub struct Machine(pub DeviceTree);

impl Machine {
    /// A tree with nothing in it.
    pub fn empty() -> Self {
        Self(DeviceTree::new())
    }

    /// A machine with two cores, a GICv3, a PL011 and all else that a board must have.
    pub fn new() -> Self {
        Self::empty()
            .set("/", "#address-cells", 2_u32)
            .set("/", "#size-cells", 2_u32)
            .set("/", "interrupt-parent", GIC)
            .set("/", "model", "Test machine")
            .set("/", "compatible", &["test,exact", "test,family"][..])
            .set("/memory@40000000", "device_type", "memory")
            .set("/memory@40000000", "reg", [0_u32, 0x4000_0000, 0, 0x1000_0000])
            .set("/cpus", "#address-cells", 1_u32)
            .set("/cpus", "#size-cells", 0_u32)
            .core("cpu@0", [0_u32])
            .core("cpu@1", [1_u32])
            .set("/psci", "compatible", &["arm,psci-1.0", "arm,psci-0.2"][..])
            .set("/psci", "method", "smc")
            .set("/timer", "compatible", "arm,armv8-timer")
            .set("/timer", "interrupts", [1_u32, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4])
            .set("/gic@8000000", "compatible", "arm,gic-v3")
            .set("/gic@8000000", "interrupt-controller", [0_u8; 0])
            .set("/gic@8000000", "#interrupt-cells", 3_u32)
            .set("/gic@8000000", "phandle", GIC)
            .set("/gic@8000000", "reg", [0_u32, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x10_0000])
            .set("/gic@8000000", "interrupts", [1_u32, 9, 4])
            .set("/uart@9000000", "compatible", &["arm,pl011", "arm,primecell"][..])
            .set("/uart@9000000", "reg", [0_u32, 0x0900_0000, 0, 0x1000])
            .set("/uart@9000000", "interrupts", [0_u32, 1, 4])
            .set("/chosen", "stdout-path", "/uart@9000000")
    }

    /// Adds a core that PSCI starts.
    pub fn core(self, name: &str, reg: impl ToPropertyValue) -> Self {
        let path = format!("/cpus/{name}");
        self.set(&path, "device_type", "cpu").set(&path, "reg", reg).set(&path, "enable-method", "psci")
    }

    /// Gives the node at `path`, made if it is not there, a property.
    pub fn set(mut self, path: &str, name: &str, value: impl ToPropertyValue) -> Self {
        let mut node = &mut self.0.root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            // The library's own search takes a node with another unit address for this one.
            if !dtoolkit::Node::children(node).any(|child| dtoolkit::Node::name(child) == part) {
                node.add_child(DeviceTreeNode::new_unchecked(part));
            }
            node = node.children_mut().find(|child| dtoolkit::Node::name(&&**child) == part).unwrap();
        }
        node.add_property(DeviceTreeProperty::new_unchecked(name, value));
        self
    }

    /// Takes a property away.
    pub fn without(mut self, path: &str, name: &str) -> Self {
        self.0.find_node_mut(path).unwrap().remove_property(name).unwrap();
        self
    }

    /// Takes a node below the root away.
    pub fn without_node(mut self, name: &str) -> Self {
        self.0.root.remove_child(name).unwrap();
        self
    }

    /// Adds an entry to the memory reservation block.
    pub fn reserve(mut self, start: u64, size: u64) -> Self {
        self.0.memory_reservations.push(MemoryReservation::new(start, size));
        self
    }

    /// The flattened tree.
    pub fn blob(&self) -> Vec<u8> {
        self.0.to_dtb()
    }

    /// What is discovered in it.
    pub fn discover(&self) -> Result<Board, BoardError> {
        Board::discover(&self.blob())
    }

    /// The board that it is.
    pub fn board(&self) -> Board {
        self.discover().unwrap()
    }

    /// Checks that it is refused for what `path` and `property` say, with `problem` in the message.
    #[track_caller]
    pub fn refused(&self, path: &str, property: &str, problem: &str) {
        let error = self.discover().expect_err("it should be refused");
        assert_eq!((error.path(), error.property()), (path, property), "{error}");
        assert!(error.problem().contains(problem), "{error}");
        assert!(!error.remedy().is_empty() && !error.to_string().contains('\n'), "{error}");
    }
}
