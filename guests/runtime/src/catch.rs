//! Running code that is expected to fault, and getting the fault as a value.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;

use crate::vectors::{Frame, Kind};
use crate::{MAX_CORES, register};

/// A fault that the code under [`catch`] took.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Fault {
    /// Synchronous, or an SError.
    pub kind: Kind,
    /// ESR_EL1 (Arm ARM D19.2.37).
    pub syndrome: u64,
    /// FAR_EL1; meaningful for aborts only.
    pub address: u64,
    /// ELR_EL1: the instruction that faulted, or for an SError about where the code was.
    pub return_address: u64,
    /// x0 at the fault.
    pub x0: u64,
}

/// Exception class: unknown reason, as for undefined instructions and registers.
pub const CLASS_UNDEFINED: u64 = 0x00;
/// Exception class: HVC from AArch64. Never seen at EL1.
pub const CLASS_HVC: u64 = 0x16;
/// Exception class: trapped MSR, MRS or system instruction.
pub const CLASS_SYSTEM_REGISTER: u64 = 0x18;
/// Exception class: instruction abort without a change of exception level.
pub const CLASS_INSTRUCTION_ABORT: u64 = 0x21;
/// Exception class: data abort without a change of exception level.
pub const CLASS_DATA_ABORT: u64 = 0x25;

impl Fault {
    /// The exception class, ESR_ELx.EC.
    #[must_use]
    pub fn class(&self) -> u64 {
        self.syndrome >> 26 & 0x3f
    }

    /// The fault status of an abort, ESR_ELx.{D,I}FSC.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.syndrome & 0x3f
    }

    /// Whether a write faulted (ESR_ELx.WnR); for data aborts only.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.syndrome & 1 << 6 != 0
    }

    /// Whether this is a synchronous external abort on the access itself (status 0b010000).
    #[must_use]
    pub fn is_external_abort(&self) -> bool {
        self.kind == Kind::Synchronous && self.status() == 0x10
    }

    /// Whether an instruction or register was undefined.
    #[must_use]
    pub fn is_undefined(&self) -> bool {
        self.kind == Kind::Synchronous && self.class() == CLASS_UNDEFINED
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(
            formatter,
            "{:?} esr {:#x} (class {:#x}) far {:#x} elr {:#x}",
            self.kind,
            self.syndrome,
            self.class(),
            self.address,
            self.return_address
        )
    }
}

/// What a core needs to leave faulting code: the registers that a call preserves, and SP.
#[repr(C)]
struct Recovery {
    /// x19 to x30 and SP, in the order of the assembly below.
    registers: [u64; 14],
    active: bool,
    fault: MaybeUninit<Fault>,
}

struct Slot(UnsafeCell<Recovery>);

// SAFETY: each core touches only its own slot, by its index.
unsafe impl Sync for Slot {}

static SLOTS: [Slot; MAX_CORES] =
    [const { Slot(UnsafeCell::new(Recovery { registers: [0; 14], active: false, fault: MaybeUninit::uninit() })) };
        MAX_CORES];

unsafe extern "C" {
    /// Keeps the caller's registers in `recovery` and calls `code(context)`: returns 0 when that returned and 1 when
    /// it was left through `catch_leave`.
    fn catch_enter(recovery: *mut Recovery, code: extern "C" fn(*mut u8), context: *mut u8) -> u64;
    /// Goes on where `catch_enter` was called, with 1 as its result.
    fn catch_leave();
}

global_asm!(
    r#"
.section .text.catch, "ax"
.global catch_enter
catch_enter:
    stp     x19, x20, [x0]
    stp     x21, x22, [x0, #16]
    stp     x23, x24, [x0, #32]
    stp     x25, x26, [x0, #48]
    stp     x27, x28, [x0, #64]
    stp     x29, x30, [x0, #80]
    mov     x3, sp
    str     x3, [x0, #96]
    stp     x29, x30, [sp, #-16]!
    mov     x0, x2
    blr     x1
    ldp     x29, x30, [sp], #16
    mov     x0, #0
    ret

.global catch_leave
catch_leave:
    ldp     x19, x20, [x0]
    ldp     x21, x22, [x0, #16]
    ldp     x23, x24, [x0, #32]
    ldp     x25, x26, [x0, #48]
    ldp     x27, x28, [x0, #64]
    ldp     x29, x30, [x0, #80]
    ldr     x3, [x0, #96]
    mov     sp, x3
    mov     x0, #1
    ret
"#
);

/// Runs `code` and returns its value, or the first fault it takes; `code` is then left where it was.
///
/// `code` must hold nothing that has to be dropped when it faults. Calls do not nest.
///
/// # Errors
/// The fault that `code` took.
pub fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Fault> {
    let mut task = Task { code: Some(code), value: None };
    let recovery = slot();
    let context = (&raw mut task).cast();
    let left = enter(recovery, run_task_of(&task), context);
    match task.value.take() {
        Some(value) if !left => Ok(value),
        // SAFETY: the handler wrote the fault before it left the code.
        _ => Err(unsafe { (*recovery).fault.assume_init() }),
    }
}

/// Code to run and the place for its value.
struct Task<T, F> {
    code: Option<F>,
    value: Option<T>,
}

/// The function that runs tasks of this type.
fn run_task_of<T, F: FnOnce() -> T>(_: &Task<T, F>) -> extern "C" fn(*mut u8) {
    extern "C" fn run<T, F: FnOnce() -> T>(context: *mut u8) {
        // SAFETY: `catch` gives a pointer to its own task of this type.
        let task = unsafe { &mut *context.cast::<Task<T, F>>() };
        if let Some(code) = task.code.take() {
            task.value = Some(code());
        }
    }
    run::<T, F>
}

#[inline(never)]
fn enter(recovery: *mut Recovery, code: extern "C" fn(*mut u8), context: *mut u8) -> bool {
    // SAFETY: the slot is this core's; the assembly keeps the calling convention either way.
    unsafe {
        (&raw mut (*recovery).active).write_volatile(true);
        let left = catch_enter(recovery, code, context);
        (&raw mut (*recovery).active).write_volatile(false);
        left != 0
    }
}

fn slot() -> *mut Recovery {
    SLOTS[register::core_index() % MAX_CORES].0.get()
}

/// Leaves the code under [`catch`] on this core, if there is any, with `fault`; says whether there was.
pub(crate) fn divert(frame: &mut Frame, fault: Fault) -> bool {
    let recovery = slot();
    // SAFETY: the slot is this core's, and the code that uses it is interrupted.
    unsafe {
        if !(&raw const (*recovery).active).read_volatile() {
            return false;
        }
        (*recovery).active = false;
        (*recovery).fault.write(fault);
    }
    frame.x[0] = recovery as u64;
    // The code may have gone to EL0, or to AArch32: back to EL1, on its own stack. Of PSTATE, flags and masks are kept:
    // IL must not outlive the illegal return that set it.
    frame.state = frame.state & 0xf000_03c0 | 5;
    frame.return_address = catch_leave as *const () as u64;
    true
}
