//! A guest's memory: allocated and scrubbed, filled from the archive, mapped; emptied and filled again at a restart.

use core::fmt;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use tessera_memory::frames::NoneShared;
use tessera_memory::physmap::Outcome;
use tessera_memory::{
    Attributes, Context, Error, Frames, GuestFault, Ipa, MemoryType, Owner, PAGE_SIZE, Pa, PhysMap, Reservation, Span,
    VmId, Vmid,
};

use tessera_platform::assignment::Assignment;
use tessera_platform::span;

use super::Parts;
use super::claims::Claim;
use crate::arch::aarch64::machine::{
    Hardware, Reach, clean_to_coherency, copy_to_guest, invalidate_instruction_caches, load_from_guest, store_to_guest,
};
use crate::arch::aarch64::registers::read_register;
use crate::errata;
use crate::guest_tree::{self, TreeFacts, TreeTooLarge};
use crate::manifest::{DeviceKind, MemoryRegion, Placement, Segment, VmConfig};
use crate::seed::Seed;

/// Why a guest's memory cannot be made or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// What the memory core refused.
    Memory(Error),
    /// The generated device tree has no room.
    Tree(TreeTooLarge),
    /// Something is to be written where the guest has no memory; a checked manifest has no such thing.
    NoMemoryAt(Ipa),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Memory(Error::OutOfFrames) => {
                write!(out, "not enough free memory for it: give the VMs less or the machine more")
            }
            Self::Memory(error) => write!(out, "its memory: {error}"),
            Self::Tree(error) => write!(out, "{error}"),
            Self::NoMemoryAt(ipa) => write!(out, "there is no memory at {ipa}"),
        }
    }
}

impl From<Error> for MemoryError {
    fn from(error: Error) -> Self {
        Self::Memory(error)
    }
}

type Result<T> = core::result::Result<T, MemoryError>;

/// A guest's memory.
pub struct GuestMemory {
    map: PhysMap,
    vm: VmId,
    hardware: Hardware,
    /// For the copies of the pages it shares.
    reservation: Option<Reservation>,
    /// The machine address of the archive, and its contents.
    archive: &'static [u8],
    /// `compatible` of its cores.
    cpu_compatible: String,
    gic_version: u8,
    /// What it is given of the board's devices.
    board_devices: Option<&'static Assignment<'static>>,
    /// The tree that was made for it; none if it brings its own.
    tree: Option<Box<[u8]>>,
}

impl GuestMemory {
    /// Allocates, fills and maps the memory of VM `index`.
    ///
    /// # Errors
    /// Too little memory, or a device tree without room.
    pub fn new(index: usize, config: &VmConfig, placement: &Placement, vmid: Vmid, parts: &mut Parts) -> Result<Self> {
        // VMs are at most `MAX_VMS`.
        let vm = VmId(index as u16);
        let one_core = placement.cores.windows(2).all(|pair| pair[0] == pair[1]);
        let mut hardware = Hardware { reach: reach(one_core) };
        let map = PhysMap::new(parts.geometry, vmid, &mut parts.frames.tables(vm), &mut hardware)?;
        let mut memory = Self {
            map,
            vm,
            hardware,
            reservation: None,
            archive: parts.archive,
            cpu_compatible: parts.cpu_compatible.into(),
            gic_version: placement.gic_version,
            board_devices: parts.board_devices.get(index).and_then(Option::as_ref),
            tree: None,
        };
        let seed = parts.supply.seed();
        let claims = parts.claims.get_mut(index).map(core::mem::take).unwrap_or_default();
        memory.fill(config, seed, claims, parts.frames)?;
        memory.map_devices(config, parts.frames)?;
        if let Some(machine) = parts.gic.cpu_interface {
            memory.map_device(config.gic.cpu_interface, machine, PAGE_SIZE, parts.frames)?;
        }
        Ok(memory)
    }

    /// Its Stage-2 root and VMID.
    pub fn context(&self) -> Context {
        self.map.context()
    }

