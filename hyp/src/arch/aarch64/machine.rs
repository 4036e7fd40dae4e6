//! Caches, TLBs and machine memory, as `tessera-memory` and the loader need them.

use core::arch::asm;

use tessera_memory::{Context, Ipa, PAGE_SIZE, Pa, PhysicalMemory, Span, TlbMaintenance};

use super::registers::{Walks, read_register, write_register};

/// The smallest data cache line of the processor, in bytes (CTR_EL0.DminLine).
fn data_line() -> u64 {
    4 << (read_register!("ctr_el0") >> 16 & 0xf)
}

/// Executes instructions for each line of `$line` bytes from `$start` to `$end`: sixteen to a turn of the loop, which
/// else would cost more than they do.
macro_rules! for_each_line {
    ([$($instruction:literal),+], $start:expr, $end:expr, $line:expr) => {{
        let (mut at, end, line): (u64, u64, u64) = ($start, $end, $line);
        while at < end {
            if end - at >= 16 * line {
                asm!(".rept 16", $(concat!($instruction, ", {at}"),)+ "add {at}, {at}, {line}", ".endr",
                    at = inout(reg) at, line = in(reg) line, options(nostack));
            } else {
                asm!($(concat!($instruction, ", {at}"),)+ at = in(reg) at, options(nostack));
                at += line;
            }
        }
    }};
}

/// Cleans `bytes` from the machine address `start` to the point of coherency, and leaves nothing of them in the caches.
///
/// A guest starts with its MMU off, and then accesses memory past the caches: what EL2 wrote for it must be there, and what
/// it writes must not be hidden later by lines that were there before, as there are none after a reset.
pub fn clean_to_coherency(start: u64, bytes: u64) {
    clean_lines(start, bytes);
    complete_cleaning();
}

/// [`clean_to_coherency`] that [`complete_cleaning`] completes.
fn clean_lines(start: u64, bytes: u64) {
    let line = data_line();
    // SAFETY: changes no contents; the addresses are mapped, as they were just written.
    unsafe { for_each_line!(["dc civac"], start & !(line - 1), start.saturating_add(bytes), line) };
}

fn complete_cleaning() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Calls `work` with the start and the size of each part of a span: pages, so that what is written is still in the nearest
/// cache when it is cleaned.
fn by_pages(start: u64, bytes: u64, mut work: impl FnMut(u64, u64)) {
    let mut done = 0;
    while done < bytes {
        let part = (bytes - done).min(PAGE_SIZE);
        work(start + done, part);
        done += part;
    }
}

