//! Translation tables of a guest's own that are not in memory of its own: on pages that it shares, where the processor sets
//! access flags (FEAT_HAFDBS), and in a device's registers, where no walk may go.
#![no_std]
#![no_main]

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::catch::{CLASS_DATA_ABORT, Fault, catch};
use guest_runtime::checks::{self, Failure, Outcome};
use guest_runtime::{Machine, ensure, ensure_equal, entry, list, mmu, read_register, register, skip, write_register};

entry!(main);

/// The gigabyte of virtual addresses that is translated by the tables under test.
const GIGABYTE: usize = 5;
const WINDOW: u64 = (GIGABYTE as u64) << 30;
/// Where memory starts.
const MEMORY: u64 = 0x4000_0000;
/// The board's clock, which is given to this guest.
const CLOCK: u64 = 0x0901_0000;
/// TCR_EL1.HA: the processor sets access flags.
const HARDWARE_FLAGS: u64 = 1 << 39;
/// A descriptor's access flag.
const ACCESSED: u64 = 1 << 10;

/// A table of 2 MiB blocks in the image: its page is shared until something is written there.
#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: this guest has one core.
unsafe impl Sync for Table {}

impl Table {
    /// All of memory, cacheable and inner shareable, and never accessed before.
    const fn fresh() -> Self {
        let mut entries = [0; 512];
        let mut index = 0;
        while index < 512 {
            entries[index] = (MEMORY + (index as u64) * (2 << 20)) | 1 | 1 << 2 | 0b11 << 8;
            index += 1;
        }
        Self(UnsafeCell::new(entries))
    }

    fn entry_of(&self, address: u64) -> u64 {
        let index = (address - MEMORY) as usize / (2 << 20);
        // SAFETY: of memory, which has fewer blocks; the processor may have written it.
        unsafe { self.0.get().cast::<u64>().add(index % 512).read_volatile() }
    }
}

static FOR_FETCH: Table = Table::fresh();
static FOR_LOAD: Table = Table::fresh();
static FOR_STORE: Table = Table::fresh();

fn main(machine: &Machine) {
    checks::run(
        machine,
        list![a_flag_is_set_by_a_load, a_flag_is_set_by_a_store, a_flag_is_set_by_a_fetch, no_walk_reads_a_device],
    );
}

/// Has the window be translated by `table`, and `access` be done with what is at its start there.
fn with_flags<T>(table: &Table, access: impl FnOnce() -> T) -> Result<T, Failure> {
    if read_register!("id_aa64mmfr1_el1") & 0xf == 0 {
        skip!("no access flags by hardware");
    }
    let control = read_register!("tcr_el1");
    write_register!("tcr_el1", control | HARDWARE_FLAGS);
    // SAFETY: nothing in use lies there.
    unsafe { mmu::map_by_table(GIGABYTE, table.0.get() as u64) };
    let result = catch(access);
    write_register!("tcr_el1", control);
    result.map_err(|fault| Failure::failed(format_args!("{fault}")))
}

/// `address` of memory, through the window.
fn through_window(address: u64) -> u64 {
    WINDOW + (address - MEMORY)
}

fn a_flag_is_set_by_a_load(_: &Machine) -> Outcome {
    let word = 0x5555_6666_u64;
    let address = &raw const word as u64;
    // SAFETY: the same word by another address.
    let value = with_flags(&FOR_LOAD, || unsafe { (through_window(address) as *const u64).read_volatile() })?;
    ensure_equal!(value, word, "what is loaded");
    ensure!(FOR_LOAD.entry_of(address) & ACCESSED != 0, "no access flag");
    Ok(())
}

fn a_flag_is_set_by_a_store(_: &Machine) -> Outcome {
    let mut word = 0;
    let address = &raw mut word as u64;
    // SAFETY: the same word by another address.
    with_flags(&FOR_STORE, || unsafe { (through_window(address) as *mut u64).write_volatile(7) })?;
    // SAFETY: as above.
    ensure_equal!(unsafe { (&raw const word).read_volatile() }, 7, "what was stored");
    ensure!(FOR_STORE.entry_of(address) & ACCESSED != 0, "no access flag");
    Ok(())
}

fn a_flag_is_set_by_a_fetch(_: &Machine) -> Outcome {
    // add x0, x0, #1
    let address = register::assemble(0x9100_0400) as usize as u64;
    let value = with_flags(&FOR_FETCH, || {
        let value: u64;
        // SAFETY: the function that was assembled, by another address.
        unsafe { asm!("blr {}", in(reg) through_window(address), inout("x0") 6u64 => value, out("x30") _) };
        value
    })?;
    ensure_equal!(value, 7, "what the function returns");
    ensure!(FOR_FETCH.entry_of(address) & ACCESSED != 0, "no access flag");
    Ok(())
}

/// An external abort of the walk, at whatever level.
fn no_walk_reads_a_device(_: &Machine) -> Outcome {
    // SAFETY: nothing in use lies there.
    unsafe { mmu::map_by_table(GIGABYTE, CLOCK) };
    // SAFETY: it faults, whatever the clock shows.
    let result = catch(|| unsafe { (WINDOW as *const u64).read_volatile() });
    let Err(fault @ Fault { address, .. }) = result else {
        return Err(Failure::failed(format_args!("a walk went through a device")));
    };
    ensure_equal!((fault.class(), fault.status() & 0x3c, address), (CLASS_DATA_ABORT, 0x14, WINDOW), "{fault}");
    Ok(())
}
