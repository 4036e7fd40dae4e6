//! Linux's first process in the bench: it marks that it is there, says what the counter is and switches the machine off.
#![no_std]
#![no_main]

mod kernel;

use core::ffi::c_char;

use kernel::{Digits, counter, mark, print, system_call};

/// `reboot`, with its magic numbers and the command to power off.
const REBOOT: u64 = 142;
const REBOOT_MAGIC: [u64; 2] = [0xfee1_dead, 672_274_793];
const POWER_OFF: u64 = 0x4321_fedc;

fn main(_count: usize, _arguments: *const *const c_char) -> ! {
    let now = counter();
    mark!(112);
    print(&[b"bench: init at ", Digits::new(now).text(), b"\n"]);
    loop {
        system_call(REBOOT, [REBOOT_MAGIC[0], REBOOT_MAGIC[1], POWER_OFF]);
    }
}
