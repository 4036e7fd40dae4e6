//! System registers and system instructions: every encoding there is, one after the other, and those that exist more often.

use super::Actor;
use crate::pad::{self, Run, Use, WORDS};
use crate::random::Random;

/// Instructions of one burst.
const BURST: u64 = 63;
/// Bursts before the pad is written anew.
const LIFE: u64 = 24;
/// The class "System instructions, registers and hints", with L, op0, op1, CRn, CRm, op2 in bits 21 to 5.
const SYSTEM: u32 = 0xd500_0000;
const FIELDS: u32 = 1 << 17;

/// A burst of them.
pub fn burst(actor: &mut Actor) -> u64 {
    if actor.age.is_multiple_of(LIFE) {
        renew(actor);
    }
    actor.age += 1;
    let start = pad::start_of(Use::Registers) + 256 * actor.random.below(WORDS as u64 / 64 - 1);
    Run { start, length: BURST }.carry_out(actor.context, &mut actor.random)
}

fn renew(actor: &mut Actor) {
    let (random, sweep) = (&mut actor.random, &mut actor.sweep);
    let instructions = (0..WORDS).map(|index| match index % 64 {
        63 => pad::END,
        _ => loop {
            let candidate = if random.one_in(2) { next(sweep) } else { likely(random) } | some_register(random);
            if !is_excluded(candidate) {
                break candidate;
            }
        },
    });
    pad::write(Use::Registers, instructions);
}

/// The next of all encodings.
fn next(sweep: &mut u32) -> u32 {
    *sweep = sweep.wrapping_add(1);
    SYSTEM | (*sweep % FIELDS) << 5
}

/// x0 to x7, or zero.
fn some_register(random: &mut Random) -> u32 {
    if random.one_in(8) { 31 } else { random.below(8) as u32 }
}

/// Where many registers are: (op0, op1, CRn).
const CROWDED: [(u32, u32, u32); 16] = [
    (3, 0, 12),
    (3, 0, 12),
    (3, 0, 4),
    (3, 3, 14),
    (3, 3, 9),
    (3, 0, 0),
    (3, 0, 1),
    (3, 0, 10),
    (3, 3, 13),
    (2, 0, 0),
    (2, 0, 1),
    (2, 3, 0),
    (1, 0, 7),
    (1, 0, 8),
    (1, 3, 7),
    (3, 4, 12),
];

fn likely(random: &mut Random) -> u32 {
    let (op0, op1, crn) = random.pick(&CROWDED);
    let rest = random.below(128) as u32;
    SYSTEM | (random.below(2) as u32) << 21 | op0 << 19 | op1 << 16 | crn << 12 | rest << 5
}

/// Op0, op1, CRn, CRm, op2 as one number.
const fn name(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// What a burst leaves to other actions, or nobody does.
fn is_excluded(instruction: u32) -> bool {
    const WFI: u32 = name(0, 3, 2, 0, 3);
    const WFET: u32 = name(1, 3, 1, 0, 0);
    const WFIT: u32 = name(1, 3, 1, 0, 1);
    const CONTROL: [u32; 10] = [
        name(3, 0, 1, 0, 0),  // SCTLR_EL1
        name(3, 0, 1, 0, 3),  // SCTLR2_EL1
        name(3, 0, 2, 0, 0),  // TTBR0_EL1
        name(3, 0, 2, 0, 1),  // TTBR1_EL1
        name(3, 0, 2, 0, 2),  // TCR_EL1
        name(3, 0, 2, 0, 3),  // TCR2_EL1
        name(3, 0, 10, 2, 0), // MAIR_EL1
        name(3, 0, 10, 2, 2), // PIRE0_EL1
        name(3, 0, 10, 2, 3), // PIR_EL1
        name(3, 0, 12, 0, 0), // VBAR_EL1
    ];
    // ICC_BPR1_EL1: QEMU itself ends, by an assertion of its own, after a write of 8; with values that do not, it is an action
    // of its own.
    const BINARY_POINT: u32 = name(3, 0, 12, 12, 3);
    let (is_read, name) = (instruction >> 21 & 1 != 0, instruction >> 5 & 0xffff);
    // Which ends the run that the pad is.
    matches!(name, WFI | WFET | WFIT) || !is_read && (CONTROL.contains(&name) || name == BINARY_POINT)
}
