//! System registers that the GIC's and the timer's drivers use, each by name.
//!
//! On the host each is a variable of its own, so that what uses them can be tested.

/// Declares system registers of 64 bits.
macro_rules! system_registers {
    ($($(#[$documentation:meta])* $name:ident = $assembly:literal;)*) => {$(
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        #[allow(dead_code, reason = "most registers are used in one direction only")]
        impl $name {
            #[cfg(not(target_arch = "aarch64"))]
            fn variable() -> &'static core::sync::atomic::AtomicU64 {
                static VARIABLE: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
                &VARIABLE
            }

            /// Reads the register.
            #[inline(always)]
            pub fn read(self) -> u64 {
                #[cfg(not(target_arch = "aarch64"))]
                return Self::variable().load(core::sync::atomic::Ordering::Relaxed);
                #[cfg(target_arch = "aarch64")]
                {
                    let value: u64;
                    // SAFETY: reading the register changes no memory and no register of the program's.
                    unsafe {
                        core::arch::asm!(
                            concat!("mrs {}, ", $assembly),
                            out(reg) value,
                            options(nomem, nostack, preserves_flags)
                        );
                    }
                    value
                }
            }

            /// Writes the register. Takes effect at the next context synchronization at the latest.
            #[inline(always)]
            pub fn write(self, value: u64) {
                #[cfg(not(target_arch = "aarch64"))]
                Self::variable().store(value, core::sync::atomic::Ordering::Relaxed);
                // SAFETY: the registers declared here govern interrupts and timers, not memory.
                #[cfg(target_arch = "aarch64")]
                unsafe {
                    core::arch::asm!(
                        concat!("msr ", $assembly, ", {}"),
                        in(reg) value,
                        options(nomem, nostack, preserves_flags)
                    );
                }
            }
        }
    )*};
}

pub(crate) use system_registers;

/// Waits until all earlier memory accesses are done, device accesses among them (DSB SY).
#[inline(always)]
pub fn wait_for_accesses() {
    #[cfg(target_arch = "aarch64")]
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::SY);
}

/// Makes earlier writes to system registers take effect (ISB).
#[inline(always)]
pub fn synchronize_context() {
    #[cfg(target_arch = "aarch64")]
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
}
