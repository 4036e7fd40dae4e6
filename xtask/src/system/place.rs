//! Where everything of a VM goes: memory, devices, image, initrd and device tree.
//!
//! The guest finds what QEMU's `virt` machine would give it (hw/arm/boot.c): the device tree at the start of RAM if it is
//! free, a Linux Image 2 MiB behind it, a raw image 512 KiB behind it, an ELF file where it says. An image that is linked
//! to run elsewhere, as firmware in flash at 0 is, gets memory there.

use tessera_abi::manifest as abi;

use super::Sources;
use super::description::{Blob, Memory, Vm};
use super::files::{FileId, Files};
use super::image::Part;
use super::layout::{AddressSpace, Claim};
use super::problem::{At, Problem, Result, size};

pub(super) mod claims;
mod images;
mod tree;

/// Where everything of a VM is.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) memory: Vec<Region>,
    pub(super) segments: Vec<Segment>,
    pub(super) entry: u64,
    /// Address, bytes, and the guest's own blob.
    pub(super) device_tree: (u64, u64, Option<FileId>),
    /// Address and bytes.
    pub(super) initrd: Option<(u64, u64)>,
}

/// A region of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) base: u64,
    pub(super) bytes: u64,
    pub(super) machine: Option<u64>,
    pub(super) firmware: bool,
}

/// A file in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) file: FileId,
    pub(super) image: bool,
}

/// Linux and what it is given lie in 2 MiB blocks.
const BLOCK: u64 = 2 << 20;
/// Initrds end within so many bytes of the start of RAM: Linux wants one within 1 GiB of itself (booting.rst).
const LOW_RAM: u64 = 1 << 30;

const ONE_TO_ONE: &str = "give the VM a region there too: `{ base = ADDRESS, size = SIZE, one-to-one = true }`; or link the \
    image to run in the memory that it has";

/// Places all of `vm`.
pub(super) fn vm(vm: &Vm, sources: Sources<'_>, files: &mut Files) -> Result<Plan> {
    let mut placing = Placing::new(vm)?;
    placing.image(sources, files)?;
    placing.further_files(sources, files)?;
    placing.firmware_memory()?;
    placing.initrd(sources, files)?;
    placing.device_tree(sources, files)?;
    placing.check_entry()?;
    placing.check_limits()?;
    Ok(placing.plan)
}

struct Placing<'a> {
    vm: &'a Vm,
    plan: Plan,
    /// RAM, devices, interrupt controller.
    physical: AddressSpace,
    /// The regions of RAM, each as a claim.
    ram: Vec<Claim>,
    /// What is put into memory.
    contents: AddressSpace,
    /// What of it lies outside RAM.
    outside: Vec<Claim>,
}

impl<'a> Placing<'a> {
    /// Claims RAM and devices.
    fn new(vm: &'a Vm) -> Result<Self> {
        let mut physical = AddressSpace::default();
        let ram: Vec<Claim> = vm.memory.iter().map(claims::ram).collect();
        let devices = claims::devices(vm);
        for claim in ram.iter().chain(&devices) {
            physical.claim(claim.clone())?;
        }
        let region = |memory: &At<Memory>| Region {
            base: memory.value.base,
            bytes: memory.value.bytes,
            machine: memory.value.machine,
            firmware: false,
        };
        let plan = Plan { memory: vm.memory.iter().map(region).collect(), ..Plan::default() };
        let contents = AddressSpace::default();
        Ok(Self { vm, plan, physical, ram, contents, outside: Vec::new() })
    }

    /// The region of RAM that things go to by themselves: the first.
    fn main_ram(&self) -> &Claim {
        &self.ram[0]
    }

    fn further_files(&mut self, sources: Sources<'_>, files: &mut Files) -> Result<()> {
        for Blob { path, load } in &self.vm.files {
            let data = sources.load(path)?;
            let address = load.as_ref().map_or(0, |load| load.value);
            let part = Part { address, bytes: data.len() as u64, data };
            self.content(part, path, &format!("`{}`", path.value), false, files)?;
        }
        Ok(())
    }

    /// Puts `part` into memory, or notes that it needs memory of its own.
    fn content(&mut self, part: Part, at: &At<String>, what: &str, image: bool, files: &mut Files) -> Result<()> {
        let Part { address, data, bytes } = part;
        if bytes == 0 {
            return Err(at.problem(format!("`{}` is empty", at.value)));
        }
        let claim = Claim { start: address, bytes, what: what.into(), span: at.span.clone() };
        self.contents.claim(claim.clone())?;
        if !self.ram.iter().any(|ram| ram.contains(&claim)) {
            self.not_across_the_end_of_ram(&claim)?;
            self.outside.push(claim);
        }
        // Uninitialized data alone needs no file: memory starts as zeros.
        if !data.is_empty() {
            let file = files.add(&at.value, data);
            self.plan.segments.push(Segment { address, bytes, file, image });
        }
        Ok(())
    }

