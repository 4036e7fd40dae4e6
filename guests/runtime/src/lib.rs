//! What every small bare-metal guest needs: start-up, exception vectors, console, PSCI, interrupts, timers.
//!
//! A guest is a `no_std`, `no_main` program that names its main function with [`entry!`]. It runs at EL1 on QEMU's
//! `virt` machine, plain or under Tessera, with its stage-1 translation on (virtual = physical) and caches on.
//! Nothing in here knows which of the two it runs on. What a single guest checks belongs into that guest.
#![no_std]

extern crate alloc;

pub mod catch;
pub mod checks;
pub mod console;
pub mod delay;
pub mod gic;
mod heap;
pub mod machine;
pub mod mmio;
pub mod mmu;
pub mod psci;
pub mod register;
pub mod save;
pub mod smp;
mod start;
pub mod timer;
pub mod vectors;

pub use machine::Machine;

/// Names the guest's main function: `fn(&Machine)`. When it returns, the machine is powered off.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn guest_main(machine: &$crate::Machine) {
            let main: fn(&$crate::Machine) = $main;
            main(machine)
        }
    };
}

/// The most cores a guest of ours uses; cores beyond are left alone.
pub const MAX_CORES: usize = 8;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    console::force_unlock();
    println!("FAIL: {info}");
    psci::system_off()
}
