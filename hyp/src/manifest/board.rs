//! Whether the VMs fit the board and each other, and which cores they get.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Display;

use super::abi::{self, node, property as key};
use super::{CoreRequest, Interrupt, Manifest, ManifestError, Span, VmConfig, check, sharing};

type Result<T> = core::result::Result<T, ManifestError>;

/// What of the board matters to the manifest.
#[derive(Debug, Clone, Copy)]
pub struct BoardFacts<'a> {
    /// How many cores there are; they are counted from 0 in the order of the board's device tree.
    pub cores: usize,
    /// Bytes of machine memory left for guests: without EL2's own, the archive, and what is reserved.
    pub available_memory: u64,
    /// All of the machine's RAM, reserved or not.
    pub ram: &'a [Span],
    /// Machine addresses that no guest may have: EL2 itself, the archive, reserved memory, the GIC, EL2's UART.
    pub reserved: &'a [Reserved<'a>],
    /// Version of the GIC, 2 or 3: a guest's is the same.
    pub gic_version: u8,
    /// How many SPIs the GIC has.
    pub spis: u32,
    /// SPIs that EL2 uses itself.
    pub reserved_spis: &'a [u32],
    /// Bits of a guest physical address.
    pub ipa_bits: u32,
}

/// Machine addresses that EL2 or the board needs.
#[derive(Debug, Clone, Copy)]
pub struct Reserved<'a> {
    /// Whose they are, as an error message names it: `EL2's UART`.
    pub owner: &'a str,
    /// Which.
    pub span: Span,
}

/// What EL2 has decided for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The core of each vCPU.
    pub cores: Vec<usize>,
    /// The version of the GIC it sees.
    pub gic_version: u8,
}

/// GICv2 addresses eight CPU interfaces (IHI 0048B, 1.1).
const GICV2_MAX_VCPUS: usize = 8;

/// Checks all VMs against the board and each other.
pub(super) fn validate(manifest: &Manifest, facts: &BoardFacts<'_>) -> Result<Vec<Placement>> {
    let vms = &manifest.vms;
    vms.iter().try_for_each(|vm| gic(vm, facts))?;
    vms.iter().try_for_each(|vm| address_width(vm, facts))?;
    machine_spans(vms, facts)?;
    interrupts(vms, facts)?;
    memory_suffices(vms, facts)?;
    let cores = assign_cores(manifest, facts)?;
    sharing::check(manifest, &cores)?;
    let placement = |cores| Placement { cores, gic_version: facts.gic_version };
    Ok(cores.into_iter().map(placement).collect())
}

fn gic(vm: &VmConfig, facts: &BoardFacts<'_>) -> Result<()> {
    let version = facts.gic_version;
    if vm.gic.version.is_some_and(|wanted| wanted != version) {
        let place = format!("{}/{}", node::GIC, key::VERSION);
        let problem = format!("this board has a GICv{version}: ask for that or leave it out");
        return Err(ManifestError::in_vm(&vm.name, place, problem));
    }
    if version == 2 && vm.vcpus() > GICV2_MAX_VCPUS {
        let problem = format!("{} vCPUs, but a GICv2 has room for {GICV2_MAX_VCPUS}", vm.vcpus());
        return Err(ManifestError::in_vm(&vm.name, key::CPUS, problem));
    }
    Ok(())
}

fn address_width(vm: &VmConfig, facts: &BoardFacts<'_>) -> Result<()> {
    let limit = 1u64.checked_shl(facts.ipa_bits).unwrap_or(u64::MAX);
    let fits = |span: &Span| span.end().is_some_and(|end| end <= limit);
    let layout = check::physical_layout(vm);
    match layout.iter().find(|placed| !fits(&placed.span)) {
        Some(placed) => {
            let bits = facts.ipa_bits;
            let problem = format!(
                "{} goes beyond this board's guest physical addresses of {bits} bits: place it below {limit:#x}",
                placed.span
            );
            Err(ManifestError::in_vm(&vm.name, placed.name, problem))
        }
        None => Ok(()),
    }
}

/// A piece of the machine that a VM asks for by address.
struct Claim<'a> {
    vm: &'a str,
    place: String,
    span: Span,
    is_memory: bool,
}

impl Claim<'_> {
    fn error(&self, problem: impl Display) -> ManifestError {
        ManifestError::in_vm(self.vm, &self.place, problem)
    }
}

fn claims(vms: &[VmConfig]) -> Vec<Claim<'_>> {
    vms.iter().flat_map(|vm| memory_claims(vm).chain(device_claims(vm))).collect()
}

fn memory_claims(vm: &VmConfig) -> impl Iterator<Item = Claim<'_>> {
    vm.memory.iter().filter_map(|region| {
        let span = Span { start: region.machine?, bytes: region.bytes };
        let place = format!("{}@{:x}/{}", node::MEMORY, region.ipa, key::MACHINE);
        Some(Claim { vm: &vm.name, place, span, is_memory: true })
    })
}

fn device_claims(vm: &VmConfig) -> impl Iterator<Item = Claim<'_>> {
    vm.devices.iter().filter_map(|device| {
        let span = device.machine_span()?;
        let place = format!("{}@{:x}/{}", node::DEVICE, device.ipa, key::MACHINE);
        Some(Claim { vm: &vm.name, place, span, is_memory: false })
    })
}

