//! Calls to the hypervisor and a register it emulates: one instruction, and back.

/// The ticks that one instruction takes, with the operands it needs (registers it may change among them).
#[macro_export]
#[doc(hidden)]
macro_rules! ticks_of {
    ($instruction:literal $(, $($operand:tt)*)?) => {{
        let (start, end): (u64, u64);
        // SAFETY: reads the counter; the instruction is one that the measurement is about, with its operands.
        unsafe {
            core::arch::asm!(
                "isb", "mrs {start}, cntvct_el0", $instruction, "isb", "mrs {end}, cntvct_el0",
                start = out(reg) start, end = lateout(reg) end, $($($operand)*,)? options(nostack)
            );
        }
        end.wrapping_sub(start)
    }};
}

/// What two readings of the counter are apart.
pub fn nothing() -> u64 {
    ticks_of!("")
}

macro_rules! call {
    ($instruction:literal, $function:expr) => {
        ticks_of!($instruction,
            inout("x0") u64::from($function) => _, inout("x1") 0u64 => _, inout("x2") 0u64 => _,
            inout("x3") 0u64 => _, out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
            out("x17") _)
    };
}

/// A call by HVC of this function.
pub fn hvc(function: u32) -> u64 {
    call!("hvc #0", function)
}

/// Reading ID_AA64PFR0_EL1, which HCR_EL2.TID3 traps.
pub fn id_register() -> u64 {
    ticks_of!("mrs {value}, id_aa64pfr0_el1", value = out(reg) _)
}
