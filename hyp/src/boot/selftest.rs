//! Faults of EL2 itself, made on purpose: `tessera.selftest=NAME` or `NAME@CORE` among the boot arguments shows, on the
//! machine at hand, that they are reported and stop it. A core looks once, before guests start.
//!
//! How a fault is reported belongs in `fault`.

use core::hint::black_box;

use spin::Once;

use super::cores::PATIENCE;
use super::layout;
use crate::leave;
use crate::system::System;

/// No board has anything at the end of EL2's address space.
const UNMAPPED: u64 = 0x7fff_ffff_e000;
/// RET: what `execute_data` jumps to.
static DATA: [u32; 2] = [0xd65f_03c0; 2];

/// The fault that was asked for, and the core that makes it.
static SELECTED: Once<(fn(), usize)> = Once::new();

/// What can be asked for.
const NAMES: &str = "stack-overflow|write-text|execute-data|read-unmapped|panic|dawdle";

/// The faults, in the order of their names.
const FAULTS: [fn(); 6] = [overflow_stack, write_text, execute_data, read_unmapped, panic, dawdle];

/// Learns what to do, if anything; `wanted` is what the boot argument says. Refuses to go on if there is no such test.
pub fn select(wanted: Option<&str>) {
    let Some(wanted) = wanted else { return };
    let (name, core) = wanted.split_once('@').unwrap_or((wanted, "0"));
    let fault = NAMES.split('|').zip(FAULTS).find(|(known, _)| *known == name);
    let Some(((_, fault), core)) = fault.zip(core.parse().ok()) else {
        leave::refuse(format_args!(
            "there is no selftest `{wanted}`: say tessera.selftest=NAME or NAME@CORE, with a NAME of {NAMES}"
        ))
    };
    SELECTED.call_once(|| (fault, core));
}

/// Makes the fault that was asked for, if it is for this core: counted as in the board's device tree.
pub fn run(core: usize) {
    let Some((fault, wanted)) = SELECTED.get() else { return };
    if *wanted == core {
        fault();
        log::warn!("selftest: core {core} goes on");
    }
}

#[inline(never)]
fn overflow_stack() {
    fn recurse(depth: u64) -> u64 {
        let kept = black_box([depth; 16]);
        if depth == u64::MAX { depth } else { recurse(depth + 1) + kept[3] }
    }
    black_box(recurse(black_box(0)));
}

#[inline(never)]
fn write_text() {
    // SAFETY: faults, which is what is tested; were text writable, it would write what is there already.
    unsafe {
        let text = layout::text_end().wrapping_sub(4) as *mut u32;
        text.write_volatile(text.read_volatile());
    }
}

#[inline(never)]
fn execute_data() {
    // SAFETY: faults, which is what is tested; were data executable, it would return at once.
    let function = unsafe { core::mem::transmute::<*const u32, extern "C" fn()>(black_box(DATA.as_ptr())) };
    function();
    black_box(());
}

#[inline(never)]
fn read_unmapped() {
    // SAFETY: faults, which is what is tested; nothing but RAM and EL2's own registers is mapped.
    black_box(unsafe { (black_box(UNMAPPED) as *const u64).read_volatile() });
}

#[inline(never)]
fn panic() {
    panic!("on purpose");
}

/// Longer than the boot core waits for a core that does not come: this one has come, and is waited for.
#[inline(never)]
fn dawdle() {
    let Some(clock) = System::get().map(|system| system.machine.clock) else { return };
    let end = clock.now() + clock.ticks(PATIENCE * 2);
    while clock.now() < end {
        core::hint::spin_loop();
    }
}
