//! Caches, TLBs and machine memory, as `tessera-memory` and the loader need them.

use core::arch::asm;

/// The smallest data cache line of the processor, in bytes (CTR_EL0.DminLine).
fn data_line() -> u64 {
    4 << (super::registers::read_register!("ctr_el0") >> 16 & 0xf)
}

/// Cleans `bytes` from the machine address `start` to the point of coherency.
///
/// A guest starts with its MMU off, and then reads memory past the caches: what EL2 wrote for it must be there.
pub fn clean_to_coherency(start: u64, bytes: u64) {
    let line = data_line();
    let end = start.saturating_add(bytes);
    let mut at = start & !(line - 1);
    while at < end {
        // SAFETY: cleaning changes no contents; the address is mapped, as it was just written.
        unsafe { asm!("dc cvac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Makes instructions written to memory visible to all cores' fetches.
///
/// The caller has cleaned them to the point of coherency, which lies beyond that of unification.
pub fn invalidate_instruction_caches() {
    // SAFETY: cache maintenance without effect on contents.
    unsafe { asm!("ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}
