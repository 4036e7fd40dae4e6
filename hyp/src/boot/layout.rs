//! Who has which machine memory while EL2 runs: the image, EL2's own, the archive, and the rest for guests.

use core::fmt::Display;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tessera_memory::{Frames, Owner, PAGE_SIZE, Pa, Span};
use tessera_platform::board::Board;
use tessera_platform::span;

use super::handover;
use super::room::Rooms;
use crate::arch::aarch64::stage1::{self, AddressSpace, SecondaryStart, Use};
use crate::identity_map::most_tables;
use crate::{early, heap, terminal};

/// Added to the heap that the image brings along, and once more for each core: what is not needed is given back.
const HEAP_BYTES: u64 = 32 * 1024;
const HEAP_BYTES_PER_CORE: u64 = 4 * 1024;
/// What stays free in the heap, in pages and parts of pages: for what guests that start again are built from.
const SPARE_BYTES: usize = 16 * 1024;
/// The largest block of frames that the heap grows by: 2^9 pages.
const LARGEST_ORDER: u32 = 9;
/// A secondary core's stack, in bytes.
const STACK_BYTES: u64 = 16 * 1024;
/// From one stack to the next: the page below each is not mapped.
const STACK_STRIDE: u64 = STACK_BYTES + PAGE_SIZE;

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
    /// Memory of EL2's heap and stacks.
    carved: Vec<span::Span>,
    /// The stacks, each with its guard.
    stacks_span: span::Span,
    archive: span::Span,
    archive_bytes: u64,
    free: Vec<span::Span>,
    /// One for each core but the first: the page below each is not mapped.
    stacks: Vec<u64>,
    /// What the heap was given of the frames.
    grown_bytes: u64,
    /// What the frames were given of all that.
    given_back_bytes: u64,
    map: &'static mut AddressSpace,
}

type Result<T> = core::result::Result<T, String>;

/// The whole pages that hold the bytes from `start` to `end`.
pub fn pages(start: u64, end: u64) -> Result<span::Span> {
    let (start, end) = (start & !(PAGE_SIZE - 1), end.next_multiple_of(PAGE_SIZE));
    span::Span::between(start, end).ok_or_else(|| format!("{start:#x} to {end:#x} is no memory of this machine"))
}

impl Layout {
    /// Divides the board's memory that is not in `rooms`.
    ///
    /// # Errors
    /// No initrd, or too little memory, and what to do about it.
    pub fn new(board: &Board, rooms: &mut Rooms) -> Result<Self> {
        let initrd = board.chosen.initrd.ok_or(
            "no system to run: the device tree's /chosen names no initrd; load the system archive as the initrd \
             (QEMU `-initrd`, config.txt `initramfs`)",
        )?;
        let [image, tree] = rooms.loaded;
        let archive = pages(initrd.start(), initrd.end())?;
        if !initrd.start().is_multiple_of(PAGE_SIZE) {
            return Err(format!("the initrd lies at {:#x}: load it at a multiple of 4096", initrd.start()));
        }
        if archive.overlaps(image) || archive.overlaps(tree) {
            return Err(format!(
                "the initrd at {archive} overlaps EL2 at {image} or the device tree at {tree}: move it"
            ));
        }
        let used = [image, archive, tree];
        for (what, span) in ["EL2's image", "the initrd", "the device tree"].into_iter().zip(used) {
            board.check_in_memory(what, span).map_err(|error| format!("{error}"))?;
        }
        rooms.ensure(map_bytes(board, image), "the map of the board's memory")?;
        let used: Vec<_> = used.into_iter().chain(rooms.given().iter().copied()).collect();
        let cores = board.cores.len() as u64;
        let stacks_bytes = (cores - 1) * STACK_STRIDE;
        let mut free: Vec<span::Span> = board.free_memory(&used).into_iter().filter_map(whole_pages).collect();
        let carved = carve(&mut free, stacks_bytes + HEAP_BYTES + HEAP_BYTES_PER_CORE * cores)?;
        let stacks_span = pages(carved.start(), carved.start() + stacks_bytes)?;
        let stacks = (1..cores).map(|index| carved.start() + index * STACK_STRIDE).collect();
        let map = Box::leak(Box::new(address_space(board, image, stacks_span)?));
        let carved = rooms.given().iter().copied().chain([carved]).collect();
        let archive_bytes = initrd.size();
        let (grown_bytes, given_back_bytes) = (0, 0);
        Ok(Self {
            image,
            carved,
            stacks_span,
            archive,
            archive_bytes,
            free,
            stacks,
            grown_bytes,
            given_back_bytes,
            map,
        })
    }

