//! From the blob to plain data: every node and property is known, there, and of its type. Whether the values make sense
//! together is for `check` and `board`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tessera_platform::tree::Tree;

use super::abi::{self, node, property as key, value};
use super::fields::Fields;
use super::{
    BoardDevices, CoreRequest, Device, DeviceKind, DeviceTreeArea, GicConfig, Interrupt, Manifest, ManifestError,
    MemoryRegion, OwnTree, Policy, Segment, VmConfig, WantedDevices, scheduling,
};
use crate::archive::{Archive, File};

type Result<T> = core::result::Result<T, ManifestError>;

/// Reads the whole manifest.
pub(super) fn manifest(blob: &[u8], archive: &Archive<'_>) -> Result<Manifest> {
    if blob.len() > abi::MAX_BYTES {
        let problem = format!("{} bytes, at most {} are allowed", blob.len(), abi::MAX_BYTES);
        return Err(ManifestError::in_system(abi::FILE_NAME, problem));
    }
    let tree = Tree::parse(blob).map_err(|error| {
        let problem = format!("{}: pack the system again with `cargo xtask`", error.problem());
        ManifestError::in_system(abi::FILE_NAME, problem)
    })?;
    let root = Fields::new(tree.root(), None);
    format_version(&root)?;
    let known = [key::COMPATIBLE, key::FORMAT_VERSION, key::DESCRIPTION, key::HOUSEKEEPING];
    root.expect_only(&known, &[node::VM, node::CORE])?;
    let vms = root.children_called(node::VM, abi::MAX_VMS)?;
    if vms.is_empty() {
        return Err(root.error_here("there is no VM: describe at least one"));
    }
    let vms = vms.into_iter().map(|fields| vm(fields, archive)).collect::<Result<Vec<_>>>()?;
    Ok(Manifest {
        description: text(&root, key::DESCRIPTION)?,
        housekeeping: root.u32(key::HOUSEKEEPING)?.map(index),
        frames: scheduling::frames(&root, &vms)?,
        vms,
    })
}

/// Before all else: is this a manifest, and one that we can read?
fn format_version(root: &Fields<'_>) -> Result<()> {
    if !root.strings(key::COMPATIBLE)?.iter().any(|name| name == abi::COMPATIBLE) {
        let problem = format!("must be `{}`: this is no manifest", abi::COMPATIBLE);
        return Err(root.error_at(key::COMPATIBLE, problem));
    }
    match root.u32(key::FORMAT_VERSION)? {
        Some(abi::FORMAT_VERSION) => Ok(()),
        found => {
            let found = found.map_or("missing".to_string(), |version| version.to_string());
            let problem = format!(
                "{found}, but this hypervisor reads version {}: pack the system with the xtask of the same release",
                abi::FORMAT_VERSION
            );
            Err(root.error_at(key::FORMAT_VERSION, problem))
        }
    }
}

fn vm(fields: Fields<'_>, archive: &Archive<'_>) -> Result<VmConfig> {
    let node_name = fields.name();
    let name = fields.of_vm(node_name).required_str(key::VM_NAME)?;
    if !abi::is_valid_vm_name(name) {
        let problem = "must be 1 to 31 of a-z, 0-9, `-` and `_`, begin with a letter or digit, and not be `tessera`";
        return Err(fields.of_vm(node_name).error_at(key::VM_NAME, problem));
    }
    vm_named(name, fields.of_vm(name), archive)
}

const VM_PROPERTIES: [&str; 21] = [
    key::VM_NAME,
    key::CPUS,
    key::CORES,
    key::ENTRY,
    key::COMMAND_LINE,
    key::INITRD,
    key::SHARE_IMAGE,
    key::ON_RESET,
    key::ON_CRASH,
    key::RESTART_LIMIT,
    key::RESTART_DELAY,
    key::PRIORITY,
    key::WEIGHT,
    key::BUDGET,
    key::PERIOD,
    key::DEDICATED,
    key::BOARD_DEVICES,
    key::BOARD_DEVICES_EXCEPT,
    key::BOARD_DEVICES_WITHOUT_DMA,
    key::BOARD_DEVICES_BY_SUB_PAGE,
    key::BOARD_DEVICES_LEFT_OUT,
];
const VM_CHILDREN: [&str; 5] = [node::MEMORY, node::SEGMENT, node::DEVICE_TREE, node::GIC, node::DEVICE];

