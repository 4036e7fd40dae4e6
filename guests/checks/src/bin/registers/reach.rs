//! Nothing can be reached but what is listed here: every encoding that MRS, MSR, SYS and SYSL can name is tried, at EL1 and at
//! EL0 (`user`).

use core::cell::UnsafeCell;

use guest_runtime::catch::{Fault, catch};
use guest_runtime::checks::Outcome;
use guest_runtime::machine::GicVersion;
use guest_runtime::register::{assemble, encode, read_encoded, write_encoded};
use guest_runtime::{Machine, ensure, println};

/// op0, op1, CRn, first and last CRm, a bit for each op2.
type Rows = [(u32, u32, u32, u32, u32, u32)];

/// What a guest of any processor may read (Arm ARM D22.3): all of the machine that the ID registers promise, and those that
/// nothing can hide but that tell nothing.
const READABLE: &Rows = &[
    // Debug: transfer registers, MDSCR_EL1, OSECCR_EL1, breakpoints and watchpoints; locks and claims; the EL0 channel.
    (2, 0, 0, 0, 15, 0xf0),
    (2, 0, 0, 0, 0, 1 << 2),
    (2, 0, 0, 2, 2, 0b101),
    (2, 0, 0, 3, 3, 1 << 2),
    (2, 0, 0, 6, 6, 1 << 2),
    (2, 0, 1, 0, 0, 1 << 0),
    (2, 0, 1, 1, 1, 1 << 4),
    (2, 0, 1, 3, 4, 1 << 4),
    (2, 0, 7, 8, 9, 1 << 6),
    (2, 0, 7, 14, 14, 1 << 6),
    (2, 3, 0, 1, 1, 1 << 0),
    (2, 3, 0, 4, 5, 1 << 0),
    // MIDR_EL1 to the last ID register; SCTLR_EL1, ACTLR_EL1, CPACR_EL1; TTBR0_EL1, TTBR1_EL1, TCR_EL1.
    (3, 0, 0, 0, 7, 0xff),
    (3, 0, 1, 0, 0, 0b111),
    (3, 0, 2, 0, 0, 0b111),
    // SPSR_EL1, ELR_EL1, SP_EL0; PSTATE: SPSel, CurrentEL, PAN, UAO, ALLINT; ICC_PMR_EL1.
    (3, 0, 4, 0, 0, 0b11),
    (3, 0, 4, 1, 1, 1),
    (3, 0, 4, 2, 2, 0b1_1101),
    (3, 0, 4, 3, 3, 1),
    (3, 0, 4, 6, 6, 1),
    // AFSR0_EL1, AFSR1_EL1, ESR_EL1, FAR_EL1, PAR_EL1, MAIR_EL1, AMAIR_EL1.
    (3, 0, 5, 1, 1, 0b11),
    (3, 0, 5, 2, 2, 1),
    (3, 0, 6, 0, 0, 1),
    (3, 0, 7, 4, 4, 1),
    (3, 0, 10, 2, 3, 1),
    // VBAR_EL1, ISR_EL1, DISR_EL1; the GIC, ICC_NMIAR1_EL1 among it; CONTEXTIDR_EL1, TPIDR_EL1, CNTKCTL_EL1.
    (3, 0, 12, 0, 0, 1),
    (3, 0, 12, 1, 1, 0b11),
    (3, 0, 12, 8, 8, 0b1111_1101),
    (3, 0, 12, 9, 9, 0b10_1111),
    (3, 0, 12, 11, 11, 1 << 3),
    (3, 0, 12, 12, 12, 0b1111_1101),
    (3, 0, 13, 0, 0, 1 << 1 | 1 << 4),
    (3, 0, 14, 1, 1, 1),
    // CCSIDR_EL1, CLIDR_EL1, CCSIDR2_EL1, SMIDR_EL1, AIDR_EL1; CSSELR_EL1; CTR_EL0, DCZID_EL0.
    (3, 1, 0, 0, 0, 0b1100_0111),
    (3, 2, 0, 0, 0, 1),
    (3, 3, 0, 0, 0, 1 << 1 | 1 << 7),
    // RNDR and RNDRRS; NZCV, DAIF, DIT, SSBS, TCO; FPCR and FPSR; TPIDR_EL0 and TPIDRRO_EL0.
    (3, 3, 2, 4, 4, 0b11),
    (3, 3, 4, 2, 2, 0b1110_0011),
    (3, 3, 4, 4, 4, 0b11),
    (3, 3, 13, 0, 0, 0b1100),
    // CNTFRQ_EL0, the counters and their self-synchronized views; both timers.
    (3, 3, 14, 0, 0, 0b110_0111),
    (3, 3, 14, 2, 3, 0b111),
];