    /// Runs this core on the final map, and extends the heap.
    pub fn activate(&self) {
        // SAFETY: the map holds the image, all RAM and the devices in use.
        unsafe { self.map.activate() };
        if let Some(carved) = self.carved.last() {
            let heap = self.stacks_span.end();
            // SAFETY: the rest of what was carved out of free memory, which nobody else gets.
            unsafe { heap::extend(heap, carved.end() - heap) };
        }
        let (tables, bytes) = stage1::early_tables();
        // SAFETY: no core translates by them any more.
        unsafe { heap::extend(tables, bytes) };
    }

    /// Gives the heap so many bytes more, in whole pages, before there are frames.
    ///
    /// # Errors
    /// There are not so many free in one piece.
    pub fn extend_heap(&mut self, bytes: u64) -> Result<()> {
        let carved = carve(&mut self.free, bytes.next_multiple_of(PAGE_SIZE))?;
        // SAFETY: carved out of free memory, which nobody else gets, and mapped for writing.
        unsafe { heap::extend(carved.start(), carved.size()) };
        self.carved.push(carved);
        Ok(())
    }

    /// Gives the heap so many bytes more, in whole pages: blocks of frames.
    ///
    /// # Errors
    /// There are not so many.
    pub fn grow_heap(&mut self, frames: &mut Frames, bytes: u64) -> Result<()> {
        let mut count = bytes.div_ceil(PAGE_SIZE);
        while let Some(order) = count.checked_ilog2().map(|order| order.min(LARGEST_ORDER)) {
            let block = frames
                .allocate(Owner::Hypervisor, order)
                .map_err(|error| format!("EL2's heap: {error}: give the VMs less memory or the machine more"))?;
            let span = block.will_be_overwritten();
            // SAFETY: RAM that EL2 maps for writing, and that has just become its own.
            unsafe { heap::extend(span.start().get(), span.bytes()) };
            self.grown_bytes += span.bytes();
            count -= 1 << order;
        }
        Ok(())
    }

    /// Boot is over, and `cores` secondary cores run: what it alone has needed becomes frames.
    ///
    /// # Errors
    /// None that can be mended: the books are wrong.
    pub fn give_back(&mut self, frames: &mut Frames, cores: usize) -> Result<()> {
        for (start, bytes) in heap::take_back(SPARE_BYTES) {
            self.give_block(frames, start, bytes)?;
        }
        let unused = self.stacks_span.start() + cores as u64 * STACK_STRIDE;
        for guard in (unused..self.stacks_span.end()).step_by(STACK_STRIDE as usize) {
            self.map.extend(guard, guard + PAGE_SIZE, Use::Write).map_err(own_tables)?;
        }
        self.give_block(frames, unused, self.stacks_span.end() - unused)
    }

