//! Returns to where and to what nobody should return, and exceptions for their own sake.

use super::Actor;
use crate::leap::leap;
use crate::pad::{self, Use, fill};
use crate::{gic, ground};

const NOP: u32 = 0xd503_201f;
/// In AArch32, `svc #0`; in AArch64, a load or store that is not there.
const SVC_32: u32 = 0xef00_0000;

/// One of both.
pub fn some(actor: &mut Actor) -> u64 {
    if actor.random.one_in(3) { exception(actor) } else { wild(actor) }
}

/// ERET with a state and an address at random.
fn wild(actor: &mut Actor) -> u64 {
    let start = pad::write(Use::Once, [SVC_32; 64]);
    let context = &mut *actor.context;
    let random = &mut actor.random;
    fill(context, random);
    context.start = match random.below(4) {
        0 => random.address(),
        1 => random.value(),
        // Below 4 GiB for AArch32, whose addresses have 32 bits.
        _ => ground::executable(start) + random.below(64),
    };
    context.state = match random.below(4) {
        0 => random.next() & 0xffff_ffff,
        1 => random.below(32) | random.next() & 0xf020_0000,
        _ => random.pick(&[0x10, 0x30, 0x1d3, 0x3c9, 0x3cd, 0x10_0005, 0x20_0005, 0x20_0000]),
    };
    // EL0 cannot mask interrupts for good.
    context.state &= !0xc0;
    (context.half, context.breaks) = (0, 0);
    leap(context);
    if context.end.is_interrupt() {
        gic::take(context);
    }
    1
}

/// SVC, HLT, BRK, DCPS, DRPS, ERET, what is undefined.
fn exception(actor: &mut Actor) -> u64 {
    const SVC: u32 = 0xd400_0001;
    const BRK: u32 = 0xd420_0000;
    const HLT: u32 = 0xd440_0000;
    const DRPS: u32 = 0xd6bf_03e0;
    /// The number of HLT that would reach the host, if QEMU were started with semihosting.
    const SEMIHOSTING: u32 = 0xf000;
    let random = &mut actor.random;
    let number = random.below(0x1_0000) as u32;
    let instruction = match random.below(8) {
        0 | 1 => SVC | number << 5,
        2 => BRK | number << 5,
        3 => HLT | SEMIHOSTING << 5,
        4 => HLT | number << 5,
        5 => 0xd4a0_0000 | number << 5 | random.below(4) as u32,
        6 => DRPS,
        _ => number,
    };
    let start = pad::write(Use::Once, [NOP, instruction]);
    let context = &mut *actor.context;
    fill(context, random);
    (context.start, context.half, context.breaks) = (ground::executable(start), 0, 0);
    context.state = random.pick(&[0x3c5, 0, 0x20_03c5]);
    leap(context);
    1
}