/// What a guest of any processor may carry out (Arm ARM C5.3 to C5.5): on its own memory and its own translations.
const INSTRUCTIONS: &Rows = &[
    // IC IALLUIS, IC IALLU; DC IVAC, DC ISW and those with tags; AT; DC CSW, DC CISW and those with tags.
    (1, 0, 7, 1, 1, 1),
    (1, 0, 7, 5, 5, 1),
    (1, 0, 7, 6, 6, 0b111_1110),
    (1, 0, 7, 8, 8, 0b1111),
    (1, 0, 7, 9, 9, 0b111),
    (1, 0, 7, 10, 10, 0b101_0100),
    (1, 0, 7, 14, 14, 0b101_0100),
    // TLBI of EL1: outer shareable, ranges; inner shareable; ranges outer; ranges; this core. The same without XS.
    (1, 0, 8, 1, 3, 0b1010_1111),
    (1, 0, 8, 5, 7, 0b1010_1111),
    (1, 0, 9, 1, 3, 0b1010_1111),
    (1, 0, 9, 5, 7, 0b1010_1111),
    // Prediction restriction by context; DC ZVA, DC GVA, DC GZVA; IC IVAU; DC CVAC, CVAU, CVAP, CVADP, CIVAC.
    (1, 3, 7, 3, 3, 0b1111_0000),
    (1, 3, 7, 4, 4, 0b1_1010),
    (1, 3, 7, 5, 5, 1 << 1),
    (1, 3, 7, 10, 10, 0b10_1010),
    (1, 3, 7, 11, 11, 1 << 1),
    (1, 3, 7, 12, 14, 0b10_1010),
];

/// Those that act on a set and a way.
const BY_SET: &Rows = &[(1, 0, 7, 6, 6, 0b101_0100), (1, 0, 7, 10, 14, 0b101_0100)];

/// Whether `bits` (op0, op1, CRn, CRm, op2) are in one of the rows.
fn is_in(rows: &Rows, bits: u32) -> bool {
    let (op0, op1, crn, crm, op2) = (bits >> 14, bits >> 11 & 7, bits >> 7 & 15, bits >> 3 & 15, bits & 7);
    rows.iter()
        .any(|row| (row.0, row.1, row.2) == (op0, op1, crn) && (row.3..=row.4).contains(&crm) && row.5 >> op2 & 1 != 0)
}

/// The same where op0 is without its upper bit, as MRS and MSR have it.
fn is_listed(rows: &Rows, bits: u32) -> bool {
    is_in(rows, 1 << 15 | bits)
}

/// Whether it is one of a GICv3's, which a guest with a GICv2 must not find.
fn is_of_gicv3(bits: u32) -> bool {
    is_listed(&[(3, 0, 4, 6, 6, 1), (3, 0, 12, 8, 12, 0xff)], bits)
}

pub fn only_what_is_offered_can_be_read(machine: &Machine) -> Outcome {
    let mut readable = 0;
    for bits in 0..1_u32 << 15 {
        let may = is_listed(READABLE, bits) && (machine.gic == GicVersion::V3 || !is_of_gicv3(bits));
        match read_encoded(bits << 5) {
            Ok(value) => ensure!(may, "register {} can be read: {value:#x}", Name(1 << 15 | bits)),
            Err(fault) => ensure!(is_refusal(&fault), "register {}: {fault}", Name(1 << 15 | bits)),
        }
        readable += u32::from(read_encoded(bits << 5).is_ok());
    }
    println!("registers: {readable} can be read");
    Ok(())
}

/// What cannot be read cannot be written, but for what only is written, and PSTATE's bits, whose writes are another kind of
/// instruction in the same space (MSR immediate has op0 0).
const WRITE_ONLY: &Rows = &[
    (2, 0, 1, 0, 0, 1 << 4),
    // ICC_EOIR0_EL1, ICC_DIR_EL1, ICC_SGI1R_EL1, ICC_ASGI1R_EL1, ICC_SGI0R_EL1, ICC_EOIR1_EL1.
    (3, 0, 12, 8, 8, 1 << 1),
    (3, 0, 12, 11, 11, 1 << 1 | 0b1110_0000),
    (3, 0, 12, 12, 12, 1 << 1),
];

