//! AArch64 at EL2.

pub mod backtrace;
mod bytes;
mod controls;
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

use registers::{read_register, write_register};

/// The exception level the processor runs at, 0 to 3.
pub fn current_exception_level() -> u64 {
    read_register!("CurrentEL") >> 2 & 3
}

/// This core's affinity: MPIDR_EL1's Aff3..Aff0, other bits zero.
pub fn affinity() -> u64 {
    read_register!("mpidr_el1") & 0xff_00ff_ffff
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

/// Takes an SError (asynchronous abort) that is pending, so that it is nobody's to whom it does not belong: EL2 runs with
/// them masked, and the next guest would take it. Whether there was one.
///
/// ELR_EL2 and SPSR_EL2 are lost. HCR_EL2.AMO must be set, and [`install_vectors`] done.
pub fn take_system_error() -> bool {
    let is_pending = is_system_error_pending();
    if is_pending {
        // SAFETY: the vector changes nothing but X0, and masks SErrors again.
        unsafe { asm!("msr daifclr, #4", "isb", "msr daifset, #4", out("x0") _, options(nostack, preserves_flags)) };
    }
    is_pending
}

/// Whether a physical interrupt waits to be taken by EL2.
pub fn is_interrupt_pending() -> bool {
    /// ISR_EL1.I and F.
    const PENDING: u64 = 0b11 << 6;
    read_register!("isr_el1") & PENDING != 0
}

/// Whether an SError waits to be taken.
pub fn is_system_error_pending() -> bool {
    /// ISR_EL1.A.
    const PENDING: u64 = 1 << 8;
    // SAFETY: a barrier: accesses before it have had their effect, an abort among them.
    unsafe { asm!("dsb sy", "isb", options(nostack, preserves_flags)) };
    read_register!("isr_el1") & PENDING != 0
}

/// Installs the exception vectors of EL2 on this core.
pub fn install_vectors() {
    let table = &raw const vectors::exception_vectors as u64;
    write_register!("vbar_el2", table);
    instruction_barrier();
}

/// Has this core call `function` of the firmware (SMCCC 1.1, by SMC, no arguments) at each exit of a guest.
pub fn harden_exits(function: u32) {
    let table = &raw const vectors::hardened_vectors as u64;
    write_register!("tpidr_el2", u64::from(function));
    write_register!("vbar_el2", table);
    instruction_barrier();
}
