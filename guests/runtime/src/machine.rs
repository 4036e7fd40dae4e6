//! What the machine is, as its device tree says. Only what the guests use.

use core::cell::UnsafeCell;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use crate::MAX_CORES;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Range {
    /// The address after the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// Whether all of `size` bytes at `start` lie inside.
    #[must_use]
    pub fn contains(&self, start: u64, size: u64) -> bool {
        start >= self.start && start.saturating_add(size) <= self.end()
    }
}

/// The interrupt controller's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicVersion {
    /// GICv2, with a memory-mapped CPU interface.
    V2,
    /// GICv3, with system registers and redistributors.
    V3,
}

/// What a guest knows about the machine it runs on.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Cores, at most [`MAX_CORES`]. Their affinity level 0 is their index.
    pub cores: usize,
    /// The first range of memory.
    pub memory: Range,
    /// The interrupt controller's version.
    pub gic: GicVersion,
    /// Where the device tree lies.
    pub tree: usize,
    /// Whether QEMU itself is the machine, without a hypervisor: some of its deviations are known and skipped.
    pub is_plain_qemu: bool,
}

impl Machine {
    /// The device tree.
    #[must_use]
    pub fn tree(&self) -> Option<Fdt<'static>> {
        // SAFETY: the tree was found there at the start and nothing has written to it.
        unsafe { Fdt::from_raw(self.tree as *const u8) }.ok()
    }

    /// The number after `NAME=` on the command line, if there is one.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<usize> {
        let chosen = self.tree()?.chosen()?;
        let line = chosen.bootargs().ok()??;
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

/// What is assumed where the tree does not say: `virt` with one core and 16 MiB.
const FALLBACK: Machine = Machine {
    cores: 1,
    memory: Range { start: 0x4000_0000, size: 16 << 20 },
    gic: GicVersion::V3,
    tree: 0,
    is_plain_qemu: false,
};

/// Reads the device tree at `address`; without a valid one, the smallest `virt` is assumed.
///
/// # Safety
/// `address` is readable and, if a device tree lies there, nothing writes to it.
pub(crate) unsafe fn discover(address: usize) -> Machine {
    // SAFETY: by this function's contract.
    let Ok(tree) = (unsafe { Fdt::from_raw(address as *const u8) }) else {
        return FALLBACK;
    };
    Machine {
        cores: count_cores(tree).clamp(1, MAX_CORES),
        memory: first_memory(tree).unwrap_or(FALLBACK.memory),
        gic: gic_version(tree.root()).unwrap_or(FALLBACK.gic),
        tree: address,
        is_plain_qemu: tree.find_node("/fw-cfg@9020000").is_some(),
    }
}

fn count_cores(tree: Fdt) -> usize {
    tree.cpus().map_or(1, |cpus| cpus.cpus().count())
}

fn first_memory(tree: Fdt) -> Option<Range> {
    let memory = tree.memory().ok()?;
    let mut ranges = memory.reg().ok()??;
    let range = ranges.next()?;
    Some(Range { start: range.address().ok()?, size: range.size().ok()? })
}

/// The version of the first interrupt controller among the root's children.
fn gic_version(root: FdtNode) -> Option<GicVersion> {
    root.children().find_map(|node| match node.property("compatible")?.value() {
        b"arm,gic-v3\0" => Some(GicVersion::V3),
        b"arm,cortex-a15-gic\0" | b"arm,gic-400\0" => Some(GicVersion::V2),
        _ => None,
    })
}

struct Published(UnsafeCell<Machine>);

// SAFETY: written once, before any other core is started.
unsafe impl Sync for Published {}

static PUBLISHED: Published = Published(UnsafeCell::new(FALLBACK));

/// Keeps `machine` for good.
pub(crate) fn publish(machine: Machine) -> &'static Machine {
    // SAFETY: the boot core calls this once, alone.
    unsafe {
        PUBLISHED.0.get().write(machine);
        &*PUBLISHED.0.get()
    }
}

/// What the boot core found.
#[must_use]
pub fn get() -> &'static Machine {
    // SAFETY: published before guest code runs, and never written again.
    unsafe { &*PUBLISHED.0.get() }
}