    fn not_across_the_end_of_ram(&self, claim: &Claim) -> Result<()> {
        match self.ram.iter().find(|ram| ram.overlaps(claim.start, claim.end())) {
            Some(ram) => {
                let message = format!("{} does not fit into {}", claim.described(), ram.described());
                Err(claim.problem(message).help("give the VM more memory, or load it elsewhere"))
            }
            None => Ok(()),
        }
    }

    /// Memory for what lies outside RAM: whole pages, neighbours together. It is not where it is in the machine, so devices
    /// must not be told of it.
    fn firmware_memory(&mut self) -> Result<()> {
        if let (Some(claim), Some(master)) = (self.outside.first(), &self.vm.board_devices.found.dma_master) {
            let message = format!(
                "{} lies outside the VM's memory, but {master} can access memory by itself (DMA), which no SMMU checks",
                claim.described()
            );
            return Err(claim.problem(message).help(ONE_TO_ONE));
        }
        self.outside.sort_by_key(|claim| claim.start);
        let mut regions: Vec<Claim> = Vec::new();
        for claim in &self.outside {
            let start = claim.start / abi::PAGE_BYTES * abi::PAGE_BYTES;
            let end = claim.end().next_multiple_of(abi::PAGE_BYTES);
            match regions.last_mut().filter(|last| start <= last.end()) {
                Some(last) => last.bytes = end - last.start,
                None => regions.push(Claim { start, bytes: end - start, ..claim.clone() }),
            }
        }
        for Claim { start: base, bytes, .. } in &regions {
            let (base, bytes) = (*base, *bytes);
            self.plan.memory.push(Region { base, bytes, machine: None, firmware: true });
        }
        regions.into_iter().try_for_each(|region| self.physical.claim(region))
    }

    /// The top of low RAM, unless the file says where.
    fn initrd(&mut self, sources: Sources<'_>, files: &mut Files) -> Result<()> {
        let Some(initrd) = &self.vm.initrd else {
            return Ok(());
        };
        let data = sources.load(&initrd.path)?;
        let bytes = data.len() as u64;
        let address = match &initrd.load {
            Some(load) => self.in_ram(load, bytes, "the initrd")?,
            None => self.room(bytes, abi::PAGE_BYTES).ok_or_else(|| self.no_room(&initrd.path, bytes))?,
        };
        let part = Part { address, bytes, data };
        self.content(part, &initrd.path, "the initrd", false, files)?;
        self.plan.initrd = Some((address, bytes));
        Ok(())
    }

    fn room(&self, bytes: u64, alignment: u64) -> Option<u64> {
        let ram = self.main_ram();
        let top = ram.end().min(ram.start.saturating_add(LOW_RAM));
        self.contents.highest_free(ram.start..top, bytes, alignment)
    }

    fn no_room(&self, at: &At<String>, bytes: u64) -> Problem {
        let ram = self.main_ram();
        let message = format!("no room for `{}` ({}) beside the rest in {}", at.value, size(bytes), ram.described());
        at.problem(message).help("give the VM more memory")
    }

    /// `load`, if `bytes` from there are in RAM.
    fn in_ram(&self, load: &At<u64>, bytes: u64, what: &str) -> Result<u64> {
        let claim = Claim { start: load.value, bytes, what: what.into(), span: load.span.clone() };
        if self.ram.iter().any(|ram| ram.contains(&claim)) {
            return Ok(load.value);
        }
        let memory: Vec<String> = self.ram.iter().map(Claim::described).collect();
        let message = format!("{} does not lie in {}", claim.described(), memory.join(" or "));
        Err(claim.problem(message).help("load it elsewhere, or give the VM more memory"))
    }

    fn check_entry(&self) -> Result<()> {
        let entry = self.plan.entry;
        let at = self.vm.image.entry.as_ref();
        let span = at.map_or(&self.vm.image.path.span, |entry| &entry.span).clone();
        let within = |region: &Region| region.base <= entry && entry - region.base < region.bytes;
        if !self.plan.memory.iter().any(within) {
            let message = format!("the entry {entry:#x} is not in the VM's memory");
            return Err(Problem::new(span, message).help("give `entry` an address in the image"));
        }
        if !entry.is_multiple_of(4) {
            return Err(Problem::new(span, format!("the entry {entry:#x} is not a multiple of 4")));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<()> {
        let within = [
            ("regions of memory", self.plan.memory.len(), abi::MAX_MEMORY_REGIONS),
            ("files and image segments", self.plan.segments.len(), abi::MAX_SEGMENTS),
            ("devices", self.vm.devices.len() + 1, abi::MAX_DEVICES),
        ];
        match within.into_iter().find(|(_, count, limit)| count > limit) {
            Some((what, count, limit)) => {
                let problem = self.vm.name.problem(format!("{count} {what}, at most {limit} are possible"));
                Err(problem.help("give this VM fewer, or divide them among several VMs"))
            }
            None => Ok(()),
        }
    }
}
