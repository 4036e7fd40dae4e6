//! Calls of who is above: HVC and SMC with anything in the registers, from both levels.

use super::Actor;
use crate::pad::{self, Use, fill};
use crate::random::Random;
use crate::{gic, ground, leap};

const HVC: u32 = 0xd400_0002;
const SMC: u32 = 0xd400_0003;
/// Calls of one action.
const CALLS: u64 = 16;

/// Functions that would end the guest (SYSTEM_OFF, SYSTEM_RESET, SYSTEM_RESET2, SYSTEM_SUSPEND) or are done by other
/// actions (CPU_SUSPEND, CPU_OFF, CPU_ON, CPU_DEFAULT_SUSPEND).
const ELSEWHERE: [u64; 8] = [1, 2, 3, 8, 9, 0xc, 0xe, 0x12];

/// A few calls.
pub fn call(actor: &mut Actor) -> u64 {
    let immediate = if actor.random.one_in(4) { actor.random.below(0x1_0000) as u32 } else { 0 };
    let instruction = actor.random.pick(&[HVC, HVC, SMC]) | immediate << 5;
    let start = pad::write(Use::Once, [instruction]);
    for _ in 0..CALLS {
        one(actor, start);
    }
    CALLS
}

fn one(actor: &mut Actor, start: u64) {
    let context = &mut *actor.context;
    fill(context, &mut actor.random);
    context.x[0] = function(&mut actor.random);
    (context.start, context.half, context.breaks) = (ground::executable(start), 0, 0);
    context.state = if actor.random.one_in(8) { 0 } else { 0x3c5 };
    leap::leap(context);
    if context.end.is_interrupt() {
        gic::take(context);
    }
}

/// A function's number: of PSCI, of the architecture, of anybody, of nobody.
fn function(random: &mut Random) -> u64 {
    loop {
        let width = random.pick(&[0u64, 1 << 30]);
        let number = match random.below(8) {
            0..=2 => 0x8400_0000 | width | random.below(0x20),
            3 => 0x8000_0000 | width | random.pick(&[0, 1, 2, 0x7fff, 0x8000, 0x3fff]),
            4 => 0x8000_0000 | width | random.below(64) << 24 | random.below(0x1_0000),
            5 => 0xc500_0020 | random.below(4),
            _ => random.value(),
        };
        if !is_elsewhere(number) {
            return number;
        }
    }
}

fn is_elsewhere(number: u64) -> bool {
    let function = number as u32 & !(1 << 30);
    ELSEWHERE.iter().any(|&one| u64::from(function) == 0x8400_0000 | one)
}
