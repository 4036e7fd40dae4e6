//! AArch64 at EL2.

mod bytes;
pub mod fault;
pub mod float;
pub mod guarded;
pub mod machine;
pub mod registers;
pub mod stage1;
pub mod start;
pub mod traps;
pub mod vectors;
pub mod virtual_interface;

use core::arch::asm;

/// The exception level the processor runs at, 0 to 3.
pub fn current_exception_level() -> u64 {
    registers::read_register!("CurrentEL") >> 2 & 3
}

/// This core's affinity: MPIDR_EL1's Aff3..Aff0, other bits zero.
pub fn affinity() -> u64 {
    registers::read_register!("mpidr_el1") & 0xff_00ff_ffff
}

/// Waits for an interrupt with interrupts masked: returns when one is pending, without taking it.
pub fn wait_for_interrupt() {
    // SAFETY: waits only; the barrier orders earlier stores before the wait.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) }
}

/// Wakes cores that wait for an event (WFE), after all memory accesses before it are done.
pub fn send_event() {
    // SAFETY: a barrier and a hint.
    unsafe { asm!("dsb sy", "sev", options(nostack, preserves_flags)) }
}

/// Stops this core for good.
pub fn halt() -> ! {
    loop {
        wait_for_interrupt();
    }
}

/// Makes register writes before it take effect for the instructions after it.
#[inline(always)]
pub fn instruction_barrier() {
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) }
}

/// Installs the exception vectors of EL2 on this core.
pub fn install_vectors() {
    let table = &raw const vectors::exception_vectors as u64;
    registers::write_register!("vbar_el2", table);
    instruction_barrier();
}