fn vm_named(name: &str, fields: Fields<'_>, archive: &Archive<'_>) -> Result<VmConfig> {
    fields.expect_only(&VM_PROPERTIES, &VM_CHILDREN)?;
    let share_image = fields.flag(key::SHARE_IMAGE)?;
    let memory = fields.children_called(node::MEMORY, abi::MAX_MEMORY_REGIONS)?;
    let segments = fields.children_called(node::SEGMENT, abi::MAX_SEGMENTS)?;
    let devices = fields.children_called(node::DEVICE, abi::MAX_DEVICES)?;
    Ok(VmConfig {
        name: name.to_string(),
        cores: cores(&fields)?,
        memory: memory.iter().map(memory_region).collect::<Result<_>>()?,
        segments: segments.iter().map(|fields| segment(fields, archive, share_image)).collect::<Result<_>>()?,
        entry: fields.required_u64(key::ENTRY)?,
        device_tree: device_tree(&fields.only_child(node::DEVICE_TREE)?, archive)?,
        initrd: fields.span(key::INITRD)?,
        command_line: text(&fields, key::COMMAND_LINE)?,
        gic: gic(&fields.only_child(node::GIC)?)?,
        devices: devices.iter().map(device).collect::<Result<_>>()?,
        board_devices: board_devices(&fields)?,
        share_image,
        on_reset: policy(&fields, key::ON_RESET, Policy::Restart)?,
        on_crash: policy(&fields, key::ON_CRASH, Policy::Stop)?,
        restarts: scheduling::restarts(&fields)?,
        scheduling: scheduling::of_vm(&fields)?,
    })
}

fn cores(fields: &Fields<'_>) -> Result<CoreRequest> {
    match (fields.u32(key::CPUS)?, fields.cells(key::CORES)?) {
        (Some(count), None) => Ok(CoreRequest::Count(index(count))),
        (None, Some(list)) => Ok(CoreRequest::List(list.into_iter().map(index).collect())),
        (None, None) => Err(fields.error_at(key::CPUS, "missing: give `cpus` or `cores`")),
        (Some(_), Some(_)) => Err(fields.error_at(key::CORES, "given beside `cpus`: give only one")),
    }
}

fn memory_region(fields: &Fields<'_>) -> Result<MemoryRegion> {
    fields.expect_only(&[key::REG, key::MACHINE, key::FIRMWARE], &[])?;
    let span = fields.required_span(key::REG)?;
    Ok(MemoryRegion {
        ipa: span.start,
        bytes: span.bytes,
        machine: fields.u64(key::MACHINE)?,
        firmware: fields.flag(key::FIRMWARE)?,
    })
}

fn segment(fields: &Fields<'_>, archive: &Archive<'_>, share_image: bool) -> Result<Segment> {
    fields.expect_only(&[key::REG, key::FILE, key::IMAGE], &[])?;
    let span = fields.required_span(key::REG)?;
    let name = fields.required_str(key::FILE)?;
    let file = archived(fields, archive, name)?;
    let image = fields.flag(key::IMAGE)?;
    Ok(Segment {
        file: name.to_string(),
        archive_offset: file.offset,
        file_bytes: file.data.len(),
        ipa: span.start,
        bytes: span.bytes,
        shareable: share_image && image && span.start.is_multiple_of(abi::PAGE_BYTES),
    })
}

fn device_tree(fields: &Fields<'_>, archive: &Archive<'_>) -> Result<DeviceTreeArea> {
    fields.expect_only(&[key::REG, key::FILE], &[])?;
    let span = fields.required_span(key::REG)?;
    let own = fields.str(key::FILE)?.map(|name| own_tree(fields, archive, name)).transpose()?;
    Ok(DeviceTreeArea { ipa: span.start, bytes: span.bytes, own })
}

