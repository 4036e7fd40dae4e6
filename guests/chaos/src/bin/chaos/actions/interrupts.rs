//! Storms of interrupts of this guest's own making, timers with times that never were, and waits for them.

use guest_runtime::machine::{self, GicVersion};
use guest_runtime::{mmio, timer};

use super::Actor;
use crate::leap::leap;
use crate::pad::{self, Use, fill};
use crate::{gic, ground};

const MASKED: u64 = 0x3c5;
const OPEN: u64 = 0x005;
const NOP: u32 = 0xd503_201f;
/// SGIs of one storm.
const SGIS: u64 = 24;
/// How long a wait lasts, in microseconds.
const WAIT: u64 = 100;

/// SGIs to anybody, then interrupts are let in for a moment.
pub fn storm(actor: &mut Actor) -> u64 {
    match machine::get().gic {
        GicVersion::V2 => {
            let distributor = machine::get().gic_frames.distributor;
            (0..SGIS).for_each(|_| mmio::write32(distributor + 0xf00, actor.random.next() as u32));
        }
        GicVersion::V3 => system_registers(actor),
    }
    if actor.random.one_in(4) {
        gic::repair(actor.context);
        mmio::write32(guest_runtime::gic::v3::frame_of(0) + 0x100, u32::MAX);
    }
    let start = pad::write(Use::Once, [NOP; 8]);
    for _ in 0..8 {
        (actor.context.start, actor.context.state) = (ground::executable(start), OPEN);
        (actor.context.half, actor.context.breaks) = (0, 0);
        leap(actor.context);
        if !actor.context.end.is_interrupt() {
            break;
        }
        gic::take(actor.context);
    }
    SGIS
}

/// ICC_SGI1R_EL1, ICC_ASGI1R_EL1, ICC_SGI0R_EL1 with the list of cores in its low bits, and ICC_BPR1_EL1, for which QEMU
/// stands no value above 7.
fn system_registers(actor: &mut Actor) {
    const SEND: [u32; 4] = [5, 5, 6, 7];
    let random = &mut actor.random;
    let code = (0..SGIS).map(|index| gic::system(false, 0, 12, 11, random.pick(&SEND), 3 + index as u32 % 4));
    let binary_point = gic::system(false, 0, 12, 12, 3, 0);
    let start = pad::write(Use::Once, code.chain([binary_point]));
    let context = &mut *actor.context;
    fill(context, &mut actor.random);
    for index in 3..7 {
        context.x[index] =
            actor.random.below(16) << 24 | 1 << actor.random.below(4) | (actor.random.below(8) / 7) << 40;
    }
    context.x[0] = actor.random.below(8);
    (context.start, context.state) = (ground::executable(start), MASKED);
    (context.half, context.breaks) = (0, 0);
    leap(context);
}

/// Both timers get times: past, now, soon, never, beyond the end of time.
pub fn timers(actor: &mut Actor) -> u64 {
    const TIMERS: u64 = 8;
    for _ in 0..TIMERS {
        let random = &mut actor.random;
        let now = timer::counter();
        let time = match random.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => now,
            3 => now.wrapping_sub(random.below(1 << 20)),
            4 => now + random.below(1 << 12),
            5 => 0u64.wrapping_sub(now),
            6 => random.next(),
            _ => now.wrapping_sub(1 << 63),
        };
        let timer = random.pick(&[timer::Timer::Virtual, timer::Timer::Physical]);
        timer.set_compare(time);
        timer.set_control(random.below(4));
    }
    TIMERS
}

/// WFI, WFE, YIELD or CPU_SUSPEND at either level, with the virtual timer's interrupt to end it.
pub fn wait(actor: &mut Actor) -> u64 {
    const WFI: u32 = 0xd503_207f;
    const WFE: u32 = 0xd503_205f;
    const YIELD: u32 = 0xd503_203f;
    const HVC: u32 = 0xd400_0002;
    gic::repair(actor.context);
    let kind = actor.random.below(4) as usize;
    let start = pad::write(Use::Once, [[WFI, WFE, YIELD, HVC][kind]]);
    let context = &mut *actor.context;
    fill(context, &mut actor.random);
    context.x[0] = 0xc400_0001;
    (context.start, context.half, context.breaks) = (ground::executable(start), 0, 0);
    context.state = if actor.random.one_in(4) && kind != 3 { 0 } else { MASKED };
    timer::Timer::Physical.stop();
    timer::Timer::Virtual.start(WAIT);
    leap(context);
    gic::take(context);
    1
}