    /// Zeroes memory of its own from the start of `span` on, as far as one descriptor maps it. Returns how many bytes.
    ///
    /// # Errors
    /// It is not mapped.
    pub(super) fn scrub(&mut self, span: Span<Ipa>) -> Result<u64> {
        let mapping = self.map.translate(span.start(), &self.hardware).ok_or(MemoryError::NoMemoryAt(span.start()))?;
        let part = mapping.ipa.intersection(span).ok_or(MemoryError::NoMemoryAt(span.start()))?;
        let frames = mapping.pa_of(part.start()).and_then(|pa| Span::new(pa, part.bytes()));
        self.hardware.zero_memory(frames.ok_or(MemoryError::NoMemoryAt(span.start()))?);
        Ok(part.bytes())
    }

    /// Has the page at `ipa` be the one at `offset` in the archive, if it was copied. Returns for how many bytes from there
    /// on that is seen to.
    ///
    /// # Errors
    /// The books disagree.
    pub(super) fn share_again(&mut self, ipa: Ipa, offset: u64) -> Result<u64> {
        let Some(reservation) = &mut self.reservation else { return Err(Error::NotCopyOnWrite(ipa).into()) };
        let pa = Pa::new(self.archive.as_ptr() as u64 + offset);
        Ok(self.map.share_again(ipa, pa, reservation, &mut self.hardware)?)
    }

    /// Writes `bytes` of the archive from `offset` on into the guest's own memory.
    ///
    /// # Errors
    /// There is no such memory.
    pub(super) fn write_file(&self, ipa: Ipa, offset: usize, bytes: usize) -> Result<()> {
        self.write(ipa, self.archive.get(offset..offset + bytes).unwrap_or_default())
    }

