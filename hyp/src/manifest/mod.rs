//! The manifest: what to run, as the archive says and EL2 validates.
//!
//! The blob comes from outside, so nothing in it is believed, although xtask has checked the same. [`Manifest::parse`]
//! reads it and checks each VM by itself, [`Manifest::validate`] checks all of them against the board. Both only look:
//! they allocate and start nothing, so a refusal leaves nothing half done. The types are plain data for whoever builds
//! the VMs; building them does not belong here. The format is in [`tessera_abi::manifest`].

mod assign;
mod board;
mod check;
mod error;
mod fields;
mod parse;
mod scheduling;
mod sharing;
mod span;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

pub use assign::assign;
pub use board::{BoardFacts, Placement, Reserved};
pub use error::ManifestError;
pub use scheduling::{CoreFrame, FrameWindow, Restarts, Scheduling, TimeBudget};
pub use span::Span;
use tessera_abi::manifest as abi;

use crate::archive::Archive;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// One line about the system, or empty.
    pub description: String,
    /// The VMs, in the manifest's order; at least one, names unique.
    pub vms: Vec<VmConfig>,
    /// The core that works for all, if it is settled which: none of a VM that is alone on its cores.
    pub housekeeping: Option<usize>,
    /// The frames of cores that run their VMs in windows, one for each such core.
    pub frames: Vec<CoreFrame>,
}

impl Manifest {
    /// The most heap, in bytes, that [`Self::read`] takes, by the size of the manifest's file alone.
    pub fn most_heap(archive: &Archive<'_>) -> u64 {
        const BYTES_PER_BYTE: u64 = 8;
        const BYTES: u64 = 8 * 1024;
        let bytes = archive.file(abi::FILE_NAME).map_or(0, |file| file.data.len().min(abi::MAX_BYTES));
        BYTES + bytes as u64 * BYTES_PER_BYTE
    }

    /// Finds the manifest in `archive` and reads it: see [`Self::parse`].
    ///
    /// # Errors
    ///
    /// There is none, or the first thing found wrong with it.
    pub fn read(archive: &Archive<'_>) -> Result<Self, ManifestError> {
        let file = archive.file(abi::FILE_NAME).ok_or_else(|| {
            let problem = alloc::format!("there is no file `{}` in the archive", abi::FILE_NAME);
            ManifestError::in_system(abi::FILE_NAME, problem)
        })?;
        Self::parse(file.data, archive)
    }

    /// Reads the manifest in `blob`, whose files are in `archive`, and checks each VM by itself: names, sizes,
    /// alignment, overlaps within the guest's physical layout, files that are missing.
    ///
    /// # Errors
    ///
    /// The first thing found wrong.
    pub fn parse(blob: &[u8], archive: &Archive<'_>) -> Result<Self, ManifestError> {
        let manifest = parse::manifest(blob, archive)?;
        manifest.vms.iter().try_for_each(check::vm)?;
        check::names(&manifest.vms)?;
        sharing::frames(&manifest.frames)?;
        Ok(manifest)
    }

    /// Checks all VMs against the board and each other, and decides what the manifest leaves to EL2: one placement for
    /// each VM, in the order of [`Manifest::vms`].
    ///
    /// # Errors
    ///
    /// The first thing found wrong: cores, memory, devices or interrupts that the board lacks, keeps for itself, or
    /// would have to give twice; and time that they cannot have: windows of who is not there, more budget than a core.
    pub fn validate(&self, facts: &BoardFacts<'_>) -> Result<Vec<Placement>, ManifestError> {
        board::validate(self, facts)
    }
}

