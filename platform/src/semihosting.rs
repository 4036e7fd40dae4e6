//! Leaving an emulator or debugger with an exit code (Semihosting for AArch32 and AArch64, 2.0, SYS_EXIT).
//!
//! Where nobody listens for semihosting the instruction is undefined: only for those who asked for it.

/// Ends the emulation with `code`. Returns only where nobody listens and the exception was survived.
#[cfg(target_arch = "aarch64")]
pub fn exit(code: u32) {
    /// Operation number of SYS_EXIT.
    const SYS_EXIT: u64 = 0x18;
    /// The reason ADP_Stopped_ApplicationExit: the next field is the exit code.
    const APPLICATION_EXIT: u64 = 0x2_0026;
    let block = [APPLICATION_EXIT, u64::from(code)];
    // SAFETY: the host reads the block, which lives until after the call, and returns in x0 if at all.
    unsafe {
        core::arch::asm!(
            "hlt #0xf000",
            inout("x0") SYS_EXIT => _,
            in("x1") block.as_ptr(),
            options(nostack)
        );
    }
}