fn own_tree(fields: &Fields<'_>, archive: &Archive<'_>, name: &str) -> Result<OwnTree> {
    let file = archived(fields, archive, name)?;
    if !looks_like_device_tree(file.data) {
        let problem = format!("`{}` is no device tree blob", name.escape_default());
        return Err(fields.error_at(key::FILE, problem));
    }
    Ok(OwnTree { file: name.to_string(), archive_offset: file.offset, file_bytes: file.data.len() })
}

/// The magic and a length that fits. Only the guest will read it, so it may be as odd inside as the guest likes.
fn looks_like_device_tree(data: &[u8]) -> bool {
    match data.as_chunks::<4>().0 {
        [magic, total, ..] => {
            u32::from_be_bytes(*magic) == 0xd00d_feed && index(u32::from_be_bytes(*total)) <= data.len()
        }
        _ => false,
    }
}

fn gic(fields: &Fields<'_>) -> Result<GicConfig> {
    let known = [key::VERSION, key::DISTRIBUTOR, key::CPU_INTERFACE, key::REDISTRIBUTORS];
    fields.expect_only(&known, &[])?;
    let version = match fields.u32(key::VERSION)? {
        None => None,
        Some(2) => Some(2),
        Some(3) => Some(3),
        Some(_) => return Err(fields.error_at(key::VERSION, "must be 2 or 3")),
    };
    Ok(GicConfig {
        version,
        distributor: fields.required_u64(key::DISTRIBUTOR)?,
        cpu_interface: fields.required_u64(key::CPU_INTERFACE)?,
        redistributors: fields.required_u64(key::REDISTRIBUTORS)?,
    })
}

const DEVICE_PROPERTIES: [&str; 8] =
    [key::KIND, key::REG, key::MACHINE, key::SUB_PAGE, key::INTERRUPTS, key::CONSOLE, key::NODE_NAME, key::COMPATIBLE];

fn device(fields: &Fields<'_>) -> Result<Device> {
    fields.expect_only(&DEVICE_PROPERTIES, &[node::PROPERTIES])?;
    let (kind, name) = device_kind(fields)?;
    let span = fields.required_span(key::REG)?;
    let properties = fields.children_called(node::PROPERTIES, 1)?;
    Ok(Device {
        name: fields.str(key::NODE_NAME)?.unwrap_or(name).to_string(),
        kind,
        ipa: span.start,
        bytes: span.bytes,
        interrupts: interrupts(fields)?,
        compatible: fields.strings(key::COMPATIBLE)?,
        properties: properties.first().map_or(Ok(Vec::new()), Fields::raw)?,
    })
}

/// What the device is, and the name its node has if the manifest gives none.
fn device_kind(fields: &Fields<'_>) -> Result<(DeviceKind, &'static str)> {
    let console = fields.flag(key::CONSOLE)?;
    let machine = fields.u64(key::MACHINE)?;
    let by_sub_page = fields.flag(key::SUB_PAGE)?;
    let kind = fields.required_str(key::KIND)?;
    if by_sub_page && kind != value::PASSTHROUGH {
        return Err(fields.error_at(key::SUB_PAGE, "only a `passthrough` device can have it"));
    }
    if console && kind != value::PL011 {
        return Err(fields.error_at(key::CONSOLE, "only a `pl011` can be the console"));
    }
    match (kind, machine) {
        (value::PL011, None) => Ok((DeviceKind::Uart { console }, value::PL011)),
        (value::PL031, None) => Ok((DeviceKind::RealTimeClock, value::PL031)),
        (value::PASSTHROUGH, Some(machine)) => {
            Ok((DeviceKind::Passthrough { machine, described: true, by_sub_page }, "device"))
        }
        (value::PASSTHROUGH, None) => Err(fields.error_at(key::MACHINE, "missing")),
        (value::PL011 | value::PL031, Some(_)) => {
            Err(fields.error_at(key::MACHINE, "an emulated device has no machine address"))
        }
        _ => Err(fields.error_at(key::KIND, "must be `pl011`, `pl031` or `passthrough`")),
    }
}

