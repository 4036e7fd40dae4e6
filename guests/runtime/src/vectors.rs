//! The exception vectors and what follows an exception: a caught fault, the guest's interrupt handler, or the end.

use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, Ordering};
use core::{mem, ptr};

use crate::catch::{self, Fault};
use crate::{console, println, psci, read_register, write_register};

/// The registers of the interrupted code, as the vectors save them and will restore them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where the code goes on (ELR_EL1).
    pub return_address: u64,
    /// Its PSTATE (SPSR_EL1).
    pub state: u64,
    /// Keeps the frame a multiple of 16 bytes.
    pub unused: u64,
}

/// What kind of exception was taken; the order is that of the vector table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// A synchronous exception.
    Synchronous,
    /// An interrupt.
    Interrupt,
    /// A fast interrupt.
    FastInterrupt,
    /// An SError interrupt (asynchronous abort).
    SError,
}

/// Called for each interrupt, with interrupts masked. It acknowledges and ends the interrupt itself.
pub type InterruptHandler = fn(&mut Frame);

static INTERRUPT_HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Says who handles interrupts from now on, on all cores.
pub fn on_interrupt(handler: InterruptHandler) {
    INTERRUPT_HANDLER.store(handler as *mut (), Ordering::SeqCst);
}

/// Makes these vectors the ones of the calling core.
pub fn install() {
    unsafe extern "C" {
        static exception_vectors: u8;
    }
    write_register!("vbar_el1", &raw const exception_vectors as u64);
}

global_asm!(
    r#"
.macro exception_entry kind
    .balign 128
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x0, #\kind
    b       exception_common
.endm

.section .text.vectors, "ax"
.balign 2048
.global exception_vectors
exception_vectors:
.rept 4
    exception_entry 0
    exception_entry 1
    exception_entry 2
    exception_entry 3
.endr

exception_common:
"#,
    crate::save_general!(),
    r#"
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x30, x2, [sp, #240]
    stp     x3, xzr, [sp, #256]
    mov     x1, sp
    bl      {handle}
    ldp     x30, x2, [sp, #240]
    ldr     x3, [sp, #256]
    msr     elr_el1, x2
    msr     spsr_el1, x3
"#,
    crate::restore_general!(),
    r#"
    ldp     x0, x1, [sp]
    add     sp, sp, #272
    eret
"#,
    handle = sym handle,
);

extern "C" fn handle(kind: Kind, frame: &mut Frame) {
    if kind == Kind::Interrupt {
        return handle_interrupt(frame);
    }
    let fault = Fault {
        kind,
        syndrome: read_register!("esr_el1"),
        address: read_register!("far_el1"),
        return_address: frame.return_address,
        x0: frame.x[0],
    };
    if !catch::divert(frame, fault) {
        die(&fault, frame);
    }
}

fn handle_interrupt(frame: &mut Frame) {
    let handler = INTERRUPT_HANDLER.load(Ordering::SeqCst);
    if handler.is_null() {
        die_of("an interrupt that nobody handles", frame);
    }
    // SAFETY: only `on_interrupt` stores there, and only functions of this type.
    let handler: InterruptHandler = unsafe { mem::transmute(handler) };
    handler(frame);
}

fn die(fault: &Fault, frame: &Frame) -> ! {
    console::force_unlock();
    println!("FAIL: unexpected exception: {fault}");
    println!("{frame:x?}");
    psci::system_off()
}

fn die_of(reason: &str, frame: &Frame) -> ! {
    console::force_unlock();
    println!("FAIL: {reason} at {:#x}", frame.return_address);
    psci::system_off()
}
