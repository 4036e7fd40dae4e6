//! Instructions of AArch32 at EL0 that EL2 carries out: T32 of two and four bytes, in and out of IT blocks, and A32.
//!
//! Each program ends with r0 = 3 if all of it was executed, each instruction once and none that should not be.

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::catch::{Fault, catch};
use guest_runtime::checks::{Failure, Outcome};
use guest_runtime::console::PL011;
use guest_runtime::mmu::{self, Kind};
use guest_runtime::{Machine, ensure, ensure_equal, mmio, read_register, skip, write_register};

use crate::window::Window;
use crate::with_timer;

/// Exception classes: SVC of AArch32, a software step of a lower level.
const CLASS_CALL: u64 = 0x11;
const CLASS_STEP: u64 = 0x32;
/// PSTATE of AArch32's User mode, interrupts masked; and its T and SS.
const USER: u64 = 0x1d0;
const THUMB: u64 = 1 << 5;
const STEP: u64 = 1 << 21;
/// PSTATE.E, and SCTLR_EL1.E0E, which is its like for A64; PSTATE of A64 at EL0, interrupts masked.
const BIG_ENDIAN: u64 = 1 << 9;
const BIG_ENDIAN_USER: u64 = 1 << 24;
const A64: u64 = 0x3c0;
/// A page's AP[1]: EL0 may access it.
const FOR_USER: u64 = 1 << 6;
/// SCTLR_EL1.nTWI: EL0 may wait.
const MAY_WAIT: u64 = 1 << 16;

/// CNTKCTL_EL1.EL0PTEN: EL0 may access the physical timer.
const TIMER_FOR_USER: u64 = 1 << 9;

/// movs r2, #1; movs r3, #2; adds r0, r2, r3; svc #0.
const END: [u16; 4] = [0x2201, 0x2302, 0x18d0, 0xdf00];

#[repr(C, align(4096))]
struct Code(UnsafeCell<[u16; 2048]>);

// SAFETY: this guest has one core.
unsafe impl Sync for Code {}

static CODE: Code = Code(UnsafeCell::new([0; 2048]));
/// Below 4 GiB, where AArch32's addresses end: the code and, on the next page, the UART.
static WINDOW: Window = Window::new(3);

/// Runs a program with r1 = the UART, all others zero, until it takes an exception.
fn run(program: &[u16], state: u64) -> Result<Fault, Failure> {
    if read_register!("id_aa64pfr0_el1") & 0xf != 2 {
        skip!("no AArch32 at EL0");
    }
    for (index, half) in program.iter().enumerate() {
        // SAFETY: programs are of a few instructions; nobody else has the page.
        unsafe { CODE.0.get().cast::<u16>().add(index).write_volatile(*half) };
    }
    let page = |physical, kind, read_only| mmu::page(physical, kind, read_only) | FOR_USER;
    WINDOW.map(&[page(CODE.0.get() as u64, Kind::Memory, true), page(PL011 as u64, Kind::Device, false)]);
    let control = read_register!("sctlr_el1");
    write_register!("sctlr_el1", control | MAY_WAIT);
    let outcome = enter(WINDOW.start(), state, WINDOW.start() + 4096);
    write_register!("sctlr_el1", control);
    outcome.err().ok_or_else(|| Failure::failed(format_args!("no exception")))
}

fn enter(code: u64, state: u64, argument: u64) -> Result<(), Fault> {
    // SAFETY: what EL0 does next is an exception, which leaves this code.
    catch::<()>(|| unsafe {
        asm!(
            "dsb ish", "ic iallu", "dsb ish",
            "msr elr_el1, {code}", "msr spsr_el1, {state}", "isb",
            "mov x0, #0", "mov x2, #0", "mov x3, #0", "mov x4, #0", "mov x5, #0", "eret",
            code = in(reg) code, state = in(reg) state, in("x1") argument, options(noreturn)
        )
    })
}

/// Runs a program with [`END`] behind it.
fn complete(program: &[u16]) -> Outcome {
    let mut whole = [0; 32];
    for (place, half) in whole.iter_mut().zip(program.iter().chain(&END)) {
        *place = *half;
    }
    ends_well(&run(&whole, USER | THUMB)?, program)
}

fn ends_well(fault: &Fault, program: &[u16]) -> Outcome {
    ensure_equal!((fault.class(), fault.x0), (CLASS_CALL, 3), "class and r0 behind {program:x?} ({fault})");
    Ok(())
}

pub fn short_loads_and_stores(_: &Machine) -> Outcome {
    // ldr, ldrh, ldrb r4, [r1, #24]; str, strh r5, [r1, #56]; strb r5, [r1, #28].
    [0x698c, 0x8b0c, 0x7e0c, 0x638d, 0x870d, 0x770d].into_iter().try_for_each(|access| complete(&[access]))
}

pub fn long_loads_and_stores(_: &Machine) -> Outcome {
    // ldr.w, ldrsb.w r4, [r1, #24]; strh.w r5, [r1, #56].
    [[0xf8d1, 0x4018], [0xf991, 0x4018], [0xf8a1, 0x5038]].iter().try_for_each(|access| complete(access))
}

