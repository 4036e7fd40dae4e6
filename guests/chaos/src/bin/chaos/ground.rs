//! What this guest stands on: its map of virtual addresses, which no action of its can break for good.
//!
//! Its own code and data are for EL1 only and at their own addresses. Devices, holes and scratch memory are for EL0 too, so
//! that an action can be done at either level, and lie under several aliases with other attributes. In the upper half all
//! memory is executable and read-only: at its address for EL1, under an alias for both levels.

use core::cell::UnsafeCell;

use guest_runtime::machine::{self, GicVersion, Range};
use guest_runtime::{read_register, write_register};

const GIB: u64 = 1 << 30;
const MIB2: u64 = 2 << 20;

/// What leads from an address in the lower half to the same in the upper half (39 bits each).
pub const UPPER: u64 = 0xffff_ff80_0000_0000;
/// Of this much from the start of memory on, no action writes anything.
const OWN: u64 = 8 << 20;

/// Bits of descriptors (Arm ARM D8.3).
mod bit {
    pub const BLOCK: u64 = 1 | 1 << 10;
    pub const TABLE: u64 = 3;
    pub const DEVICE: u64 = 0;
    pub const NORMAL: u64 = 1 << 2 | 3 << 8;
    pub const UNCACHED: u64 = 2 << 2;
    pub const USER: u64 = 1 << 6;
    pub const READ_ONLY: u64 = 1 << 7;
    pub const NEVER_EXECUTE: u64 = 3 << 53;
    pub const USER_NEVER_EXECUTES: u64 = 1 << 54;
}

/// Aliases of the first gigabyte, by what is added to an address, and the first of them.
const NORMAL_ALIAS: u64 = 256;
const EXECUTABLE_ALIAS: u64 = 257;
const USER_EXECUTABLE_ALIAS: u64 = 258;
/// The alias of memory in which both levels can execute and none can write.
const CODE_ALIAS: u64 = 260;

/// What may be added to an address of a device or a hole.
pub const ALIASES: [u64; 6] = [0, 0, 0, NORMAL_ALIAS * GIB, EXECUTABLE_ALIAS * GIB, USER_EXECUTABLE_ALIAS * GIB];

/// Where something may end, or nothing be: addresses on both sides of these are tried.
pub const EDGES: [u64; 12] = [
    0,
    0x0800_0000,
    0x0801_0000,
    0x0802_0000,
    0x080a_0000,
    0x0900_1000,
    0x0a00_0000,
    0x4000_0000,
    0x8000_0000,
    0xff_ffff_f000,
    1 << 40,
    0xffff_ffff_f000,
];

/// The devices there are.
pub fn devices() -> [u64; 6] {
    let frames = machine::get().gic_frames;
    let (distributor, second) = (frames.distributor as u64, frames.second as u64);
    let other = match frames.version {
        GicVersion::V2 => [second + 0x1000, second],
        GicVersion::V3 => [second + 0x1_0000, second + 0x3_0000],
    };
    [distributor, second, other[0], other[1], machine::get().uart.base as u64, 0x0901_0000]
}

/// Memory that actions may write.
pub fn scratch() -> Range {
    let memory = machine::get().memory;
    Range { start: memory.start + OWN, size: memory.size.saturating_sub(OWN) }
}

/// Where code at `address` is executable at both levels.
pub fn executable(address: u64) -> u64 {
    address - machine::get().memory.start / GIB * GIB + CODE_ALIAS * GIB
}

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: written by the boot core while it is alone.
unsafe impl Sync for Table {}

impl Table {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; 512]))
    }

    fn set(&self, index: u64, descriptor: u64) {
        // SAFETY: inside the table, by the remainder; nobody else writes it.
        unsafe { self.0.get().cast::<u64>().add(index as usize % 512).write_volatile(descriptor) };
    }

    fn address(&self) -> u64 {
        self.0.get() as u64
    }
}

static LOWER: Table = Table::new();
static HIGHER: Table = Table::new();
static MEMORY: Table = Table::new();
static CODE: Table = Table::new();
static OWN_CODE: Table = Table::new();

/// Fills the tables. Called once, by the boot core.
pub fn fill() {
    let memory = machine::get().memory;
    let first = memory.start / GIB;
    for index in 0..512 {
        LOWER.set(index, (index * GIB) | bit::BLOCK | bit::DEVICE | bit::USER | bit::NEVER_EXECUTE);
        let start = first * GIB + index * MIB2;
        MEMORY.set(index, start | of_memory(start));
        let code = if memory.contains(start, MIB2) { start | bit::BLOCK | bit::NORMAL | bit::READ_ONLY } else { 0 };
        CODE.set(index, code | if code != 0 { bit::USER } else { 0 });
        OWN_CODE.set(index, code | if code != 0 { bit::USER_NEVER_EXECUTES } else { 0 });
    }
    LOWER.set(first, MEMORY.address() | bit::TABLE);
    LOWER.set(NORMAL_ALIAS, bit::BLOCK | bit::UNCACHED | bit::USER | bit::NEVER_EXECUTE);
    LOWER.set(EXECUTABLE_ALIAS, bit::BLOCK | bit::DEVICE);
    LOWER.set(USER_EXECUTABLE_ALIAS, bit::BLOCK | bit::UNCACHED | bit::USER | bit::READ_ONLY);
    LOWER.set(CODE_ALIAS, CODE.address() | bit::TABLE);
    // The vectors read there, and PSTATE.PAN keeps EL1 from reading what EL0 can read or,
    // by SCTLR_EL1.EPAN, execute.
    HIGHER.set(first, OWN_CODE.address() | bit::TABLE);
    HIGHER.set(CODE_ALIAS, CODE.address() | bit::TABLE);
}

/// Attributes of 2 MiB in the gigabyte that memory is in.
fn of_memory(start: u64) -> u64 {
    if scratch().contains(start, MIB2) {
        bit::BLOCK | bit::NORMAL | bit::USER | bit::NEVER_EXECUTE
    } else if machine::get().memory.contains(start, MIB2) {
        bit::BLOCK | bit::NORMAL
    } else {
        bit::BLOCK | bit::DEVICE | bit::USER | bit::NEVER_EXECUTE
    }
}

/// Makes these tables the calling core's.
pub fn enter() {
    // T1SZ 25, EPD1 0, IRGN1 and ORGN1 write-back, SH1 inner shareable, TG1 4 KiB.
    const HIGHER_HALF: u64 = 25 << 16 | 1 << 24 | 1 << 26 | 3 << 28 | 2 << 30;
    const WALKS_OFF: u64 = 1 << 23;
    write_register!("ttbr1_el1", HIGHER.address());
    write_register!("tcr_el1", read_register!("tcr_el1") & !WALKS_OFF | HIGHER_HALF);
    write_register!("ttbr0_el1", LOWER.address());
    // SAFETY: own code and data are where they were.
    unsafe { core::arch::asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack)) };
}
