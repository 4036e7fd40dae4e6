//! A system file as typed values, each with its place in the file. What the keys mean is in the documentation of the
//! fields; defaults are filled in by `read`, addresses by `place`.

use std::ops::Range;

use super::problem::At;

/// The whole file.
#[derive(Debug)]
pub(super) struct System {
    pub(super) description: String,
    pub(super) machine_cpus: Option<At<u64>>,
    pub(super) machine_memory: Option<At<u64>>,
    /// Files that are the machine's disks.
    pub(super) disks: Vec<At<String>>,
    pub(super) vms: Vec<Vm>,
    pub(super) housekeeping: Option<At<u64>>,
    /// Cores that run their VMs in windows.
    pub(super) cores: Vec<Core>,
    /// The file's beginning, for problems that have no better place.
    pub(super) span: Range<usize>,
}

/// A `[[vm]]`.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) name: At<String>,
    pub(super) cpus: At<Cpus>,
    /// At least one region.
    pub(super) memory: Vec<At<Memory>>,
    pub(super) image: Image,
    pub(super) initrd: Option<Blob>,
    pub(super) command_line: Option<At<String>>,
    pub(super) device_tree: Option<Blob>,
    pub(super) share_image: bool,
    pub(super) files: Vec<Blob>,
    pub(super) console: bool,
    pub(super) gic_version: Option<At<u64>>,
    pub(super) devices: Vec<At<Device>>,
    pub(super) board_devices: BoardDevices,
    pub(super) layout: Layout,
    pub(super) on_reset: Option<At<String>>,
    pub(super) on_crash: Option<At<String>>,
    pub(super) restart_limit: Option<At<u64>>,
    /// In nanoseconds.
    pub(super) restart_delay: Option<At<u64>>,
    pub(super) scheduling: Scheduling,
}

/// How a VM shares its cores; times are in nanoseconds.
#[derive(Debug)]
pub(super) struct Scheduling {
    pub(super) priority: Option<At<u64>>,
    pub(super) weight: Option<At<u64>>,
    /// `budget` and `period`.
    pub(super) budget: Option<(At<u64>, At<u64>)>,
    /// `dedicated`, if that is true.
    pub(super) dedicated: Option<At<bool>>,
}

/// A `[[core]]`; times are in nanoseconds.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) number: At<u64>,
    pub(super) frame: At<u64>,
    /// By their start.
    pub(super) windows: Vec<At<Window>>,
    pub(super) lend: bool,
}

/// A window in the frame of a core.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) vm: At<String>,
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) lend: bool,
}

impl Window {
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// `cpus`: a count, or physical cores.
#[derive(Debug)]
pub(super) enum Cpus {
    Count(u64),
    Cores(Vec<At<u64>>),
}

/// A region of `memory`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) base: u64,
    pub(super) bytes: u64,
    pub(super) machine: Option<u64>,
}

/// `image`.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: At<String>,
    pub(super) kind: Option<At<Kind>>,
    pub(super) load: Option<At<u64>>,
    pub(super) entry: Option<At<u64>>,
}

/// What kind of file an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An arm64 Linux Image (Documentation/arch/arm64/booting.rst).
    Linux,
    /// A 64-bit little-endian AArch64 ELF executable.
    Elf,
    /// Anything else: loaded as it is.
    Raw,
}

/// A file that is put into memory.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) path: At<String>,
    pub(super) load: Option<At<u64>>,
}

/// An entry of `devices`.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) kind: DeviceKind,
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) interrupts: Vec<At<Interrupt>>,
    pub(super) compatible: Vec<String>,
    pub(super) name: String,
    /// Names and values for the guest's device tree.
    pub(super) properties: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceKind {
    Pl011,
    Pl031,
    /// A device of the machine; by sub-page it need not be whole pages, and is not mapped.
    Passthrough {
        machine: u64,
        by_sub_page: bool,
    },
}

/// Devices of the board's tree: those among `devices` that are named by it, or `everything-except`.
#[derive(Debug, Default)]
pub(super) struct BoardDevices {
    pub(super) named: Vec<At<BoardDevice>>,
    pub(super) except: Option<At<Vec<At<String>>>>,
    /// What they are: filled in by `board`.
    pub(super) found: FoundDevices,
}

/// A device by its path, alias or label.
#[derive(Debug)]
pub(super) struct BoardDevice {
    pub(super) name: String,
    /// Whether it may access memory by itself, if it looks like that.
    pub(super) may_master_dma: bool,
    /// Whether pages that it shares with others stay with EL2.
    pub(super) by_sub_page: bool,
    /// Properties that the guest goes without.
    pub(super) without: Vec<At<String>>,
}

/// What the board's tree says of [`BoardDevices`].
#[derive(Debug, Default)]
pub(super) struct FoundDevices {
    /// Paths of those that are named, or excepted.
    pub(super) paths: Vec<String>,
    pub(super) without_dma: Vec<String>,
    pub(super) by_sub_page: Vec<String>,
    /// One of the devices that may access memory by themselves, if there is one.
    pub(super) dma_master: Option<String>,
    pub(super) left_out: Vec<(String, String)>,
    /// Registers, start and bytes: whole pages, or what is given by sub-page.
    pub(super) registers: Vec<At<(u64, u64)>>,
    pub(super) interrupts: Vec<At<u64>>,
    /// Bytes of the board's tree: the guest's has no more of it.
    pub(super) tree_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interrupt {
    pub(super) spi: u64,
    pub(super) edge: bool,
}

/// Where the guest finds its memory and devices, unless told otherwise: QEMU's `virt` machine.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) ram: u64,
    pub(super) gic_distributor: u64,
    pub(super) gic_cpu_interface: u64,
    pub(super) gic_redistributors: u64,
    pub(super) uart: u64,
    pub(super) uart_interrupt: u64,
    /// Where it stands in the file: `layout`, or else the VM's name.
    pub(super) span: Range<usize>,
}

impl Layout {
    /// QEMU's `virt` machine (hw/arm/virt.c, `base_memmap` and `a15irqmap`).
    pub(super) fn qemu_virt(span: Range<usize>) -> Self {
        Self {
            ram: 0x4000_0000,
            gic_distributor: 0x0800_0000,
            gic_cpu_interface: 0x0801_0000,
            gic_redistributors: 0x080a_0000,
            uart: 0x0900_0000,
            uart_interrupt: 1,
            span,
        }
    }
}