/// Nothing of the machine is given twice, and nothing that EL2 or the board keeps.
fn machine_spans(vms: &[VmConfig], facts: &BoardFacts<'_>) -> Result<()> {
    let claims = claims(vms);
    for (position, claim) in claims.iter().enumerate() {
        allowed(claim, facts)?;
        let mut earlier = claims.iter().take(position);
        if let Some(other) = earlier.find(|other| other.span.overlaps(&claim.span)) {
            let problem = format!(
                "{} is given to VM `{}` already ({}): give it to one of them",
                claim.span, other.vm, other.place
            );
            return Err(claim.error(problem));
        }
    }
    Ok(())
}

fn allowed(claim: &Claim<'_>, facts: &BoardFacts<'_>) -> Result<()> {
    let span = claim.span;
    if let Some(reserved) = facts.reserved.iter().find(|reserved| reserved.span.overlaps(&span)) {
        let (owner, kept) = (reserved.owner, reserved.span);
        return Err(claim.error(format!("{span} belongs to {owner} ({kept}): choose another")));
    }
    if claim.is_memory && !facts.ram.iter().any(|ram| ram.contains(&span)) {
        return Err(claim.error(format!("{span} is not RAM on this board: choose another")));
    }
    // EL2 maps whole pages to get at a part of one.
    if !claim.is_memory && facts.ram.iter().any(|ram| ram.overlaps(&span.grown(abi::PAGE_BYTES))) {
        return Err(claim.error(format!("{span} is RAM, not a device: give it as memory")));
    }
    Ok(())
}

/// Interrupts of devices passed through exist, are free, and are given once.
fn interrupts(vms: &[VmConfig], facts: &BoardFacts<'_>) -> Result<()> {
    let mut given: Vec<(u32, &str)> = Vec::new();
    for vm in vms {
        for (device, Interrupt { spi, .. }) in vm.hardware_interrupts() {
            let problem = if spi >= facts.spis {
                format!("SPI {spi}, but this board's GIC has {}", facts.spis)
            } else if facts.reserved_spis.contains(&spi) {
                format!("SPI {spi} is used by EL2 itself")
            } else if let Some((_, other)) = given.iter().find(|(number, _)| *number == spi) {
                format!("SPI {spi} is given to VM `{other}` already: give it to one of them")
            } else {
                given.push((spi, &vm.name));
                continue;
            };
            return Err(ManifestError::in_vm(&vm.name, check::interrupt_place(device), problem));
        }
    }
    Ok(())
}

/// All memory together, wherever it is asked for, is no more than there is.
fn memory_suffices(vms: &[VmConfig], facts: &BoardFacts<'_>) -> Result<()> {
    let mut left = facts.available_memory;
    for vm in vms {
        let wanted = vm.memory.iter().fold(0u64, |sum, region| sum.saturating_add(region.bytes));
        left = left.checked_sub(wanted).ok_or_else(|| {
            let problem = format!(
                "wants {} KiB, but of the board's {} KiB for guests only {} KiB are left: give the VMs less or the machine more",
                wanted / 1024,
                facts.available_memory / 1024,
                left / 1024
            );
            ManifestError::in_vm(&vm.name, node::MEMORY, problem)
        })?;
    }
    Ok(())
}

/// Which core each vCPU gets: the listed ones, and for those that only count, cores that nobody else has.
fn assign_cores(manifest: &Manifest, facts: &BoardFacts<'_>) -> Result<Vec<Vec<usize>>> {
    let mut taken = vec![false; facts.cores];
    if let Some(core) = manifest.housekeeping {
        let missing = || ManifestError::in_system(key::HOUSEKEEPING, no_core(core, facts));
        *taken.get_mut(core).ok_or_else(missing)? = true;
    }
    for vm in &manifest.vms {
        let CoreRequest::List(list) = &vm.cores else {
            continue;
        };
        for &core in list {
            let slot = taken.get_mut(core).ok_or_else(|| missing_core(vm, core, facts))?;
            *slot = true;
        }
    }
    manifest.vms.iter().map(|vm| cores_of(vm, &mut taken)).collect()
}

fn cores_of(vm: &VmConfig, taken: &mut [bool]) -> Result<Vec<usize>> {
    let count = match &vm.cores {
        CoreRequest::List(list) => return Ok(list.clone()),
        CoreRequest::Count(count) => *count,
    };
    let free = taken.iter().enumerate().filter(|(_, taken)| !**taken).map(|(core, _)| core);
    let cores: Vec<usize> = free.take(count).collect();
    if cores.len() < count {
        let problem = format!(
            "wants {count}, but of the board's {} cores only {} are left: give the VMs fewer or the machine more",
            taken.len(),
            cores.len()
        );
        return Err(ManifestError::in_vm(&vm.name, key::CPUS, problem));
    }
    for &core in &cores {
        if let Some(slot) = taken.get_mut(core) {
            *slot = true;
        }
    }
    Ok(cores)
}

fn missing_core(vm: &VmConfig, core: usize, facts: &BoardFacts<'_>) -> ManifestError {
    ManifestError::in_vm(&vm.name, key::CORES, no_core(core, facts))
}

fn no_core(core: usize, facts: &BoardFacts<'_>) -> String {
    format!("there is no core {core}: this board has cores 0 to {}", facts.cores.saturating_sub(1))
}
