//! Waiting: for a while, for what must come, or for what may come within a while.
//!
//! The machine may be a busy one's: a core, or the device that it waits for, stands still for seconds then, while the
//! counter goes on. So no check fails because something that must come is late: whoever runs the guest has a limit that
//! knows what the host did meanwhile.

use core::hint;

use crate::{println, timer};

/// After how long it is said what is still waited for, in microseconds.
const WORTH_SAYING: u64 = 5_000_000;

/// Waits `microseconds`, busily.
pub fn microseconds(microseconds: u64) {
    until(microseconds, || false);
}

/// Waits until `condition` holds, which must come to hold; says now and then what for.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    while !until(WORTH_SAYING, &mut condition) {
        println!("still waiting for {what}");
    }
}

/// Waits until `condition` holds, at most `microseconds`; says whether it held. For what may lawfully not come.
pub fn until(microseconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let start = timer::counter();
    let limit = timer::ticks(microseconds);
    loop {
        // Before the look: the core may stand still after it.
        let is_over = timer::counter() - start > limit;
        if condition() {
            return true;
        }
        if is_over {
            return false;
        }
        hint::spin_loop();
    }
}
