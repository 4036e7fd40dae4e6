//! System registers that nobody has promised.

use guest_runtime::catch::Fault;
use guest_runtime::checks::Outcome;
use guest_runtime::register::{encode, read_encoded, write_encoded};
use guest_runtime::{Machine, ensure, println};

/// Reading a register gives a value or is undefined. A system register trap may not be seen at EL1 as such.
fn is_lawful(result: &Result<u64, Fault>) -> bool {
    result.as_ref().map_or_else(Fault::is_undefined, |_| true)
}

/// Every encoding that MRS can name: op0 2 and 3, all of op1, CRn, CRm, op2. 32,768 reads.
pub fn sweep_of_reads(_: &Machine) -> Outcome {
    let mut present = 0;
    for bits in 0..1u32 << 15 {
        let encoding = bits << 5;
        let result = read_encoded(encoding);
        if let Err(fault) = &result {
            ensure!(is_lawful(&result), "register {encoding:#x}: {fault}");
        }
        present += u32::from(result.is_ok());
    }
    println!("registers: {present} of 32768 encodings can be read");
    ensure!(present > 100, "only {present} registers can be read");
    Ok(())
}

/// The implementation-defined space (CRn 11 and 15): writes go nowhere, or are undefined.
pub fn sweep_of_implementation_defined_writes(_: &Machine) -> Outcome {
    for crn in [11, 15] {
        for bits in 0..8 * 16 * 8 {
            let encoding = encode(3, bits >> 7, crn, bits >> 3 & 0xf, bits & 7);
            if let Err(fault) = write_encoded(encoding, 0) {
                ensure!(fault.is_undefined(), "register {encoding:#x}: {fault}");
            }
        }
    }
    Ok(())
}

/// Debug, OS lock and performance registers: works, or undefined; and no breakpoint outlives it.
pub fn debug_and_performance_writes(_: &Machine) -> Outcome {
    let registers = [
        encode(2, 0, 1, 0, 4),   // OSLAR_EL1
        encode(2, 0, 1, 3, 4),   // OSDLR_EL1
        encode(2, 0, 0, 2, 2),   // MDSCR_EL1
        encode(2, 0, 0, 0, 4),   // DBGBVR0_EL1
        encode(2, 0, 0, 0, 5),   // DBGBCR0_EL1
        encode(2, 0, 0, 0, 6),   // DBGWVR0_EL1
        encode(2, 0, 0, 0, 7),   // DBGWCR0_EL1
        encode(2, 0, 7, 8, 6),   // DBGCLAIMSET_EL1
        encode(3, 3, 9, 12, 0),  // PMCR_EL0
        encode(3, 3, 9, 12, 1),  // PMCNTENSET_EL0
        encode(3, 0, 9, 14, 1),  // PMINTENSET_EL1
        encode(3, 3, 9, 13, 0),  // PMCCNTR_EL0
        encode(3, 3, 14, 15, 7), // PMCCFILTR_EL0
        encode(3, 0, 9, 9, 0),   // PMSCR_EL1
        encode(2, 1, 0, 1, 0),   // TRCPRGCTLR
    ];
    for encoding in registers {
        // Everything but what would start a debugger: E or SS (bit 0), KDE and MDE (bits 13 and 15).
        for value in [!(1 << 15 | 1 << 13 | 1u64), 0] {
            if let Err(fault) = write_encoded(encoding, value) {
                ensure!(fault.is_undefined(), "register {encoding:#x}: {fault}");
            }
        }
    }
    Ok(())
}
