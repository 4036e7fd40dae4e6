//! System registers by name or by encoding, with the few fields that several guests use.

use core::cell::UnsafeCell;

use crate::MAX_CORES;
use crate::catch::{Fault, catch};

/// Reads a system register: `read_register!("mpidr_el1")` or by encoding, `read_register!("s3_0_c0_c0_5")`.
#[macro_export]
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a system register changes no memory; if it is undefined, the vectors take the fault.
        unsafe {
            core::arch::asm!(concat!("mrs {value}, ", $name), value = out(reg) value, options(nostack));
        }
        value
    }};
}

/// Writes a system register and waits until the write has its effect (ISB).
///
/// The caller must know that this does not take memory or the stack away from under the running code.
#[macro_export]
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: by the macro's contract.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {value}"), "isb", value = in(reg) value, options(nostack));
        }
    }};
}

/// The affinity fields of this core's MPIDR_EL1, as PSCI and GICD_IROUTER take them (Arm ARM D19.2.101).
#[must_use]
pub fn affinity() -> u64 {
    read_register!("mpidr_el1") & 0xff_00ff_ffff
}

/// This core's index: its affinity level 0. The guests run on machines with one cluster.
#[must_use]
pub fn core_index() -> usize {
    (affinity() & 0xff) as usize
}

/// Lets interrupts reach this core.
pub fn unmask_interrupts() {
    // SAFETY: the vectors are installed before any guest code runs.
    unsafe { core::arch::asm!("msr daifclr, #2", "isb", options(nostack)) };
}

/// Keeps interrupts pending.
pub fn mask_interrupts() {
    // SAFETY: only delays interrupts.
    unsafe { core::arch::asm!("msr daifset, #2", "isb", options(nostack)) };
}

/// Waits for an interrupt or another reason to wake (WFI); returns at once where one is already pending.
pub fn wait_for_interrupt() {
    // SAFETY: a hint; the barrier before it lets earlier device writes take effect.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack)) };
}

/// The encoding of a system register as MRS and MSR have it in bits 19 to 5: op0, op1, CRn, CRm, op2.
#[must_use]
pub const fn encode(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    (op0 & 1) << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
}

/// Reads the register with this encoding (see [`encode`]), which need not exist.
///
/// # Errors
/// The fault that the read took.
pub fn read_encoded(encoding: u32) -> Result<u64, Fault> {
    // MRS x0, <register>
    let read = assemble(0xd530_0000 | encoding);
    catch(|| read(0))
}

/// Writes the register with this encoding, which need not exist.
///
/// # Errors
/// The fault that the write took.
pub fn write_encoded(encoding: u32, value: u64) -> Result<(), Fault> {
    // MSR <register>, x0
    let write = assemble(0xd510_0000 | encoding);
    catch(|| {
        write(value);
    })
}

/// A function of one instruction, and the return from it; one for each core.
#[repr(C, align(64))]
struct Code(UnsafeCell<[u32; 16]>);

// SAFETY: each core uses its own piece only, by its index.
unsafe impl Sync for Code {}

static CODE: [Code; MAX_CORES] = [const { Code(UnsafeCell::new([0; 16])) }; MAX_CORES];

/// Makes a function of `instruction`, which takes and returns a value in x0 and may change no other register.
/// It lasts until this core's next call.
#[must_use]
pub fn assemble(instruction: u32) -> extern "C" fn(u64) -> u64 {
    let code = CODE[core_index() % MAX_CORES].0.get().cast::<u32>();
    // SAFETY: the memory is this core's, mapped executable like all memory, and made coherent before it is run
    // (Arm ARM B2.4.4).
    unsafe {
        code.write_volatile(instruction);
        code.add(1).write_volatile(0xd65f_03c0); // RET
        core::arch::asm!(
            "dc cvau, {code}", "dsb ish", "ic ivau, {code}", "dsb ish", "isb",
            code = in(reg) code, options(nostack)
        );
        core::mem::transmute::<*mut u32, extern "C" fn(u64) -> u64>(code)
    }
}
