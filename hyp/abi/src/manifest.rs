//! The manifest format: the names that xtask writes and EL2 reads, each written once, here.
//!
//! A manifest is a flattened device tree (Devicetree Specification v0.4, chapter 5), the first file of the system
//! archive. Placement is decided by whoever writes it and stated in full; EL2 only checks. Only names and limits belong
//! here; how they are read is in the hypervisor's `manifest` module, how they are written in xtask's `system` module.
//!
//! Every address and length is 64 bits wide (two cells), in bytes. Addresses are guest physical unless the property is
//! called `machine`. A time is 64 bits wide, in nanoseconds. EL2 refuses a node or property that is not listed here.
//!
//! | node | property | value |
//! | --- | --- | --- |
//! | `/` | `compatible` | `tessera,system` |
//! | | `format-version` | u32, [`FORMAT_VERSION`] |
//! | | `description` | string, optional: one line about the system |
//! | | `housekeeping` | u32, optional: the core that works for all, and is no VM's alone |
//! | `/vm@N` | `vm-name` | string: `[a-z0-9][a-z0-9_-]*`, at most [`MAX_NAME`] bytes, unique, not `tessera` |
//! | | `cpus` | u32: number of vCPUs, each on a core of its own that EL2 picks; or |
//! | | `cores` | u32 list: the machine's cores, one for each vCPU, counted from 0 in the board's device tree |
//! | | `entry` | u64: where the first vCPU starts, with the address of the device tree in x0 |
//! | | `command-line` | string, optional |
//! | | `initrd` | u64 start, u64 bytes, optional: what `/chosen` names as the initrd |
//! | | `share-image` | empty, optional: map image segments in place, copied on write |
//! | | `on-reset`, `on-crash` | string, optional: `restart` or `stop`; a reset restarts, a crash stops by default |
//! | | `restart-limit` | u32, optional: how often it restarts in all; without it any number of times |
//! | | `restart-delay` | time, optional: what the second restart in a row waits for, [`DEFAULT_RESTART_DELAY`] without it; see SYSTEMS.md |
//! | | `priority` | u32, optional: 0 to [`MAX_PRIORITY`], higher is more urgent, [`DEFAULT_PRIORITY`] without it |
//! | | `weight` | u32, optional: 1 to [`MAX_WEIGHT`], slices of as many times [`SLICE_PER_WEIGHT`], [`DEFAULT_WEIGHT`] without it |
//! | | `budget`, `period` | time, optional, both or none: how long each of its vCPUs runs at most in each period |
//! | | `dedicated` | empty, optional: nobody else is on its cores; VMs with `cpus` always have that |
//! | | `board-devices` | string list, optional: paths of the board's tree whose devices it gets, with all that they need |
//! | | `board-devices-except` | string list, optional, instead: it gets all but these (none: an empty value) |
//! | | `board-devices-without-dma` | string list, optional: paths of devices that do not access memory by themselves |
//! | | `board-devices-by-sub-page` | string list, optional: those of `board-devices` that do not have pages mapped which they share |
//! | | `board-devices-left-out` | string list, optional, beside `board-devices`: pairs of a path and a property that the guest is to go without |
//! | `/vm@N/memory@A` | `reg` | u64 address, u64 bytes; multiples of [`PAGE_BYTES`] |
//! | | `machine` | u64, optional: the machine address it must have |
//! | | `firmware` | empty, optional: holds firmware; the guest is not told of it as memory |
//! | `/vm@N/segment@A` | `reg` | u64 address, u64 bytes it occupies, at least the file's |
//! | | `file` | string: name of the archive's file whose bytes go there; the rest is zero |
//! | | `image` | empty, optional: part of the image that `share-image` speaks of |
//! | `/vm@N/device-tree` | `reg` | u64 address, u64 bytes kept for the blob |
//! | | `file` | string, optional: the guest's own blob; without it EL2 generates one |
//! | `/vm@N/gic` | `version` | u32, optional: 2 or 3; without it the board's |
//! | | `distributor`, `cpu-interface`, `redistributors` | u64 address |
//! | `/vm@N/device@A` | `kind` | string: `pl011` or `pl031` (emulated), `passthrough` |
//! | | `reg` | u64 address, u64 bytes; multiples of [`PAGE_BYTES`] |
//! | | `machine` | u64: the machine address of a `passthrough` device |
//! | | `sub-page` | empty, optional: that is not mapped, so it may be any bytes, as far from a page's start in `reg` as there |
//! | | `interrupts` | u32 pairs, optional: SPI counted from 0 (INTID - 32), [`TRIGGER_EDGE`] or [`TRIGGER_LEVEL`] |
//! | | `console` | empty, optional: this `pl011` is the guest's end of the shared console |
//! | | `node-name`, `compatible` | string and string list for the guest's device tree, of a `passthrough` device |
//! | `/vm@N/device@A/properties` | any | copied into the guest's node as they are |
//! | `/core@N` | `core` | u32: the core that runs its VMs in windows, counted as in `cores` |
//! | | `frame` | time: the length of the major frame, which repeats for ever |
//! | | `lend` | empty, optional: time in no window is anybody's; else it is nobody's |
//! | `/core@N/window@T` | `vm` | string: the VM whose time it is, by its `vm-name`; it has a vCPU on this core |
//! | | `start`, `length` | time: where in the frame it begins (0 is the frame's beginning), and how long it is; windows are in their order, without overlap |
//! | | `lend` | empty, optional: others may run while none of the VM's can; else the core is idle |

