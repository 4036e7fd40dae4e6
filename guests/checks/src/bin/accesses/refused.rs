//! Accesses that devices do not have, and instructions that only look like accesses.

use guest_runtime::catch::{CLASS_DATA_ABORT, Fault};
use guest_runtime::checks::{Failure, Outcome};
use guest_runtime::{Machine, ensure_equal, mmio};

use crate::known::IBRD;
use crate::run::{Context, State};

/// DFSC: unsupported exclusive or atomic access.
const UNSUPPORTED: u64 = 0x35;
const EXTERNAL: u64 = 0x10;

/// Runs an instruction on the register IBRD: x1 is its address; x5 and x6 hold numbers.
fn run(instruction: u32) -> (State, Result<(), Fault>) {
    mmio::write32(IBRD as usize, 0x1234);
    let mut state = State::random(|| 0x5555_5555_5555_5555);
    (state.x[1], state.x[5], state.x[6]) = (IBRD, 5, 6);
    let result = state.run(instruction, Context::Translated);
    (state, result)
}

fn check_fault(instruction: u32, status: u64) -> Outcome {
    let (state, result) = run(instruction);
    let Err(fault) = result else { return Err(Failure::failed(format_args!("{instruction:#x}: no fault"))) };
    ensure_equal!((fault.class(), fault.status()), (CLASS_DATA_ABORT, status), "fault of {instruction:#x} ({fault})");
    ensure_equal!(fault.address, IBRD, "FAR_EL1 of {instruction:#x}");
    ensure_equal!((state.x[5], state.x[6], state.x[1]), (5, 6, IBRD), "registers after {instruction:#x}");
    ensure_equal!(mmio::read32(IBRD as usize), 0x1234, "IBRD after {instruction:#x}");
    Ok(())
}

/// LDXR, LDAXRB, LDAXR: a loop with a store exclusive ends here, rather than never.
pub fn load_exclusive(_: &Machine) -> Outcome {
    [0x885f_7c25, 0x085f_fc25, 0x885f_fc25].into_iter().try_for_each(|word| check_fault(word, UNSUPPORTED))
}

/// STXR, STLXRB: nothing marked the address.
pub fn store_exclusive(_: &Machine) -> Outcome {
    for (instruction, value) in [(0x8807_7c25, 5), (0x0807_fc25, 5)] {
        let (state, result) = run(instruction);
        if let Err(fault) = result {
            return Err(Failure::failed(format_args!("{instruction:#x}: {fault}")));
        }
        ensure_equal!((state.x[7], state.x[5]), (1, value), "status of {instruction:#x}");
        ensure_equal!(mmio::read32(IBRD as usize), 0x1234, "IBRD after {instruction:#x}");
    }
    Ok(())
}

/// LDP of one register twice: the processor may do as it likes, EL2 refuses. If the processor finds it undefined, that
/// is its choice.
pub fn unpredictable(_: &Machine) -> Outcome {
    let (_, result) = run(0x2940_1425);
    match result {
        Err(fault) if fault.is_undefined() => Ok(()),
        _ => check_fault(0x2940_1425, EXTERNAL),
    }
}

/// PRFM and cache maintenance: there is nothing to do.
pub fn harmless(_: &Machine) -> Outcome {
    // prfm pldl1keep, [x1]; dc civac, x1; dc cvau, x1
    for instruction in [0xf980_0020, 0xd50b_7e21, 0xd50b_7b21] {
        let (state, result) = run(instruction);
        if let Err(fault) = result {
            return Err(Failure::failed(format_args!("{instruction:#x}: {fault}")));
        }
        ensure_equal!((state.x[1], state.x[5]), (IBRD, 5), "registers after {instruction:#x}");
    }
    Ok(())
}
