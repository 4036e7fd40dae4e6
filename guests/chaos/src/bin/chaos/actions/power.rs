//! The power of this guest's own cores. The first one stays on, so that somebody is always there.

use guest_runtime::{psci, smp};

use super::Actor;

/// Switches another core on, with a good entry or a bad one, asks for its state, or switches this one off.
pub fn other_core(actor: &mut Actor) -> u64 {
    let random = &mut actor.random;
    let target = match random.below(8) {
        0 => random.value(),
        _ => random.below(actor.cores as u64 + 1),
    };
    let is_own = target < actor.cores as u64;
    match random.below(8) {
        0 if actor.core != 0 => return switch_off(),
        0..=3 if is_own => {
            psci::call(psci::CPU_ON, [target, smp::entry_address(), target]);
        }
        4 => {
            // Neither in memory nor aligned: refused, whoever it is for.
            let entry = random.pick(&[1, 0x0800_0000, 0x4020_0001, 0xffff_ffff_f000, u64::MAX]);
            let function = random.pick(&[psci::CPU_ON, psci::CPU_ON_32]);
            if !is_own {
                psci::call(function, [target, entry, random.value()]);
            }
        }
        _ => {
            let function = random.pick(&[psci::AFFINITY_INFO, psci::AFFINITY_INFO_32]);
            psci::call(function, [target, random.below(4), 0]);
        }
    }
    1
}

/// Somebody will switch it on again: its job begins anew.
fn switch_off() -> u64 {
    crate::count(1);
    psci::cpu_off()
}
