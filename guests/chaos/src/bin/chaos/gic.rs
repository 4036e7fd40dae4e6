//! The interrupts that actions leave behind: taken and ended, or all of it put right.

use guest_runtime::machine::{self, GicVersion};
use guest_runtime::{gic, mmio, register, timer};

use crate::leap::{Context, leap};
use crate::{ground, pad};

/// Instructions at EL1 with everything masked.
const MASKED: u64 = 0x3c5;

/// MRS or MSR of a register of op0 3.
pub const fn system(read: bool, op1: u32, crn: u32, crm: u32, op2: u32, register: u32) -> u32 {
    0xd510_0000 | (read as u32) << 21 | register::encode(3, op1, crn, crm, op2) | register
}

const fn read(crm: u32, op2: u32) -> u32 {
    system(true, 0, 12, crm, op2, 0)
}

const fn write(crm: u32, op2: u32) -> u32 {
    system(false, 0, 12, crm, op2, 0)
}

/// Stops both timers: CNTV_CTL_EL0, CNTP_CTL_EL0 = 0.
const STOP_TIMERS: [u32; 2] = [system(false, 3, 14, 3, 1, 31), system(false, 3, 14, 2, 1, 31)];

/// Takes and ends what is pending in either group, with a GICv3 by a leap: its registers may be anything's by now.
pub fn take(context: &mut Context) {
    // ICC_IAR1_EL1, ICC_EOIR1_EL1, ICC_IAR0_EL1, ICC_EOIR0_EL1.
    const TAKE: [u32; 5] = [read(12, 0), write(12, 1), read(8, 0), write(8, 1), pad::END];
    static CODE: [u32; 7] = join(STOP_TIMERS, TAKE);
    static TIMERS: [u32; 3] = join(STOP_TIMERS, [pad::END]);
    match machine::get().gic {
        GicVersion::V3 => run(context, &CODE),
        GicVersion::V2 => {
            run(context, &TIMERS);
            let frame = machine::get().gic_frames.second;
            let taken = mmio::read32(frame + 0xc);
            mmio::write32(frame + 0x10, taken);
        }
    }
}

const fn join<const A: usize, const B: usize, const C: usize>(first: [u32; A], second: [u32; B]) -> [u32; C] {
    let mut all = [0; C];
    let mut index = 0;
    while index < A + B {
        all[index] = if index < A { first[index] } else { second[index - A] };
        index += 1;
    }
    all
}

/// Runs constant code of ours, and leaves the context as it was but for its end.
fn run(context: &mut Context, code: &'static [u32]) {
    let before = (context.start, context.state, context.half, context.breaks);
    (context.half, context.breaks) = (0, 0);
    (context.start, context.state) = (ground::executable(code.as_ptr() as u64), MASKED);
    leap(context);
    (context.start, context.state, context.half, context.breaks) = before;
}

/// Puts the whole of this core's interface right, so that its virtual timer's interrupt ends a wait.
pub fn repair(context: &mut Context) {
    // ICC_SRE_EL1, ICC_AP1R0_EL1, ICC_AP0R0_EL1, ICC_CTLR_EL1, ICC_PMR_EL1, ICC_IGRPEN1_EL1: 1, 0, 0, 0, all ones, 1.
    const ONE: u32 = 0xd280_0020;
    const ALL: u32 = 0xd280_1fe0;
    const ISB: u32 = 0xd503_3fdf;
    const CLEAR: u32 = 31;
    static CODE: [u32; 11] = [
        ONE,
        write(12, 5),
        ISB,
        write(9, 0) | CLEAR,
        write(8, 4) | CLEAR,
        write(12, 4) | CLEAR,
        write(12, 7),
        ALL,
        system(false, 0, 4, 6, 0, 0),
        ISB,
        pad::END,
    ];
    if machine::get().gic == GicVersion::V3 {
        run(context, &CODE);
    } else {
        let frame = machine::get().gic_frames.second;
        [(0xd0, 0), (4, 0xff), (0, 1)].into_iter().for_each(|(offset, value)| mmio::write32(frame + offset, value));
    }
    repair_timer();
}

/// The virtual timer's interrupt: alone in group 1 (with a GICv2 in group 0), enabled, not active.
fn repair_timer() {
    let frame = gic::v3::frame_of(timer::VIRTUAL_INTERRUPT);
    let bit = 1 << timer::VIRTUAL_INTERRUPT;
    let group = if machine::get().gic == GicVersion::V3 { u32::MAX } else { 0 };
    let distributor = machine::get().gic_frames.distributor;
    mmio::write32(distributor, if machine::get().gic == GicVersion::V3 { 0x12 } else { 1 });
    use gic::v3::distributor::{ICACTIVER, ICENABLER, ICPENDR, IGROUPR, IPRIORITYR, ISENABLER};
    for (register, value) in [
        (ICENABLER, u32::MAX),
        (ICACTIVER, u32::MAX),
        (ICPENDR, u32::MAX),
        (IGROUPR, group),
        (IPRIORITYR + 24, 0x4040_4040),
        (ISENABLER, bit),
    ] {
        mmio::write32(frame + register, value);
    }
}
