//! EL2's own translation: an identity map, writable or executable but never both.
//!
//! Two maps, one after the other. The first is made before anything is known of the board and only gets the caches
//! (and so locks) working. The second has what the board is known to have, and is what all cores run on.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::registers::read_register;
use crate::identity_map::{IdentityMap, MapError, write_entries};

/// MAIR_EL2: 0 = Device-nGnRnE, 1 = Normal write-back read/write-allocate, 2 = Device-nGnRE.
const MAIR: u64 = 0x04_ff_00;
/// SCTLR_EL2: RES1 bits, WXN, I, SA, C and M.
const SCTLR: u64 = 0x30c5_0830 | 1 << 19 | 1 << 12 | 1 << 3 | 1 << 2 | 1;
/// SCTLR_EL2 with the MMU and the data cache off.
const SCTLR_OFF: u64 = 0x30c5_0830;
/// HCR_EL2 while no guest is set up: AArch64 EL1, SErrors are EL2's (AMO); no E2H, so that EL2 is plain EL2 on every core.
pub const HCR_HOST: u64 = 1 << 31 | 1 << 5;

/// TCR_EL2 for `T0SZ` = 64 - `bits`: 4 KiB granule, inner shareable write-back walks, PS as the processor says.
fn tcr(bits: u64) -> u64 {
    let parange = (read_register!("id_aa64mmfr0_el1") & 0xf).min(5);
    1 << 31 | 1 << 23 | parange << 16 | 3 << 12 | 1 << 10 | 1 << 8 | (64 - bits)
}

const VALID: u64 = 1;
const TABLE: u64 = 0b11;
/// Bits of block and page descriptors, Arm ARM D8.3.1; AttrIndx selects from [`MAIR`].
const NORMAL: u64 = 1 << 2 | 3 << 8;
const DEVICE: u64 = 2 << 2;
const DEVICE_WITHOUT_EARLY_ACKNOWLEDGEMENT: u64 = 0;
const ACCESSED: u64 = 1 << 10;
const READ_ONLY: u64 = 1 << 7;
const NEVER_EXECUTE: u64 = 1 << 54;
/// AP[1] is RES1 in this regime.
const AP1: u64 = 1 << 6;
/// Normal write-back, inner shareable, accessed: executable and writable, as WXN is still off.
const EARLY_NORMAL: u64 = VALID | NORMAL | ACCESSED;
/// Device-nGnRnE, accessed, never executable.
const EARLY_DEVICE: u64 = VALID | ACCESSED | NEVER_EXECUTE;
const GIB: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;

/// A level-1 table for the first 512 GiB, and level-2 tables for the GiB of the image, of the device tree, and of what the
/// first heap is extended by.
const EARLY_TABLES: usize = 6;

#[repr(align(4096))]
struct EarlyMap(UnsafeCell<[[u64; 512]; EARLY_TABLES]>);

// SAFETY: written by the boot core alone, before any other core starts.
unsafe impl Sync for EarlyMap {}

/// The first map. Memory holds anything before those tables are written that are used.
#[cfg_attr(target_os = "none", unsafe(link_section = ".early_tables"))]
static EARLY_MAP: EarlyMap = EarlyMap(UnsafeCell::new([[0; 512]; EARLY_TABLES]));

/// Turns the MMU on with the image and the device tree as Normal memory and all else as device.
///
/// `image` and `tree` are machine addresses and lengths in bytes.
///
/// # Safety
/// At EL2, MMU off, on the boot core, once; `image` is what this code runs from.
pub unsafe fn enable_early(image: (u64, u64), tree: (u64, u64)) {
    // SAFETY: nobody else runs yet (caller).
    let [level1, below @ ..] = unsafe { &mut *EARLY_MAP.0.get() };
    write_entries(level1, EARLY_DEVICE, GIB);
    for span in [image, tree] {
        // Two spans need no third table.
        let _ = cover(level1, below, span, EARLY_NORMAL);
    }
    let root = EARLY_MAP.0.get() as u64;
    // SAFETY: the table maps what is running; its memory was invalidated from the caches before it was written.
    unsafe { switch(root, tcr(39), SCTLR & !(1 << 19)) };
}

