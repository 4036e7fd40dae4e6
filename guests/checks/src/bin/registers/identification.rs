//! What the ID registers promise, and that nothing else is there.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::checks::Outcome;
use guest_runtime::register::{encode, read_encoded, write_encoded};
use guest_runtime::{MAX_CORES, Machine, ensure, ensure_equal, machine, read_register, smp};

use crate::read;

/// The encodings of the AArch64 ID registers: op0 3, op1 0, CRn 0, CRm 1 to 7. Those not allocated read as zero.
fn id_encodings() -> impl Iterator<Item = u32> {
    (1..8).flat_map(|crm| (0..8).map(move |op2| encode(3, 0, 0, crm, op2)))
}

pub fn id_registers_are_readable(_: &Machine) -> Outcome {
    for encoding in id_encodings() {
        ensure_equal!(read(encoding)?, read(encoding)?, "ID register {encoding:#x} read twice");
    }
    Ok(())
}

/// A digest of all ID registers that must not differ between cores, and the core's own registers that may.
fn id_digest() -> u64 {
    id_encodings().fold(0, |digest: u64, encoding| digest.rotate_left(7) ^ read_encoded(encoding).unwrap_or(u64::MAX))
}

static DIGESTS: [AtomicU64; MAX_CORES] = [const { AtomicU64::new(0) }; MAX_CORES];

pub fn id_registers_are_the_same_on_all_cores(machine: &Machine) -> Outcome {
    let own = id_digest();
    let all = smp::run_on_others(machine.cores, |core| DIGESTS[core].store(id_digest(), Ordering::SeqCst));
    ensure!(all, "not every core answered");
    for (core, digest) in DIGESTS.iter().enumerate().take(machine.cores).skip(1) {
        ensure_equal!(digest.load(Ordering::SeqCst), own, "digest of core {core}'s ID registers");
    }
    Ok(())
}

/// A four-bit field.
fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xf
}

/// ID_AA64PFR0_EL1: EL0 and EL1 are there, EL2 is not (for EL1 to start anything on it), the GIC is as described. EL3 is
/// there: else software at EL1 takes itself for the highest level and writes CNTFRQ_EL0, as Zephyr does.
pub fn levels_are_sane(machine: &Machine) -> Outcome {
    let features = read_register!("id_aa64pfr0_el1");
    ensure!(matches!(field(features, 0), 1 | 2), "EL0 field in {features:#x}");
    ensure!(matches!(field(features, 4), 1 | 2), "EL1 field in {features:#x}");
    ensure_equal!(field(features, 8), 0, "EL2 field in {features:#x}");
    ensure_equal!(field(features, 12), 1, "EL3 field in {features:#x}");
    let system_registers = machine.gic == machine::GicVersion::V3;
    ensure_equal!(field(features, 24) != 0, system_registers, "GIC field in {features:#x}");
    ensure_equal!(read_register!("CurrentEL"), 1 << 2, "CurrentEL");
    Ok(())
}

/// A feature: the ID register and shift of its field, and a register that exists only with the feature.
struct Feature {
    name: &'static str,
    id: u32,
    shift: u32,
    register: u32,
}

const PFR0: u32 = encode(3, 0, 0, 4, 0);
const PFR1: u32 = encode(3, 0, 0, 4, 1);
const DFR0: u32 = encode(3, 0, 0, 5, 0);
const ISAR1: u32 = encode(3, 0, 0, 6, 1);
const MMFR1: u32 = encode(3, 0, 0, 7, 1);
const MMFR3: u32 = encode(3, 0, 0, 7, 3);

const fn feature(name: &'static str, id: u32, shift: u32, register: u32) -> Feature {
    Feature { name, id, shift, register }
}

/// Features whose registers must be undefined where the ID registers deny them (Arm ARM A2 and D19).
const FEATURES: [Feature; 15] = [
    feature("SVE: ZCR_EL1", PFR0, 32, encode(3, 0, 1, 2, 0)),
    feature("SME: SMCR_EL1", PFR1, 24, encode(3, 0, 1, 2, 6)),
    feature("RAS: ERRIDR_EL1", PFR0, 28, encode(3, 0, 5, 3, 0)),
    feature("AMU: AMCR_EL0", PFR0, 44, encode(3, 3, 13, 2, 0)),
    feature("MPAM: MPAM1_EL1", PFR0, 40, encode(3, 0, 10, 5, 0)),
    feature("MTE: GCR_EL1", PFR1, 8, encode(3, 0, 1, 0, 6)),
    feature("MTE: TFSR_EL1", PFR1, 8, encode(3, 0, 5, 6, 0)),
    feature("PMU: PMCR_EL0", DFR0, 8, encode(3, 3, 9, 12, 0)),
    feature("PMU: PMINTENSET_EL1", DFR0, 8, encode(3, 0, 9, 14, 1)),
    feature("SPE: PMSIDR_EL1", DFR0, 32, encode(3, 0, 9, 9, 7)),
    feature("TRBE: TRBLIMITR_EL1", DFR0, 44, encode(3, 0, 9, 11, 0)),
    feature("TRF: TRFCR_EL1", DFR0, 40, encode(3, 0, 1, 2, 1)),
    feature("LOR: LORC_EL1", MMFR1, 16, encode(3, 0, 10, 4, 3)),
    feature("CSV2_2: SCXTNUM_EL1", PFR0, 56, encode(3, 0, 13, 0, 7)),
    feature("TCRX: TCR2_EL1", MMFR3, 0, encode(3, 0, 2, 0, 3)),
];