fn board_devices(fields: &Fields<'_>) -> Result<BoardDevices> {
    let list = |property| fields.list(property, abi::MAX_BOARD_DEVICES);
    let without_dma = list(key::BOARD_DEVICES_WITHOUT_DMA)?.unwrap_or_default();
    let by_sub_page = list(key::BOARD_DEVICES_BY_SUB_PAGE)?.unwrap_or_default();
    let wanted = match (list(key::BOARD_DEVICES)?, list(key::BOARD_DEVICES_EXCEPT)?) {
        (Some(_), Some(_)) => {
            return Err(fields.error_at(key::BOARD_DEVICES_EXCEPT, "given beside `board-devices`: give only one"));
        }
        (Some(named), None) => WantedDevices::Named(named),
        (None, Some(except)) => WantedDevices::AllExcept(except),
        (None, None) => WantedDevices::Named(Vec::new()),
    };
    let left_out = list(key::BOARD_DEVICES_LEFT_OUT)?.unwrap_or_default();
    let (pairs, rest) = left_out.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(fields.error_at(key::BOARD_DEVICES_LEFT_OUT, "must be pairs of a path and a property"));
    }
    let left_out: Vec<_> = pairs.iter().cloned().map(<(String, String)>::from).collect();
    let names_none = !matches!(&wanted, WantedDevices::Named(paths) if !paths.is_empty());
    let of_named =
        [(key::BOARD_DEVICES_BY_SUB_PAGE, by_sub_page.is_empty()), (key::BOARD_DEVICES_LEFT_OUT, left_out.is_empty())];
    if let Some((property, _)) = of_named.into_iter().find(|(_, is_empty)| names_none && !is_empty) {
        return Err(fields.error_at(property, "only beside `board-devices`"));
    }
    Ok(BoardDevices { wanted, without_dma, by_sub_page, left_out, interrupts: Vec::new() })
}

fn interrupts(fields: &Fields<'_>) -> Result<Vec<Interrupt>> {
    let cells = fields.cells(key::INTERRUPTS)?.unwrap_or_default();
    let (pairs, rest) = cells.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(fields.error_at(key::INTERRUPTS, "must be pairs of an SPI and its trigger"));
    }
    pairs.iter().map(|pair| interrupt(fields, *pair)).collect()
}

fn interrupt(fields: &Fields<'_>, [spi, trigger]: [u32; 2]) -> Result<Interrupt> {
    if spi >= abi::SPI_LIMIT {
        let problem = format!("SPI {spi}, but there are only 0 to {}", abi::SPI_LIMIT - 1);
        return Err(fields.error_at(key::INTERRUPTS, problem));
    }
    match trigger {
        abi::TRIGGER_EDGE => Ok(Interrupt { spi, edge: true }),
        abi::TRIGGER_LEVEL => Ok(Interrupt { spi, edge: false }),
        _ => Err(fields.error_at(key::INTERRUPTS, "a trigger must be 1 (edge) or 4 (level)")),
    }
}

fn policy(fields: &Fields<'_>, property: &str, default: Policy) -> Result<Policy> {
    match fields.str(property)? {
        None => Ok(default),
        Some(value::RESTART) => Ok(Policy::Restart),
        Some(value::STOP) => Ok(Policy::Stop),
        Some(_) => Err(fields.error_at(property, "must be `restart` or `stop`")),
    }
}

fn archived<'a>(fields: &Fields<'_>, archive: &Archive<'a>, name: &str) -> Result<File<'a>> {
    archive.file(name).ok_or_else(|| {
        let problem = format!("there is no file `{}` in the archive", name.escape_default());
        fields.error_at(key::FILE, problem)
    })
}

fn text(fields: &Fields<'_>, property: &str) -> Result<String> {
    Ok(fields.str(property)?.unwrap_or_default().to_string())
}

/// A 32-bit number as an index: no target of ours has a narrower `usize`.
pub(super) fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
