//! Waiting by the counter: for a while, or for something with a time limit.

use core::hint;

use crate::timer;

/// Waits `microseconds`, busily.
pub fn microseconds(microseconds: u64) {
    until(microseconds, || false);
}

/// Waits until `condition` holds, at most `microseconds`; says whether it held.
pub fn until(microseconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let start = timer::counter();
    let limit = timer::ticks(microseconds);
    loop {
        if condition() {
            return true;
        }
        if timer::counter() - start > limit {
            return false;
        }
        hint::spin_loop();
    }
}
