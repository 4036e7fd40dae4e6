//! Device registers in memory: the one place where an address becomes something that can be read and written.
//!
//! Accesses are single volatile loads and stores of the register's size (tock-registers), so they need no MMU; with
//! it, the addresses must be mapped as Device-nGnRnE or nGnRE memory.

use core::marker::PhantomData;
use core::ops::Deref;
use tock_registers::UIntLike;
use tock_registers::interfaces::Writeable;
use tock_registers::registers::ReadWrite;

/// The registers of a device, laid out as `T` (a `register_structs!` type).
pub struct Registers<T> {
    address: usize,
    layout: PhantomData<*const T>,
}

// SAFETY: it is only an address that is valid on every core (promised to `new`), and `T` is made of registers, each
// access to which is one load or store that the device serializes.
unsafe impl<T> Send for Registers<T> {}
// SAFETY: as for `Send`.
unsafe impl<T> Sync for Registers<T> {}

impl<T> Registers<T> {
    /// The registers at `address`.
    ///
    /// # Safety
    ///
    /// From `address`, which is aligned as `T` is, `size_of::<T>()` bytes must be device registers laid out as `T`,
    /// readable and writable on every core for as long as the value or a copy of it is used.
    pub const unsafe fn new(address: usize) -> Self {
        Self { address, layout: PhantomData }
    }

    /// Where they are.
    pub const fn address(&self) -> usize {
        self.address
    }
}

impl<T> Deref for Registers<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` was promised that a T is there and stays there; its fields are cells.
        unsafe { &*core::ptr::with_exposed_provenance::<T>(self.address) }
    }
}

impl<T> core::fmt::Debug for Registers<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "registers at {:#x}", self.address)
    }
}

/// Looks at `done` up to a million times: some ten milliseconds at least, far longer than any device takes that works.
///
/// Whether it was done.
#[must_use]
pub fn wait_until(done: impl Fn() -> bool) -> bool {
    (0..1_000_000).any(|_| {
        core::hint::spin_loop();
        done()
    })
}

/// Writes register `index` of a run of them, if there is one.
pub(crate) fn set<T: UIntLike>(registers: &[ReadWrite<T>], index: usize, value: T) {
    if let Some(register) = registers.get(index) {
        register.set(value);
    }
}
