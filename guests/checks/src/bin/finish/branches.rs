//! PSTATE.BTYPE (FEAT_BTI): an instruction that is done clears it, whoever carried it out, and what comes then may lie in
//! a guarded page. A processor without the feature passes: its guarded pages are none.

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::catch::catch;
use guest_runtime::checks::{Failure, Outcome};
use guest_runtime::mmu::{self, Kind};
use guest_runtime::{Machine, ensure_equal, read_register};

use crate::window::Window;

const PAGE: usize = 4096;
/// GP of a page's descriptor: only BTI and the like may be branched to.
const GUARDED: u64 = 1 << 50;
const RET: u32 = 0xd65f_03c0;

#[repr(C, align(4096))]
struct Code(UnsafeCell<[u32; 2 * PAGE / 4]>);

// SAFETY: this guest has one core.
unsafe impl Sync for Code {}

static CODE: Code = Code(UnsafeCell::new([0; 2 * PAGE / 4]));
static WINDOW: Window = Window::new(5);

/// The first instruction behind a branch traps, and the next one is the first of a guarded page.
pub fn no_branch_type_is_left(_: &Machine) -> Outcome {
    // mrs x2, id_aa64pfr0_el1
    let words = [0xd538_0402, RET];
    let start = CODE.0.get() as u64;
    let last = PAGE / 4 - 1;
    for (index, word) in words.into_iter().enumerate() {
        // SAFETY: inside the static, which nobody else has.
        unsafe { CODE.0.get().cast::<u32>().add(last + index).write_volatile(word) };
    }
    let page = |physical| mmu::page(physical, Kind::Memory, true);
    WINDOW.map(&[page(start), page(start + PAGE as u64) | GUARDED]);
    let branch = WINDOW.start() + 4 * last as u64;
    let value = catch(|| {
        let value: u64;
        // SAFETY: the code is made coherent, and returns.
        unsafe {
            asm!(
                "dsb ish", "ic iallu", "dsb ish", "isb", "blr {branch}",
                branch = in(reg) branch, out("x2") value, out("x30") _, options(nostack)
            );
        }
        value
    });
    match value {
        Ok(value) => ensure_equal!(value, read_register!("id_aa64pfr0_el1"), "ID_AA64PFR0_EL1"),
        Err(fault) => return Err(Failure::failed(format_args!("{fault}"))),
    }
    Ok(())
}
