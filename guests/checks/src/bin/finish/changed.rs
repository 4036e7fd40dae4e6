//! Code that changes while the processor may still execute what was there: EL2 finds another instruction than the one that
//! brought it here, and may do no more than that one is permitted.

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::catch::{CLASS_DATA_ABORT, catch};
use guest_runtime::checks::{Failure, Outcome};
use guest_runtime::console::PL011;
use guest_runtime::mmu::{self, Kind};
use guest_runtime::{Machine, ensure_equal};

use crate::window::Window;

/// The UART's flag register, in a page that EL0 may not access.
const FLAGS: u64 = PL011 as u64 + 0x18;
/// DFSC: permission fault, less its level.
const PERMISSION: u64 = 0x0c;
const RET: u32 = 0xd65f_03c0;

#[repr(C, align(4096))]
struct Code(UnsafeCell<[u32; 1024]>);

// SAFETY: this guest has one core.
unsafe impl Sync for Code {}

static BEFORE: Code = Code(UnsafeCell::new([0; 1024]));
static AFTER: Code = Code(UnsafeCell::new([0; 1024]));
static WINDOW: Window = Window::new(6);

fn write(page: &Code, words: [u32; 4]) -> u64 {
    for (index, word) in words.into_iter().enumerate() {
        // SAFETY: inside the static, which nobody else has.
        unsafe { page.0.get().cast::<u32>().add(index).write_volatile(word) };
    }
    mmu::page(page.0.get() as u64, Kind::Memory, true)
}

/// The code's page is exchanged under it, and no TLB told: a load of EL1's becomes one with the rights of EL0. Whichever the
/// processor executes, the one that is carried out is refused.
pub fn rights_are_those_of_what_is_carried_out(_: &Machine) -> Outcome {
    // str x3, [x4]; dsb ish; ldp w2, w5, [x1], and ldtr w2, [x1] in its place.
    let before = write(&BEFORE, [0xf900_0083, 0xd503_3b9f, 0x2940_1422, RET]);
    let after = write(&AFTER, [0xf900_0083, 0xd503_3b9f, 0xb840_0822, RET]);
    WINDOW.map(&[before]);
    let outcome = catch(|| {
        // SAFETY: the code is made coherent; it changes registers that are said so, and returns.
        unsafe {
            asm!(
                "dsb ish", "ic iallu", "dsb ish", "isb", "blr {code}",
                code = in(reg) WINDOW.start(), in("x1") FLAGS, in("x3") after, in("x4") WINDOW.descriptor(0),
                out("x2") _, out("x5") _, out("x30") _, options(nostack)
            );
        }
    });
    WINDOW.map(&[0]);
    let Err(fault) = outcome else { return Err(Failure::failed(format_args!("no fault"))) };
    ensure_equal!((fault.class(), fault.status() & 0x3c), (CLASS_DATA_ABORT, PERMISSION), "fault ({fault})");
    ensure_equal!(fault.address, FLAGS, "FAR_EL1");
    Ok(())
}