/// One VM, as the manifest describes it. Addresses are guest physical unless they are called `machine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// Its name: `[a-z0-9][a-z0-9_-]*`.
    pub name: String,
    /// Its vCPUs and where they run.
    pub cores: CoreRequest,
    /// Its memory, without overlaps.
    pub memory: Vec<MemoryRegion>,
    /// What of the archive is put where in its memory; without overlaps, each within one region.
    pub segments: Vec<Segment>,
    /// Where its first vCPU starts, in its memory; x0 is [`DeviceTreeArea::ipa`] then.
    pub entry: u64,
    /// Where its device tree goes.
    pub device_tree: DeviceTreeArea,
    /// What its device tree names as the initrd.
    pub initrd: Option<Span>,
    /// Its command line, or empty.
    pub command_line: String,
    /// Its interrupt controller.
    pub gic: GicConfig,
    /// Its devices.
    pub devices: Vec<Device>,
    /// What it is given of the devices in the board's tree; [`assign`] adds their registers to `devices`, and their
    /// interrupts here.
    pub board_devices: BoardDevices,
    /// Whether its image's pages are mapped in place, read-only, and copied on write.
    pub share_image: bool,
    /// What follows when it asks for a reset.
    pub on_reset: Policy,
    /// What follows when it is stopped for a fault of its own.
    pub on_crash: Policy,
    /// How often it starts again, and how soon.
    pub restarts: Restarts,
    /// How it shares its cores.
    pub scheduling: Scheduling,
}

impl VmConfig {
    /// How many vCPUs it has: 1 to [`abi::MAX_VCPUS`] once parsed.
    pub fn vcpus(&self) -> usize {
        self.cores.count()
    }

    /// Whether nothing of the guest's machine is at `bytes` from guest physical `address` on.
    pub fn is_free(&self, address: u64, bytes: u64) -> bool {
        let wanted = Span { start: address, bytes };
        check::physical_layout(self).iter().all(|placed| !placed.span.overlaps(&wanted))
    }

    /// The UART on the shared console, if it has one.
    pub fn console(&self) -> Option<&Device> {
        self.devices.iter().find(|device| device.kind == DeviceKind::Uart { console: true })
    }

    /// The board's interrupts that are its, each with its device, unless that is of the board's tree.
    pub fn hardware_interrupts(&self) -> impl Iterator<Item = (Option<&Device>, Interrupt)> {
        let passed = self.devices.iter().filter(|device| matches!(device.kind, DeviceKind::Passthrough { .. }));
        let described = passed.flat_map(|device| device.interrupts.iter().map(move |one| (Some(device), *one)));
        described.chain(self.board_devices.interrupts.iter().map(|one| (None, *one)))
    }
}

/// What a VM asks of the cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoreRequest {
    /// This many, each of its own, whichever is free.
    Count(usize),
    /// These, one for each vCPU; VMs that list the same core share it.
    List(Vec<usize>),
}

impl CoreRequest {
    /// How many vCPUs ask.
    pub fn count(&self) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::List(cores) => cores.len(),
        }
    }
}

/// A region of guest memory. All in bytes, multiples of 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Its guest physical address.
    pub ipa: u64,
    /// Its length.
    pub bytes: u64,
    /// The machine address it must have, if any.
    pub machine: Option<u64>,
    /// Whether it only holds firmware: readable, writable and private like other memory, but the guest's device tree
    /// does not tell of it.
    pub firmware: bool,
}

/// A file of the archive, placed in guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The file's name.
    pub file: String,
    /// Where the file's data starts in the archive, in bytes: a multiple of 4096.
    pub archive_offset: usize,
    /// The file's length in bytes.
    pub file_bytes: usize,
    /// The guest physical address of its first byte.
    pub ipa: u64,
    /// How many bytes it occupies there, at least `file_bytes`; the rest is zero.
    pub bytes: u64,
    /// Whether its whole pages may be mapped in place: the VM shares its image, this is part of it, and it is placed at
    /// a page.
    pub shareable: bool,
}

/// The room for the guest's device tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceTreeArea {
    /// Its guest physical address, a multiple of 8.
    pub ipa: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The guest's own blob, to be copied as it is; without it one is generated.
    pub own: Option<OwnTree>,
}

/// A device tree blob that the system brings along: a file of the archive, `file_bytes` from `archive_offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTree {
    /// The file's name.
    pub file: String,
    /// Where its data starts in the archive, in bytes.
    pub archive_offset: usize,
    /// Its length in bytes.
    pub file_bytes: usize,
}