/// The name of the archive's file that holds the manifest: the first one.
pub const FILE_NAME: &str = "manifest.dtb";
/// The root's `compatible`.
pub const COMPATIBLE: &str = "tessera,system";
/// The version of this format; another one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// Alignment, in bytes, of memory, devices and the archive's file data.
pub const PAGE_BYTES: u64 = 4096;
/// Most VMs in a system.
pub const MAX_VMS: usize = 32;
/// Most vCPUs of a VM.
pub const MAX_VCPUS: usize = 64;
/// Most bytes of a VM's name.
pub const MAX_NAME: usize = 31;
/// Most memory regions of a VM.
pub const MAX_MEMORY_REGIONS: usize = 16;
/// Most segments of a VM.
pub const MAX_SEGMENTS: usize = 64;
/// Most devices of a VM.
pub const MAX_DEVICES: usize = 64;
/// Most bytes of a command line: arm64 Linux's `COMMAND_LINE_SIZE` less the final NUL.
pub const MAX_COMMAND_LINE: usize = 2047;
/// Most interrupts of a device.
pub const MAX_INTERRUPTS: usize = 64;
/// Most strings in a list.
pub const MAX_STRINGS: usize = 16;
/// Most further properties of a device.
pub const MAX_DEVICE_PROPERTIES: usize = 32;
/// Most devices of the board's tree that a list names.
pub const MAX_BOARD_DEVICES: usize = 64;
/// Most bytes of a manifest: EL2 reads it with a small heap.
pub const MAX_BYTES: usize = 64 * 1024;

/// The highest, most urgent, priority.
pub const MAX_PRIORITY: u8 = 31;
/// The priority of who says nothing: there is room for more and for less urgent ones.
pub const DEFAULT_PRIORITY: u8 = 16;
/// The greatest weight.
pub const MAX_WEIGHT: u8 = 100;
/// The weight of who says nothing: slices of 5 ms.
pub const DEFAULT_WEIGHT: u8 = 10;
/// What each unit of weight adds to a slice, in nanoseconds.
pub const SLICE_PER_WEIGHT: u64 = 500_000;
/// The shortest budget, period or window, in nanoseconds: a switch at each end must not be most of it.
pub const MIN_TIME: u64 = 20_000;
/// The longest period, frame or delay, in nanoseconds.
pub const MAX_TIME: u64 = 10_000_000_000;
/// What the second restart in a row waits for, in nanoseconds, if nothing else is said.
pub const DEFAULT_RESTART_DELAY: u64 = 10_000_000;
/// Most cores that have a frame.
pub const MAX_FRAMES: usize = 64;
/// Most windows of a frame.
pub const MAX_WINDOWS: usize = 32;

