//! Who has which machine memory while EL2 runs: the image, EL2's own, the archive, and the rest for guests.

use core::fmt::Display;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tessera_memory::{Frames, Owner, PAGE_SIZE, Pa, Span};
use tessera_platform::board::Board;
use tessera_platform::span;

use crate::arch::aarch64::stage1::{self, AddressSpace, SecondaryStart, Use};
use crate::heap;

/// Added to the heap that the image brings along, and once more for each core; enough for two VMs.
const HEAP_BYTES: u64 = 4 * 1024;
const HEAP_BYTES_PER_CORE: u64 = 12 * 1024;
/// A secondary core's stack, in bytes.
const STACK_BYTES: u64 = 16 * 1024;

unsafe extern "C" {
    static __text_end: u8;
    static __rodata_end: u8;
    static __boot_stack_guard: u8;
}

/// Where the image's code ends.
pub fn text_end() -> u64 {
    &raw const __text_end as u64
}

/// The machine's memory, divided.
pub struct Layout {
    image: span::Span,
    /// EL2's heap and stacks.
    carved: span::Span,
    archive: span::Span,
    archive_bytes: u64,
    free: Vec<Span<Pa>>,
    /// One for each core but the first: the page below each is not mapped.
    stacks: Vec<u64>,
    /// What the heap was given besides.
    grown_bytes: u64,
    map: &'static mut AddressSpace,
}

type Result<T> = core::result::Result<T, String>;

fn pages(start: u64, end: u64) -> Result<span::Span> {
    let (start, end) = (start & !(PAGE_SIZE - 1), end.next_multiple_of(PAGE_SIZE));
    span::Span::between(start, end).ok_or_else(|| format!("{start:#x} to {end:#x} is no memory of this machine"))
}

impl Layout {
    /// Divides the board's memory; `image` is first byte and end, `tree` first byte and length.
    ///
    /// # Errors
    /// No initrd, or too little memory, and what to do about it.
    pub fn new(board: &Board, image: (u64, u64), tree: (u64, u64)) -> Result<Self> {
        let initrd = board.chosen.initrd.ok_or(
            "no system to run: the device tree's /chosen names no initrd; load the system archive as the initrd \
             (QEMU `-initrd`, config.txt `initramfs`)",
        )?;
        let image = pages(image.0, image.1)?;
        let archive = pages(initrd.start(), initrd.end())?;
        if !initrd.start().is_multiple_of(PAGE_SIZE) {
            return Err(format!("the initrd lies at {:#x}: load it at a multiple of 4096", initrd.start()));
        }
        let tree = pages(tree.0, tree.0 + tree.1)?;
        if archive.overlaps(image) || archive.overlaps(tree) {
            return Err(format!(
                "the initrd at {archive} overlaps EL2 at {image} or the device tree at {tree}: move it"
            ));
        }
        let used = [image, archive, tree];
        for (what, span) in ["EL2's image", "the initrd", "the device tree"].into_iter().zip(used) {
            board.check_in_memory(what, span).map_err(|error| format!("{error}"))?;
        }
        let cores = board.cores.len() as u64;
        let stacks_bytes = (cores - 1) * (STACK_BYTES + PAGE_SIZE);
        let carved_bytes = stacks_bytes + HEAP_BYTES + HEAP_BYTES_PER_CORE * cores;
        let mut free: Vec<span::Span> = board.free_memory(&used).into_iter().filter_map(whole_pages).collect();
        let carved = carve(&mut free, carved_bytes)?;
        let stacks = (1..cores).map(|index| carved.start() + index * (STACK_BYTES + PAGE_SIZE)).collect();
        let map = address_space(board, image, carved, cores - 1)?;
        let free = free.iter().filter_map(|span| Span::new(Pa::new(span.start()), span.size())).collect();
        let map = Box::leak(Box::new(map));
        Ok(Self { image, carved, archive, archive_bytes: initrd.size(), free, stacks, grown_bytes: 0, map })
    }

    /// Runs this core on the final map, and extends the heap.
    pub fn activate(&self) {
        // SAFETY: the map holds the image, all RAM and the devices in use.
        unsafe { self.map.activate() };
        let heap = self.stacks.last().copied().unwrap_or(self.carved.start());
        // SAFETY: the rest of what was carved out of free memory, which nobody else gets.
        unsafe { heap::extend(heap, self.carved.end() - heap) };
        let (tables, bytes) = stage1::early_tables();
        // SAFETY: no core translates by them any more.
        unsafe { heap::extend(tables, bytes) };
    }

    /// Gives the heap so many bytes more, and then some: a block of frames.
    ///
    /// # Errors
    /// There is none so large.
    pub fn grow_heap(&mut self, frames: &mut Frames, bytes: u64) -> Result<()> {
        let count = bytes.div_ceil(PAGE_SIZE);
        if count == 0 {
            return Ok(());
        }
        let order = count.next_power_of_two().trailing_zeros();
        let block = frames
            .allocate(Owner::Hypervisor, order)
            .map_err(|error| format!("EL2's heap: {error}: give the VMs less memory or the machine more"))?;
        let span = block.will_be_overwritten();
        // SAFETY: RAM that EL2 maps for writing, and that has just become its own.
        unsafe { heap::extend(span.start().get(), span.bytes()) };
        self.grown_bytes += span.bytes();
        Ok(())
    }