/// Makes the blocks of 2 MiB around `span` (machine address, length in bytes; within one GiB) Normal memory, too; false if
/// there is no table left for it.
///
/// # Safety
/// While the first map is in use. The blocks are memory that nobody accesses before, and their GiB has nothing in use that
/// is neither in the image's nor in the device tree's.
pub unsafe fn extend_early(span: (u64, u64)) -> bool {
    // SAFETY: only the boot core runs, and only the processor's walks read the tables.
    let [level1, below @ ..] = unsafe { &mut *EARLY_MAP.0.get() };
    let is_block = |entry: &&mut u64| **entry & TABLE != TABLE;
    match level1.get_mut((span.0 / GIB) as usize).filter(is_block) {
        Some(entry) => *entry = 0,
        None => _ = cover(level1, below, span, 0),
    }
    // SAFETY: barriers and maintenance: what changes its kind or size is taken out before (Arm ARM D8.16.1).
    unsafe { asm!("dsb ishst", "tlbi alle2", "dsb ish", "isb", options(nostack, preserves_flags)) };
    let is_covered = cover(level1, below, span, EARLY_NORMAL);
    // SAFETY: barriers: walks see the new entries from here on.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    is_covered
}

/// Where the early tables lie, address and bytes: free memory once the final map is active on the boot core.
pub fn early_tables() -> (u64, u64) {
    (EARLY_MAP.0.get() as u64, size_of::<EarlyMap>() as u64)
}

/// Maps the blocks around a span, which lies within one GiB, with these attributes (0: not at all), and all else of that GiB
/// as device unless it has a table already. False: there is no table left for it.
fn cover(level1: &mut [u64; 512], below: &mut [[u64; 512]], (start, bytes): (u64, u64), attributes: u64) -> bool {
    /// How many of the tables below are used. Boot alone counts; the caches may be off.
    static USED: AtomicUsize = AtomicUsize::new(0);
    let gib = start / GIB;
    let Some(entry) = level1.get_mut(gib as usize) else { return false };
    let known = below.iter().position(|table| *entry == table.as_ptr() as u64 | TABLE);
    let used = USED.load(Ordering::Relaxed);
    let Some(table) = below.get_mut(known.unwrap_or(used)) else { return false };
    if known.is_none() {
        write_entries(table, (gib * GIB) | EARLY_DEVICE, BLOCK);
        USED.store(used + 1, Ordering::Relaxed);
    }
    let (first, end) = ((start - gib * GIB) / BLOCK, (start + bytes - gib * GIB).div_ceil(BLOCK));
    let within = table.get_mut(first as usize..(end as usize).min(512)).unwrap_or_default();
    match attributes {
        0 => within.fill(0),
        _ => write_entries(within, (start & !(BLOCK - 1)) | attributes, BLOCK),
    }
    *entry = table.as_ptr() as u64 | TABLE;
    true
}

/// Replaces EL2's translation with the MMU off in between, as sizes and types of mappings change.
///
/// # Safety
/// The new tables map the running code, the stack and what is in use at their own addresses.
unsafe fn switch(root: u64, tcr: u64, sctlr: u64) {
    // SAFETY: no memory is accessed between turning the MMU off and on, so dirty lines stay where they are.
    unsafe {
        asm!(
            "dsb    sy",
            "msr    sctlr_el2, {off}",
            "isb",
            "msr    hcr_el2, {hcr}",
            "msr    mair_el2, {mair}",
            "msr    tcr_el2, {tcr}",
            "msr    ttbr0_el2, {root}",
            "isb",
            "tlbi   alle2",
            "ic     iallu",
            "dsb    sy",
            "isb",
            "msr    sctlr_el2, {sctlr}",
            "isb",
            off = in(reg) SCTLR_OFF, hcr = in(reg) HCR_HOST, mair = in(reg) MAIR, tcr = in(reg) tcr,
            root = in(reg) root, sctlr = in(reg) sctlr, options(nostack)
        )
    }
}

