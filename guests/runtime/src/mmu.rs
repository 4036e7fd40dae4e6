//! Stage 1 of EL1: every address mapped to itself, memory cacheable and all else as device memory.
//!
//! 39-bit addresses, 4 KiB granule: one level-1 table of 1 GiB blocks and one level-2 table for the gigabyte where
//! memory starts, so that nothing but memory is mapped cacheable (Arm ARM D8.3).

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

use crate::machine::Range;

const ENTRIES: usize = 512;
const GIB: u64 = 1 << 30;
const MIB2: u64 = 2 << 20;

/// Descriptor: valid block, accessed; bit 1 makes it a table.
const BLOCK: u64 = 1 | 1 << 10;
const TABLE: u64 = 0b11;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const NEVER_EXECUTE: u64 = 1 << 53 | 1 << 54;

/// How a block is mapped; the numbers index MAIR_EL1 as `enable_translation` sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Device-nGnRnE, never executed.
    Device,
    /// Device-nGnRnE that may be executed: for guests that try it.
    ExecutableDevice,
    /// Write-back cacheable, inner shareable.
    Memory,
    /// Normal, not cacheable.
    Uncached,
}

impl Kind {
    fn attributes(self) -> u64 {
        match self {
            Self::Device => NEVER_EXECUTE,
            Self::ExecutableDevice => 0,
            Self::Memory => 1 << 2 | INNER_SHAREABLE,
            Self::Uncached => 2 << 2,
        }
    }
}

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; ENTRIES]>);

// SAFETY: written by the boot core while it is alone, later only by `map` under its contract.
unsafe impl Sync for Table {}

#[unsafe(no_mangle)]
static LEVEL_1: Table = Table(UnsafeCell::new([0; ENTRIES]));
static LEVEL_2: Table = Table(UnsafeCell::new([0; ENTRIES]));

/// Fills the tables: `memory` cacheable, everything else as devices. Called once, by the boot core.
pub(crate) fn fill_tables(memory: Range) {
    for index in 0..ENTRIES {
        let start = index as u64 * GIB;
        let kind = if memory.contains(start, GIB) { Kind::Memory } else { Kind::Device };
        set(&LEVEL_1, index, start | BLOCK | kind.attributes());
    }
    let first = memory.start / GIB;
    for index in 0..ENTRIES {
        let start = first * GIB + index as u64 * MIB2;
        let kind = if memory.contains(start, MIB2) { Kind::Memory } else { Kind::Device };
        set(&LEVEL_2, index, start | BLOCK | kind.attributes());
    }
    set(&LEVEL_1, first as usize, LEVEL_2.0.get() as u64 | TABLE);
}

fn set(table: &Table, index: usize, descriptor: u64) {
    // SAFETY: the index is below 512 at every call, and nobody else has the table.
    unsafe { table.0.get().cast::<u64>().add(index).write_volatile(descriptor) };
}

/// Maps the gigabyte at virtual address `index` GiB (below 512) to physical `physical`, a multiple of 1 GiB.
///
/// # Safety
/// No code, data or stack that is in use may lie in that gigabyte, before or after.
pub unsafe fn map(index: usize, physical: u64, kind: Kind) {
    set(&LEVEL_1, index % ENTRIES, 0);
    // SAFETY: break before make; nothing in use lies there by this function's contract.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack)) };
    set(&LEVEL_1, index % ENTRIES, physical & !(GIB - 1) | BLOCK | kind.attributes());
    // SAFETY: as above.
    unsafe { asm!("dsb ishst", "isb", options(nostack)) };
}

/// The level-3 descriptor of the page at `physical`, a multiple of 4 KiB; `read_only` for EL1 too.
#[must_use]
pub fn page(physical: u64, kind: Kind, read_only: bool) -> u64 {
    physical | BLOCK | TABLE | kind.attributes() | u64::from(read_only) << 7
}

/// The level-2 descriptor of the level-3 table at `physical`, a multiple of 4 KiB.
#[must_use]
pub fn table(physical: u64) -> u64 {
    physical | TABLE
}

/// Translates the gigabyte at virtual address `index` GiB (below 512) by the level-2 table at `table`.
///
/// # Safety
/// As for [`map`]; the table stays.
pub unsafe fn map_by_table(index: usize, table: u64) {
    set(&LEVEL_1, index % ENTRIES, 0);
    // SAFETY: break before make; nothing in use lies there by this function's contract.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack)) };
    set(&LEVEL_1, index % ENTRIES, table | TABLE);
    // SAFETY: as above.
    unsafe { asm!("dsb ishst", "isb", options(nostack)) };
}

unsafe extern "C" {
    /// Sets up this core's translation with the tables above and turns it and the caches on.
    ///
    /// Attributes: 0 Device-nGnRnE, 1 write-back, 2 not cacheable. T0SZ 25, TTBR1 walks off.
    pub(crate) fn enable_translation();
}

global_asm!(
    r#"
.section .text.entry, "ax"
.global enable_translation
enable_translation:
    ldr     x0, =0x44ff00
    msr     mair_el1, x0
    // The physical address size this core offers, at most 48 bits.
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf
    cmp     x1, #5
    mov     x2, #5
    csel    x1, x1, x2, ls
    // TG0 4 KiB, SH0 inner shareable, ORGN0 and IRGN0 write-back, EPD1, T0SZ 25.
    ldr     x0, =0x803519
    orr     x0, x0, x1, lsl #32
    msr     tcr_el1, x0
    adrp    x0, {table}
    add     x0, x0, :lo12:{table}
    msr     ttbr0_el1, x0
    dsb     ish
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     ish
    isb
    // RES1 bits of SCTLR_EL1, and I, C, M.
    ldr     x0, =0x30d01805
    msr     sctlr_el1, x0
    isb
    ret
.ltorg
"#,
    table = sym LEVEL_1,
);
