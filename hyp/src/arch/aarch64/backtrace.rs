//! Where EL2's image lies, and the chain of calls that led to a fault of its own.

use core::arch::asm;
use core::fmt::Write;

use super::registers::read_register;

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

/// Whether `address` is in EL2's code.
pub fn is_code(address: u64) -> bool {
    (image_span().0..&raw const __text_end as u64).contains(&address)
}

/// The calling function's frame record.
#[inline(always)]
pub fn frame_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, x29", out(reg) pointer, options(nomem, nostack)) };
    pointer
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
    unsafe { asm!("at s1e2r, {}", "isb", in(reg) address, options(nostack)) };
    read_register!("par_el1") & 1 == 0
}
