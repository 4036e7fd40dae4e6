//! System registers that the GIC's and the timer's drivers use, each by name.
//!
//! On the host there are none: they read as zero. Only in this crate's own tests each is a variable of its own.

/// Declares system registers of 64 bits.
macro_rules! system_registers {
    ($($(#[$documentation:meta])* $name:ident = $assembly:literal;)*) => {$(
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        #[allow(dead_code, reason = "most registers are used in one direction only")]
        impl $name {
            /// Reads the register.
            #[inline(always)]
            pub fn read(self) -> u64 {
                #[cfg(not(target_arch = "aarch64"))]
                return $crate::system_registers::host::read($assembly);
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
                $crate::system_registers::host::write($assembly, value);
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

/// What stands for the registers on the host.
#[cfg(all(not(target_arch = "aarch64"), not(test)))]
pub(crate) mod host {
    pub(crate) fn read(_: &'static str) -> u64 {
        0
    }

    pub(crate) fn write(_: &'static str, _: u64) {}
}

/// What stands for the registers in tests: variables of the thread, so that tests do not meet.
#[cfg(all(not(target_arch = "aarch64"), test))]
pub(crate) mod host {
    use std::cell::RefCell;
    use std::collections::HashMap;

    thread_local!(static VALUES: RefCell<HashMap<String, u64>> = RefCell::default());

    pub(crate) fn read(name: &str) -> u64 {
        VALUES.with_borrow(|values| values.get(name).copied().unwrap_or(0))
    }

    pub(crate) fn clear() {
        VALUES.with_borrow_mut(HashMap::clear);
    }

    pub(crate) fn write(name: &str, value: u64) {
        VALUES.with_borrow_mut(|values| values.insert(name.into(), value));
    }
}

/// The test's hand on the system registers: all zero when it is made.
#[cfg(all(not(target_arch = "aarch64"), test))]
pub(crate) struct Fake;

#[cfg(all(not(target_arch = "aarch64"), test))]
impl Fake {
    pub(crate) fn new() -> Self {
        host::clear();
        Self
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        host::read(name)
    }

    pub(crate) fn set(&self, name: &str, value: u64) {
        host::write(name, value);
    }
}
