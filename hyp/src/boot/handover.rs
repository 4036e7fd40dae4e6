//! The end of boot: its own code becomes memory for guests, and what goes on is code that stays.
//!
//! The functions in the section `.text.staying` are where xtask's linker starts from to find out what stays: all that they
//! call, and whatever has its address taken. The rest of the code is only boot's.

use core::sync::atomic::{AtomicUsize, Ordering};

use tessera_memory::{Frames, PAGE_SIZE, Pa, Span};

use super::cores::Own;
use crate::arch::aarch64::stage1::AddressSpace;
use crate::run::Core;
use crate::system::System;

/// How many secondary cores have set themselves up and execute what stays.
static READY: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    static __boot_text_start: u8;
    static __boot_text_end: u8;
}

/// How many secondary cores are done with boot.
pub fn ready() -> usize {
    READY.load(Ordering::Acquire)
}

/// The whole pages that have nothing but boot's code: first byte and end.
pub fn boot_text() -> (u64, u64) {
    let (start, end) = (&raw const __boot_text_start as u64, &raw const __boot_text_end as u64);
    let (start, end) = (start.next_multiple_of(PAGE_SIZE), end & !(PAGE_SIZE - 1));
    (start, end.max(start))
}

/// What a secondary core does from here on.
#[unsafe(link_section = ".text.staying")]
#[inline(never)]
pub fn secondary(system: &'static System, index: usize, (mut own, scheduler): Own) -> ! {
    READY.fetch_add(1, Ordering::Release);
    Core::new(index, system, scheduler).run(&mut own)
}

/// What the boot core does from here on; all others that are ever started are done with boot.
#[unsafe(link_section = ".text.staying")]
#[inline(never)]
pub fn boot_core(
    system: &'static System,
    index: usize,
    (mut own, scheduler): Own,
    map: &'static mut AddressSpace,
) -> ! {
    give_text(map, &mut system.supply.frames.lock());
    Core::new(index, system, scheduler).run(&mut own)
}

/// Makes boot's code memory.
fn give_text(map: &mut AddressSpace, frames: &mut Frames) {
    let (start, end) = boot_text();
    let Some(span) = Span::new(Pa::new(start), end - start).filter(|span| span.bytes() > 0) else { return };
    // SAFETY: this core is in code that stays and does not return, as are the others.
    if unsafe { map.release(start, end) } && frames.add_memory(span).is_err() {
        log::warn!("boot's code at {span} stays: it is known as memory already");
    }
}
