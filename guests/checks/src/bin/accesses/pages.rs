//! Accesses that reach from one page to the next, and those that need a page of their own kind: a window of pages that
//! are mapped as the checks want them, as normal memory, so that accesses need not be aligned.

use core::cell::UnsafeCell;

use guest_runtime::catch::{CLASS_DATA_ABORT, Fault};
use guest_runtime::checks::{Failure, Outcome};
use guest_runtime::console::PL011;
use guest_runtime::gic::v3::{DISTRIBUTOR, distributor};
use guest_runtime::mmu::{self, Kind};
use guest_runtime::{Machine, ensure_equal, mmio, read_register, register, skip};

use crate::run::{Context, State};

const PAGE: u64 = 4096;
/// The gigabyte of virtual addresses that the window is in, and the window.
const GIGABYTE: usize = 5;
const WINDOW: u64 = (GIGABYTE as u64) << 30;

const UART: u64 = PL011 as u64;
const GIC: u64 = DISTRIBUTOR as u64;
/// GICD_CTLR.EnableGrp1.
const ENABLE: u32 = 2;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u64; 512]>);

// SAFETY: this guest has one core.
unsafe impl Sync for Page {}

impl Page {
    const fn zero() -> Self {
        Self(UnsafeCell::new([0; 512]))
    }

    fn address(&self) -> u64 {
        self.0.get() as u64
    }
}

static LEVEL_2: Page = Page::zero();
static LEVEL_3: Page = Page::zero();
static MEMORY: Page = Page::zero();

fn normal(physical: u64) -> u64 {
    mmu::page(physical, Kind::Uncached, false)
}

/// Makes these descriptors the pages of the window; the one after them is not mapped.
fn map(pages: &[u64]) {
    let write = |page: &Page, index: usize, value: u64| {
        // SAFETY: inside the page, which only this function writes.
        unsafe { page.0.get().cast::<u64>().add(index).write_volatile(value) };
    };
    write(&LEVEL_2, 0, mmu::table(LEVEL_3.address()));
    for index in 0..=pages.len() {
        write(&LEVEL_3, index, pages.get(index).copied().unwrap_or(0));
    }
    // SAFETY: nothing in use lies there. The whole TLB is dropped, old pages included.
    unsafe { mmu::map_by_table(GIGABYTE, LEVEL_2.address()) };
}

/// Runs an instruction with x1 = `WINDOW + offset`.
fn run(instruction: u32, offset: u64, values: [u64; 2]) -> (State, Result<(), Fault>) {
    let mut state = State::random(|| 0x5555_5555_5555_5555);
    (state.x[1], state.x[5], state.x[6]) = (WINDOW + offset, values[0], values[1]);
    let result = state.run(instruction, Context::Translated);
    (state, result)
}

fn done((state, result): (State, Result<(), Fault>)) -> Result<State, Failure> {
    match result {
        Ok(()) => Ok(state),
        Err(fault) => Err(Failure::failed(format_args!("{fault}"))),
    }
}

/// `ldp w5, w6, [x1], #8`.
const LOAD_PAIR: u32 = 0x28c1_1825;
/// `stp w5, w6, [x1], #8`.
const STORE_PAIR: u32 = 0x2881_1825;

fn memory(index: usize) -> usize {
    MEMORY.address() as usize + 4 * index
}

pub fn from_a_device_to_memory(_: &Machine) -> Outcome {
    map(&[normal(UART), normal(MEMORY.address())]);
    write_memory(0, 0x8765_4321);
    let state = done(run(LOAD_PAIR, PAGE - 4, [0; 2]))?;
    ensure_equal!((state.x[5], state.x[6], state.x[1]), (0xb1, 0x8765_4321, WINDOW + PAGE + 4), "LDP");
    done(run(STORE_PAIR, PAGE - 4, [1, 0x1234_5678]))?;
    ensure_equal!(read_memory(0), 0x1234_5678, "memory after STP");
    Ok(())
}

pub fn from_memory_to_a_device(_: &Machine) -> Outcome {
    map(&[normal(MEMORY.address()), normal(GIC)]);
    write_memory(1023, 0x8765_4321);
    let control = mmio::read32(DISTRIBUTOR);
    let state = done(run(LOAD_PAIR, PAGE - 4, [0; 2]))?;
    ensure_equal!((state.x[5], state.x[6]), (0x8765_4321, u64::from(control)), "LDP");
    done(run(STORE_PAIR, PAGE - 4, [0x1234_5678, u64::from(control ^ ENABLE)]))?;
    let changed = mmio::read32(DISTRIBUTOR);
    mmio::write32(DISTRIBUTOR, control);
    ensure_equal!((read_memory(1023), changed), (0x1234_5678, control ^ ENABLE), "after STP");
    Ok(())
}

/// An element that is not aligned is a few bytes of each; the device has no register where its bytes are.
pub fn elements_on_two_pages(_: &Machine) -> Outcome {
    map(&[normal(UART), normal(MEMORY.address())]);
    write_memory(0, 0x8765_4321);
    let state = done(run(LOAD_PAIR, PAGE - 6, [0; 2]))?;
    ensure_equal!((state.x[5], state.x[6]), (0, 0x4321_0000), "LDP");
    done(run(STORE_PAIR, PAGE - 6, [1, 0x1234_5678]))?;
    ensure_equal!(read_memory(0), 0x8765_1234, "memory after STP");
    Ok(())
}