/// Where the guest finds its interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GicConfig {
    /// 2 or 3; `None` leaves it to the board (see [`Placement::gic_version`]).
    pub version: Option<u8>,
    /// Guest physical address of the distributor, [`abi::GIC_DISTRIBUTOR_BYTES`] long.
    pub distributor: u64,
    /// Guest physical address of a GICv2's CPU interface, [`abi::GIC_CPU_INTERFACE_BYTES`] long.
    pub cpu_interface: u64,
    /// Guest physical address of a GICv3's redistributors, [`abi::GIC_REDISTRIBUTOR_BYTES`] for each vCPU.
    pub redistributors: u64,
}

/// A device of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The name of its node in the guest's device tree, without the unit address.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Its guest physical address, a multiple of 4096 unless it is given by sub-page.
    pub ipa: u64,
    /// Its length in bytes, a multiple of 4096 unless it is given by sub-page.
    pub bytes: u64,
    /// Its interrupts: of the board if it is passed through, virtual ones otherwise.
    pub interrupts: Vec<Interrupt>,
    /// `compatible` for the guest's device tree, of a device passed through.
    pub compatible: Vec<String>,
    /// Further properties for the guest's device tree, as they are.
    pub properties: Vec<(String, Vec<u8>)>,
}

impl Device {
    /// Where the guest sees it.
    pub fn span(&self) -> Span {
        Span { start: self.ipa, bytes: self.bytes }
    }

    /// Where it is in the machine, if EL2 passes on single accesses to it.
    pub fn sub_page_span(&self) -> Option<Span> {
        match self.kind {
            DeviceKind::Passthrough { by_sub_page: true, .. } => self.machine_span(),
            _ => None,
        }
    }

    /// Where it is in the machine, if it is passed through.
    pub fn machine_span(&self) -> Option<Span> {
        match self.kind {
            DeviceKind::Passthrough { machine, .. } => Some(Span { start: machine, bytes: self.bytes }),
            _ => None,
        }
    }
}

/// What a VM is given of the devices in the board's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardDevices {
    /// Which.
    pub wanted: WantedDevices,
    /// Paths of devices that are known not to access memory by themselves, whatever they look like.
    pub without_dma: Vec<String>,
    /// Paths of devices that do not have pages mapped which they share with others.
    pub by_sub_page: Vec<String>,
    /// Paths, and properties that the guest goes without: what these refer to is not needed then.
    pub left_out: Vec<(String, String)>,
    /// Their interrupts, once the board's tree is known.
    pub interrupts: Vec<Interrupt>,
}

impl BoardDevices {
    /// Whether it is given none.
    pub fn is_empty(&self) -> bool {
        self.wanted == WantedDevices::Named(Vec::new())
    }
}

/// Which devices of the board's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedDevices {
    /// Those at these paths.
    Named(Vec<String>),
    /// All that can be given away, but those at these paths.
    AllExcept(Vec<String>),
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// An emulated PL011.
    Uart {
        /// Whether it is the guest's end of the shared console; one that is not sends to nowhere and receives nothing.
        console: bool,
    },
    /// An emulated PL031.
    RealTimeClock,
    /// A device of the machine.
    Passthrough {
        /// Its machine address, a multiple of 4096 unless it is given by sub-page.
        machine: u64,
        /// Whether the manifest describes it. Otherwise it is of the board's tree, which describes it to the guest too.
        described: bool,
        /// Whether EL2 passes on single accesses to it, rather than map the pages it lies in.
        by_sub_page: bool,
    },
}

/// A shared peripheral interrupt, with the same number in the guest as on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number among the SPIs: the INTID less 32.
    pub spi: u32,
    /// Whether a rising edge triggers it rather than a high level.
    pub edge: bool,
}

/// What follows when a VM has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// It starts afresh.
    Restart,
    /// It stays off.
    Stop,
}
