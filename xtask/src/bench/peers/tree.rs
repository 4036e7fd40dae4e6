//! Device trees: the machine's own, as QEMU writes it, with what a peer must find in it; and that of KVM's guest.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use dtoolkit::ToPropertyValue;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::{Guest, command};
use crate::process;
use crate::progress::Step;

/// Where the KVM guest's memory begins: guests/kvm-vmm/vmm.c has the same machine.
const KVM_MEMORY: u64 = 0x4000_0000;
const KVM_UART: u64 = 0x0900_0000;
/// The KVM guest's GIC: the distributor, and what comes second in its `reg` by version.
const KVM_DISTRIBUTOR: [u64; 2] = [0x0800_0000, 0x1_0000];
const KVM_CPU_INTERFACE: [u64; 2] = [0x0801_0000, 0x1_0000];
const KVM_REDISTRIBUTORS: [u64; 2] = [0x080a_0000, 0x10_0000];
const GIC_PHANDLE: u32 = 1;
const CLOCK_PHANDLE: u32 = 2;
/// The UART's clock in hertz.
const CLOCK_RATE: u32 = 24_000_000;
/// PPI, and level-triggered active high (Linux, Documentation/devicetree/bindings/interrupt-controller/arm,gic*.yaml).
const PPI: u32 = 1;
const LEVEL: u32 = 4;

/// The machine's tree as QEMU describes it, with a random seed that is always the same: without one, Linux draws entropy
/// anew at each system call, and with QEMU's no two runs are equal.
pub fn machine(step: &Step, guest: &Guest, folder: &Path) -> Result<DeviceTree> {
    let file = folder.join("machine.dtb");
    process::run(step, &mut command::dump_tree(guest.gic, guest.cpus, &file))?;
    let blob = fs::read(&file).context("QEMU wrote no device tree")?;
    let fdt = Fdt::new(&blob).map_err(|error| anyhow!("QEMU's device tree: {error}"))?;
    let mut tree = DeviceTree::from_fdt(&fdt);
    set(chosen(&mut tree)?, "rng-seed", (0..64).collect::<Vec<u8>>());
    Ok(tree)
}

fn chosen(tree: &mut DeviceTree) -> Result<&mut DeviceTreeNode> {
    tree.find_node_mut("/chosen").context("the machine's device tree has no /chosen")
}

fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

/// Adds the guest as a domain that Xen starts by itself, its image and its first file system at these places (address and
/// bytes). Without `conswitch`'s `x`, the console's input would leave Xen. (Xen, docs/misc/arm/device-tree/booting.txt.)
pub fn add_domain(tree: &mut DeviceTree, guest: &Guest, image: [u64; 2], ramdisk: Option<[u64; 2]>) -> Result<()> {
    let mut kernel = module("multiboot,kernel", image);
    set(&mut kernel, "bootargs", guest.command_line);
    let mut domain = node("domU1");
    set(&mut domain, "compatible", "xen,domain");
    set(&mut domain, "#address-cells", 2u32);
    set(&mut domain, "#size-cells", 2u32);
    set(&mut domain, "memory", guest.memory >> 10);
    set(&mut domain, "cpus", u32::try_from(guest.cpus)?);
    set(&mut domain, "vpl011", Vec::<u8>::new());
    domain.add_child(kernel);
    ramdisk.into_iter().for_each(|place| domain.add_child(module("multiboot,ramdisk", place)));
    let chosen = chosen(tree)?;
    set(chosen, "#address-cells", 2u32);
    set(chosen, "#size-cells", 2u32);
    set(chosen, "xen,xen-bootargs", "console=dtuart conswitch=ax");
    chosen.add_child(domain);
    Ok(())
}

fn module(kind: &str, place: [u64; 2]) -> DeviceTreeNode {
    let mut module = node(&format!("module@{:x}", place[0]));
    set(&mut module, "compatible", [kind, "multiboot,module"].as_slice());
    set(&mut module, "reg", cells(&place));
    module
}

/// The tree of KVM's guest: what guests/kvm-vmm makes. `initrd` is its size, if there is one.
pub fn kvm_guest(guest: &Guest, initrd: Option<u64>) -> DeviceTree {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    set(root, "compatible", "linux,dummy-virt");
    set(root, "#address-cells", 2u32);
    set(root, "#size-cells", 2u32);
    set(root, "interrupt-parent", GIC_PHANDLE);
    for child in [memory(guest.memory), cpus(guest.cpus), psci(), timer(guest), gic(guest.gic), clock(), uart()] {
        root.add_child(child);
    }
    root.add_child(kvm_chosen(guest, initrd));
    tree
}