pub fn in_a_block_of_conditions(_: &Machine) -> Outcome {
    // cmp r0, r0; itete eq; ldr; movne r2, #9; moveq r2, #1; movne r2, #9.
    complete(&[0x4280, 0xbf0b, 0x698c, 0x2209, 0x2201, 0x2209])?;
    complete(&[0x4280, 0xbf0b, 0xf8d1, 0x4018, 0x2209, 0x2201, 0x2209])?;
    // cmp r0, r0; itete eq; moveq r2, #1; movne r3, #9; ldreq; svcne #1.
    complete(&[0x4280, 0xbf0b, 0x2201, 0x2309, 0x698c, 0xdf01])?;
    // cmp r1, r0; itttt ne; four loads; cmp r0, r0: nothing is conditional any more.
    complete(&[0x4281, 0xbf1f, 0x698c, 0x698c, 0x698c, 0x698c, 0x4280])
}

pub fn waits(machine: &Machine) -> Outcome {
    // wfi, of two and of four bytes.
    with_timer(machine, || complete(&[0xbf30]))?;
    with_timer(machine, || complete(&[0xf3af, 0x8003]))
}

pub fn steps(_: &Machine) -> Outcome {
    for (program, bytes) in [([0x698c, 0xdf01], 2), ([0xf8d1, 0x4018], 4), ([0x2201, 0xdf01], 2)] {
        write_register!("mdscr_el1", 1);
        let fault = run(&program, USER | THUMB | STEP);
        write_register!("mdscr_el1", 0);
        let fault = fault?;
        let stepped = fault.return_address.wrapping_sub(WINDOW.start());
        ensure_equal!((fault.class(), stepped), (CLASS_STEP, bytes), "class and bytes behind {program:x?}");
    }
    Ok(())
}

/// MRC, MRRC and MCRR of CNTP_CTL and CNTP_CVAL, once EL1 permits them.
pub fn physical_timer(_: &Machine) -> Outcome {
    const COMPARE: u64 = 0x1234_5678_9abc_def0;
    let permissions = read_register!("cntkctl_el1");
    write_register!("cntkctl_el1", permissions | TIMER_FOR_USER);
    write_register!("cntp_cval_el0", COMPARE);
    write_register!("cntp_ctl_el0", 2);
    // mrc p15, 0, r0, c14, c2, 1; mrrc p15, 2, r0, r4, c14 and r4, r0, c14; all with svc #0.
    let reads = [([0xee1e, 0x0f32], 2), ([0xec54, 0x0f2e], COMPARE & 0xffff_ffff), ([0xec50, 0x4f2e], COMPARE >> 32)];
    let outcome = reads.into_iter().try_for_each(|(program, expected)| {
        let fault = run(&[program[0], program[1], 0xdf00], USER | THUMB)?;
        ensure_equal!((fault.class(), fault.x0), (CLASS_CALL, expected), "r0 behind {program:x?} ({fault})");
        Ok(())
    });
    // mov r2, #5; mcrr p15, 2, r1, r2, c14.
    let stored = run(&[0x2205, 0xec42, 0x1f2e, 0xdf00], USER | THUMB);
    let compare = read_register!("cntp_cval_el0");
    write_register!("cntp_ctl_el0", 0);
    write_register!("cntkctl_el1", permissions);
    outcome?;
    ensure_equal!((stored?.class(), compare), (CLASS_CALL, 5 << 32 | (WINDOW.start() + 4096)), "CNTP_CVAL by MCRR");
    Ok(())
}

/// The order of bytes is PSTATE.E of AArch32, and SCTLR_EL1.E0E of A64.
pub fn big_endian_data(_: &Machine) -> Outcome {
    // ldr r0, [r1, #24]; str r1, [r1, #36] (IBRD); svc #0, in T32 and in A64.
    let (short, long) = ([0x6988, 0x6249, 0xdf00], [0x1820, 0xb940, 0x2421, 0xb900, 0x0001, 0xd400]);
    let divisor = PL011 + 0x24;
    let before = mmio::read32(divisor);
    let control = read_register!("sctlr_el1");
    let measure = |program: &[u16], state, order| {
        write_register!("sctlr_el1", control | order);
        let fault = run(program, state);
        write_register!("sctlr_el1", control);
        Ok((fault?.x0, mmio::read32(divisor)))
    };
    let outcome = || {
        let flags = measure(&short, USER | THUMB, 0)?.0;
        ensure!(flags != 0, "UARTFR is 0, the same in either order");
        let big = (u64::from((flags as u32).swap_bytes()), 0x00c0);
        ensure_equal!(measure(&short, USER | THUMB | BIG_ENDIAN, 0)?, big, "T32, E = 1");
        ensure_equal!(measure(&short, USER | THUMB, BIG_ENDIAN_USER)?, (flags, 0x1000), "T32, E = 0");
        ensure_equal!(measure(&long, A64, 0)?, (flags, 0x1000), "A64, E0E = 0");
        ensure_equal!(measure(&long, A64, BIG_ENDIAN_USER)?, big, "A64, E0E = 1");
        Ok(())
    };
    let outcome = outcome();
    mmio::write32(divisor, before);
    outcome
}

pub fn in_a32(_: &Machine) -> Outcome {
    // ldr r4, [r1, #24]; mov r2, #1; mov r3, #2; add r0, r2, r3; svc #0.
    let program = [0x4018, 0xe591, 0x2001, 0xe3a0, 0x3002, 0xe3a0, 0x0003, 0xe082, 0, 0xef00];
    ends_well(&run(&program, USER)?, &program)
}
