//! `bench-mark begin NAME` and `bench-mark end NAME` stand before and after a load: they mark the place for whoever counts
//! and say what the counter is.
#![no_std]
#![no_main]

mod kernel;

use core::arch::asm;
use core::ffi::{CStr, c_char};

use kernel::{Digits, counter, exit, mark, print};

fn main(count: usize, arguments: *const *const c_char) -> ! {
    let argument = |index: usize| {
        if index >= count {
            return b"".as_slice();
        }
        // SAFETY: Linux has put so many strings there, which stay.
        unsafe { CStr::from_ptr(*arguments.add(index)) }.to_bytes()
    };
    let (place, name) = (argument(1), argument(2));
    let now = match place {
        b"begin" => {
            let now = counter();
            mark!(113);
            now
        }
        b"end" => {
            mark!(114);
            counter()
        }
        _ => exit(2),
    };
    let frequency = Digits::new(frequency());
    print(&[b"bench: ", place, b" ", name, b" at ", Digits::new(now).text(), b" of ", frequency.text(), b" Hz\n"]);
    exit(0)
}

/// Ticks of the virtual counter in a second.
fn frequency() -> u64 {
    let frequency;
    // SAFETY: reads a register that Linux leaves to EL0.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nostack, nomem)) };
    frequency
}