pub fn faults_on_the_other_page(_: &Machine) -> Outcome {
    /// Translation and permission faults at level 3.
    const TRANSLATION: u64 = 0x07;
    const PERMISSION: u64 = 0x0f;
    map(&[normal(UART)]);
    for (instruction, is_write) in [(LOAD_PAIR, false), (STORE_PAIR, true)] {
        check_fault(instruction, (TRANSLATION, WINDOW + PAGE, is_write))?;
    }
    map(&[normal(UART), mmu::page(MEMORY.address(), Kind::Uncached, true)]);
    write_memory(0, 7);
    check_fault(STORE_PAIR, (PERMISSION, WINDOW + PAGE, true))?;
    let state = done(run(LOAD_PAIR, PAGE - 4, [0; 2]))?;
    ensure_equal!((state.x[5], state.x[6], read_memory(0)), (0xb1, 7, 7), "LDP of a read-only page");
    Ok(())
}

/// `expected`: fault status, address, whether it is a write. No register changes.
fn check_fault(instruction: u32, expected: (u64, u64, bool)) -> Outcome {
    let values = [0x1111, 0x2222];
    let (state, result) = run(instruction, PAGE - 4, values);
    let Err(fault) = result else { return Err(Failure::failed(format_args!("{instruction:#x}: no fault"))) };
    ensure_equal!(fault.class(), CLASS_DATA_ABORT, "class of the fault of {instruction:#x}");
    ensure_equal!((fault.status(), fault.address, fault.is_write()), expected, "fault of {instruction:#x}");
    ensure_equal!((state.x[1], state.x[5], state.x[6]), (WINDOW + PAGE - 4, values[0], values[1]), "registers");
    Ok(())
}

/// Beyond the UART's page there is no device: an external abort, which names the address that was accessed first.
pub fn nothing_on_the_other_page(_: &Machine) -> Outcome {
    const EXTERNAL: u64 = 0x10;
    map(&[normal(UART), normal(UART + PAGE)]);
    check_fault(LOAD_PAIR, (EXTERNAL, WINDOW + PAGE - 4, false))?;
    check_fault(STORE_PAIR, (EXTERNAL, WINDOW + PAGE - 4, true))
}

/// Code on the first page loads from the second.
pub fn literals(_: &Machine) -> Outcome {
    const CELL_1: u64 = 0xff4;
    let physical = register::assemble(0) as usize as u64;
    map(&[normal(physical & !(PAGE - 1)), normal(UART)]);
    let code = WINDOW + physical % PAGE;
    let words = (PAGE + CELL_1 - physical % PAGE) / 4;
    for (name, opcode) in [("LDR", 0x1800_0005), ("LDRSW", 0x9800_0005), ("LDR to S5", 0x1c00_0005)] {
        let _ = register::assemble(opcode | (words as u32) << 5);
        let mut state = State::random(|| u64::MAX);
        let result = state.run_at(code, Context::Translated);
        let state = done((state, result))?;
        let (general, vector) = if name == "LDR to S5" { (u64::MAX, 0xf0) } else { (0xf0, u128::MAX) };
        ensure_equal!((state.x[5], state.v[5]), (general, vector), "{name} of a literal");
    }
    Ok(())
}

pub fn zeroing_a_block(_: &Machine) -> Outcome {
    let identification = read_register!("dczid_el0");
    if identification & 0x10 != 0 {
        skip!("DC ZVA is not permitted");
    }
    let block = 4 << (identification & 0xf);
    map(&[normal(GIC)]);
    // The priorities of SPIs from 64 on.
    let start = distributor::IPRIORITYR as u64 + 64;
    let register = |offset: u64| (GIC + start + offset) as usize;
    if block > 64 {
        return refused_to_zero(start);
    }
    for offset in (0..block + 8).step_by(4) {
        mmio::write32(register(offset) - 4, 0x8080_8080);
    }
    // dc zva, x1
    done(run(0xd50b_7421, start + block / 2 + 3, [0; 2]))?;
    for offset in (0..block).step_by(4) {
        ensure_equal!(mmio::read32(register(offset)), 0, "priorities at {offset} after DC ZVA");
    }
    let neighbours = [mmio::read32(register(0) - 4), mmio::read32(register(block))];
    ensure_equal!(neighbours, [0x8080_8080; 2], "the neighbours of the block");
    Ok(())
}

/// DC ZVA of a block that is larger than any other access: an alignment fault, as of all device memory.
fn refused_to_zero(start: u64) -> Outcome {
    const ALIGNMENT: u64 = 0x21;
    let register = (GIC + start) as usize;
    mmio::write32(register, 0x8080_8080);
    let (state, result) = run(0xd50b_7421, start + 3, [0; 2]);
    let Err(fault) = result else { return Err(Failure::failed(format_args!("DC ZVA: no fault"))) };
    ensure_equal!((fault.class(), fault.status()), (CLASS_DATA_ABORT, ALIGNMENT), "fault of DC ZVA");
    ensure_equal!((fault.address, fault.is_write(), state.x[1]), (WINDOW + start + 3, true, WINDOW + start + 3), "it");
    ensure_equal!(mmio::read32(register), 0x8080_8080, "priorities after DC ZVA");
    Ok(())
}

fn write_memory(index: usize, value: u32) {
    // SAFETY: inside the page, which is no Rust object while the checks run; not cached by its mapping in the window.
    unsafe { core::arch::asm!("str {:w}, [{}]", "dc civac, {1}", "dsb sy", in(reg) value, in(reg) memory(index)) };
}

fn read_memory(index: usize) -> u32 {
    let value: u32;
    // SAFETY: as above; what the cache holds may be old.
    unsafe { core::arch::asm!("dc civac, {1}", "dsb sy", "ldr {0:w}, [{1}]", out(reg) value, in(reg) memory(index)) };
    value
}