fn node(name: &str) -> DeviceTreeNode {
    DeviceTreeNode::new_unchecked(name)
}

/// Numbers of two cells each.
fn cells(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn memory(bytes: u64) -> DeviceTreeNode {
    let mut memory = node(&format!("memory@{KVM_MEMORY:x}"));
    set(&mut memory, "device_type", "memory");
    set(&mut memory, "reg", cells(&[KVM_MEMORY, bytes]));
    memory
}

fn cpus(count: usize) -> DeviceTreeNode {
    let mut cpus = node("cpus");
    set(&mut cpus, "#address-cells", 1u32);
    set(&mut cpus, "#size-cells", 0u32);
    for index in (0u32..).take(count) {
        let mut cpu = node(&format!("cpu@{index:x}"));
        set(&mut cpu, "device_type", "cpu");
        set(&mut cpu, "compatible", "arm,cortex-a72");
        set(&mut cpu, "reg", index);
        set(&mut cpu, "enable-method", "psci");
        cpus.add_child(cpu);
    }
    cpus
}

fn psci() -> DeviceTreeNode {
    let mut psci = node("psci");
    set(&mut psci, "compatible", ["arm,psci-1.0", "arm,psci-0.2"].as_slice());
    set(&mut psci, "method", "hvc");
    psci
}

/// Secure physical, physical, virtual, EL2 physical. A GICv2's binding has a bit for each CPU of a PPI.
fn timer(guest: &Guest) -> DeviceTreeNode {
    let cpus = if guest.gic == 2 { ((1u32 << guest.cpus.min(8)) - 1) << 8 } else { 0 };
    let interrupts: Vec<u32> = [13, 14, 11, 10].into_iter().flat_map(|ppi| [PPI, ppi, LEVEL | cpus]).collect();
    let mut timer = node("timer");
    set(&mut timer, "compatible", "arm,armv8-timer");
    set(&mut timer, "interrupts", interrupts);
    set(&mut timer, "always-on", Vec::<u8>::new());
    timer
}

fn gic(version: u32) -> DeviceTreeNode {
    let (compatible, second) = match version {
        2 => ("arm,cortex-a15-gic", KVM_CPU_INTERFACE),
        _ => ("arm,gic-v3", KVM_REDISTRIBUTORS),
    };
    let mut gic = node(&format!("intc@{:x}", KVM_DISTRIBUTOR[0]));
    set(&mut gic, "compatible", compatible);
    set(&mut gic, "reg", cells(&[KVM_DISTRIBUTOR, second].concat()));
    set(&mut gic, "interrupt-controller", Vec::<u8>::new());
    set(&mut gic, "#interrupt-cells", 3u32);
    set(&mut gic, "#address-cells", 0u32);
    set(&mut gic, "phandle", GIC_PHANDLE);
    gic
}

fn clock() -> DeviceTreeNode {
    let mut clock = node("apb-pclk");
    set(&mut clock, "compatible", "fixed-clock");
    set(&mut clock, "#clock-cells", 0u32);
    set(&mut clock, "clock-frequency", CLOCK_RATE);
    set(&mut clock, "phandle", CLOCK_PHANDLE);
    clock
}

fn uart() -> DeviceTreeNode {
    let mut uart = node(&format!("pl011@{KVM_UART:x}"));
    set(&mut uart, "compatible", ["arm,pl011", "arm,primecell"].as_slice());
    set(&mut uart, "reg", cells(&[KVM_UART, 0x1000]));
    set(&mut uart, "interrupts", [0u32, 1, LEVEL]);
    set(&mut uart, "clocks", [CLOCK_PHANDLE, CLOCK_PHANDLE]);
    set(&mut uart, "clock-names", ["uartclk", "apb_pclk"].as_slice());
    uart
}

fn kvm_chosen(guest: &Guest, initrd: Option<u64>) -> DeviceTreeNode {
    let mut chosen = node("chosen");
    set(&mut chosen, "stdout-path", &*format!("/pl011@{KVM_UART:x}"));
    set(&mut chosen, "bootargs", guest.command_line);
    if let Some(bytes) = initrd {
        let start = KVM_MEMORY + guest.memory / 2;
        set(&mut chosen, "linux,initrd-start", start);
        set(&mut chosen, "linux,initrd-end", start + bytes);
    }
    chosen
}
