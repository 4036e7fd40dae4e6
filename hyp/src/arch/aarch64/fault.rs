//! A fault of EL2 itself: a register dump, a backtrace, and an end of the whole machine.

use core::fmt::Write;

use super::registers::read_register;
use super::vectors::FatalFrame;
use crate::system::System;

/// The most frames a backtrace follows: a broken chain must end too.
const BACKTRACE_DEPTH: usize = 24;

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
    static __text_end: u8;
}

/// The machine addresses of the hypervisor's image: first byte, and one past the last.
pub fn image_span() -> (u64, u64) {
    (&raw const __image_start as u64, &raw const __image_end as u64)
}

fn is_code(address: u64) -> bool {
    (image_span().0..&raw const __text_end as u64).contains(&address)
}

#[unsafe(no_mangle)]
extern "C" fn fatal_exception(frame: &FatalFrame) -> ! {
    let esr = read_register!("esr_el2");
    if is_unanswered(esr) && System::get().is_none() {
        nothing_there()
    }
    let mut out = crate::terminal::Emergency::begin();
    let (elr, far) = (read_register!("elr_el2"), read_register!("far_el2"));
    let _ = writeln!(
        out,
        "fatal: EL2 faulted: vector {:#05x} esr {esr:#010x} ({}) elr {elr:#x} far {far:#x} spsr {:#x}",
        frame.vector,
        exception_class(esr),
        read_register!("spsr_el2"),
    );
    for (pair, values) in frame.x.chunks(2).enumerate() {
        let _ = write!(out, "  x{:<2} {:#018x}", pair * 2, values[0]);
        let _ = match values.get(1) {
            Some(value) => writeln!(out, "  x{:<2} {value:#018x}", pair * 2 + 1),
            None => writeln!(out, "  sp  {:#018x}", frame.sp),
        };
    }
    // A jump into the blue leaves no frame: who jumped is in the link register.
    let pc = if is_code(elr) { elr } else { frame.x[30].wrapping_sub(4) };
    backtrace(&mut out, pc, frame.x[29]);
    crate::leave::end_after_fault()
}

/// A data abort from where the access went (a synchronous external abort), not from our own tables.
fn is_unanswered(esr: u64) -> bool {
    esr >> 26 == 0x25 && esr & 0x3f == 0x10
}

/// While the machine is explored, that is the device tree's fault.
fn nothing_there() -> ! {
    crate::terminal::refuse(format_args!(
        "nothing answers at {:#x}, where the device tree has memory or registers: correct reg of the node, or have \
         firmware enable it",
        read_register!("far_el2")
    ))
}

fn exception_class(esr: u64) -> &'static str {
    match esr >> 26 & 0x3f {
        0x00 => "unknown instruction",
        0x21 => "instruction abort",
        0x22 => "misaligned PC",
        0x25 => "data abort",
        0x26 => "misaligned SP",
        0x2f => "SError",
        0x3c => "BRK",
        _ => "see ESR_EL2.EC",
    }
}

/// Prints the chain of calls as offsets in the image, which `cargo xtask` turns into names.
pub fn backtrace(out: &mut impl Write, pc: u64, frame_pointer: u64) {
    let (start, end) = image_span();
    let _ = writeln!(out, "image at {start:#x}");
    let mut report = |address: u64| {
        if (start..end).contains(&address) {
            let _ = writeln!(out, "backtrace: {:#x}", address - start);
        }
    };
    report(pc);
    let mut frame = frame_pointer;
    for _ in 0..BACKTRACE_DEPTH {
        // A frame record is two words (AAPCS64 6.4.6): the caller's record, the return address.
        if frame == 0 || !frame.is_multiple_of(8) || !is_mapped(frame) {
            break;
        }
        // SAFETY: the page is mapped readable for EL2 (just asked), and the pair does not cross it by alignment to 16.
        let (next, return_address) = unsafe { (*(frame as *const u64), *(frame as *const u64).add(1)) };
        // A call's return address is one instruction past it.
        report(return_address.wrapping_sub(4));
        if next <= frame {
            break;
        }
        frame = next;
    }
}

/// Whether EL2 may read at `address` (AT S1E2R).
fn is_mapped(address: u64) -> bool {
    if !address.is_multiple_of(16) {
        return false;
    }
    // SAFETY: an address translation touches PAR_EL1 only, and the machine is about to stop.
    unsafe { core::arch::asm!("at s1e2r, {}", "isb", in(reg) address, options(nostack)) };
    read_register!("par_el1") & 1 == 0
}
