//! The device tree a guest is given: what QEMU's `virt` machine would tell it, under the same paths.
//!
//! Guests built for that machine look nodes up by path as well as by `compatible`, so both are QEMU's. Only what the VM
//! has is described. Values come from a checked [`VmConfig`]; nothing here decides an address.

mod blob;
mod board;
mod devices;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use blob::{Writer, unit_name};
use tessera_abi::manifest as abi;
use tessera_platform::assignment::Assignment;

use crate::manifest::{MemoryRegion, VmConfig};
use crate::seed::Seed;

/// What the guest's tree does not take from the manifest.
pub struct TreeFacts<'a> {
    /// `compatible` of the board's cores, most specific first: `arm,cortex-a72`. Empty if unknown.
    pub cpu_compatible: &'a [&'a str],
    /// Version of the guest's GIC: 2 or 3.
    pub gic_version: u8,
    /// What it is given of the board's devices.
    pub board: Option<&'a Assignment<'a>>,
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

/// What other nodes refer to. QEMU's numbers differ from version to version, guests follow the reference.
#[derive(Clone, Copy)]
struct Phandles {
    /// The interrupt controller.
    gic: u32,
    /// The UART's clock.
    clock: u32,
    /// The name of that clock's node, and so, as nothing else is said, of the clock: Linux refuses a second one of a name,
    /// and what needs it waits for ever.
    clock_name: &'static str,
}

impl Phandles {
    /// Without nodes of the board.
    const OWN: Self = Self { gic: 1, clock: 2, clock_name: "apb-pclk" };
}

/// The tree of a guest that brings none of its own, as a blob.
///
/// # Errors
///
/// It does not fit into [`crate::manifest::DeviceTreeArea::bytes`].
pub fn build<'a>(config: &'a VmConfig, facts: &TreeFacts<'a>) -> Result<Vec<u8>, TreeTooLarge> {
    let blob = Writer::tree(|root| fill_root(root, config, facts));
    let room = config.device_tree.bytes;
    if blob.len() as u64 > room {
        return Err(TreeTooLarge { needed: blob.len(), room });
    }
    Ok(blob)
}

/// Puts another seed into a tree that [`build`] made with one; one without stays as it is.
pub fn reseed(blob: &mut [u8], seed: &Seed) {
    // `/chosen` is the last node, and the seeds are its last properties: see `chosen`.
    let Some(end) = blob::structure_end(blob) else { return };
    /// The ends of `/chosen`, the root and the structure block.
    const ENDS: usize = 3 * 4;
    /// A property's token, length and name.
    const HEAD: usize = 3 * 4;
    let kaslr = seed.kaslr.to_be_bytes();
    let mut place = end.saturating_sub(ENDS);
    for value in [&kaslr[..], &seed.rng] {
        place = place.saturating_sub(value.len());
        if !blob::is_property(blob, place, value.len()) {
            return;
        }
        if let Some(old) = blob.get_mut(place..place + value.len()) {
            old.copy_from_slice(value);
        }
        place -= HEAD;
    }
}

fn fill_root<'a>(root: &mut Writer<'a>, config: &'a VmConfig, facts: &TreeFacts<'a>) {
    let phandles = facts.board.map_or(Phandles::OWN, board::phandles);
    root.u32("interrupt-parent", phandles.gic);
    // The board's devices are what the board says.
    if facts.board.is_none_or(|given| board::is_coherent(given.tree())) {
        root.flag("dma-coherent");
    }
    root.string("model", "linux,dummy-virt");
    root.u32("#size-cells", 2);
    root.u32("#address-cells", 2);
    root.string("compatible", "linux,dummy-virt");
    psci(root);
    config.memory.iter().filter(|region| !region.firmware).for_each(|region| memory(root, region));
    config.devices.iter().for_each(|device| devices::node(root, device, phandles));
    if let Some(given) = facts.board {
        board::nodes(root, given);
    }
    devices::gic(root, config, facts.gic_version, phandles);
    cpus(root, config.vcpus(), facts);
    timer(root, config.vcpus(), facts.gic_version);
    devices::clock(root, phandles);
    aliases(root, config, facts);
    chosen(root, config, facts.seed.as_ref());
}

