//! Whether one VM makes sense by itself, on any board.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};

use super::abi::{self, node, property as key};
use super::{CoreRequest, Device, DeviceKind, ManifestError, MemoryRegion, Policy, Restarts, Span, VmConfig};

type Result<T> = core::result::Result<T, ManifestError>;

/// No VMSAv8 guest physical address is wider (without FEAT_LPA).
const ADDRESS_LIMIT: u64 = 1 << 48;

/// Refuses two VMs of the same name.
pub(super) fn names(vms: &[VmConfig]) -> Result<()> {
    for (position, vm) in vms.iter().enumerate() {
        if vms.iter().take(position).any(|earlier| earlier.name == vm.name) {
            let problem = "two VMs have this name: rename one";
            return Err(ManifestError::in_vm(&vm.name, key::VM_NAME, problem));
        }
    }
    Ok(())
}

/// Checks all of one VM.
pub(super) fn vm(vm: &VmConfig) -> Result<()> {
    cores(vm)?;
    memory(vm)?;
    vm.devices.iter().try_for_each(|device| self::device(vm, device))?;
    interrupts(vm)?;
    disjoint(vm, &physical_layout(vm))?;
    placed(vm)?;
    disjoint(vm, &contents(vm))?;
    entry(vm)?;
    restarts(vm)?;
    command_line(vm)
}

/// Who never starts again is not told how often.
fn restarts(vm: &VmConfig) -> Result<()> {
    let never = [vm.on_reset, vm.on_crash] == [Policy::Stop; 2];
    if never && vm.restarts != Restarts::default() {
        let problem =
            format!("it never starts again: remove it, or let `{}` be `{}`", key::ON_RESET, abi::value::RESTART);
        let told = if vm.restarts.limit.is_some() { key::RESTART_LIMIT } else { key::RESTART_DELAY };
        return Err(ManifestError::in_vm(&vm.name, told, problem));
    }
    Ok(())
}

/// Where in a VM's description something stands; text only for what is wrong.
#[derive(Clone, Copy)]
pub(super) struct Place {
    node: &'static str,
    address: Option<u64>,
    property: Option<&'static str>,
}

impl Place {
    fn at(self, property: &'static str) -> Self {
        Self { property: Some(property), ..self }
    }
}

impl Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(self.node)?;
        if let Some(address) = self.address {
            write!(out, "@{address:x}")?;
        }
        self.property.map_or(Ok(()), |property| write!(out, "/{property}"))
    }
}

/// Something with a name at some guest physical addresses.
pub(super) struct Placed {
    pub(super) name: Place,
    pub(super) span: Span,
}

impl Placed {
    fn new(node: &'static str, start: u64, bytes: u64) -> Self {
        Self { name: Place { node, address: Some(start), property: None }, span: Span { start, bytes } }
    }
}

fn cores(vm: &VmConfig) -> Result<()> {
    let error = |property, problem: String| Err(ManifestError::in_vm(&vm.name, property, problem));
    let (property, list): (_, &[usize]) = match &vm.cores {
        CoreRequest::Count(_) => (key::CPUS, &[]),
        CoreRequest::List(list) => (key::CORES, list),
    };
    let count = vm.vcpus();
    if !(1..=abi::MAX_VCPUS).contains(&count) {
        let limit = abi::MAX_VCPUS;
        return error(property, format!("{count} vCPUs: give 1 to {limit}"));
    }
    for (position, core) in list.iter().enumerate() {
        if list.iter().take(position).any(|earlier| earlier == core) {
            return error(property, format!("core {core} is listed twice: list it once"));
        }
    }
    Ok(())
}

fn memory(vm: &VmConfig) -> Result<()> {
    if vm.memory.iter().all(|region| region.firmware) {
        let problem = "there is none: give the VM a region that is not `firmware`";
        return Err(ManifestError::in_vm(&vm.name, node::MEMORY, problem));
    }
    vm.memory.iter().try_for_each(|region| memory_region(vm, region))
}

fn memory_region(vm: &VmConfig, region: &MemoryRegion) -> Result<()> {
    let named = Placed::new(node::MEMORY, region.ipa, region.bytes);
    pages(vm, &named)?;
    match region.machine {
        Some(machine) => {
            pages(vm, &Placed { name: named.name.at(key::MACHINE), span: Span { start: machine, bytes: region.bytes } })
        }
        None => Ok(()),
    }
}

