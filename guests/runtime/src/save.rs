//! Text for `global_asm!`: the part of saving and restoring the general registers that all vectors share. X0 and X1 are at
//! the stack pointer, X30 is the caller's matter.

/// Saves X2 to X29 above X0 and X1 at the stack pointer.
#[macro_export]
macro_rules! save_general {
    () => {
        concat!(
            "stp x2, x3, [sp, #16]\n",
            "stp x4, x5, [sp, #32]\n",
            "stp x6, x7, [sp, #48]\n",
            "stp x8, x9, [sp, #64]\n",
            "stp x10, x11, [sp, #80]\n",
            "stp x12, x13, [sp, #96]\n",
            "stp x14, x15, [sp, #112]\n",
            "stp x16, x17, [sp, #128]\n",
            "stp x18, x19, [sp, #144]\n",
            "stp x20, x21, [sp, #160]\n",
            "stp x22, x23, [sp, #176]\n",
            "stp x24, x25, [sp, #192]\n",
            "stp x26, x27, [sp, #208]\n",
            "stp x28, x29, [sp, #224]\n"
        )
    };
}

/// Restores X2 to X29 from above X0 and X1 at the stack pointer.
#[macro_export]
macro_rules! restore_general {
    () => {
        concat!(
            "ldp x2, x3, [sp, #16]\n",
            "ldp x4, x5, [sp, #32]\n",
            "ldp x6, x7, [sp, #48]\n",
            "ldp x8, x9, [sp, #64]\n",
            "ldp x10, x11, [sp, #80]\n",
            "ldp x12, x13, [sp, #96]\n",
            "ldp x14, x15, [sp, #112]\n",
            "ldp x16, x17, [sp, #128]\n",
            "ldp x18, x19, [sp, #144]\n",
            "ldp x20, x21, [sp, #160]\n",
            "ldp x22, x23, [sp, #176]\n",
            "ldp x24, x25, [sp, #192]\n",
            "ldp x26, x27, [sp, #208]\n",
            "ldp x28, x29, [sp, #224]\n"
        )
    };
}
