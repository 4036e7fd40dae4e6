//! PSCI and SMCCC as a guest calls them (Arm DEN 0022F, DEN 0028).

use core::arch::asm;

/// PSCI_VERSION.
pub const VERSION: u32 = 0x8400_0000;
/// CPU_SUSPEND, 64-bit.
pub const CPU_SUSPEND: u32 = 0xc400_0001;
/// CPU_SUSPEND, 32-bit.
pub const CPU_SUSPEND_32: u32 = 0x8400_0001;
/// CPU_OFF.
pub const CPU_OFF: u32 = 0x8400_0002;
/// CPU_ON, 64-bit.
pub const CPU_ON: u32 = 0xc400_0003;
/// CPU_ON, 32-bit.
pub const CPU_ON_32: u32 = 0x8400_0003;
/// AFFINITY_INFO, 64-bit.
pub const AFFINITY_INFO: u32 = 0xc400_0004;
/// AFFINITY_INFO, 32-bit.
pub const AFFINITY_INFO_32: u32 = 0x8400_0004;
/// MIGRATE_INFO_TYPE.
pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u32 = 0x8400_0009;
/// PSCI_FEATURES.
pub const FEATURES: u32 = 0x8400_000a;
/// SMCCC_VERSION.
pub const SMCCC_VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;

/// Success.
pub const SUCCESS: i32 = 0;
/// NOT_SUPPORTED, also what SMCCC answers to an unknown function.
pub const NOT_SUPPORTED: i32 = -1;
/// INVALID_PARAMETERS.
pub const INVALID_PARAMETERS: i32 = -2;
/// ALREADY_ON.
pub const ALREADY_ON: i32 = -4;
/// INVALID_ADDRESS.
pub const INVALID_ADDRESS: i32 = -9;

/// AFFINITY_INFO: the core is on.
pub const STATE_ON: i32 = 0;
/// AFFINITY_INFO: the core is off.
pub const STATE_OFF: i32 = 1;

/// The instruction that a call is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// HVC #0.
    Hvc,
    /// SMC #0.
    Smc,
}

/// The general registers that a call is given and gives back: x0 to x17.
pub type Registers = [u64; 18];

/// Makes a call with all of x0 to x17 as given and returns them as they are afterwards.
#[must_use]
pub fn call_with(conduit: Conduit, mut registers: Registers) -> Registers {
    // SAFETY: a call to whoever is above; it may change x0 to x17 and memory that no Rust object lies in.
    macro_rules! call {
        ($instruction:literal) => {
            asm!(
                "stp x18, x19, [sp, #-16]!",
                "mov x19, {registers}",
                "ldp x0, x1, [x19]", "ldp x2, x3, [x19, #16]", "ldp x4, x5, [x19, #32]",
                "ldp x6, x7, [x19, #48]", "ldp x8, x9, [x19, #64]", "ldp x10, x11, [x19, #80]",
                "ldp x12, x13, [x19, #96]", "ldp x14, x15, [x19, #112]", "ldp x16, x17, [x19, #128]",
                $instruction,
                "stp x0, x1, [x19]", "stp x2, x3, [x19, #16]", "stp x4, x5, [x19, #32]",
                "stp x6, x7, [x19, #48]", "stp x8, x9, [x19, #64]", "stp x10, x11, [x19, #80]",
                "stp x12, x13, [x19, #96]", "stp x14, x15, [x19, #112]", "stp x16, x17, [x19, #128]",
                "ldp x18, x19, [sp], #16",
                registers = in(reg) registers.as_mut_ptr(),
                clobber_abi("C"),
            )
        };
    }
    match conduit {
        // SAFETY: as above.
        Conduit::Hvc => unsafe { call!("hvc #0") },
        // SAFETY: as above.
        Conduit::Smc => unsafe { call!(".inst 0xd4000003") },
    }
    registers
}

/// Makes a call with three arguments; the result is the whole of x0.
#[must_use]
pub fn call_raw(conduit: Conduit, function: u64, arguments: [u64; 3]) -> u64 {
    let mut registers = [0; 18];
    registers[0] = function;
    registers[1..4].copy_from_slice(&arguments);
    call_with(conduit, registers)[0]
}

/// Makes a call by HVC with three arguments; the result is the 32-bit status that PSCI functions return.
pub fn call(function: u32, arguments: [u64; 3]) -> i32 {
    call_raw(Conduit::Hvc, u64::from(function), arguments) as i32
}

/// Powers the machine off. Should that return, this core sleeps for ever.
pub fn system_off() -> ! {
    call(SYSTEM_OFF, [0; 3]);
    loop {
        crate::register::wait_for_interrupt();
    }
}

/// Switches this core off. Should that return, it sleeps for ever.
pub fn cpu_off() -> ! {
    call(CPU_OFF, [0; 3]);
    loop {
        crate::register::wait_for_interrupt();
    }
}
