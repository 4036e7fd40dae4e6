//! The manifest: what was decided, in the names of `tessera_abi::manifest`.

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use tessera_abi::manifest::{self as abi, node, property as key, value};

use super::description::{Core, Cpus, Device, DeviceKind, Layout, Scheduling, System, Vm, Window};
use super::files::Files;
use super::place::{Plan, Region, Segment};
use super::problem::At;

/// The manifest for the VMs of `system`, placed as `plans` say.
pub(super) fn tree(system: &System, plans: &[Plan], files: &Files) -> DeviceTree {
    let mut root = Writer::new(String::new());
    root.set(key::COMPATIBLE, abi::COMPATIBLE).set(key::FORMAT_VERSION, abi::FORMAT_VERSION);
    if !system.description.is_empty() {
        root.set(key::DESCRIPTION, &*system.description.replace('\0', ""));
    }
    for (position, (vm, plan)) in system.vms.iter().zip(plans).enumerate() {
        root.child(self::vm(position, vm, plan, files));
    }
    root.number_if_given(key::HOUSEKEEPING, &system.housekeeping);
    system.cores.iter().for_each(|found| _ = root.child(core(found)));
    let mut tree = DeviceTree::new();
    tree.root = root.0;
    tree
}

/// A node in the making; its names come from [`tessera_abi::manifest`].
struct Writer(DeviceTreeNode);

impl Writer {
    fn new(name: String) -> Self {
        Self(DeviceTreeNode::new_unchecked(name))
    }

    fn at(name: &str, address: u64) -> Self {
        Self::new(format!("{name}@{address:x}"))
    }

    fn set(&mut self, property: &str, value: impl ToPropertyValue) -> &mut Self {
        self.0.add_property(DeviceTreeProperty::new_unchecked(property, value));
        self
    }

    fn set_if_given(&mut self, property: &str, value: Option<impl ToPropertyValue>) -> &mut Self {
        match value {
            Some(value) => self.set(property, value),
            None => self,
        }
    }

    /// 32 bits of what is checked to fit.
    fn number_if_given(&mut self, property: &str, value: &Option<At<u64>>) -> &mut Self {
        self.set_if_given(property, value.as_ref().map(|value| value.value as u32))
    }

    fn flag(&mut self, property: &str, is_set: bool) -> &mut Self {
        self.set_if_given(property, is_set.then_some(Vec::<u8>::new()))
    }

    fn span(&mut self, property: &str, start: u64, bytes: u64) -> &mut Self {
        self.set(property, [start.to_be_bytes(), bytes.to_be_bytes()].concat())
    }

    fn child(&mut self, child: Writer) -> &mut Self {
        self.0.add_child(child.0);
        self
    }
}

fn vm(position: usize, vm: &Vm, plan: &Plan, files: &Files) -> Writer {
    let mut node = Writer::at(node::VM, position as u64);
    node.set(key::VM_NAME, &*vm.name.value);
    match &vm.cpus.value {
        Cpus::Count(count) => node.set(key::CPUS, *count as u32),
        Cpus::Cores(cores) => {
            let cores: Vec<u32> = cores.iter().map(|core| core.value as u32).collect();
            node.set(key::CORES, cores)
        }
    };
    node.set(key::ENTRY, plan.entry)
        .set_if_given(key::COMMAND_LINE, vm.command_line.as_ref().map(|line| &*line.value))
        .flag(key::SHARE_IMAGE, vm.share_image)
        .set_if_given(key::ON_RESET, vm.on_reset.as_ref().map(|policy| &*policy.value))
        .set_if_given(key::ON_CRASH, vm.on_crash.as_ref().map(|policy| &*policy.value));
    node.number_if_given(key::RESTART_LIMIT, &vm.restart_limit)
        .set_if_given(key::RESTART_DELAY, vm.restart_delay.as_ref().map(|delay| delay.value));
    scheduling(&mut node, &vm.scheduling);
    board_devices(&mut node, vm);
    if let Some((start, bytes)) = plan.initrd {
        node.span(key::INITRD, start, bytes);
    }
    plan.memory.iter().for_each(|region| _ = node.child(memory(region)));
    plan.segments.iter().for_each(|placed| _ = node.child(segment(placed, files)));
    node.child(device_tree(plan, files)).child(gic(vm));
    if vm.console {
        node.child(console(&vm.layout));
    }
    vm.devices.iter().for_each(|found| _ = node.child(device(&found.value)));
    node
}

fn scheduling(node: &mut Writer, scheduling: &Scheduling) {
    node.number_if_given(key::PRIORITY, &scheduling.priority)
        .number_if_given(key::WEIGHT, &scheduling.weight)
        .flag(key::DEDICATED, scheduling.dedicated.is_some());
    if let Some((budget, period)) = &scheduling.budget {
        node.set(key::BUDGET, budget.value).set(key::PERIOD, period.value);
    }
}