/// Bytes of a GIC distributor's frame (GICv3: IHI 0069H, 12.8; a GICv2's 4 KiB fit into it).
pub const GIC_DISTRIBUTOR_BYTES: u64 = 0x1_0000;
/// Bytes of a GICv2 CPU interface (IHI 0048B, 4.1.2: `GICC_DIR` is at 0x1000).
pub const GIC_CPU_INTERFACE_BYTES: u64 = 0x2000;
/// Bytes of one vCPU's GICv3 redistributor: the RD and the SGI frame (IHI 0069H, 12.10).
pub const GIC_REDISTRIBUTOR_BYTES: u64 = 0x2_0000;
/// Number of SPIs that the architecture has room for: INTIDs 32 to 1019.
pub const SPI_LIMIT: u32 = 988;

/// An interrupt triggered by a rising edge, as in an `interrupts` property.
pub const TRIGGER_EDGE: u32 = 1;
/// An interrupt triggered by a high level, as in an `interrupts` property.
pub const TRIGGER_LEVEL: u32 = 4;

/// Node names, without the unit address.
pub mod node {
    /// One VM.
    pub const VM: &str = "vm";
    /// A region of a VM's memory.
    pub const MEMORY: &str = "memory";
    /// A file of the archive, placed in a VM's memory.
    pub const SEGMENT: &str = "segment";
    /// The room for the device tree a VM is given.
    pub const DEVICE_TREE: &str = "device-tree";
    /// Where a VM's interrupt controller is.
    pub const GIC: &str = "gic";
    /// A device of a VM.
    pub const DEVICE: &str = "device";
    /// Further properties of a device's node in the guest's tree.
    pub const PROPERTIES: &str = "properties";
    /// A core that runs its VMs in windows.
    pub const CORE: &str = "core";
    /// One VM's time in the frame of a core.
    pub const WINDOW: &str = "window";
}

