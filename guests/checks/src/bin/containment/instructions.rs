//! Instructions that a guest should better not execute.

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::catch::{CLASS_INSTRUCTION_ABORT, catch};
use guest_runtime::checks::{Failure, Outcome};
use guest_runtime::mmu::{self, Kind};
use guest_runtime::{Machine, ensure, ensure_equal, register};

/// A gigabyte of virtual addresses that nothing else uses; devices are mapped executable there.
const WINDOW: usize = 509;
const WINDOW_BASE: u64 = (WINDOW as u64) << 30;

/// Calls code at `address`, which should not exist.
fn call(address: u64) {
    // SAFETY: the caller expects a fault; whatever else happened would be the failure that is looked for.
    unsafe {
        asm!("blr {}", in(reg) address, clobber_abi("C"));
    }
}

/// Fetching from nothing is a synchronous external abort on an instruction fetch.
pub fn fetch_from_nothing(_: &Machine) -> Outcome {
    // SAFETY: nothing uses the window.
    unsafe { mmu::map(WINDOW, 0, Kind::ExecutableDevice) };
    let address = WINDOW_BASE + 0x0b00_0000;
    let Err(fault) = catch(|| call(address)) else {
        return Err(Failure::failed(format_args!("code at {address:#x} returns")));
    };
    ensure_equal!(fault.class(), CLASS_INSTRUCTION_ABORT, "class of {fault}");
    ensure!(fault.is_external_abort(), "{fault}");
    ensure_equal!(fault.address, address, "FAR_EL1");
    ensure_equal!(fault.return_address, address, "ELR_EL1");
    Ok(())
}

/// Fetching from a device's registers: an abort, or what is read there is no instruction. Never an end.
pub fn fetch_from_device(_: &Machine) -> Outcome {
    // SAFETY: nothing uses the window.
    unsafe { mmu::map(WINDOW, 0, Kind::ExecutableDevice) };
    for device in [0x0900_0000, 0x0800_0000, 0x080a_0000, 0x0900_0fe0] {
        let result = catch(|| call(WINDOW_BASE + device));
        ensure!(result.is_err(), "code at {device:#x} returns");
    }
    Ok(())
}

/// Instructions that are undefined at EL1, or for lack of a debugger, or in this architecture version.
pub fn undefined_instructions(_: &Machine) -> Outcome {
    let instructions = [
        ("UDF #0", 0x0000_0000),
        ("HLT #1", 0xd440_0020),
        ("DCPS1", 0xd4a0_0001),
        ("DCPS2", 0xd4a0_0002),
        ("DCPS3", 0xd4a0_0003),
        ("DRPS", 0xd6bf_03e0),
        ("SVE ADDVL", 0x0420_5000 | 0x2000_0000),
        ("unallocated", 0xffff_ffff),
    ];
    for (name, instruction) in instructions {
        let code = register::assemble(instruction);
        match catch(|| code(0)) {
            Ok(_) => ensure!(false, "{name} is executed"),
            // Class 0x19: SVE that is there but switched off. 0x07: vectors likewise.
            Err(fault) => ensure!(fault.is_undefined() || matches!(fault.class(), 0x07 | 0x19), "{name}: {fault}"),
        }
    }
    Ok(())
}

/// A call of the host's services (Semihosting for AArch32 and AArch64, 2.0): SYS_OPEN of a file that would be made, and
/// SYS_EXIT. Nobody listens, so HLT is undefined; the machine goes on, and the test looks for the file.
pub fn semihosting(_: &Machine) -> Outcome {
    const OPEN: u64 = 0x1;
    const EXIT: u64 = 0x18;
    const FOR_WRITING: u64 = 4;
    let name = c"written-by-a-guest";
    let open = [name.as_ptr() as u64, FOR_WRITING, name.count_bytes() as u64];
    // ADP_Stopped_ApplicationExit, with status 0.
    let exit = [0x2_0026, 0, 0];
    for (operation, arguments) in [(OPEN, open), (EXIT, exit)] {
        let result = catch(|| {
            let mut answer = operation;
            // SAFETY: if anybody listened, it would read the arguments, which live until after.
            unsafe { asm!("hlt #0xf000", inout("x0") answer, in("x1") arguments.as_ptr(), options(nostack)) };
            answer
        });
        let Err(fault) = result else {
            return Err(Failure::failed(format_args!("the host answers operation {operation:#x}: {result:x?}")));
        };
        ensure!(fault.is_undefined(), "HLT #0xf000: {fault}");
    }
    Ok(())
}

