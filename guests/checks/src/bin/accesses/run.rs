//! One instruction run on a whole register file, at EL1 or EL0, with translation on or off.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

use guest_runtime::catch::{Fault, catch};
use guest_runtime::{read_register, register, write_register};

/// The registers before and after. The assembly below knows its layout.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub struct State {
    /// x0 to x30; x30 is not given to the instruction.
    pub x: [u64; 31],
    /// The stack pointer.
    pub sp: u64,
    /// v0 to v31.
    pub v: [u128; 32],
    /// The stack pointer of the code that runs it.
    own_sp: u64,
}

/// Where an instruction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// EL1, with the runtime's translation.
    Translated,
    /// EL1, translation and caches off.
    Untranslated,
    /// EL0, translation and caches off.
    User,
}

/// Exception class: SVC.
const CLASS_SUPERVISOR_CALL: u64 = 0x15;

/// The stack of an instruction that does not use the stack pointer: exceptions may need one.
#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: this guest has one core.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 8192]));
static USER_STACK: Stack = Stack(UnsafeCell::new([0; 8192]));

/// The stack that EL0 gets.
pub fn user_stack() -> u64 {
    top(&USER_STACK) - 2048
}

fn top(stack: &Stack) -> u64 {
    stack.0.get() as u64 + 8192
}

impl State {
    /// All registers with values from `next`, and a stack.
    pub fn random(mut next: impl FnMut() -> u64) -> Self {
        let mut state = Self { x: [0; 31], sp: top(&STACK), v: [0; 32], own_sp: 0 };
        state.x.iter_mut().for_each(|register| *register = next());
        state.v.iter_mut().for_each(|register| *register = u128::from(next()) << 64 | u128::from(next()));
        state
    }

    /// Runs `instruction`; `Err` is the fault it took, and the registers are as they were then.
    pub fn run(&mut self, instruction: u32, context: Context) -> Result<(), Fault> {
        let code = register::assemble(instruction) as usize as u64;
        self.run_at(code, context)
    }

    /// Runs the instruction at `code`, which a return follows.
    pub fn run_at(&mut self, code: u64, context: Context) -> Result<(), Fault> {
        let state: *mut Self = self;
        let control = read_register!("sctlr_el1");
        // SAFETY: the functions below keep the calling convention, and put nothing but registers into the state.
        let result = catch(|| unsafe {
            match context {
                Context::Translated => run_instruction(state, code),
                Context::Untranslated => run_untranslated(state, code),
                Context::User => run_at_user(state, code, top(&USER_STACK)),
            }
        });
        write_register!("sctlr_el1", control);
        // SAFETY: drops translations only.
        unsafe { asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack)) };
        match result {
            Err(fault) if context == Context::User && fault.class() == CLASS_SUPERVISOR_CALL => Ok(()),
            other => other,
        }
    }
}

unsafe extern "C" {
    fn run_instruction(state: *mut State, code: u64);
    fn run_untranslated(state: *mut State, code: u64);
    fn run_at_user(state: *mut State, code: u64, stack: u64);
}

global_asm!(
    r#"
.arch_extension fp
.arch_extension simd
.section .text.run_instruction, "ax"

// TPIDR_EL0 brings the state over the instruction: there is no register to spare.
run_instruction:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    msr     tpidr_el0, x0
    mov     x9, sp
    str     x9, [x0, #768]
    mov     x30, x1
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ldr     q\n, [x0, #(256 + 16 * \n)]
    .endr
    ldr     x9, [x0, #248]
    mov     sp, x9
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,0
    ldr     x\n, [x0, #(8 * \n)]
    .endr
    blr     x30
    mrs     x30, tpidr_el0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29
    str     x\n, [x30, #(8 * \n)]
    .endr
    mov     x0, sp
    str     x0, [x30, #248]
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     q\n, [x30, #(256 + 16 * \n)]
    .endr
    ldr     x9, [x30, #768]
    mov     sp, x9
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

// Translation and caches off. The caller turns them on again.
run_untranslated:
    stp     x29, x30, [sp, #-16]!
    mov     x2, sp
    bl      translation_off
    bl      run_instruction
    mrs     x0, tpidr_el0
    mov     x2, sp
    bl      flush
    ldp     x29, x30, [sp], #16
    ret

// x2 = the stack of EL0. What EL0 does afterwards is a call of the supervisor.
run_at_user:
    msr     sp_el0, x2
    bl      translation_off
    adr     x9, at_user
    msr     elr_el1, x9
    mov     x9, #0x3c0
    msr     spsr_el1, x9
    eret
at_user:
    bl      run_instruction
    svc     #0

translation_off:
    mov     x10, x30
    bl      flush
    mrs     x9, sctlr_el1
    // M and C.
    bic     x9, x9, #1
    bic     x9, x9, #4
    msr     sctlr_el1, x9
    isb
    ret     x10

// Takes the state at x0 and the stack around x2 out of the caches.
flush:
    add     x11, x0, #1024
    mov     x12, x0
1:  dc      civac, x12
    add     x12, x12, #16
    cmp     x12, x11
    b.lo    1b
    add     x11, x2, #512
    sub     x12, x2, #512
2:  dc      civac, x12
    add     x12, x12, #16
    cmp     x12, x11
    b.lo    2b
    dsb     sy
    ret
"#
);