/// Makes instructions written to memory visible to all cores' fetches.
///
/// The caller has cleaned them to the point of coherency, which lies beyond that of unification.
pub fn invalidate_instruction_caches() {
    // SAFETY: cache maintenance without effect on contents.
    unsafe { asm!("ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Copies `bytes` between machine addresses that do not overlap, and cleans the copy to the point of coherency.
///
/// # Safety
/// Both spans are RAM mapped in EL2's address space; the target belongs to the caller; neither is a Rust object.
pub unsafe fn copy_to_guest(from: u64, to: u64, bytes: u64) {
    by_pages(to, bytes, |part, bytes| {
        let from = from + (part - to);
        // SAFETY: as the caller says; EL2 maps all RAM at its own address.
        unsafe { core::ptr::copy_nonoverlapping(from as *const u8, part as *mut u8, bytes as usize) };
        clean_lines(part, bytes);
    });
    complete_cleaning();
}

/// Reads a guest's memory at `from`, be it written with caches on or past them.
///
/// # Safety
/// The span is RAM mapped in EL2's address space.
pub unsafe fn load_from_guest(from: u64, data: &mut [u8]) {
    // A line that is not dirty may be older than what a guest wrote with its caches off.
    clean_to_coherency(from, data.len() as u64);
    for (at, byte) in (from..).zip(data) {
        // SAFETY: as the caller says; volatile, since the guest may be writing it.
        *byte = unsafe { core::ptr::read_volatile(at as *const u8) };
    }
}

/// Writes what [`load_from_guest`] reads, cleaned to the point of coherency.
///
/// # Safety
/// As for [`load_from_guest`]; the memory is the guest's own.
pub unsafe fn store_to_guest(to: u64, data: &[u8]) {
    clean_to_coherency(to, data.len() as u64);
    for (at, byte) in (to..).zip(data) {
        // SAFETY: as the caller says.
        unsafe { core::ptr::write_volatile(at as *mut u8, *byte) };
    }
    clean_to_coherency(to, data.len() as u64);
}

/// Writes an aligned word of RAM that a guest reads at any time, with its caches on.
pub fn write_shared_word(at: u64, value: u64) {
    // SAFETY: a frame that EL2 maps for writing, given to the guest to read; an aligned store is never seen in part.
    unsafe { core::ptr::write_volatile((at & !7) as *mut u64, value) };
}

/// Fills pages with zeros by whole cache blocks (DC ZVA), if the processor allows that, cleaned to the point of coherency in
/// the same pass. Such a block and a cache line are of the same size on all cores that are known, but need not be.
fn zero_pages(start: u64, bytes: u64) {
    let (control, line) = (read_register!("dczid_el0"), data_line());
    let block = 4u64 << (control & 0xf);
    let is_allowed = control & 0x10 == 0;
    if is_allowed && block == line {
        // SAFETY: zeroes aligned blocks within the caller's frames.
        unsafe { for_each_line!(["dc zva", "dc civac"], start, start + bytes, block) };
        return complete_cleaning();
    }
    by_pages(start, bytes, |page, bytes| {
        if is_allowed {
            // SAFETY: as above; no block is larger than half a page.
            unsafe { for_each_line!(["dc zva"], page, page + bytes, block) };
        } else {
            // SAFETY: whole frames that the caller owns; mapped at their own address.
            unsafe { core::ptr::write_bytes(page as *mut u8, 0, bytes as usize) };
        }
        clean_lines(page, bytes);
    });
    complete_cleaning();
}

/// Whose TLBs may hold translations of the maps that are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// A byte would be masked before it is looked at.
#[repr(u32)]
pub enum Reach {
    /// This core's alone: all vCPUs of the VM run here and never move. Nothing is broadcast.
    ThisCore,
    /// Any core's.
    AllCores,
    /// Any core's, on processors where that may complete too early (`errata::completes_early`).
    AllCoresTwice,
}

/// The machine this code runs on. EL2 maps all RAM at its own address.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    /// How far TLB maintenance goes.
    pub reach: Reach,
}

impl Hardware {
    /// Zeroes memory that stays its guest's, to the point of coherency. Instructions that were there are still in caches:
    /// [`invalidate_instruction_caches`] is the caller's to call, once for all.
    pub fn zero_memory(&mut self, frames: Span<Pa>) {
        zero_pages(frames.start().get(), frames.bytes());
    }
}

impl PhysicalMemory for Hardware {
    fn read(&self, address: Pa) -> u64 {
        // SAFETY: an aligned descriptor in a table's frame, which EL2 maps.
        unsafe { core::ptr::read_volatile(address.get() as *const u64) }
    }

    fn write(&mut self, address: Pa, value: u64) {
        // SAFETY: an aligned descriptor in a frame that belongs to the table.
        unsafe { core::ptr::write_volatile(address.get() as *mut u64, value) };
    }

    fn publish(&mut self) {
        // SAFETY: a barrier.
        unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
    }

    fn zero(&mut self, frames: Span<Pa>) {
        zero_pages(frames.start().get(), frames.bytes());
        invalidate_instruction_caches();
    }

    fn copy_page(&mut self, from: Pa, to: Pa) {
        // SAFETY: two frames of RAM; the target was just allocated, and the source does not change while it is shared.
        unsafe { copy_to_guest(from.get(), to.get(), PAGE_SIZE) };
        invalidate_instruction_caches();
    }
}

/// Runs `operation` with `context` in VTTBR_EL2, whose VMID Stage-2 TLB maintenance goes by.
fn within(context: Context, operation: impl FnOnce()) {
    let current = read_register!("vttbr_el2");
    let wanted = context.vttbr();
    if current == wanted {
        return operation();
    }
    let walks = Walks::stop();
    write_register!("vttbr_el2", wanted);
    super::instruction_barrier();
    operation();
    // The operation is complete before the VMID changes back.
    barrier();
    write_register!("vttbr_el2", current);
    walks.resume();
}

/// A TLBI in its local and its broadcast form, for a context.
macro_rules! invalidate {
    ($self:ident, $context:ident, $local:literal, $broadcast:literal $(, $operand:ident)?) => {{
        macro_rules! execute {
            ($instruction:literal) => {
                // SAFETY: drops cached translations only.
                unsafe { asm!($instruction, $(in(reg) $operand,)? options(nostack, preserves_flags)) }
            };
        }
        within($context, || {
            if $self.reach == Reach::ThisCore {
                return execute!($local);
            }
            execute!($broadcast);
            if $self.reach == Reach::AllCoresTwice {
                barrier();
                execute!($broadcast);
            }
        })
    }};
}

/// Waits for TLB maintenance of this core's, wherever it goes.
#[inline(always)]
fn barrier() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
}

impl TlbMaintenance for Hardware {
    fn invalidate_ipa(&mut self, context: Context, ipa: Ipa) {
        let operand = ipa.get() >> 12;
        invalidate!(self, context, "tlbi ipas2e1, {}", "tlbi ipas2e1is, {}", operand);
    }

    fn invalidate_stage_1(&mut self, context: Context) {
        invalidate!(self, context, "tlbi vmalle1", "tlbi vmalle1is");
    }

    fn invalidate_all(&mut self, context: Context) {
        invalidate!(self, context, "tlbi vmalls12e1", "tlbi vmalls12e1is");
    }

    fn complete(&mut self) {
        barrier();
    }

    fn synchronize(&mut self) {
        super::instruction_barrier();
    }
}
