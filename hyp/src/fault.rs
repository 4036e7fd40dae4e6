//! A fault of EL2 itself: a register dump, a backtrace, and an end of the whole machine.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::aarch64::backtrace::{backtrace, frame_pointer, is_code};
use crate::arch::aarch64::registers::read_register;
use crate::arch::aarch64::vectors::FatalFrame;
use crate::leave;
use crate::terminal::Emergency;

/// The board has been explored: what faults from here on is EL2's own doing.
static EXPLORED: AtomicBool = AtomicBool::new(false);

/// Boot is done with what the device tree says.
pub fn exploration_is_over() {
    EXPLORED.store(true, Ordering::Relaxed);
}

#[unsafe(no_mangle)]
extern "C" fn fatal_exception(frame: &FatalFrame) -> ! {
    let esr = read_register!("esr_el2");
    if is_unanswered(esr) && !EXPLORED.load(Ordering::Relaxed) {
        nothing_there()
    }
    let mut out = Emergency::begin();
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
    leave::end_after_fault()
}

/// A data abort from where the access went (a synchronous external abort), not from our own tables.
fn is_unanswered(esr: u64) -> bool {
    esr >> 26 == 0x25 && esr & 0x3f == 0x10
}

/// While the machine is explored, that is the device tree's fault.
fn nothing_there() -> ! {
    leave::refuse(format_args!(
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

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    let mut out = Emergency::begin();
    let _ = writeln!(out, "fatal: EL2 panicked: {info}");
    backtrace(&mut out, 0, frame_pointer());
    leave::end_after_fault()
}
