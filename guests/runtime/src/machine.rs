//! What the machine is, as its device tree says. Only what the guests use.

use core::cell::UnsafeCell;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use crate::{MAX_CORES, console, gic};

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

/// The interrupt controller: its version and its first two register ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gic {
    /// Its version.
    pub version: GicVersion,
    /// Address of the distributor.
    pub distributor: usize,
    /// Address of the first redistributor (GICv3) or of the CPU interface (GICv2).
    pub second: usize,
}

/// The UART that is the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Address of its registers.
    pub base: usize,
    /// Whether it is only the subset of a PL011 that the SBSA asks for.
    pub is_sbsa: bool,
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
    /// Where the interrupt controller is. Only guests that run elsewhere than on `virt` need it.
    pub gic_frames: Gic,
    /// The console.
    pub uart: Uart,
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
        self.text_argument(name)?.parse().ok()
    }

    /// The word after `NAME=` on the command line, if there is one.
    #[must_use]
    pub fn text_argument(&self, name: &str) -> Option<&'static str> {
        let chosen = self.tree()?.find_node("/chosen")?;
        let line: &'static str = chosen.property("bootargs")?.value_as().ok()?;
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What is assumed where the tree does not say: `virt` with one core and 16 MiB.
const FALLBACK: Machine = Machine {
    cores: 1,
    memory: Range { start: 0x4000_0000, size: 16 << 20 },
    gic: GicVersion::V3,
    gic_frames: Gic { version: GicVersion::V3, distributor: gic::v3::DISTRIBUTOR, second: gic::v3::REDISTRIBUTORS },
    uart: Uart { base: console::PL011, is_sbsa: false },
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
    let gic_frames = find_gic(tree.root()).unwrap_or(FALLBACK.gic_frames);
    Machine {
        cores: count_cores(tree).clamp(1, MAX_CORES),
        memory: first_memory(tree).unwrap_or(FALLBACK.memory),
        gic: gic_frames.version,
        gic_frames,
        uart: find_uart(tree.root()).unwrap_or(FALLBACK.uart),
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

/// The first interrupt controller among the root's children.
fn find_gic(root: FdtNode) -> Option<Gic> {
    root.children().find_map(|node| {
        let is = |name| node.is_compatible(name);
        let version = if is("arm,gic-v3") {
            GicVersion::V3
        } else if is("arm,cortex-a15-gic") || is("arm,gic-400") {
            GicVersion::V2
        } else {
            return None;
        };
        Some(Gic { version, distributor: address(node, 0)?, second: address(node, 1)? })
    })
}

/// The first UART among the root's children.
fn find_uart(root: FdtNode) -> Option<Uart> {
    root.children().find_map(|node| {
        let is_sbsa = node.is_compatible("arm,sbsa-uart");
        let is_uart = is_sbsa || node.is_compatible("arm,pl011");
        is_uart.then_some(Uart { base: address(node, 0)?, is_sbsa })
    })
}

/// Where the node's register range `index` begins.
fn address(node: FdtNode, index: usize) -> Option<usize> {
    let address: u64 = node.reg().ok()??.nth(index)?.address().ok()?;
    usize::try_from(address).ok()
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