pub fn absent_features_are_undefined(_: &Machine) -> Outcome {
    for feature in &FEATURES {
        let value = field(read(feature.id)?, feature.shift);
        // PMUVer 15 means a PMU of the implementer's own. CSV2 1 is without the register.
        let absent = value == 0 || value == 15 || (feature.shift == 56 && value == 1);
        check_absence(feature, absent)?;
    }
    let authentication = read(ISAR1)?;
    let absent = [4, 8, 24, 28].iter().all(|&shift| field(authentication, shift) == 0);
    let keys = feature("PAuth: APIAKeyLo_EL1", ISAR1, 4, encode(3, 0, 2, 1, 0));
    check_absence(&keys, absent)?;
    Ok(())
}

fn check_absence(feature: &Feature, absent: bool) -> Outcome {
    match read_encoded(feature.register) {
        Ok(_) => ensure!(!absent, "{} can be read, but the ID registers deny it", feature.name),
        Err(fault) => {
            ensure!(absent, "{} is promised, but reading it gives {fault}", feature.name);
            // CPACR_EL1 refuses those of SVE and SME first, where they are switched off.
            ensure!(fault.is_undefined() || matches!(fault.class(), 0x19 | 0x1d), "{}: {fault}", feature.name);
        }
    }
    Ok(())
}

/// EL2's and EL3's registers do not exist for EL1, for reading nor for writing.
pub fn registers_of_higher_levels_are_undefined(_: &Machine) -> Outcome {
    let registers = [
        ("HCR_EL2", encode(3, 4, 1, 1, 0)),
        ("VTTBR_EL2", encode(3, 4, 2, 1, 0)),
        ("VTCR_EL2", encode(3, 4, 2, 1, 2)),
        ("VBAR_EL2", encode(3, 4, 12, 0, 0)),
        ("ELR_EL2", encode(3, 4, 4, 0, 1)),
        ("SCTLR_EL2", encode(3, 4, 1, 0, 0)),
        ("ICH_LR0_EL2", encode(3, 4, 12, 12, 0)),
        ("CNTVOFF_EL2", encode(3, 4, 14, 0, 3)),
        ("SCTLR_EL12", encode(3, 5, 1, 0, 0)),
        ("SCR_EL3", encode(3, 6, 1, 1, 0)),
        ("SP_EL1", encode(3, 4, 4, 1, 0)),
    ];
    for (name, encoding) in registers {
        match read_encoded(encoding) {
            Ok(value) => ensure!(false, "{name} can be read: {value:#x}"),
            Err(fault) => ensure!(fault.is_undefined(), "reading {name}: {fault}"),
        }
        match write_encoded(encoding, 0) {
            Ok(()) => ensure!(false, "{name} can be written"),
            Err(fault) => ensure!(fault.is_undefined(), "writing {name}: {fault}"),
        }
    }
    Ok(())
}

static AFFINITIES: [AtomicU64; MAX_CORES] = [const { AtomicU64::new(0) }; MAX_CORES];

/// MPIDR_EL1: affinity as the device tree has it, RES1 bit 31, not a uniprocessor.
pub fn affinity_of_each_core(machine: &Machine) -> Outcome {
    let note = |core: usize| AFFINITIES[core].store(read_register!("mpidr_el1"), Ordering::SeqCst);
    note(0);
    ensure!(smp::run_on_others(machine.cores, note), "not every core answered");
    for (core, affinity) in AFFINITIES.iter().enumerate().take(machine.cores) {
        let value = affinity.load(Ordering::SeqCst);
        ensure_equal!(value & 0xff_00ff_ffff, core as u64, "affinity of core {core}");
        ensure!(value & 1 << 31 != 0 && value & 1 << 30 == 0, "MPIDR_EL1 of core {core} is {value:#x}");
    }
    Ok(())
}
