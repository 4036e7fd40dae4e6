//! Calls to whoever is above, with everything wrong that can be.

use guest_runtime::catch::{Fault, catch};
use guest_runtime::checks::Outcome;
use guest_runtime::psci::{self, Conduit, NOT_SUPPORTED};
use guest_runtime::{Machine, ensure, register};

/// A function number that nobody has.
const UNKNOWN: u64 = 0x8400_00f0;

/// An unknown call answers NOT_SUPPORTED, or the instruction is undefined (SMC, where there is no EL3).
fn is_refusal(result: &Result<u64, Fault>) -> bool {
    match result {
        Ok(answer) => *answer as i32 == NOT_SUPPORTED,
        Err(fault) => fault.is_undefined(),
    }
}

/// HVC and SMC with other immediates than 0.
pub fn unknown_immediates(_: &Machine) -> Outcome {
    for immediate in [1, 2, 0x4a48, 0xea1, 0x7fff, 0xffff] {
        for (name, instruction) in [("HVC", 0xd400_0002), ("SMC", 0xd400_0003)] {
            let call = register::assemble(instruction | immediate << 5);
            let result = catch(|| call(UNKNOWN));
            ensure!(is_refusal(&result), "{name} #{immediate:#x}: {result:x?}");
        }
    }
    Ok(())
}

/// One unknown function of each service that SMCCC knows, fast and yielding, 32-bit and 64-bit.
pub fn every_service(_: &Machine) -> Outcome {
    for service in 0..64u64 {
        for kind in [0x0000_0000u64, 0x4000_0000, 0x8000_0000, 0xc000_0000] {
            let function = kind | service << 24 | 0x7eee;
            for conduit in [Conduit::Hvc, Conduit::Smc] {
                let result = catch(|| psci::call_raw(conduit, function, [1, 2, 3]));
                ensure!(is_refusal(&result), "{conduit:?} of {function:#x}: {result:x?}");
            }
        }
    }
    Ok(())
}

/// Known functions with arguments that make no sense: an error each.
pub fn junk_arguments(_: &Machine) -> Outcome {
    let junk = [u64::MAX, 1 << 63, 0xdead_beef_dead_beef, 0x0000_0001_0000_0000];
    for value in junk {
        let result = psci::call(psci::CPU_ON, [value, value, value]);
        ensure!(result < 0, "CPU_ON of {value:#x} gives {result}");
        let result = psci::call(psci::FEATURES, [value, value, value]);
        // 32-bit arguments: the upper bits may be looked at or not, and neither half is a function.
        ensure!(result < 0, "PSCI_FEATURES of {value:#x} gives {result}");
        let result = psci::call(psci::AFFINITY_INFO, [value, 0, 0]);
        ensure!(result < 0, "AFFINITY_INFO of {value:#x} gives {result}");
    }
    // An affinity level beyond 3.
    let result = psci::call(psci::AFFINITY_INFO, [0, 4, 0]);
    ensure!((-2..=2).contains(&result), "AFFINITY_INFO at level 4 gives {result}");
    Ok(())
}
