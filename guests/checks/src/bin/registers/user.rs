//! EL0 reaches nothing that EL1 does not: every encoding is tried there too, with all open to it that EL1 can open.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

use guest_runtime::catch::{CLASS_UNDEFINED, catch};
use guest_runtime::checks::Outcome;
use guest_runtime::mmu::{self, Kind};
use guest_runtime::{Machine, ensure, println, read_register, write_register};

use crate::reach::{Name, is_offered};

const PAGE: u64 = 4096;
/// The gigabyte of virtual addresses in which EL0 has a page of code and one of data.
const GIGABYTE: usize = 6;
const CODE: u64 = (GIGABYTE as u64) << 30;
const DATA: u64 = CODE + PAGE;
/// AP[1] of a descriptor: EL0 has access.
const USER: u64 = 1 << 6;
/// Encodings that fit a page, each with what comes after it.
const AT_ONCE: usize = 512;
/// `svc #0`.
const CALL: u32 = 0xd400_0001;
const CLASS_SUPERVISOR_CALL: u64 = 0x15;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u64; 512]>);

// SAFETY: one core uses them.
unsafe impl Sync for Page {}

impl Page {
    const fn zero() -> Self {
        Self(UnsafeCell::new([0; 512]))
    }

    fn address(&self) -> u64 {
        self.0.get() as u64
    }

    fn set(&self, index: usize, value: u64) {
        // SAFETY: inside the page, which only this module writes.
        unsafe { self.0.get().cast::<u64>().add(index % 512).write_volatile(value) };
    }
}

static LEVEL_2: Page = Page::zero();
static LEVEL_3: Page = Page::zero();
static CODE_PAGE: Page = Page::zero();
static DATA_PAGE: Page = Page::zero();

unsafe extern "C" {
    /// Goes to EL0 at `code`, with `value` in x0. Comes back by the exception that the code takes.
    fn go_to_el0(code: u64, value: u64);
}

global_asm!(
    r#"
.section .text.go_to_el0, "ax"
.global go_to_el0
go_to_el0:
    msr     elr_el1, x0
    mov     x2, #0x3c0
    msr     spsr_el1, x2
    mov     x0, x1
    isb
    eret
"#
);

/// What EL1 can open to EL0, opened; closed again when dropped.
struct Opened {
    control: u64,
    coprocessors: u64,
    timers: u64,
}

impl Opened {
    fn all() -> Self {
        /// SCTLR_EL1: UMA, DZE, UCT, UCI: PSTATE's masks, DC ZVA, CTR_EL0, cache maintenance.
        const OPEN: u64 = 1 << 9 | 1 << 14 | 1 << 15 | 1 << 26;
        let closed = Self {
            control: read_register!("sctlr_el1"),
            coprocessors: read_register!("cpacr_el1"),
            timers: read_register!("cntkctl_el1"),
        };
        write_register!("sctlr_el1", closed.control | OPEN);
        // SVE, floating point, SME.
        write_register!("cpacr_el1", 0b11 << 16 | 0b11 << 20 | 0b11 << 24);
        write_register!("cntkctl_el1", 0b11_0000_0011);
        closed
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        write_register!("sctlr_el1", self.control);
        write_register!("cpacr_el1", self.coprocessors);
        write_register!("cntkctl_el1", self.timers);
    }
}

fn map() {
    LEVEL_2.set(0, mmu::table(LEVEL_3.address()));
    LEVEL_3.set(0, mmu::page(CODE_PAGE.address(), Kind::Memory, true) | USER);
    LEVEL_3.set(1, mmu::page(DATA_PAGE.address(), Kind::Memory, false) | USER);
    // SAFETY: nothing in use lies there.
    unsafe { mmu::map_by_table(GIGABYTE, LEVEL_2.address()) };
}

/// Writes pairs of an instruction and a call, and has them seen by fetches.
fn write_code(instructions: impl Iterator<Item = u32>) {
    for (index, instruction) in instructions.enumerate() {
        CODE_PAGE.set(index, u64::from(CALL) << 32 | u64::from(instruction));
    }
    let start = CODE_PAGE.address();
    for line in (start..start + PAGE).step_by(16) {
        // SAFETY: changes no contents.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack)) };
    }
    // SAFETY: as above.
    unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack)) };
}

/// L and op0 to op2 of all that is tried: instructions and registers, reads (L) and writes.
fn all() -> impl Iterator<Item = u32> {
    [0, 1].into_iter().flat_map(|is_read| (1 << 14..4_u32 << 14).map(move |bits| is_read << 16 | bits))
}

/// Reads and writes go by x0: the address of data, or 0 for a register.
pub fn nothing_more_is_reached_from_el0(machine: &Machine) -> Outcome {
    map();
    let opened = Opened::all();
    let (mut batch, mut reached) = ([0; AT_ONCE], 0);
    let mut rest = all().peekable();
    while rest.peek().is_some() {
        let count = batch.iter_mut().zip(&mut rest).map(|(place, bits)| *place = bits).count();
        write_code(batch[..count].iter().map(|bits| 0xd500_0000 | bits << 5));
        for (place, bits) in (CODE..).step_by(8).zip(&batch[..count]) {
            reached += u32::from(is_reached(machine, place, *bits)?);
        }
    }
    drop(opened);
    println!("registers: {reached} encodings are reached from EL0");
    Ok(())
}

fn is_reached(machine: &Machine, place: u64, bits: u32) -> Result<bool, guest_runtime::checks::Failure> {
    let (is_read, name) = (bits >> 16 != 0, bits & 0xffff);
    let value = if name >> 14 == 1 { DATA } else { 0 };
    // SAFETY: what EL0 does ends in an exception, by which it comes back here.
    let Err(fault) = catch(|| unsafe { go_to_el0(place, value) }) else {
        return Err(guest_runtime::checks::Failure::failed(format_args!("EL0 did not end")));
    };
    let is_reached = fault.class() == CLASS_SUPERVISOR_CALL;
    let is_refused = matches!(fault.class(), CLASS_UNDEFINED | 0x07 | 0x18 | 0x19 | 0x1d);
    ensure!(is_reached || is_refused, "{} at EL0, read: {is_read}: {fault}", Name(name));
    // EL0 has what is named by op1 3.
    let may = name >> 11 & 7 == 3 && is_offered(machine, name, is_read);
    ensure!(!is_reached || may, "{} is reached from EL0, read: {is_read}", Name(name));
    Ok(is_reached)
}
