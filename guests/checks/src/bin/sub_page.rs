//! A device of the machine that shares its page with another's, to which the hypervisor passes accesses on. On the command
//! line (all decimal): `own=ADDRESS` and `bytes=NUMBER` for what is this guest's, `other=ADDRESS` for what is not, in the
//! same page; `value=NUMBER` for what its first 32-bit register (or that at `at=OFFSET`) reads, or `scratch=OFFSET` of one
//! that keeps 8 bits; or `selector=OFFSET` for QEMU's fw-cfg, whose selector can only be written, and only 16 bits wide.
#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::catch::{Fault, catch};
use guest_runtime::checks::{self, Outcome};
use guest_runtime::{Machine, ensure, ensure_equal, entry, list, machine, mmio, skip};

entry!(main);

/// How often what the hardware refuses is tried.
const ROUNDS: usize = 1000;
/// The fault status of a load exclusive that is not supported.
const UNSUPPORTED_EXCLUSIVE: u64 = 0x35;

fn main(machine: &Machine) {
    checks::run(
        machine,
        list![
            reads_what_is_there,
            keeps_what_is_written,
            has_nothing_beside_it,
            pairs_are_passed_on,
            pairs_do_not_reach_beyond,
            exclusives_are_not_supported,
            a_refusal_of_the_device_is_a_fault,
            that_fault_is_at_the_instruction,
            reads_what_is_there,
        ],
    );
}

fn argument(name: &str) -> usize {
    machine::get().argument(name).unwrap_or(0)
}

fn own() -> usize {
    argument("own")
}

fn end() -> usize {
    own() + argument("bytes")
}

/// The access failed as one to nothing does.
fn is_refused<T>(result: Result<T, Fault>, is_write: bool) -> bool {
    result.is_err_and(|fault| fault.is_external_abort() && fault.is_write() == is_write)
}

fn reads_what_is_there(machine: &Machine) -> Outcome {
    let Some(value) = machine.argument("value") else { skip!("no value is known") };
    match catch(|| mmio::read32(own() + argument("at"))) {
        Ok(read) => ensure_equal!(read, value as u32, "the register"),
        Err(fault) => ensure!(false, "{fault}"),
    }
    Ok(())
}

/// In all widths: a byte of a register is all that they carry.
fn keeps_what_is_written(machine: &Machine) -> Outcome {
    let Some(offset) = machine.argument("scratch") else { skip!("no such register is known") };
    let register = own() + offset;
    for value in [0x5a, 0xa5, 0] {
        mmio::write32(register, value);
        ensure_equal!(mmio::read32(register), value, "32 bits");
        mmio::write8(register, !value as u8);
        ensure_equal!(u32::from(mmio::read8(register)), !value & 0xff, "8 bits");
        mmio::write16(register, value as u16);
        ensure_equal!(u32::from(mmio::read16(register)), value, "16 bits");
    }
    Ok(())
}

fn has_nothing_beside_it(_: &Machine) -> Outcome {
    let in_page = |address: &usize| address / 0x1000 == own() / 0x1000;
    let beside = [own().wrapping_sub(8), end().next_multiple_of(8), argument("other")];
    for address in beside.into_iter().filter(in_page) {
        ensure!(is_refused(catch(|| mmio::read8(address)), false), "8 bits at {address:#x}");
        ensure!(is_refused(catch(|| mmio::read16(address)), false), "16 bits at {address:#x}");
        ensure!(is_refused(catch(|| mmio::read32(address)), false), "32 bits at {address:#x}");
        ensure!(is_refused(catch(|| mmio::read64(address & !7)), false), "64 bits at {address:#x}");
        ensure!(is_refused(catch(|| mmio::write32(address, 0)), true), "a write at {address:#x}");
    }
    if end() % 8 == 4 {
        ensure!(is_refused(catch(|| mmio::read64(end() - 4)), false), "64 bits of which half are its own");
    }
    Ok(())
}

