//! The device tree a guest is given: what QEMU's `virt` machine would tell it, under the same paths.
//!
//! Guests built for that machine look nodes up by path as well as by `compatible`, so both are QEMU's. Only what the VM
//! has is described. Values come from a checked [`VmConfig`]; nothing here decides an address.

mod devices;
mod node;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use node::{Builder, cells};
use tessera_abi::manifest as abi;

use crate::manifest::{MemoryRegion, VmConfig};
use crate::seed::Seed;

/// What the guest's tree does not take from the manifest.
pub struct TreeFacts<'a> {
    /// `compatible` of the board's cores, most specific first: `arm,cortex-a72`. Empty if unknown.
    pub cpu_compatible: &'a [&'a str],
    /// Version of the guest's GIC: 2 or 3.
    pub gic_version: u8,
    /// For its random numbers.
    pub seed: Option<Seed>,
}

/// The tree needs more room than the manifest keeps for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeTooLarge {
    /// Bytes that the blob has.
    pub needed: usize,
    /// Bytes that are kept for it.
    pub room: u64,
}

impl core::fmt::Display for TreeTooLarge {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (needed, room) = (self.needed, self.room);
        write!(f, "the guest's device tree has {needed} bytes, but the manifest keeps only {room} for it")
    }
}

impl core::error::Error for TreeTooLarge {}

/// `MPIDR_EL1` affinity fields of vCPU `index`: sixteen to a cluster, as many as an SGI's target list names
/// (`ICC_SGI1R_EL1.TargetList`), like QEMU.
pub const fn vcpu_affinity(index: usize) -> u64 {
    let index = index as u64;
    (index % 16) | ((index / 16) << 8)
}

/// The interrupt controller's phandle. QEMU's numbers differ from version to version, guests follow the reference.
const GIC_PHANDLE: u32 = 1;
/// The UART's clock's phandle.
const CLOCK_PHANDLE: u32 = 2;

/// The tree of a guest that brings none of its own, as a blob.
///
/// # Errors
///
/// It does not fit into [`crate::manifest::DeviceTreeArea::bytes`].
pub fn build(config: &VmConfig, facts: &TreeFacts<'_>) -> Result<Vec<u8>, TreeTooLarge> {
    let mut tree = DeviceTree::new();
    tree.root = root(config, facts);
    let blob = tree.to_dtb();
    let room = config.device_tree.bytes;
    if blob.len() as u64 > room {
        return Err(TreeTooLarge { needed: blob.len(), room });
    }
    Ok(blob)
}

fn root(config: &VmConfig, facts: &TreeFacts<'_>) -> DeviceTreeNode {
    let mut root = Builder::new("")
        .u32("interrupt-parent", GIC_PHANDLE)
        .flag("dma-coherent")
        .string("model", "linux,dummy-virt")
        .u32("#size-cells", 2)
        .u32("#address-cells", 2)
        .string("compatible", "linux,dummy-virt")
        .child(psci());
    let told = config.memory.iter().filter(|region| !region.firmware);
    for region in told {
        root = root.child(memory(region));
    }
    for device in &config.devices {
        root = root.child(devices::node(device));
    }
    root = root
        .child(devices::gic(config, facts.gic_version))
        .child(cpus(config.vcpus(), facts))
        .child(timer(config.vcpus(), facts.gic_version))
        .child(devices::clock());
    if let Some(aliases) = aliases(config) {
        root = root.child(aliases);
    }
    root.child(chosen(config, facts.seed.as_ref())).build()
}

/// PSCI (DEN0022F, chapter 6): by HVC, the function numbers being the standard ones since version 0.2.
fn psci() -> DeviceTreeNode {
    Builder::new("psci").string("method", "hvc").strings("compatible", &["arm,psci-1.0", "arm,psci-0.2"]).build()
}

fn memory(region: &MemoryRegion) -> DeviceTreeNode {
    Builder::new(&format!("memory@{:x}", region.ipa))
        .property("reg", cells(&[region.ipa, region.bytes]))
        .string("device_type", "memory")
        .build()
}

fn cpus(count: usize, facts: &TreeFacts<'_>) -> DeviceTreeNode {
    let cpus = Builder::new("cpus").u32("#size-cells", 0).u32("#address-cells", 1);
    (0..count).fold(cpus, |cpus, index| cpus.child(cpu(index, facts))).build()
}

fn cpu(index: usize, facts: &TreeFacts<'_>) -> DeviceTreeNode {
    let affinity = vcpu_affinity(index) as u32;
    let compatible = match facts.cpu_compatible {
        [] => &["arm,armv8"],
        known => known,
    };
    Builder::new(&format!("cpu@{affinity:x}"))
        .u32("reg", affinity)
        .string("enable-method", "psci")
        .strings("compatible", compatible)
        .string("device_type", "cpu")
        .build()
}

/// The generic timer's PPIs, as Arm's Base System Architecture (DEN0094) numbers them: secure physical, physical,
/// virtual, EL2 physical. `always-on`: they run whatever the vCPU does.
fn timer(vcpus: usize, gic_version: u8) -> DeviceTreeNode {
    const PPIS: [u32; 4] = [13, 14, 11, 10];
    let interrupt = |ppi| [1, ppi, abi::TRIGGER_LEVEL | ppi_cpu_mask(vcpus, gic_version)];
    let interrupts: Vec<u32> = PPIS.into_iter().flat_map(interrupt).collect();
    Builder::new("timer")
        .property("interrupts", interrupts)
        .flag("always-on")
        .strings("compatible", &["arm,armv8-timer", "arm,armv7-timer"])
        .build()
}

/// A GICv2's binding has a bit for each CPU of a PPI in bits 15 to 8; a GICv3's has none.
fn ppi_cpu_mask(vcpus: usize, gic_version: u8) -> u32 {
    match gic_version {
        2 => (0xff00u32 >> 8usize.saturating_sub(vcpus).min(8)) & 0xff00,
        _ => 0,
    }
}

fn aliases(config: &VmConfig) -> Option<DeviceTreeNode> {
    let path = devices::path(config.console()?);
    Some(Builder::new("aliases").string("serial0", &path).build())
}

fn chosen(config: &VmConfig, seed: Option<&Seed>) -> DeviceTreeNode {
    let mut chosen = Builder::new("chosen");
    if let Some(console) = config.console() {
        chosen = chosen.string("stdout-path", &devices::path(console));
    }
    if !config.command_line.is_empty() {
        chosen = chosen.string("bootargs", &config.command_line.to_string());
    }
    if let Some(initrd) = config.initrd {
        let end = initrd.end().unwrap_or(initrd.start);
        chosen =
            chosen.property("linux,initrd-start", cells(&[initrd.start])).property("linux,initrd-end", cells(&[end]));
    }
    if let Some(seed) = seed {
        chosen = chosen.property("rng-seed", seed.rng).property("kaslr-seed", cells(&[seed.kaslr]));
    }
    chosen.build()
}