/// How EL2 may use a span of its own address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Code.
    Execute,
    /// Constants.
    Read,
    /// Data, stacks, the guests' memory.
    Write,
    /// Registers.
    Device,
    /// Registers of a guest's device: a write is done when the device says so, as the error that it may be is the guest's.
    OthersDevice,
}

impl Use {
    /// Bits of the descriptors.
    fn attributes(self) -> u64 {
        let own = match self {
            Self::Execute => NORMAL | READ_ONLY,
            Self::Read => NORMAL | READ_ONLY | NEVER_EXECUTE,
            Self::Write => NORMAL | NEVER_EXECUTE,
            Self::Device => DEVICE | NEVER_EXECUTE,
            Self::OthersDevice => DEVICE_WITHOUT_EARLY_ACKNOWLEDGEMENT | NEVER_EXECUTE,
        };
        own | VALID | ACCESSED | AP1
    }
}

/// EL2's final translation tables.
pub struct AddressSpace {
    map: IdentityMap,
}

impl AddressSpace {
    /// An empty map of 48 address bits.
    pub fn empty() -> Self {
        Self { map: IdentityMap::empty() }
    }

    /// Maps `start..end` (machine addresses, whole pages) at its own address, where nothing may be mapped yet.
    pub fn map(&mut self, start: u64, end: u64, how: Use) -> Result<(), MapError> {
        self.map.map(start, end, how.attributes())
    }

    /// Maps more while the map is in use: no TLB holds what was not there.
    pub fn extend(&mut self, start: u64, end: u64, how: Use) -> Result<(), MapError> {
        self.map(start, end, how)?;
        // SAFETY: barriers: walks see the new entries from here on.
        unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
        Ok(())
    }

    /// Makes pages of code, mapped singly, memory that can be written, on all cores; false if they are not mapped so.
    ///
    /// # Safety
    /// No core executes anything of them any more.
    pub unsafe fn release(&mut self, start: u64, end: u64) -> bool {
        let were_mapped = self.map.rewrite(start, end, 0);
        // SAFETY: barriers and maintenance: rights change only where nothing was before (Arm ARM D8.16.1).
        unsafe { asm!("dsb ishst", "tlbi alle2is", "dsb ish", "isb", options(nostack, preserves_flags)) };
        let are_mapped = were_mapped && self.map.rewrite(start, end, Use::Write.attributes());
        // SAFETY: barriers: walks see the new entries from here on.
        unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
        are_mapped
    }

    /// Runs this core on the map from here on.
    ///
    /// # Safety
    /// The map holds the image, the stack and the device tree in use. It must live forever.
    pub unsafe fn activate(&self) {
        // SAFETY: as the caller says.
        unsafe { switch(self.root(), tcr(48), SCTLR) };
    }

    fn root(&self) -> u64 {
        self.map.root()
    }

    /// What a secondary core loads to run on this map with the given stack.
    pub fn secondary_start(&self, stack_top: u64) -> SecondaryStart {
        SecondaryStart { ttbr0: self.root(), tcr: tcr(48), mair: MAIR, sctlr: SCTLR, stack_top, hcr: HCR_HOST }
    }
}

/// Read by a secondary core's first instructions with its MMU off; the assembly in `start` knows the layout.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct SecondaryStart {
    ttbr0: u64,
    tcr: u64,
    mair: u64,
    sctlr: u64,
    stack_top: u64,
    hcr: u64,
}

impl SecondaryStart {
    /// Writes the record back to memory, where a core without caches looks for it.
    pub fn publish(&self) {
        let start = self as *const Self as u64;
        super::machine::clean_to_coherency(start, size_of::<Self>() as u64);
    }
}
