//! Single accesses to registers of the board's devices on behalf of a guest. The hardware may refuse one, by a synchronous
//! external abort: that is then a value, and no fault of EL2.

use super::registers::{read_register, write_register};

/// What `guarded_access` returns in X0 and X1.
#[repr(C)]
struct Outcome {
    /// What a load read.
    value: u64,
    /// Not 0 if the access was refused.
    is_refused: u64,
}

unsafe extern "C" {
    /// Carries out access number `kind`, log2 of its width in bytes and 4 more for a store, at `address`.
    fn guarded_access(address: u64, value: u64, kind: u64) -> Outcome;
}

const STORE: u64 = 4;

/// Loads from a register of `bytes` (1, 2, 4 or 8; `address` is aligned to it). `None` if the hardware refuses.
///
/// ESR_EL2 and FAR_EL2 tell of the refusal then, and not of the guest's exit.
///
/// # Safety
/// EL2 maps the address as device memory; the register is not one of EL2's.
pub unsafe fn load(address: u64, bytes: u64) -> Option<u64> {
    // SAFETY: as the caller says.
    unsafe { access(address, 0, u64::from(bytes.trailing_zeros())) }
}

/// Stores the lower `bytes` of `value`; otherwise as [`load`].
///
/// A write that the hardware refuses later is an SError of the guest that is entered next: it has reached the device before
/// this returns. Not for sure where the page is that of EL2's own UART too: that is Device-nGnRE, whose writes may be
/// acknowledged on the way.
///
/// # Safety
/// As for [`load`].
pub unsafe fn store(address: u64, bytes: u64, value: u64) -> Option<()> {
    // SAFETY: as the caller says.
    unsafe { access(address, value, STORE | u64::from(bytes.trailing_zeros())) }.map(|_| ())
}

/// # Safety
/// As for [`load`].
unsafe fn access(address: u64, value: u64, kind: u64) -> Option<u64> {
    let (pc, pstate) = (read_register!("elr_el2"), read_register!("spsr_el2"));
    // SAFETY: registers of a device (caller), which no Rust object is; there is an access of each kind.
    let outcome = unsafe { guarded_access(address, value, kind & 7) };
    if outcome.is_refused == 0 {
        return Some(outcome.value);
    }
    // They are the guest's until it is entered again.
    write_register!("elr_el2", pc);
    write_register!("spsr_el2", pstate);
    None
}