    /// Writes the device tree as at first, with a new seed.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) fn write_device_tree_again(&mut self, config: &VmConfig, seed: Option<Seed>) -> Result<()> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        if let Some(seed) = seed {
            guest_tree::reseed(tree, &seed);
        }
        let tree = self.tree.as_deref().unwrap_or_default();
        self.write(Ipa::new(config.device_tree.ipa), tree)
    }

    /// Finds out about a refused access: see [`PhysMap::resolve`].
    ///
    /// # Errors
    /// The reservation is used up, or the books disagree.
    pub(super) fn resolve(&mut self, fault: &GuestFault) -> core::result::Result<Outcome, Error> {
        self.map.resolve(fault, self.reservation.as_mut(), &mut NoneShared, &mut self.hardware)
    }

    /// Whether there are `bytes` of memory (no device) at `ipa` that the guest may read, or write; all in one page.
    pub fn is_accessible(&self, ipa: Ipa, bytes: u64, for_writing: bool) -> bool {
        self.machine_address(ipa, bytes, for_writing).is_some()
    }

    /// Reads what the guest would at `ipa`, all in one page. `None` if that is not all memory.
    pub fn load(&self, ipa: Ipa, data: &mut [u8]) -> Option<()> {
        let pa = self.machine_address(ipa, data.len() as u64, false)?;
        // SAFETY: RAM, just looked up, which stays the guest's while `self` is borrowed.
        unsafe { load_from_guest(pa.get(), data) };
        Some(())
    }

    /// Writes for the guest what [`Self::load`] reads. `None` if it may not write all of it.
    pub fn store(&self, ipa: Ipa, data: &[u8]) -> Option<()> {
        let pa = self.machine_address(ipa, data.len() as u64, true)?;
        // SAFETY: the guest's own memory, just looked up.
        unsafe { store_to_guest(pa.get(), data) };
        Some(())
    }

    /// Where `bytes` of memory at `ipa` are, if they lie in one block or page that the guest may read, or write.
    fn machine_address(&self, ipa: Ipa, bytes: u64, for_writing: bool) -> Option<Pa> {
        let mapping = self.map.translate(ipa, &self.hardware)?;
        let Attributes { access, memory, .. } = mapping.attributes;
        let allowed = if for_writing { access.write } else { access.read };
        let is_inside = mapping.ipa.end().offset_from(ipa)? >= bytes;
        (allowed && is_inside && memory == MemoryType::Normal).then(|| mapping.pa_of(ipa))?
    }

    /// How many pages it shares from the archive.
    pub fn shared_pages(config: &VmConfig) -> u64 {
        shared_spans(config).map(|(ipa, _)| ipa.page_count()).sum()
    }

    fn fill(&mut self, config: &VmConfig, seed: Option<Seed>, claims: Vec<Claim>, frames: &mut Frames) -> Result<()> {
        claims.into_iter().try_for_each(|claim| self.map_claim(claim, frames))?;
        for region in config.memory.iter().filter(|region| region.machine.is_none()) {
            own_pieces(config, region)?.into_iter().try_for_each(|piece| self.fill_span(piece, frames))?;
        }
        self.share_segments(config, frames)?;
        for segment in &config.segments {
            let data = self.archive.get(segment.archive_offset..segment.archive_offset + segment.file_bytes);
            let skipped = shared_bytes(segment);
            let rest = data.and_then(|data| data.get(skipped as usize..)).unwrap_or(&[]);
            self.write(Ipa::new(segment.ipa + skipped), rest)?;
        }
        self.write_device_tree(config, seed)?;
        invalidate_instruction_caches();
        Ok(())
    }

    /// Its own tree, or one that says what it has.
    fn write_device_tree(&mut self, config: &VmConfig, seed: Option<Seed>) -> Result<()> {
        let at = Ipa::new(config.device_tree.ipa);
        if let Some(own) = &config.device_tree.own {
            let tree = self.archive.get(own.archive_offset..own.archive_offset + own.file_bytes);
            return self.write(at, tree.unwrap_or_default());
        }
        let facts = TreeFacts {
            cpu_compatible: &[&self.cpu_compatible],
            gic_version: self.gic_version,
            seed,
            board: self.board_devices,
        };
        let tree = guest_tree::build(config, &facts).map_err(MemoryError::Tree)?;
        self.write(at, &tree)?;
        self.tree = Some(tree.into_boxed_slice());
        Ok(())
    }

    fn map_claim(&mut self, claim: Claim, frames: &mut Frames) -> Result<()> {
        let start = claim.frames.scrub(&mut self.hardware).start();
        let tables = &mut frames.tables(self.vm);
        Ok(self.map.map(claim.ipa, start, Attributes::RAM, tables, &mut self.hardware)?)
    }

    /// Memory from anywhere.
    fn fill_span(&mut self, ipa: Span<Ipa>, frames: &mut Frames) -> Result<()> {
        for piece in frames.allocate_guest(self.vm, ipa)?.scrub(&mut self.hardware) {
            let tables = &mut frames.tables(self.vm);
            self.map.map(piece.ipa(), piece.frames().start(), Attributes::RAM, tables, &mut self.hardware)?;
        }
        Ok(())
    }

    /// Maps the image's whole pages where they lie in the archive, and sets memory aside for the copy of each.
    fn share_segments(&mut self, config: &VmConfig, frames: &mut Frames) -> Result<()> {
        let mut pages = 0;
        for (ipa, offset) in shared_spans(config) {
            let pa = Pa::new(self.archive.as_ptr() as u64 + offset);
            let machine = Span::new(pa, ipa.bytes()).ok_or(Error::OutsidePaSpace(pa))?;
            frames.check_archive(machine)?;
            // The guest reads it past the caches at first.
            clean_to_coherency(pa.get(), ipa.bytes());
            self.map.map(ipa, pa, Attributes::ARCHIVE, &mut frames.tables(self.vm), &mut self.hardware)?;
            pages += ipa.page_count() + self.map.tables_for_pages(ipa, &self.hardware);
        }
        if pages != 0 {
            self.reservation = Some(frames.reserve(self.vm, pages)?);
        }
        Ok(())
    }

    fn map_devices(&mut self, config: &VmConfig, frames: &mut Frames) -> Result<()> {
        for device in &config.devices {
            let DeviceKind::Passthrough { machine, by_sub_page: false, .. } = device.kind else { continue };
            self.map_device(device.ipa, machine, device.bytes, frames)?;
        }
        Ok(())
    }

    /// Maps memory from anywhere, scrubbed, at `ipa`, a page. Returns where it is.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn map_fresh(&mut self, ipa: Span<Ipa>, attributes: Attributes, frames: &mut Frames) -> Result<Pa> {
        let frame = frames.allocate(Owner::Vm(self.vm), 0)?.scrub(&mut self.hardware).start();
        self.map.map(ipa, frame, attributes, &mut frames.tables(self.vm), &mut self.hardware)?;
        Ok(frame)
    }

    /// Gives it `bytes` of device registers at `machine`, in whole pages.
    fn map_device(&mut self, ipa: u64, machine: u64, bytes: u64, frames: &mut Frames) -> Result<()> {
        let tables = &mut frames.tables(self.vm);
        Ok(self.map.map(guest_span(ipa, bytes)?, Pa::new(machine), Attributes::DEVICE, tables, &mut self.hardware)?)
    }

    /// Writes into the guest's own memory.
    fn write(&self, mut ipa: Ipa, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let hole = MemoryError::NoMemoryAt(ipa);
            let mapping = self
                .map
                .translate(ipa, &self.hardware)
                .filter(|mapping| mapping.attributes.access.write)
                .ok_or(hole)?;
            let pa = mapping.pa_of(ipa).ok_or(hole)?;
            let room = mapping.ipa.end().offset_from(ipa).ok_or(hole)?;
            let (now, rest) = data.split_at(data.len().min(room as usize));
            // SAFETY: the target is the guest's own memory, just looked up; the source is a slice elsewhere.
            unsafe { copy_to_guest(now.as_ptr() as u64, pa.get(), now.len() as u64) };
            ipa = ipa.checked_add(now.len() as u64).ok_or(hole)?;
            data = rest;
        }
        Ok(())
    }
}