/// ERET with SPSR_EL1 naming EL2 or EL3 is an illegal return: the core stays at EL1, with PSTATE.IL set, and the next
/// instruction gives an Illegal Execution state exception (Arm ARM D1.4.4).
pub fn illegal_return_to_higher_level(_: &Machine) -> Outcome {
    for state in [0x3c9u64, 0x3c8, 0x3cd, 0x3cc] {
        let result = catch(|| {
            // SAFETY: the exception that follows ends the closure.
            unsafe {
                asm!(
                    "adr {link}, 1f", "msr elr_el1, {link}", "msr spsr_el1, {state}", "isb", "eret", "1: nop",
                    link = out(reg) _, state = in(reg) state, options(nostack)
                );
            }
        });
        let Err(fault) = result else {
            return Err(Failure::failed(format_args!("ERET with SPSR_EL1 {state:#x} is legal")));
        };
        ensure_equal!(fault.class(), 0x0e, "class after ERET with SPSR_EL1 {state:#x} ({fault})");
        ensure_equal!(guest_runtime::read_register!("CurrentEL"), 1 << 2, "CurrentEL");
    }
    Ok(())
}

/// Something to lose: written, in the cache, not yet anywhere else.
#[repr(C, align(4096))]
struct Precious(UnsafeCell<[u64; 512]>);

// SAFETY: used by the boot core only.
unsafe impl Sync for Precious {}

static PRECIOUS: Precious = Precious(UnsafeCell::new([0; 512]));

fn precious(index: usize) -> *mut u64 {
    PRECIOUS.0.get().cast::<u64>().wrapping_add(index)
}

/// Cache maintenance by set and way: works, or is undefined, or is ignored. An invalidate must not throw away what was
/// written (under a hypervisor it could be others' data: HCR_EL2.SWIO makes it clean and invalidate).
pub fn set_and_way_keeps_memory(machine: &Machine) -> Outcome {
    // SAFETY: our own page.
    (0..512).for_each(|index| unsafe { precious(index).write_volatile(index as u64 ^ 0x5aa5) });
    for set in 0..256u64 {
        for way in 0..16u64 {
            // Level 1 as a Cortex-A72's data cache has it; numbers that a cache lacks are ignored.
            let operand = way << 28 | set << 6;
            // SAFETY: cleans; and an invalidate only where a hypervisor turns it into a clean.
            let _ = catch(|| unsafe {
                asm!("dc csw, {0}", "dc cisw, {0}", in(reg) operand, options(nostack));
                if !machine.is_plain_qemu {
                    asm!("dc isw, {0}", in(reg) operand, options(nostack));
                }
            });
        }
    }
    for index in 0..512 {
        // SAFETY: our own page.
        let value = unsafe { precious(index).read_volatile() };
        ensure_equal!(value, index as u64 ^ 0x5aa5, "word {index}");
    }
    Ok(())
}

/// Address translation of EL2's regimes and of both stages is not for EL1.
pub fn translation_of_higher_levels(_: &Machine) -> Outcome {
    // SYS #4, C7, C8, #0 to #7 with x0: AT S1E2R, S1E2W, S12E1R, ... and #6 the same for EL3.
    for (level, instruction) in [(2, 0xd50c_7800u32), (3, 0xd50e_7800)] {
        for operation in 0..8 {
            let code = register::assemble(instruction | operation << 5);
            match catch(|| code(0)) {
                Ok(_) => ensure!(false, "AT of EL{level}, operation {operation}, is executed"),
                Err(fault) => ensure!(fault.is_undefined(), "AT of EL{level}, operation {operation}: {fault}"),
            }
        }
    }
    Ok(())
}

/// TLB maintenance of EL1 works; that of EL2 is undefined.
pub fn tlb_maintenance(_: &Machine) -> Outcome {
    // SAFETY: only forgets what can be walked again.
    unsafe {
        asm!("tlbi vmalle1", "tlbi vmalle1is", "tlbi aside1, xzr", "tlbi vaae1is, xzr", "dsb sy", "isb");
    }
    // TLBI ALLE2, ALLE1, VMALLS12E1, IPAS2E1IS.
    for instruction in [0xd50c_871fu32, 0xd50c_879f, 0xd50c_87df, 0xd50c_8020] {
        let code = register::assemble(instruction);
        match catch(|| code(0)) {
            Ok(_) => ensure!(false, "TLBI {instruction:#x} is executed"),
            Err(fault) => ensure!(fault.is_undefined(), "TLBI {instruction:#x}: {fault}"),
        }
    }
    Ok(())
}
