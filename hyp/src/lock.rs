//! EL2's locks: fair, and who waits for one says so.
//!
//! `spin` waits by ISB, which tells nobody. A machine of one thread, as QEMU is under `-icount`, runs a core for as long as it
//! may, milliseconds of the guests' time: one that waits for a lock would have them, and the one that holds it no turn.

/// A fair lock (tickets).
pub type Mutex<T> = spin::mutex::Mutex<T, Yield>;
/// Having it is having the lock.
pub type MutexGuard<'a, T> = spin::mutex::MutexGuard<'a, T, Yield>;

/// Waits by YIELD (Arm ARM C6.2, "a hint that the PE is performing a task that could be swapped out").
#[derive(Debug)]
pub struct Yield;

impl spin::RelaxStrategy for Yield {
    #[inline(always)]
    fn relax() {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a hint.
        unsafe {
            core::arch::asm!("yield", options(nomem, nostack, preserves_flags));
        }
        #[cfg(not(target_arch = "aarch64"))]
        core::hint::spin_loop();
    }
}