/// How far TLB maintenance must go for a VM, all of whose vCPUs are on one core or not.
fn reach(one_core: bool) -> Reach {
    match one_core {
        true => Reach::ThisCore,
        false if errata::completes_early(read_register!("midr_el1")) => Reach::AllCoresTwice,
        false => Reach::AllCores,
    }
}

pub(super) fn guest_span(start: u64, bytes: u64) -> Result<Span<Ipa>> {
    let start = Ipa::new(start);
    Ok(Span::new(start, bytes).ok_or(Error::OutsideIpaSpace(start))?)
}

/// How many bytes of a segment are mapped in place: whole pages of the file.
pub(super) fn shared_bytes(segment: &Segment) -> u64 {
    if segment.shareable { segment.file_bytes as u64 & !(PAGE_SIZE - 1) } else { 0 }
}

/// Where pages of the archive are mapped in place: guest physical, and the offset in the archive.
pub(super) fn shared_spans(config: &VmConfig) -> impl Iterator<Item = (Span<Ipa>, u64)> {
    config.segments.iter().filter_map(|segment| {
        let span = Span::new(Ipa::new(segment.ipa), shared_bytes(segment))?;
        Some((span, segment.archive_offset as u64))
    })
}

/// The pieces of a region that are the VM's own: all but the pages that it shares.
pub(super) fn own_pieces(config: &VmConfig, region: &MemoryRegion) -> Result<Vec<Span<Ipa>>> {
    let bytes = |start, bytes| span::Span::new(start, bytes).ok_or(Error::OutsideIpaSpace(Ipa::new(start)));
    let shared = shared_spans(config).filter_map(|(ipa, _)| span::Span::new(ipa.start().get(), ipa.bytes()));
    let pieces = span::subtract(alloc::vec![bytes(region.ipa, region.bytes)?], shared.collect());
    pieces.into_iter().map(|piece| guest_span(piece.start(), piece.size())).collect()
}