fn core(core: &Core) -> Writer {
    let mut node = Writer::at(node::CORE, core.number.value);
    node.set(key::CORE, core.number.value as u32).set(key::FRAME, core.frame.value).flag(key::LEND, core.lend);
    core.windows.iter().for_each(|found| _ = node.child(window(&found.value)));
    node
}

fn window(window: &Window) -> Writer {
    let mut node = Writer::at(node::WINDOW, window.start);
    node.set(key::VM, &*window.vm.value)
        .set(key::START, window.start)
        .set(key::LENGTH, window.length)
        .flag(key::LEND, window.lend);
    node
}

fn board_devices(node: &mut Writer, vm: &Vm) {
    let found = &vm.board_devices.found;
    let list = |paths: &[String]| paths.iter().flat_map(|path| [path.as_bytes(), &[0]].concat()).collect::<Vec<u8>>();
    if !vm.board_devices.named.is_empty() {
        node.set(key::BOARD_DEVICES, list(&found.paths));
    }
    if vm.board_devices.except.is_some() {
        node.set(key::BOARD_DEVICES_EXCEPT, list(&found.paths));
    }
    if !found.left_out.is_empty() {
        let pairs: Vec<String> = found.left_out.iter().cloned().flat_map(<[String; 2]>::from).collect();
        node.set(key::BOARD_DEVICES_LEFT_OUT, list(&pairs));
    }
    if !found.without_dma.is_empty() {
        node.set(key::BOARD_DEVICES_WITHOUT_DMA, list(&found.without_dma));
    }
    if !found.by_sub_page.is_empty() {
        node.set(key::BOARD_DEVICES_BY_SUB_PAGE, list(&found.by_sub_page));
    }
}

fn memory(region: &Region) -> Writer {
    let mut node = Writer::at(node::MEMORY, region.base);
    node.span(key::REG, region.base, region.bytes)
        .set_if_given(key::MACHINE, region.machine)
        .flag(key::FIRMWARE, region.firmware);
    node
}

fn segment(segment: &Segment, files: &Files) -> Writer {
    let mut node = Writer::at(node::SEGMENT, segment.address);
    node.span(key::REG, segment.address, segment.bytes)
        .set(key::FILE, files.name(segment.file))
        .flag(key::IMAGE, segment.image);
    node
}

fn device_tree(plan: &Plan, files: &Files) -> Writer {
    let (address, bytes, file) = plan.device_tree;
    let mut node = Writer::new(node::DEVICE_TREE.to_string());
    node.span(key::REG, address, bytes).set_if_given(key::FILE, file.map(|file| files.name(file)));
    node
}

fn gic(vm: &Vm) -> Writer {
    let mut node = Writer::new(node::GIC.to_string());
    node.set_if_given(key::VERSION, vm.gic_version.as_ref().map(|version| version.value as u32))
        .set(key::DISTRIBUTOR, vm.layout.gic_distributor)
        .set(key::CPU_INTERFACE, vm.layout.gic_cpu_interface)
        .set(key::REDISTRIBUTORS, vm.layout.gic_redistributors);
    node
}

fn console(layout: &Layout) -> Writer {
    let mut node = Writer::at(node::DEVICE, layout.uart);
    node.set(key::KIND, value::PL011)
        .span(key::REG, layout.uart, abi::PAGE_BYTES)
        .set(key::INTERRUPTS, [layout.uart_interrupt as u32, abi::TRIGGER_LEVEL])
        .flag(key::CONSOLE, true);
    node
}

fn device(device: &Device) -> Writer {
    let mut node = Writer::at(node::DEVICE, device.address);
    let kind = match device.kind {
        DeviceKind::Pl011 => value::PL011,
        DeviceKind::Pl031 => value::PL031,
        DeviceKind::Passthrough { .. } => value::PASSTHROUGH,
    };
    node.set(key::KIND, kind).span(key::REG, device.address, device.bytes);
    let interrupts: Vec<u32> = device.interrupts.iter().flat_map(|found| interrupt(found.value)).collect();
    if !interrupts.is_empty() {
        node.set(key::INTERRUPTS, interrupts);
    }
    if let DeviceKind::Passthrough { machine, by_sub_page } = device.kind {
        passthrough(&mut node, device, machine);
        node.flag(key::SUB_PAGE, by_sub_page);
    }
    node
}

fn passthrough(node: &mut Writer, device: &Device, machine: u64) {
    node.set(key::MACHINE, machine).set(key::NODE_NAME, &*device.name);
    if !device.compatible.is_empty() {
        let names: Vec<&str> = device.compatible.iter().map(String::as_str).collect();
        node.set(key::COMPATIBLE, names);
    }
    if !device.properties.is_empty() {
        let mut properties = Writer::new(node::PROPERTIES.to_string());
        for (name, value) in &device.properties {
            properties.set(name, value.as_slice());
        }
        node.child(properties);
    }
}

fn interrupt(interrupt: super::description::Interrupt) -> [u32; 2] {
    let trigger = if interrupt.edge { abi::TRIGGER_EDGE } else { abi::TRIGGER_LEVEL };
    [interrupt.spi as u32, trigger]
}
