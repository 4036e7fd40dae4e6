//! Instructions written at run time, and runs of them: whatever one does, the next is tried too.

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::{MAX_CORES, register};

use crate::leap::{Context, End, UPPER, leap};
use crate::random::Random;
use crate::{gic, ground};

/// Words of a pad.
pub const WORDS: usize = 1024;
/// BRK #0xc4a0: the end of a run.
pub const END: u32 = 0xd420_0000 | 0xc4a0 << 5;
/// ESR_EL1 of that.
const END_SYNDROME: u64 = 0x3c << 26 | 1 << 25 | 0xc4a0;

/// How each run of instructions is entered.
const EL1: u64 = 0x3c5;
const EL1_OPEN: u64 = 0x005;
const EL1_WITH_SP_EL0: u64 = 0x3c4;
const EL0: u64 = 0x000;

/// One core's instructions.
#[repr(C, align(4096))]
struct Pad(UnsafeCell<[u32; WORDS]>);

/// Three for each core: registers, accesses, and what is made for one action.
#[repr(C, align(4096))]
struct Pads([[Pad; 3]; MAX_CORES]);

// SAFETY: each core uses its own, by its index.
unsafe impl Sync for Pads {}

static PADS: Pads = Pads([const { [const { Pad(UnsafeCell::new([END; WORDS])) }; 3] }; MAX_CORES]);

/// Which of a core's pads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// System registers and instructions.
    Registers,
    /// Loads and stores.
    Accesses,
    /// Whatever one action needs.
    Once,
}

/// This core's pad for `purpose`.
fn pad(purpose: Use) -> u64 {
    PADS.0[register::core_index() % MAX_CORES][purpose as usize].0.get() as u64
}

/// Where this core's pad for `purpose` begins.
pub fn start_of(purpose: Use) -> u64 {
    pad(purpose)
}

/// Writes the pad and says where it begins.
pub fn write(purpose: Use, instructions: impl IntoIterator<Item = u32>) -> u64 {
    let start = pad(purpose);
    let mut at = start;
    for instruction in instructions.into_iter().take(WORDS - 1).chain([END]) {
        // SAFETY: inside the pad, which is this core's and no Rust reference points to.
        unsafe { (at as *mut u32).write_volatile(instruction) };
        at += 4;
    }
    make_coherent(start, at);
    start
}

/// Makes new instructions seen (Arm ARM B2.4.4). Their other aliases too: all of the instruction cache goes.
fn make_coherent(start: u64, end: u64) {
    for line in (start..end).step_by(16) {
        // SAFETY: maintenance only.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack)) };
    }
    // SAFETY: as above.
    unsafe { asm!("dsb ish", "ic iallu", "dsb ish", "isb", options(nostack)) };
}

/// A run of instructions from `start`; how many are done at the most.
pub struct Run {
    /// The first, at its own address.
    pub start: u64,
    /// Instructions up to which it goes on.
    pub length: u64,
}

/// At EL1 or EL0, with interrupts or without.
fn some_state(random: &mut Random) -> u64 {
    match random.below(8) {
        0 | 1 => EL0,
        2 => EL1_WITH_SP_EL0 | random.below(16) << 28,
        3 => EL1_OPEN,
        _ => EL1 | random.below(16) << 28,
    }
}

/// Gives the code registers: x1 and x28 an address, x2 an offset, the first ones anything.
pub fn fill(context: &mut Context, random: &mut Random) {
    for index in 3..8 {
        context.x[index] = random.value();
    }
    context.x[8 + random.below(20) as usize] = random.next();
    context.x[0] = random.value();
    context.x[1] = random.address();
    context.x[2] = random.below(64) << random.below(8);
    context.x[28] = context.x[1];
    context.sp = ground::scratch().end() - 16 * (1 + random.below(256));
}

impl Run {
    /// Tries all of its instructions one by one at EL1 or EL0: after an exception it goes on behind the instruction that took
    /// it. Gives how many were tried.
    pub fn carry_out(&self, context: &mut Context, random: &mut Random) -> u64 {
        context.state = some_state(random);
        (context.half, context.breaks) = (0, 0);
        self.go_through(context, random, ground::executable(self.start))
    }

    /// The same in the upper half, with `tables` for the lower.
    pub fn carry_out_on(&self, context: &mut Context, random: &mut Random, tables: u64) -> u64 {
        context.state = some_state(random);
        (context.half, context.breaks, context.tables) = (UPPER, 1, tables);
        self.go_through(context, random, ground::executable(self.start) + UPPER)
    }

    fn go_through(&self, context: &mut Context, random: &mut Random, start: u64) -> u64 {
        let end = start + 4 * self.length;
        context.start = start;
        // More often than there are instructions: interrupts come in between, but not for ever.
        for _ in 0..2 * self.length {
            fill(context, random);
            leap(context);
            match self.next(context, start..end) {
                Some(next) => context.start = next,
                None => break,
            }
        }
        let last = context.end.at.clamp(context.start, end);
        ((last - start) / 4).max(1)
    }

    /// Where it goes on after an exception; None at its end.
    fn next(&self, context: &mut Context, all: core::ops::Range<u64>) -> Option<u64> {
        let End { syndrome, at, .. } = context.end;
        let is_over = context.end.class().is_some() && syndrome == END_SYNDROME || !all.contains(&at);
        if is_over {
            return None;
        }
        if context.end.is_interrupt() {
            gic::take(context);
            return Some(at);
        }
        // An SError says nothing of an instruction.
        let next = if context.end.class().is_some() { at + 4 } else { at };
        all.contains(&next).then_some(next)
    }
}
