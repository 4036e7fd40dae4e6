//! System registers by name or by encoding, with the few fields that several guests use.

/// Reads a system register: `read_register!("mpidr_el1")` or by encoding, `read_register!("s3_0_c0_c0_5")`.
#[macro_export]
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a system register changes no memory; if it is undefined, the vectors take the fault.
        unsafe {
            core::arch::asm!(concat!("mrs {value}, ", $name), value = out(reg) value, options(nostack));
        }
        value
    }};
}

/// Writes a system register and waits until the write has its effect (ISB).
///
/// The caller must know that this does not take memory or the stack away from under the running code.
#[macro_export]
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: by the macro's contract.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {value}"), "isb", value = in(reg) value, options(nostack));
        }
    }};
}

/// The affinity fields of this core's MPIDR_EL1, as PSCI and GICD_IROUTER take them (Arm ARM D19.2.101).
#[must_use]
pub fn affinity() -> u64 {
    read_register!("mpidr_el1") & 0xff_00ff_ffff
}

/// This core's index: its affinity level 0. The guests run on machines with one cluster.
#[must_use]
pub fn core_index() -> usize {
    (affinity() & 0xff) as usize
}

/// Lets interrupts reach this core.
pub fn unmask_interrupts() {
    // SAFETY: the vectors are installed before any guest code runs.
    unsafe { core::arch::asm!("msr daifclr, #2", "isb", options(nostack)) };
}

/// Keeps interrupts pending.
pub fn mask_interrupts() {
    // SAFETY: only delays interrupts.
    unsafe { core::arch::asm!("msr daifset, #2", "isb", options(nostack)) };
}

/// Waits for an interrupt or another reason to wake (WFI); returns at once where one is already pending.
pub fn wait_for_interrupt() {
    // SAFETY: a hint; the barrier before it lets earlier device writes take effect.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack)) };
}

/// Lets somebody else have the core for a while (YIELD): for polling loops.
pub fn yield_core() {
    core::hint::spin_loop();
}