    /// Gives pages to the frames, from where the heap may have had them.
    fn give_block(&mut self, frames: &mut Frames, start: u64, bytes: u64) -> Result<()> {
        let is_known = |page| frames.owner_of(Pa::new(page)).is_some();
        let pages = (start..start + bytes).step_by(PAGE_SIZE as usize);
        let mut runs: Vec<(u64, u64, bool)> = Vec::new();
        for page in pages {
            let known = self.grown_bytes > 0 && is_known(page);
            match runs.last_mut().filter(|run| run.2 == known) {
                Some(run) => run.1 += PAGE_SIZE,
                None => runs.push((page, PAGE_SIZE, known)),
            }
        }
        for (start, bytes, is_known) in runs {
            let Some(span) = Span::new(Pa::new(start), bytes) else { continue };
            let given = if is_known { frames.free(Owner::Hypervisor, span) } else { frames.add_memory(span) };
            given.map_err(|error| format!("EL2's memory at {start:#x}: {error}"))?;
            self.given_back_bytes += bytes;
        }
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
    pub fn free(&self) -> impl Iterator<Item = Span<Pa>> {
        self.free.iter().filter_map(|span| Span::new(Pa::new(span.start()), span.size()))
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

    /// The map, for the last change of all.
    pub fn into_map(self) -> &'static mut AddressSpace {
        self.map
    }

    /// Bytes that EL2 keeps for itself once boot's code is given away: the image, its heap, the other cores' stacks.
    pub fn kept_bytes(&self) -> u64 {
        let carved: u64 = self.carved.iter().map(|carved| carved.size()).sum();
        self.image.size() - boot_text_bytes() + carved + self.grown_bytes - self.given_back_bytes
    }

    /// Bytes of the image that do not change.
    pub fn constant_bytes(&self) -> u64 {
        &raw const __rodata_end as u64 - self.image.start() - boot_text_bytes()
    }

    /// What no guest may be given by its machine address, and whose it is.
    pub fn kept(&self, board: &Board) -> Vec<(&'static str, span::Span)> {
        let mut kept: Vec<_> = [("EL2", self.image), ("the archive", self.archive)].into();
        kept.extend(self.carved.iter().map(|carved| ("EL2", *carved)));
        kept.extend(board.reserved.iter().map(|reservation| ("the board", reservation.span)));
        kept.extend(board.own_registers().into_iter().map(|span| ("EL2's own devices", span)));
        kept
    }
}

/// Bytes of code that are given away at the end.
pub fn boot_text_bytes() -> u64 {
    let (start, end) = handover::boot_text();
    end - start
}

/// The registers that EL2 itself uses, in whole pages; those of the early console where nobody would hear a fault else.
fn devices(board: &Board) -> Vec<span::Span> {
    let early = early::registers().filter(|_| !terminal::is_open());
    board.own_registers().into_iter().chain(early).filter_map(|span| pages(span.start(), span.end()).ok()).collect()
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

/// The memory that EL2 can write but for the image's constants, `guards` and registers.
fn writable(board: &Board, image: span::Span, guards: impl Iterator<Item = u64>) -> Vec<span::Span> {
    let hidden = board.reserved.iter().filter(|reservation| reservation.no_map).map(|reservation| reservation.span);
    let guards = guards.filter_map(|guard| span::Span::new(guard, PAGE_SIZE));
    let constants = span::Span::between(image.start(), &raw const __rodata_end as u64);
    let apart = hidden.chain(guards).chain(constants).chain(devices(board));
    span::subtract(board.memory.clone(), apart.collect()).into_iter().filter_map(whole_pages).collect()
}

/// The most heap that the map takes, in bytes.
fn map_bytes(board: &Board, image: span::Span) -> usize {
    /// What lists of them take while the map is made.
    const BYTES_PER_SPAN: usize = 256;
    let spans = writable(board, image, core::iter::empty());
    let devices = span::merge(devices(board));
    let image = [image];
    let edges = image.iter().chain(&spans).chain(&devices).map(|span| (span.start(), span.end()));
    // Stacks lie in one span, whose pages are then mapped singly.
    let stacks = board.cores.len() * STACK_STRIDE as usize / (2 << 20) + 2;
    (most_tables(edges) + stacks) * PAGE_SIZE as usize + spans.len() * BYTES_PER_SPAN
}

fn address_space(board: &Board, image: span::Span, stacks: span::Span) -> Result<AddressSpace> {
    let mut map = AddressSpace::empty();
    let (text, constants) = (text_end(), &raw const __rodata_end as u64);
    let parts = [(image.start(), text, Use::Execute), (text, constants, Use::Read)];
    let boot_guard = &raw const __boot_stack_guard as u64;
    let guards = (stacks.start()..stacks.end()).step_by(STACK_STRIDE as usize).chain([boot_guard]);
    let rest = writable(board, image, guards).into_iter().map(|ram| (ram.start(), ram.end(), Use::Write));
    let devices = span::merge(devices(board)).into_iter().map(|device| (device.start(), device.end(), Use::Device));
    for (start, end, how) in parts.into_iter().chain(rest).chain(devices) {
        map.map(start, end, how).map_err(own_tables)?;
    }
    Ok(map)
}

fn own_tables(error: impl Display) -> String {
    format!("EL2's own translation tables: {error}")
}
