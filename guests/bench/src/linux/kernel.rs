//! What the programs for Linux have in common: marks for whoever counts, and a few system calls.
//!
//! They are static programs without a library (arm64: number in x8, `svc #0`; Linux, include/uapi).

use core::arch::{asm, global_asm};
use core::ffi::c_char;

/// Standard output.
const OUTPUT: u64 = 1;
const WRITE: u64 = 64;
const EXIT: u64 = 93;
const GET_PROCESS_ID: u64 = 172;

// Linux starts a program with its arguments on the stack: their count, then their addresses.
global_asm!(
    r#"
    .section .head, "ax"
    .global _start
_start:
    ldr     x0, [sp]
    add     x1, sp, #8
    b       {main}
    "#,
    main = sym start,
);

extern "C" fn start(count: usize, arguments: *const *const c_char) -> ! {
    crate::main(count, arguments)
}

/// Executes two instructions that are nothing to the guest and tell QEMU where it is: `hint` NUMBER, which no processor
/// gives a meaning (a NOP; Arm ARM C6.2, HINT), for the plugin that counts instructions; `svc` with NUMBER, which Linux
/// does not look at, for the log of exceptions.
macro_rules! mark {
    ($number:literal) => {
        // SAFETY: a NOP, and a system call that changes nothing (getpid).
        unsafe {
            core::arch::asm!(
                concat!("hint #", $number),
                concat!("svc #", $number),
                in("x8") $crate::kernel::get_process_id(), lateout("x0") _,
                options(nostack, nomem)
            );
        }
    };
}
pub(crate) use mark;

/// The number of the system call in marks.
pub const fn get_process_id() -> u64 {
    GET_PROCESS_ID
}

/// The virtual counter.
pub fn counter() -> u64 {
    let counter;
    // SAFETY: reads a register that Linux leaves to EL0.
    unsafe { asm!("mrs {}, cntvct_el0", out(reg) counter, options(nostack, nomem)) };
    counter
}

/// Writes texts to the standard output.
pub fn print(texts: &[&[u8]]) {
    for text in texts {
        system_call(WRITE, [OUTPUT, text.as_ptr() as u64, text.len() as u64]);
    }
}

/// Ends this program.
pub fn exit(status: u64) -> ! {
    loop {
        system_call(EXIT, [status, 0, 0]);
    }
}

/// A number's decimal digits.
pub struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    /// Of this number.
    pub fn new(number: u64) -> Self {
        let mut digits = Self { bytes: [b'0'; 20], start: 20 };
        let mut rest = number;
        for digit in digits.bytes.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            digits.start -= 1;
            if rest == 0 {
                break;
            }
        }
        digits
    }

    /// As text.
    pub fn text(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// A system call whose result does not matter.
pub fn system_call(number: u64, arguments: [u64; 3]) {
    // SAFETY: the calls made read memory of this program only.
    unsafe {
        asm!(
            "svc #0", in("x8") number, inout("x0") arguments[0] => _, in("x1") arguments[1], in("x2") arguments[2],
            options(nostack, readonly)
        );
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(101)
}