fn device(vm: &VmConfig, device: &Device) -> Result<()> {
    let named = Placed::new(node::DEVICE, device.ipa, device.bytes);
    let name = |property| named.name.at(property);
    match device.sub_page_span() {
        Some(machine) => part_of_page(vm, &named, machine)?,
        None => pages(vm, &named)?,
    }
    if !is_node_name(&device.name) {
        let problem = "must be 1 to 31 of a-z, A-Z, 0-9 and `,._+-`";
        return Err(ManifestError::in_vm(&vm.name, name(key::NODE_NAME), problem));
    }
    if let Some(span) = device.machine_span() {
        let is_whole = device.sub_page_span().is_none();
        return if is_whole { pages(vm, &Placed { name: name(key::MACHINE), span }) } else { Ok(()) };
    }
    if device.bytes != abi::PAGE_BYTES {
        let problem = format!("an emulated device has {:#x} bytes", abi::PAGE_BYTES);
        return Err(ManifestError::in_vm(&vm.name, name(key::REG), problem));
    }
    if device.interrupts.len() > 1 {
        let problem = "an emulated device has one interrupt";
        return Err(ManifestError::in_vm(&vm.name, name(key::INTERRUPTS), problem));
    }
    Ok(())
}

/// Devicetree Specification v0.4, 2.2.1.
fn is_node_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b",._+-".contains(&byte);
    (1..=31).contains(&name.len()) && name.bytes().all(allowed)
}

/// Some bytes, at addresses that exist, as far from the start of a page as at the device.
fn part_of_page(vm: &VmConfig, placed: &Placed, machine: Span) -> Result<()> {
    let grown = |span: Span| Placed { name: placed.name, span: span.grown(abi::PAGE_BYTES) };
    pages(vm, &grown(placed.span))?;
    pages(vm, &grown(machine))?;
    if placed.span.bytes == 0 || !placed.span.start.wrapping_sub(machine.start).is_multiple_of(abi::PAGE_BYTES) {
        let problem = format!(
            "{} is empty, or elsewhere in its page than {machine}: make it lie at the same offset",
            placed.span
        );
        return Err(ManifestError::in_vm(&vm.name, placed.name, problem));
    }
    Ok(())
}

/// Whole pages, at least one, at addresses that exist.
fn pages(vm: &VmConfig, placed: &Placed) -> Result<()> {
    let problem = if placed.span.bytes == 0 {
        format!("{} is empty: give it at least {:#x} bytes", placed.name, abi::PAGE_BYTES)
    } else if !placed.span.is_aligned(abi::PAGE_BYTES) {
        let page = abi::PAGE_BYTES;
        format!("{} is not made of whole pages: make address and length multiples of {page:#x}", placed.span)
    } else if placed.span.end().is_none_or(|end| end > ADDRESS_LIMIT) {
        format!("{} goes beyond {ADDRESS_LIMIT:#x}: place it lower", placed.span)
    } else {
        return Ok(());
    };
    Err(ManifestError::in_vm(&vm.name, placed.name, problem))
}

/// Each interrupt belongs to one device, and one UART is the console.
fn interrupts(vm: &VmConfig) -> Result<()> {
    let mut seen = Vec::new();
    let own = vm.devices.iter().flat_map(|device| device.interrupts.iter().map(move |one| (Some(device), one)));
    for (device, interrupt) in own.chain(vm.board_devices.interrupts.iter().map(|one| (None, one))) {
        if seen.contains(&interrupt.spi) {
            let problem = format!("SPI {} belongs to another device already", interrupt.spi);
            return Err(ManifestError::in_vm(&vm.name, interrupt_place(device), problem));
        }
        seen.push(interrupt.spi);
    }
    let is_console = |device: &&Device| device.kind == DeviceKind::Uart { console: true };
    match vm.devices.iter().filter(is_console).nth(1) {
        Some(second) => {
            let place = format!("{}@{:x}/{}", node::DEVICE, second.ipa, key::CONSOLE);
            Err(ManifestError::in_vm(&vm.name, place, "another device is the console already"))
        }
        None => Ok(()),
    }
}

/// Where the manifest has a device's interrupts; it only names those of the board's tree.
pub(super) fn interrupt_place(device: Option<&Device>) -> String {
    match device {
        Some(device) => format!("{}@{:x}/{}", node::DEVICE, device.ipa, key::INTERRUPTS),
        None => key::BOARD_DEVICES.to_string(),
    }
}

/// All that occupies guest physical addresses.
pub(super) fn physical_layout(vm: &VmConfig) -> Vec<Placed> {
    let memory = vm.memory.iter();
    let devices = vm.devices.iter();
    let memory = memory.map(|region| Placed::new(node::MEMORY, region.ipa, region.bytes));
    let devices = devices.map(|device| Placed::new(node::DEVICE, device.ipa, device.bytes));
    memory.chain(devices).chain(gic_frames(vm)).collect()
}