pub fn what_cannot_be_read_cannot_be_written(_: &Machine) -> Outcome {
    for bits in 0..1_u32 << 15 {
        if is_listed(READABLE, bits) || is_listed(WRITE_ONLY, bits) {
            continue;
        }
        match write_encoded(bits << 5, 0) {
            Ok(()) => ensure!(false, "register {} can be written", Name(1 << 15 | bits)),
            Err(fault) => ensure!(is_refusal(&fault), "register {}: {fault}", Name(1 << 15 | bits)),
        }
    }
    Ok(())
}

/// Undefined; or switched off by CPACR_EL1, which comes first: floating point, SVE, SME; or an ID register that there is not,
/// where the processor says so by itself (FEAT_IDST).
fn is_refusal(fault: &Fault) -> bool {
    fault.is_undefined() || matches!(fault.class(), 0x07 | 0x18 | 0x19 | 0x1d)
}

/// A page that instructions may do anything to.
#[repr(C, align(4096))]
struct Ground(UnsafeCell<[u64; 512]>);

// SAFETY: one core uses it at a time, and nobody reads it.
unsafe impl Sync for Ground {}

static GROUND: Ground = Ground(UnsafeCell::new([0; 512]));

/// SYS and SYSL: nothing is carried out but what is listed.
pub fn only_what_is_offered_can_be_carried_out(_: &Machine) -> Outcome {
    const SYS: u32 = 0xd500_0000;
    const SYSL: u32 = 0xd520_0000;
    let mut carried_out = 0;
    for bits in 1_u32 << 14..2 << 14 {
        // By set and way: the first ones. Else an address.
        let operand = if is_in(BY_SET, bits) { 0 } else { GROUND.0.get() as u64 };
        for (instruction, may) in [(SYS, is_in(INSTRUCTIONS, bits)), (SYSL, false)] {
            let code = assemble(instruction | bits << 5);
            match catch(|| code(operand)) {
                Ok(_) => ensure!(may, "{instruction:#x}: {} is carried out", Name(bits)),
                Err(fault) => ensure!(is_refusal(&fault), "{instruction:#x}: {}: {fault}", Name(bits)),
            }
            carried_out += u32::from(may);
        }
    }
    println!("registers: {carried_out} instructions may be carried out");
    Ok(())
}

/// ICC_SRE_EL1 stays as it is, whatever is written.
pub fn system_registers_stay_enabled(machine: &Machine) -> Outcome {
    const ICC_SRE: u32 = encode(3, 0, 12, 12, 5);
    if machine.gic != GicVersion::V3 {
        return Ok(());
    }
    ensure!(write_encoded(ICC_SRE, 0).is_ok(), "ICC_SRE_EL1 cannot be written");
    let value = crate::read(ICC_SRE)?;
    ensure!(value == 0b111, "ICC_SRE_EL1 is {value:#x}");
    Ok(())
}

/// Whether a guest may read or write the register with these bits (op0, op1, CRn, CRm, op2), or carry out the instruction.
pub fn is_offered(machine: &Machine, bits: u32, is_read: bool) -> bool {
    if bits >> 14 == 1 {
        return !is_read && is_in(INSTRUCTIONS, bits);
    }
    let is_there = machine.gic == GicVersion::V3 || !is_of_gicv3(bits & 0x7fff);
    is_there && (is_in(READABLE, bits) || !is_read && is_in(WRITE_ONLY, bits))
}

/// A register's name, as assemblers take it: op0, op1, CRn, CRm, op2.
pub struct Name(pub u32);

impl core::fmt::Display for Name {
    fn fmt(&self, out: &mut core::fmt::Formatter) -> core::fmt::Result {
        let bits = self.0;
        let (op0, op1, crn, crm, op2) = (bits >> 14, bits >> 11 & 7, bits >> 7 & 15, bits >> 3 & 15, bits & 7);
        write!(out, "s{op0}_{op1}_c{crn}_c{crm}_{op2}")
    }
}
