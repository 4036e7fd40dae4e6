//! The power of this guest's own cores. The first one stays on, so that somebody is always there.

use core::arch::global_asm;

use guest_runtime::{machine, psci, smp};

use super::Actor;
use crate::random::Random;

// Where a core starts oddly, and well: at the last word of a page.
global_asm!(
    ".section .text.landing, \"ax\"",
    ".balign 4096",
    ".space 4092",
    ".global chaos_landing",
    "chaos_landing: b secondary_start",
);

/// Switches another core on, with a good entry or a bad one, asks for its state, or switches this one off.
pub fn other_core(actor: &mut Actor) -> u64 {
    let random = &mut actor.random;
    let target = match random.below(8) {
        0 => random.value(),
        _ => random.below(actor.cores as u64 + 1),
    };
    let is_own = target < actor.cores as u64;
    let function = random.pick(&[psci::CPU_ON, psci::CPU_ON, psci::CPU_ON_32]);
    match random.below(9) {
        0 if actor.core != 0 => return switch_off(),
        0..=3 if is_own => {
            psci::call(function, [target, good_entry(random), target]);
        }
        4 | 5 => {
            psci::call(function, [target, bad_entry(random), random.value()]);
        }
        _ => {
            let function = random.pick(&[psci::AFFINITY_INFO, psci::AFFINITY_INFO_32]);
            psci::call(function, [target, random.below(4), 0]);
        }
    }
    1
}

/// Where a core can start.
fn good_entry(random: &mut Random) -> u64 {
    unsafe extern "C" {
        static chaos_landing: u8;
    }
    if random.one_in(3) { &raw const chaos_landing as u64 } else { smp::entry_address() }
}

/// Not in memory, whoever it is for: refused. Whatever is in memory starts, and would be the end of this guest.
fn bad_entry(random: &mut Random) -> u64 {
    let memory = machine::get().memory;
    let edge = random.pick(&[memory.start.wrapping_sub(4), memory.start - 1, memory.end(), memory.end() + 1]);
    random.pick(&[edge, edge, 0, 1, 0x0800_0000, 0x0900_0000, 0xffff_fffc, 0xffff_ffff_f000, u64::MAX])
}

/// Somebody will switch it on again: its job begins anew.
fn switch_off() -> u64 {
    crate::count(1);
    psci::cpu_off()
}