    /// Has EL2 access the registers in `spans` (machine addresses), and whatever else is in their pages, from here on.
    ///
    /// # Errors
    /// There is memory, or they lie too high.
    pub fn map_registers(&mut self, board: &Board, spans: Vec<span::Span>) -> Result<()> {
        let mut wanted = Vec::new();
        for span in spans {
            wanted.push(pages(span.start(), span.end())?);
        }
        for span in span::subtract(wanted, devices(board)) {
            self.map.extend(span.start(), span.end(), Use::OthersDevice).map_err(own_tables)?;
        }
        Ok(())
    }

    /// Memory for guests.
    pub fn free(&self) -> &[Span<Pa>] {
        &self.free
    }

    /// The system archive.
    pub fn archive(&self) -> &'static [u8] {
        // SAFETY: RAM that is mapped, kept out of free memory for good, and written by nobody.
        unsafe { core::slice::from_raw_parts(self.archive.start() as *const u8, self.archive_bytes as usize) }
    }

    /// What secondary core `number` (from 0) starts with; `None` if there is no stack for it.
    pub fn secondary_start(&self, number: usize) -> Option<SecondaryStart> {
        self.stacks.get(number).map(|top| self.map.secondary_start(*top))
    }

    /// Bytes that EL2 keeps for itself.
    pub fn kept_bytes(&self) -> u64 {
        self.image_bytes() + self.carved_bytes()
    }

    /// Bytes of the image, its first heap and stack included.
    pub fn image_bytes(&self) -> u64 {
        self.image.size()
    }

    /// Bytes of the heap's extensions and the other cores' stacks.
    pub fn carved_bytes(&self) -> u64 {
        self.carved.size() + self.grown_bytes
    }

    /// What no guest may be given by its machine address, and whose it is.
    pub fn kept(&self, board: &Board) -> Vec<(&'static str, span::Span)> {
        let mut kept: Vec<_> = [("EL2", self.image), ("EL2", self.carved), ("the archive", self.archive)].into();
        kept.extend(board.reserved.iter().map(|reservation| ("the board", reservation.span)));
        kept.extend(board.own_registers().into_iter().map(|span| ("EL2's own devices", span)));
        kept
    }
}

/// The registers that EL2 itself uses, in whole pages.
fn devices(board: &Board) -> Vec<span::Span> {
    board.own_registers().iter().filter_map(|span| pages(span.start(), span.end()).ok()).collect()
}

fn whole_pages(span: span::Span) -> Option<span::Span> {
    span::Span::between(span.start().next_multiple_of(PAGE_SIZE), span.end() & !(PAGE_SIZE - 1))
}

/// Takes `bytes` from the end of the smallest free span that has them, so that large blocks stay whole.
fn carve(free: &mut [span::Span], bytes: u64) -> Result<span::Span> {
    let fitting = free.iter_mut().filter(|span| span.size() >= bytes);
    let donor = fitting
        .min_by_key(|span| span.size())
        .ok_or_else(|| format!("not even {} KiB of memory are free for EL2: give the machine more", bytes / 1024))?;
    let start = donor.end() - bytes;
    let carved = pages(start, donor.end())?;
    *donor = span::Span::between(donor.start(), start).unwrap_or(*donor);
    Ok(carved)
}

fn address_space(board: &Board, image: span::Span, carved: span::Span, stacks: u64) -> Result<AddressSpace> {
    let mut map = AddressSpace::empty();
    let (text, constants) = (text_end(), &raw const __rodata_end as u64);
    let parts = [(image.start(), text, Use::Execute), (text, constants, Use::Read)];
    let boot_guard = &raw const __boot_stack_guard as u64;
    let guards = (0..stacks).map(|index| carved.start() + index * (STACK_BYTES + PAGE_SIZE)).chain([boot_guard]);
    let devices = span::merge(devices(board));
    // All other RAM can be written.
    let hidden = board.reserved.iter().filter(|reservation| reservation.no_map).map(|reservation| reservation.span);
    let guards = guards.filter_map(|guard| span::Span::new(guard, PAGE_SIZE));
    let apart =
        hidden.chain(guards).chain(span::Span::between(image.start(), constants)).chain(devices.iter().copied());
    let rest = span::subtract(board.memory.clone(), apart.collect()).into_iter().filter_map(whole_pages);
    let rest = rest.map(|ram| (ram.start(), ram.end(), Use::Write));
    let devices = devices.iter().map(|device| (device.start(), device.end(), Use::Device));
    for (start, end, how) in parts.into_iter().chain(rest).chain(devices) {
        map.map(start, end, how).map_err(own_tables)?;
    }
    Ok(map)
}

fn own_tables(error: impl Display) -> String {
    format!("EL2's own translation tables: {error}")
}
