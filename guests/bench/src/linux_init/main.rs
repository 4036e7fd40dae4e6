//! Linux's first process in the bench: it says what the counter is and switches the machine off.
//!
//! A static program without a library; it speaks to the kernel by system calls (arm64: number in x8, `svc #0`).
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

/// `write`, and `reboot` with its magic numbers and the command to power off (Linux, include/uapi).
const WRITE: u64 = 64;
const REBOOT: u64 = 142;
const REBOOT_MAGIC: [u64; 2] = [0xfee1_dead, 672_274_793];
const POWER_OFF: u64 = 0x4321_fedc;
/// Standard output.
const OUTPUT: u64 = 1;

global_asm!(
    r#"
    .section .head, "ax"
    .global _start
_start:
    mrs     x0, cntvct_el0
    b       {main}
    "#,
    main = sym main,
);

extern "C" fn main(counter: u64) -> ! {
    write(b"bench: init at ");
    let mut digits = [b'0'; 20];
    let mut rest = counter;
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    write(digits.get(start..).unwrap_or_default());
    write(b"\n");
    loop {
        system_call(REBOOT, [REBOOT_MAGIC[0], REBOOT_MAGIC[1], POWER_OFF]);
    }
}

fn write(text: &[u8]) {
    system_call(WRITE, [OUTPUT, text.as_ptr() as u64, text.len() as u64]);
}

fn system_call(number: u64, arguments: [u64; 3]) {
    // SAFETY: the calls above read memory of this program only.
    unsafe {
        asm!(
            "svc #0", in("x8") number, inout("x0") arguments[0] => _, in("x1") arguments[1], in("x2") arguments[2],
            options(nostack, readonly)
        );
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