/// PSCI (DEN0022F, chapter 6): by HVC, the function numbers being the standard ones since version 0.2.
fn psci(root: &mut Writer) {
    root.node("psci", |psci| {
        psci.string("method", "hvc");
        psci.strings("compatible", &["arm,psci-1.0", "arm,psci-0.2"]);
    });
}

fn memory(root: &mut Writer, region: &MemoryRegion) {
    root.node(&unit_name("memory", region.ipa), |memory| {
        memory.double_cells("reg", &[region.ipa, region.bytes]);
        memory.string("device_type", "memory");
    });
}

fn cpus(root: &mut Writer, count: usize, facts: &TreeFacts<'_>) {
    root.node("cpus", |cpus| {
        cpus.u32("#size-cells", 0);
        cpus.u32("#address-cells", 1);
        (0..count).for_each(|index| cpu(cpus, index, facts));
    });
}

fn cpu(cpus: &mut Writer, index: usize, facts: &TreeFacts<'_>) {
    let affinity = vcpu_affinity(index) as u32;
    let compatible = match facts.cpu_compatible {
        [] => &["arm,armv8"],
        known => known,
    };
    cpus.node(&unit_name("cpu", affinity.into()), |cpu| {
        cpu.u32("reg", affinity);
        cpu.string("enable-method", "psci");
        cpu.strings("compatible", compatible);
        cpu.string("device_type", "cpu");
    });
}

/// The generic timer's PPIs, as Arm's Base System Architecture (DEN0094) numbers them: secure physical, physical,
/// virtual, EL2 physical. `always-on`: they run whatever the vCPU does.
fn timer(root: &mut Writer, vcpus: usize, gic_version: u8) {
    let flags = abi::TRIGGER_LEVEL | ppi_cpu_mask(vcpus, gic_version);
    root.node("timer", |timer| {
        timer.cells("interrupts", &[1, 13, flags, 1, 14, flags, 1, 11, flags, 1, 10, flags]);
        timer.flag("always-on");
        timer.strings("compatible", &["arm,armv8-timer", "arm,armv7-timer"]);
    });
}

/// A GICv2's binding has a bit for each CPU of a PPI in bits 15 to 8; a GICv3's has none.
fn ppi_cpu_mask(vcpus: usize, gic_version: u8) -> u32 {
    match gic_version {
        2 => (0xff00u32 >> 8usize.saturating_sub(vcpus).min(8)) & 0xff00,
        _ => 0,
    }
}

fn aliases<'a>(root: &mut Writer<'a>, config: &VmConfig, facts: &TreeFacts<'a>) {
    if config.console().is_none() && facts.board.is_none() {
        return;
    }
    root.node("aliases", |aliases| {
        if let Some(console) = config.console() {
            aliases.string("serial0", &devices::path(console));
        }
        if let Some(given) = facts.board {
            board::aliases(aliases, given, config);
        }
    });
}

fn chosen<'a>(root: &mut Writer<'a>, config: &'a VmConfig, seed: Option<&Seed>) {
    root.node("chosen", |chosen| {
        if let Some(console) = config.console() {
            chosen.string("stdout-path", &devices::path(console));
        }
        if !config.command_line.is_empty() {
            chosen.string("bootargs", &config.command_line);
        }
        if let Some(initrd) = config.initrd {
            chosen.double_cells("linux,initrd-start", &[initrd.start]);
            chosen.double_cells("linux,initrd-end", &[initrd.end().unwrap_or(initrd.start)]);
        }
        if let Some(seed) = seed {
            chosen.bytes("rng-seed", &seed.rng);
            chosen.double_cells("kaslr-seed", &[seed.kaslr]);
        }
    });
}