/// The interrupt controller's frames: of both versions as long as it is open which.
fn gic_frames(vm: &VmConfig) -> Vec<Placed> {
    let redistributors = abi::GIC_REDISTRIBUTOR_BYTES.saturating_mul(vm.vcpus() as u64);
    let frame = |property, start, bytes| Placed {
        name: Place { node: node::GIC, address: None, property: Some(property) },
        span: Span { start, bytes },
    };
    let mut frames = Vec::new();
    frames.push(frame(key::DISTRIBUTOR, vm.gic.distributor, abi::GIC_DISTRIBUTOR_BYTES));
    if vm.gic.version != Some(3) {
        frames.push(frame(key::CPU_INTERFACE, vm.gic.cpu_interface, abi::GIC_CPU_INTERFACE_BYTES));
    }
    if vm.gic.version != Some(2) {
        frames.push(frame(key::REDISTRIBUTORS, vm.gic.redistributors, redistributors));
    }
    frames
}

/// What is put into memory: segments and the device tree. The initrd is one of the segments.
fn contents(vm: &VmConfig) -> Vec<Placed> {
    let segment = |segment: &super::Segment| Placed::new(node::SEGMENT, segment.ipa, segment.bytes);
    vm.segments.iter().map(segment).chain([device_tree_area(vm)]).collect()
}

fn device_tree_area(vm: &VmConfig) -> Placed {
    let span = Span { start: vm.device_tree.ipa, bytes: vm.device_tree.bytes };
    Placed { name: Place { node: node::DEVICE_TREE, address: None, property: None }, span }
}

fn disjoint(vm: &VmConfig, placed: &[Placed]) -> Result<()> {
    for (position, this) in placed.iter().enumerate() {
        if let Some(other) = placed.iter().take(position).find(|other| this.span.overlaps(&other.span)) {
            let problem =
                format!("{} overlaps {} at {}: give each addresses of its own", this.span, other.name, other.span);
            return Err(ManifestError::in_vm(&vm.name, this.name, problem));
        }
    }
    for frame in placed.iter().filter(|placed| placed.name.node == node::GIC) {
        pages(vm, frame)?;
    }
    Ok(())
}

/// Everything that is put into memory lies in memory.
fn placed(vm: &VmConfig) -> Result<()> {
    for segment in &vm.segments {
        if segment.bytes < segment.file_bytes as u64 {
            let place = format!("{}@{:x}/{}", node::SEGMENT, segment.ipa, key::REG);
            let problem = format!(
                "{:#x} bytes, but its file `{}` has {:#x}",
                segment.bytes,
                segment.file.escape_default(),
                segment.file_bytes
            );
            return Err(ManifestError::in_vm(&vm.name, place, problem));
        }
    }
    contents(vm).iter().try_for_each(|placed| in_memory(vm, placed.name, placed.span))?;
    if let Some(span) = vm.initrd {
        in_memory(vm, key::INITRD, span)?;
    }
    device_tree(vm)
}

fn in_memory(vm: &VmConfig, name: impl Display, span: Span) -> Result<()> {
    let within = |region: &MemoryRegion| Span { start: region.ipa, bytes: region.bytes }.contains(&span);
    if vm.memory.iter().any(within) {
        return Ok(());
    }
    let problem = format!("{span} does not lie in one region of the VM's memory: move it or add memory");
    Err(ManifestError::in_vm(&vm.name, name, problem))
}

fn device_tree(vm: &VmConfig) -> Result<()> {
    let tree = &vm.device_tree;
    let error = |problem| Err(ManifestError::in_vm(&vm.name, node::DEVICE_TREE, problem));
    // Devicetree Specification v0.4, 5.6.1: a blob starts at a multiple of 8 bytes.
    if !tree.ipa.is_multiple_of(8) {
        return error(format!("{:#x} is not a multiple of 8", tree.ipa));
    }
    match &tree.own {
        Some(own) if own.file_bytes as u64 > tree.bytes => error(format!(
            "`{}` has {:#x} bytes, only {:#x} are kept for it",
            own.file.escape_default(),
            own.file_bytes,
            tree.bytes
        )),
        _ => Ok(()),
    }
}

fn entry(vm: &VmConfig) -> Result<()> {
    in_memory(vm, key::ENTRY, Span { start: vm.entry, bytes: 4 })?;
    if !vm.entry.is_multiple_of(4) {
        let problem = format!("{:#x} is not a multiple of 4", vm.entry);
        return Err(ManifestError::in_vm(&vm.name, key::ENTRY, problem));
    }
    Ok(())
}

fn command_line(vm: &VmConfig) -> Result<()> {
    let (bytes, limit) = (vm.command_line.len(), abi::MAX_COMMAND_LINE);
    if bytes > limit {
        let problem = format!("{bytes} bytes, at most {limit} are allowed: shorten it");
        return Err(ManifestError::in_vm(&vm.name, key::COMMAND_LINE, problem));
    }
    Ok(())
}