/// Property names.
pub mod property {
    /// The root's format, a device's kind of hardware.
    pub const COMPATIBLE: &str = "compatible";
    /// The version of the format.
    pub const FORMAT_VERSION: &str = "format-version";
    /// One line about the system.
    pub const DESCRIPTION: &str = "description";
    /// The core that works for all.
    pub const HOUSEKEEPING: &str = "housekeeping";
    /// The VM's name.
    pub const VM_NAME: &str = "vm-name";
    /// How many vCPUs, on cores that EL2 picks.
    pub const CPUS: &str = "cpus";
    /// The core of each vCPU.
    pub const CORES: &str = "cores";
    /// Where the first vCPU starts.
    pub const ENTRY: &str = "entry";
    /// The guest's command line.
    pub const COMMAND_LINE: &str = "command-line";
    /// Where the initrd is.
    pub const INITRD: &str = "initrd";
    /// Whether the image is mapped in place.
    pub const SHARE_IMAGE: &str = "share-image";
    /// Devices of the board's tree.
    pub const BOARD_DEVICES: &str = "board-devices";
    /// All devices of the board's tree but these.
    pub const BOARD_DEVICES_EXCEPT: &str = "board-devices-except";
    /// Devices of the board's tree that do not access memory by themselves, whatever they look like.
    pub const BOARD_DEVICES_WITHOUT_DMA: &str = "board-devices-without-dma";
    /// Devices of the board's tree that do not have pages mapped which they share with others.
    pub const BOARD_DEVICES_BY_SUB_PAGE: &str = "board-devices-by-sub-page";
    /// Properties of such devices that are left out, with what they refer to.
    pub const BOARD_DEVICES_LEFT_OUT: &str = "board-devices-left-out";
    /// What follows a guest's SYSTEM_RESET.
    pub const ON_RESET: &str = "on-reset";
    /// What follows a crash.
    pub const ON_CRASH: &str = "on-crash";
    /// How often a VM restarts.
    pub const RESTART_LIMIT: &str = "restart-limit";
    /// What its second restart in a row waits for.
    pub const RESTART_DELAY: &str = "restart-delay";
    /// How urgent a VM is.
    pub const PRIORITY: &str = "priority";
    /// How long its slices are.
    pub const WEIGHT: &str = "weight";
    /// How long its vCPUs run at most...
    pub const BUDGET: &str = "budget";
    /// ... in so long.
    pub const PERIOD: &str = "period";
    /// A VM whose cores are nobody else's.
    pub const DEDICATED: &str = "dedicated";
    /// Which core has a frame.
    pub const CORE: &str = "core";
    /// How long a frame is.
    pub const FRAME: &str = "frame";
    /// Time that others may have.
    pub const LEND: &str = "lend";
    /// Whose window it is.
    pub const VM: &str = "vm";
    /// Where a window begins.
    pub const START: &str = "start";
    /// How long it is.
    pub const LENGTH: &str = "length";
    /// Address and length.
    pub const REG: &str = "reg";
    /// A machine address.
    pub const MACHINE: &str = "machine";
    /// A device passed through that is not mapped.
    pub const SUB_PAGE: &str = "sub-page";
    /// Memory that holds firmware.
    pub const FIRMWARE: &str = "firmware";
    /// The name of a file of the archive.
    pub const FILE: &str = "file";
    /// A segment that is part of the image.
    pub const IMAGE: &str = "image";
    /// The version of the interrupt controller.
    pub const VERSION: &str = "version";
    /// Where the distributor is.
    pub const DISTRIBUTOR: &str = "distributor";
    /// Where a GICv2's CPU interface is.
    pub const CPU_INTERFACE: &str = "cpu-interface";
    /// Where a GICv3's redistributors are.
    pub const REDISTRIBUTORS: &str = "redistributors";
    /// What sort of device it is.
    pub const KIND: &str = "kind";
    /// The device's SPIs.
    pub const INTERRUPTS: &str = "interrupts";
    /// The UART on the shared console.
    pub const CONSOLE: &str = "console";
    /// The name of the device's node in the guest's tree.
    pub const NODE_NAME: &str = "node-name";
}

/// Values of string properties.
pub mod value {
    /// `kind`: an emulated PL011 UART.
    pub const PL011: &str = "pl011";
    /// `kind`: an emulated PL031 real-time clock.
    pub const PL031: &str = "pl031";
    /// `kind`: a device of the machine, given to the guest.
    pub const PASSTHROUGH: &str = "passthrough";
    /// `on-reset`, `on-crash`: start the VM afresh.
    pub const RESTART: &str = "restart";
    /// `on-reset`, `on-crash`: leave the VM off.
    pub const STOP: &str = "stop";
}

/// Whether `name` may name a VM: `[a-z0-9][a-z0-9_-]*`, at most [`MAX_NAME`] bytes, and not `tessera`.
///
/// The console tags each line with it, and `tessera` is EL2's own tag.
pub fn is_valid_vm_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let starts_well = name.bytes().next().is_some_and(plain);
    let goes_on_well = name.bytes().all(|byte| plain(byte) || byte == b'_' || byte == b'-');
    starts_well && goes_on_well && name.len() <= MAX_NAME && name != "tessera"
}

#[cfg(test)]
mod tests {
    use super::is_valid_vm_name;

    #[test]
    fn a_vm_name_is_a_short_lower_case_word_that_is_not_ours() {
        for good in ["linux", "0", "free-rtos_2", "a234567890123456789012345678901"] {
            assert!(is_valid_vm_name(good), "{good}");
        }
        for bad in ["", "-a", "_a", "Linux", "a b", "a]", "é", "tessera", "a2345678901234567890123456789012"] {
            assert!(!is_valid_vm_name(bad), "{bad}");
        }
    }
}