/// Two 32-bit loads by one instruction, which tells the hypervisor nothing about itself.
fn load_pair(address: usize) -> (u64, u64) {
    let (first, second): (u64, u64);
    // SAFETY: plain loads from a device; a fault is taken by the vectors.
    unsafe { asm!("ldp {:w}, {:w}, [{}]", out(reg) first, out(reg) second, in(reg) address, options(nostack)) };
    (first, second)
}

fn pairs_are_passed_on(machine: &Machine) -> Outcome {
    let Some(value) = machine.argument("value") else { skip!("no value is known") };
    let at = own() + argument("at") / 8 * 8;
    let read = catch(|| load_pair(at)).ok();
    let expected = (u64::from(mmio::read32(at)), u64::from(mmio::read32(at + 4)));
    ensure_equal!(read, Some(expected), "both");
    ensure!(expected.0 == value as u64 || expected.1 == value as u64, "neither is {value:#x}");
    Ok(())
}

fn pairs_do_not_reach_beyond(_: &Machine) -> Outcome {
    for address in [end() - 4, own() - 4] {
        ensure!(is_refused(catch(|| load_pair(address)), false), "a pair of loads at {address:#x}");
        let store = || {
            // SAFETY: plain stores to what is no Rust object; a fault is taken by the vectors.
            unsafe { asm!("stp wzr, wzr, [{}]", in(reg) address, options(nostack)) };
        };
        ensure!(is_refused(catch(store), true), "a pair of stores at {address:#x}");
    }
    Ok(())
}

fn exclusives_are_not_supported(_: &Machine) -> Outcome {
    let load = || {
        let value: u64;
        // SAFETY: a load from a device; a fault is taken by the vectors.
        unsafe { asm!("ldxr {:w}, [{}]", out(reg) value, in(reg) own(), options(nostack)) };
        value
    };
    let fault = catch(load).err();
    ensure_equal!(fault.map(|fault| fault.status()), Some(UNSUPPORTED_EXCLUSIVE), "the fault");
    Ok(())
}

/// The hardware's own abort: not in the hypervisor, and as often as one likes.
fn a_refusal_of_the_device_is_a_fault(machine: &Machine) -> Outcome {
    let Some(offset) = machine.argument("selector") else { skip!("it takes every width") };
    let selector = own() + offset;
    for _ in 0..ROUNDS {
        ensure!(is_refused(catch(|| mmio::read16(selector)), false), "the selector can be read");
        ensure!(is_refused(catch(|| mmio::write32(selector, 0)), true), "the selector takes 32 bits");
        // The signature is item 0.
        mmio::write16(selector, 0);
        let signature = core::array::from_fn::<u8, 4, _>(|_| mmio::read8(own()));
        ensure_equal!(&signature, b"QEMU", "the signature");
    }
    Ok(())
}

/// With the guest's own state: debug exceptions, which only the hypervisor has masked, are not afterwards.
fn that_fault_is_at_the_instruction(machine: &Machine) -> Outcome {
    const DEBUG_MASK: u64 = 1 << 9;
    static PLACE: AtomicU64 = AtomicU64::new(0);
    let Some(offset) = machine.argument("selector") else { skip!("it takes every width") };
    let (selector, place) = (own() + offset, PLACE.as_ptr());
    let load = || {
        // SAFETY: notes where it is, and loads from a device; the fault is taken by the vectors.
        unsafe {
            asm!("adr {at}, 2f", "str {at}, [{place}]", "msr daifclr, #8", "2: ldrh {at:w}, [{selector}]",
                at = out(reg) _, place = in(reg) place, selector = in(reg) selector, options(nostack));
        }
    };
    let fault = catch(load).err();
    let masks: u64;
    // SAFETY: reads which exceptions are masked.
    unsafe { asm!("mrs {}, daif", out(reg) masks, options(nomem, nostack)) };
    ensure_equal!(fault.map(|fault| fault.return_address), Some(PLACE.load(Ordering::Relaxed)), "ELR_EL1");
    ensure_equal!(masks & DEBUG_MASK, 0, "PSTATE.D");
    Ok(())
}
