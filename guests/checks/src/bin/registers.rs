//! Registers: what the ID registers promise is there and nothing else, and nothing is lost over exits to EL2, WFI and
//! the other cores' doings.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use guest_runtime::catch::Fault;
use guest_runtime::checks::{self, Failure, Outcome};
use guest_runtime::psci::Conduit;
use guest_runtime::register::{self, encode, read_encoded, write_encoded};
use guest_runtime::timer::{self, Timer};
use guest_runtime::{
    MAX_CORES, Machine, delay, ensure, ensure_equal, entry, gic, list, machine, mmio, println,
    psci, read_register, skip, smp, vectors, write_register,
};

entry!(main);

/// A register of the distributor that is only ever read: GICD_TYPER.
const HARMLESS_DEVICE: usize = 0x0800_0004;
/// How often each kind of exit is made while registers hold patterns.
const EXITS: usize = 200;

fn main(machine: &Machine) {
    gic::start(machine);
    gic::enable(machine, Timer::Virtual.interrupt());
    checks::run(
        machine,
        list![
            id_registers_are_readable,
            id_registers_are_the_same_on_all_cores,
            levels_are_sane,
            absent_features_are_undefined,
            registers_of_higher_levels_are_undefined,
            affinity_of_each_core,
            patterns_survive,
            patterns_survive_on_all_cores,
            par_survives_device_accesses,
            vector_registers_survive,
            vector_registers_survive_on_all_cores,
            condition_flags_survive,
            counter_never_goes_back,
            counter_is_the_same_on_all_cores,
            timer_registers_read_back,
        ],
    );
}

/// The encodings of the AArch64 ID registers: op0 3, op1 0, CRn 0, CRm 1 to 7. Those not allocated read as zero.
fn id_encodings() -> impl Iterator<Item = u32> {
    (1..8).flat_map(|crm| (0..8).map(move |op2| encode(3, 0, 0, crm, op2)))
}

fn failed_read(encoding: u32, fault: Fault) -> Failure {
    Failure::failed(format_args!("register {encoding:#x}: {fault}"))
}

/// Reads a register that must be there.
fn read(encoding: u32) -> Result<u64, Failure> {
    read_encoded(encoding).map_err(|fault| failed_read(encoding, fault))
}

fn id_registers_are_readable(_: &Machine) -> Outcome {
    for encoding in id_encodings() {
        ensure_equal!(
            read(encoding)?,
            read(encoding)?,
            "ID register {encoding:#x} read twice"
        );
    }
    Ok(())
}

/// A digest of all ID registers that must not differ between cores, and the core's own registers that may.
fn id_digest() -> u64 {
    id_encodings().fold(0, |digest: u64, encoding| {
        digest.rotate_left(7) ^ read_encoded(encoding).unwrap_or(u64::MAX)
    })
}

static DIGESTS: [AtomicU64; MAX_CORES] = [const { AtomicU64::new(0) }; MAX_CORES];

fn id_registers_are_the_same_on_all_cores(machine: &Machine) -> Outcome {
    let own = id_digest();
    let all = smp::run_on_others(machine.cores, |core| {
        DIGESTS[core].store(id_digest(), Ordering::SeqCst)
    });
    ensure!(all, "not every core answered");
    for core in 1..machine.cores {
        ensure_equal!(
            DIGESTS[core].load(Ordering::SeqCst),
            own,
            "digest of core {core}'s ID registers"
        );
    }
    Ok(())
}

/// A four-bit field.
fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xf
}

/// ID_AA64PFR0_EL1: EL0 and EL1 are there, EL2 is not (for EL1 to start anything on it), the GIC is as described.
fn levels_are_sane(machine: &Machine) -> Outcome {
    let features = read_register!("id_aa64pfr0_el1");
    ensure!(
        matches!(field(features, 0), 1 | 2),
        "EL0 field in {features:#x}"
    );
    ensure!(
        matches!(field(features, 4), 1 | 2),
        "EL1 field in {features:#x}"
    );
    ensure_equal!(field(features, 8), 0, "EL2 field in {features:#x}");
    let system_registers = machine.gic == machine::GicVersion::V3;
    ensure_equal!(
        field(features, 24) != 0,
        system_registers,
        "GIC field in {features:#x}"
    );
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
const MMFR2: u32 = encode(3, 0, 0, 7, 2);
const MMFR3: u32 = encode(3, 0, 0, 7, 3);

/// Features whose registers must be undefined where the ID registers deny them (Arm ARM A2 and D19).
const FEATURES: [Feature; 16] = [
    Feature {
        name: "SVE: ZCR_EL1",
        id: PFR0,
        shift: 32,
        register: encode(3, 0, 1, 2, 0),
    },
    Feature {
        name: "SVE: ID_AA64ZFR0_EL1 aside, SMCR_EL1",
        id: PFR1,
        shift: 24,
        register: encode(3, 0, 1, 2, 6),
    },
    Feature {
        name: "RAS: ERRIDR_EL1",
        id: PFR0,
        shift: 28,
        register: encode(3, 0, 5, 3, 0),
    },
    Feature {
        name: "RAS: DISR_EL1",
        id: PFR0,
        shift: 28,
        register: encode(3, 0, 12, 1, 1),
    },
    Feature {
        name: "AMU: AMCR_EL0",
        id: PFR0,
        shift: 44,
        register: encode(3, 3, 13, 2, 0),
    },
    Feature {
        name: "MPAM: MPAM1_EL1",
        id: PFR0,
        shift: 40,
        register: encode(3, 0, 10, 5, 0),
    },
    Feature {
        name: "MTE: GCR_EL1",
        id: PFR1,
        shift: 8,
        register: encode(3, 0, 1, 0, 6),
    },
    Feature {
        name: "MTE: TFSR_EL1",
        id: PFR1,
        shift: 8,
        register: encode(3, 0, 5, 6, 0),
    },
    Feature {
        name: "PMU: PMCR_EL0",
        id: DFR0,
        shift: 8,
        register: encode(3, 3, 9, 12, 0),
    },
    Feature {
        name: "PMU: PMINTENSET_EL1",
        id: DFR0,
        shift: 8,
        register: encode(3, 0, 9, 14, 1),
    },
    Feature {
        name: "SPE: PMSIDR_EL1",
        id: DFR0,
        shift: 32,
        register: encode(3, 0, 9, 9, 7),
    },
    Feature {
        name: "TRBE: TRBLIMITR_EL1",
        id: DFR0,
        shift: 44,
        register: encode(3, 0, 9, 11, 0),
    },
    Feature {
        name: "TRF: TRFCR_EL1",
        id: DFR0,
        shift: 40,
        register: encode(3, 0, 1, 2, 1),
    },
    Feature {
        name: "LOR: LORC_EL1",
        id: MMFR1,
        shift: 16,
        register: encode(3, 0, 10, 4, 3),
    },
    Feature {
        name: "CSV2_2: SCXTNUM_EL1",
        id: PFR0,
        shift: 56,
        register: encode(3, 0, 13, 0, 7),
    },
    Feature {
        name: "TCRX: TCR2_EL1",
        id: MMFR3,
        shift: 0,
        register: encode(3, 0, 2, 0, 3),
    },
];

fn absent_features_are_undefined(_: &Machine) -> Outcome {
    for feature in &FEATURES {
        let value = field(read(feature.id)?, feature.shift);
        // PMUVer 15 means a PMU of the implementer's own. CSV2 1 is without the register.
        let absent = value == 0 || value == 15 || (feature.shift == 56 && value == 1);
        check_absence(feature, absent)?;
    }
    let authentication = read(ISAR1)?;
    let absent = [4, 8, 24, 28]
        .iter()
        .all(|&shift| field(authentication, shift) == 0);
    let keys = Feature {
        name: "PAuth: APIAKeyLo_EL1",
        id: ISAR1,
        shift: 4,
        register: encode(3, 0, 2, 1, 0),
    };
    check_absence(&keys, absent)?;
    // 0 and 1 in the field of CCIDX and NV say nothing about these.
    let _ = (read(MMFR2)?, read(MMFR1)?);
    Ok(())
}

fn check_absence(feature: &Feature, absent: bool) -> Outcome {
    match read_encoded(feature.register) {
        Ok(_) => ensure!(
            !absent,
            "{} can be read, but the ID registers deny it",
            feature.name
        ),
        Err(fault) => {
            ensure!(
                absent,
                "{} is promised, but reading it gives {fault}",
                feature.name
            );
            ensure!(fault.is_undefined(), "{}: {fault}", feature.name);
        }
    }
    Ok(())
}

/// EL2's and EL3's registers do not exist for EL1, for reading nor for writing.
fn registers_of_higher_levels_are_undefined(_: &Machine) -> Outcome {
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
fn affinity_of_each_core(machine: &Machine) -> Outcome {
    let note = |core: usize| AFFINITIES[core].store(read_register!("mpidr_el1"), Ordering::SeqCst);
    note(0);
    ensure!(
        smp::run_on_others(machine.cores, note),
        "not every core answered"
    );
    for core in 0..machine.cores {
        let value = AFFINITIES[core].load(Ordering::SeqCst);
        ensure_equal!(
            value & 0xff_00ff_ffff,
            core as u64,
            "affinity of core {core}"
        );
        ensure!(
            value & 1 << 31 != 0 && value & 1 << 30 == 0,
            "MPIDR_EL1 of core {core} is {value:#x}"
        );
    }
    Ok(())
}

/// A register that may hold a pattern while its core runs, and the bits that may be changed safely.
struct Patterned {
    name: &'static str,
    encoding: u32,
    mask: u64,
}

const ALL: u64 = u64::MAX;

/// Every EL1 and EL0 register that a switch between guests must carry and that can be changed under our feet, with
/// interrupts masked. Those that translation or control depend on keep their value but for harmless bits.
const PATTERNED: [Patterned; 31] = [
    Patterned {
        name: "SP_EL0",
        encoding: encode(3, 0, 4, 1, 0),
        mask: ALL,
    },
    Patterned {
        name: "ELR_EL1",
        encoding: encode(3, 0, 4, 0, 1),
        mask: ALL,
    },
    Patterned {
        name: "SPSR_EL1",
        encoding: encode(3, 0, 4, 0, 0),
        mask: 0xf000_03df,
    },
    Patterned {
        name: "ESR_EL1",
        encoding: encode(3, 0, 5, 2, 0),
        mask: 0xffff_ffff,
    },
    Patterned {
        name: "FAR_EL1",
        encoding: encode(3, 0, 6, 0, 0),
        mask: ALL,
    },
    Patterned {
        name: "AFSR0_EL1",
        encoding: encode(3, 0, 5, 1, 0),
        mask: 0xffff_ffff,
    },
    Patterned {
        name: "AFSR1_EL1",
        encoding: encode(3, 0, 5, 1, 1),
        mask: 0xffff_ffff,
    },
    Patterned {
        name: "PAR_EL1",
        encoding: encode(3, 0, 7, 4, 0),
        mask: 0xff00_ffff_ffff_ff80,
    },
    Patterned {
        name: "TPIDR_EL0",
        encoding: encode(3, 3, 13, 0, 2),
        mask: ALL,
    },
    Patterned {
        name: "TPIDRRO_EL0",
        encoding: encode(3, 3, 13, 0, 3),
        mask: ALL,
    },
    Patterned {
        name: "TPIDR_EL1",
        encoding: encode(3, 0, 13, 0, 4),
        mask: ALL,
    },
    Patterned {
        name: "CONTEXTIDR_EL1",
        encoding: encode(3, 0, 13, 0, 1),
        mask: 0xffff_ffff,
    },
    Patterned {
        name: "VBAR_EL1",
        encoding: encode(3, 0, 12, 0, 0),
        mask: 0xffff_f800,
    },
    Patterned {
        name: "TTBR1_EL1",
        encoding: encode(3, 0, 2, 0, 1),
        mask: 0xffff_ffff_f000,
    },
    // TTBR0_EL1: the ASID. TCR_EL1: T1SZ and TBI1, of the half that is switched off. MAIR_EL1: attributes 4 to 7.
    Patterned {
        name: "TTBR0_EL1",
        encoding: encode(3, 0, 2, 0, 0),
        mask: 0xff << 48,
    },
    Patterned {
        name: "TCR_EL1",
        encoding: encode(3, 0, 2, 0, 2),
        mask: 0xf << 16 | 1 << 38,
    },
    Patterned {
        name: "MAIR_EL1",
        encoding: encode(3, 0, 10, 2, 0),
        mask: 0xffff_ffff << 32,
    },
    Patterned {
        name: "AMAIR_EL1",
        encoding: encode(3, 0, 10, 3, 0),
        mask: ALL,
    },
    // SCTLR_EL1: UCI, UCT, DZE, UMA, all about EL0. CPACR_EL1: FPEN. CNTKCTL_EL1: EL0's access.
    Patterned {
        name: "SCTLR_EL1",
        encoding: encode(3, 0, 1, 0, 0),
        mask: 1 << 26 | 1 << 15 | 1 << 14 | 1 << 9,
    },
    Patterned {
        name: "CPACR_EL1",
        encoding: encode(3, 0, 1, 0, 2),
        mask: 3 << 20,
    },
    Patterned {
        name: "CNTKCTL_EL1",
        encoding: encode(3, 0, 14, 1, 0),
        mask: 0x3ff,
    },
    Patterned {
        name: "CSSELR_EL1",
        encoding: encode(3, 2, 0, 0, 0),
        mask: 0b11,
    },
    Patterned {
        name: "CNTV_CVAL_EL0",
        encoding: encode(3, 3, 14, 3, 2),
        mask: ALL,
    },
    Patterned {
        name: "CNTP_CVAL_EL0",
        encoding: encode(3, 3, 14, 2, 2),
        mask: ALL,
    },
    Patterned {
        name: "MDSCR_EL1",
        encoding: encode(2, 0, 0, 2, 2),
        mask: 1 << 12,
    },
    Patterned {
        name: "DBGBVR0_EL1",
        encoding: encode(2, 0, 0, 0, 4),
        mask: 0xffff_ffff_fffc,
    },
    Patterned {
        name: "DBGWVR0_EL1",
        encoding: encode(2, 0, 0, 0, 6),
        mask: 0xffff_ffff_fffc,
    },
    Patterned {
        name: "PMUSERENR_EL0",
        encoding: encode(3, 3, 9, 14, 0),
        mask: 0xf,
    },
    Patterned {
        name: "PMSELR_EL0",
        encoding: encode(3, 3, 9, 12, 5),
        mask: 0x3,
    },
    Patterned {
        name: "PMCCFILTR_EL0",
        encoding: encode(3, 3, 14, 15, 7),
        mask: 1 << 30,
    },
    Patterned {
        name: "ICC_PMR_EL1",
        encoding: encode(3, 0, 4, 6, 0),
        mask: 0x18,
    },
];

/// A value that depends on register and seed in all its bits.
fn pattern_for(index: usize, seed: u64) -> u64 {
    let mixed = (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// A core that leaves its code for EL2 in every harmless way.
fn make_exits() {
    for round in 0..EXITS {
        let version = psci::call_raw(Conduit::Hvc, psci::VERSION.into(), [0; 3]);
        let kind = mmio::read32(HARMLESS_DEVICE);
        core::hint::black_box((version, kind));
        if round % 20 == 0 {
            sleep_a_little();
        }
    }
}

/// WFI with a pending, masked timer interrupt to come: nothing is taken, so nothing is disturbed.
fn sleep_a_little() {
    let kept = Timer::Virtual.control();
    let compare = read_register!("cntv_cval_el0");
    Timer::Virtual.start(200);
    register::wait_for_interrupt();
    Timer::Virtual.set_control(kept);
    Timer::Virtual.set_compare(compare);
}

/// A register's value before, while it holds its pattern, and after the exits.
struct Trial {
    register: &'static Patterned,
    old: u64,
    held: u64,
    after: u64,
}

fn begin(index: usize, register: &'static Patterned, seed: u64) -> Option<Trial> {
    let old = read_encoded(register.encoding).ok()?;
    let new = old & !register.mask | pattern_for(index, seed) & register.mask;
    Some(Trial {
        register,
        old,
        held: new,
        after: 0,
    })
}

/// Puts patterns into all registers, makes exits, and puts everything back. Between the two loops that write, no fault
/// and no interrupt may be taken: VBAR_EL1 leads nowhere.
fn run_trials(trials: &mut [Trial]) {
    register::mask_interrupts();
    for trial in trials.iter_mut() {
        raw_write(trial.register.encoding, trial.held);
        trial.held = raw_read(trial.register.encoding);
    }
    make_exits();
    for trial in trials.iter_mut() {
        trial.after = raw_read(trial.register.encoding);
    }
    for trial in trials.iter() {
        raw_write(trial.register.encoding, trial.old);
    }
}

/// Reads a register that is known to exist, without the help of the vectors.
fn raw_read(encoding: u32) -> u64 {
    register::assemble(MRS | encoding)(0)
}

/// Writes a register that is known to exist, without the help of the vectors.
fn raw_write(encoding: u32, value: u64) {
    register::assemble(MSR | encoding)(value);
    // SAFETY: only lets the write take effect.
    unsafe { core::arch::asm!("isb", options(nostack)) };
}

/// MRS x0, and MSR from x0, without a register.
const MRS: u32 = 0xd530_0000;
const MSR: u32 = 0xd510_0000;

fn check_patterns(seed: u64) -> Outcome {
    let registers = PATTERNED.iter().enumerate();
    let mut trials: Vec<Trial> = registers
        .filter_map(|(index, register)| begin(index, register, seed))
        .collect();
    run_trials(&mut trials);
    vectors::install();
    for trial in &trials {
        ensure_equal!(
            trial.after,
            trial.held,
            "{} on core {}",
            trial.register.name,
            register::core_index()
        );
    }
    let held = trials
        .iter()
        .filter(|trial| trial.held != trial.old)
        .count();
    ensure!(held >= 20, "only {held} registers took a pattern at all");
    Ok(())
}

fn patterns_survive(_: &Machine) -> Outcome {
    for seed in 1..4 {
        check_patterns(seed)?;
    }
    Ok(())
}

static FAILURES: AtomicUsize = AtomicUsize::new(0);
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Runs `check` on all cores at once and fails if it fails on any.
fn on_all_cores(machine: &Machine, job: smp::Job) -> Outcome {
    FAILURES.store(0, Ordering::SeqCst);
    RUNNING.store(machine.cores, Ordering::SeqCst);
    let started = (1..machine.cores)
        .filter(|&core| smp::start(core, job) == psci::SUCCESS)
        .count();
    ensure_equal!(started + 1, machine.cores, "cores that started");
    job(0);
    let all = (1..machine.cores).all(smp::wait_until_off);
    ensure!(all, "not every core came to an end");
    ensure_equal!(FAILURES.load(Ordering::SeqCst), 0, "cores that failed");
    Ok(())
}

/// Waits until all cores are here, so that they disturb each other as much as they can.
fn meet() {
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    delay::until(5_000_000, || RUNNING.load(Ordering::SeqCst) == 0);
}

/// Counts a failure and says what it is.
fn report(core: usize, outcome: &Outcome) {
    if let Err(failure) = outcome {
        println!("core {core}: {failure:?}");
        FAILURES.fetch_add(1, Ordering::SeqCst);
    }
}

fn patterns_job(core: usize) {
    gic::start_core(machine::get());
    gic::enable(machine::get(), Timer::Virtual.interrupt());
    meet();
    let outcome = (1..4).try_for_each(|seed| check_patterns(seed * 1000 + core as u64));
    report(core, &outcome);
}

fn patterns_survive_on_all_cores(machine: &Machine) -> Outcome {
    on_all_cores(machine, patterns_job)
}

/// The result of an address translation is still there after exits that may have needed one of their own.
fn par_survives_device_accesses(_: &Machine) -> Outcome {
    let place = 0u64;
    // SAFETY: translates an address, nothing else.
    unsafe { core::arch::asm!("at s1e1r, {}", "isb", in(reg) &raw const place, options(nostack)) };
    let before = read_register!("par_el1");
    ensure!(
        before & 1 == 0,
        "AT S1E1R of our own stack faults: PAR_EL1 {before:#x}"
    );
    ensure_equal!(
        before & 0xffff_ffff_f000,
        &raw const place as u64 & !0xfff,
        "address in PAR_EL1"
    );
    make_exits();
    mmio::write32(0x0900_0000 + 0x38, 0);
    ensure_equal!(
        read_register!("par_el1"),
        before,
        "PAR_EL1 after device accesses"
    );
    Ok(())
}

/// Fills v0 to v31, FPCR and FPSR from the seed, makes exits and counts the registers that changed.
fn lost_vector_registers(seed: u64, exits: u64) -> u64 {
    unsafe extern "C" {
        fn vector_registers_lost(seed: u64, exits: u64, device: usize) -> u64;
    }
    // SAFETY: the assembly keeps the calling convention; vector registers are nobody's on this soft-float target.
    unsafe { vector_registers_lost(seed, exits, HARMLESS_DEVICE) }
}

core::arch::global_asm!(
    r#"
.arch_extension fp
.arch_extension simd
.section .text.vector_registers_lost, "ax"
.global vector_registers_lost
vector_registers_lost:
    stp     x19, x20, [sp, #-32]!
    stp     x21, x30, [sp, #16]
    mov     x19, x0
    mov     x20, x1
    mov     x21, x2
    mov     x3, #(3 << 20)
    msr     cpacr_el1, x3
    isb
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x3, x19, #\n
    fmov    d\n, x3
    mvn     x3, x3
    mov     v\n\().d[1], x3
    .endr
    // FPCR.RMode and FZ, FPSR's sticky bits.
    mov     x3, #(0b111 << 22)
    msr     fpcr, x3
    mov     x3, #0x1f
    msr     fpsr, x3
1:  mov     x0, #0x84000000
    hvc     #0
    ldr     w3, [x21]
    subs    x20, x20, #1
    b.ne    1b
    mov     x0, #0
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x3, x19, #\n
    mvn     x4, x3
    umov    x5, v\n\().d[0]
    umov    x6, v\n\().d[1]
    cmp     x3, x5
    ccmp    x4, x6, #0, eq
    cinc    x0, x0, ne
    .endr
    mrs     x3, fpcr
    mrs     x4, fpsr
    mov     x5, #(0b111 << 22)
    cmp     x3, x5
    ccmp    x4, #0x1f, #0, eq
    cinc    x0, x0, ne
    msr     fpcr, xzr
    ldp     x21, x30, [sp, #16]
    ldp     x19, x20, [sp], #32
    ret
"#
);

fn vector_registers_survive(_: &Machine) -> Outcome {
    ensure_equal!(
        lost_vector_registers(0x0123_4567_89ab_cd00, 1000),
        0,
        "vector registers lost"
    );
    Ok(())
}

fn vectors_job(core: usize) {
    meet();
    let lost = lost_vector_registers((core as u64 + 1) << 40, 3000);
    FAILURES.fetch_add(usize::from(lost != 0), Ordering::SeqCst);
}

fn vector_registers_survive_on_all_cores(machine: &Machine) -> Outcome {
    on_all_cores(machine, vectors_job)
}

/// NZCV after an HVC and a device access is what it was before.
fn condition_flags_survive(_: &Machine) -> Outcome {
    for flags in 0..16u64 {
        let after: u64;
        // SAFETY: a PSCI call and a device read; registers that they change are named.
        unsafe {
            core::arch::asm!(
                "msr nzcv, {flags}", "hvc #0", "ldr {scratch:w}, [{device}]", "mrs {after}, nzcv",
                flags = in(reg) flags << 28, device = in(reg) HARMLESS_DEVICE, scratch = out(reg) _,
                after = lateout(reg) after, inout("x0") u64::from(psci::VERSION) => _,
                out("x1") _, out("x2") _, out("x3") _,
            );
        }
        ensure_equal!(after >> 28, flags, "NZCV");
    }
    Ok(())
}

fn counter_never_goes_back(_: &Machine) -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        let mut last = timer.counter();
        for round in 0..2000 {
            if round % 4 == 0 {
                psci::call(psci::VERSION, [0; 3]);
            }
            let now = timer.counter();
            ensure!(now >= last, "{timer:?} counter went from {last} to {now}");
            last = now;
        }
    }
    ensure!(
        timer::frequency() >= 1_000_000,
        "CNTFRQ_EL0 is {}",
        timer::frequency()
    );
    Ok(())
}

static BALL: AtomicU64 = AtomicU64::new(0);
static BACKWARDS: AtomicBool = AtomicBool::new(false);

/// Hands the counter to and fro: nobody may see less than what was handed over.
fn play(core: usize) {
    for _ in 0..500 {
        let mine = delay::until(1_000_000, || BALL.load(Ordering::SeqCst) & 1 == core as u64);
        let seen = BALL.load(Ordering::SeqCst) >> 1;
        let now = timer::counter();
        if !mine || now < seen {
            BACKWARDS.store(true, Ordering::SeqCst);
        }
        BALL.store(now << 1 | (1 - core as u64), Ordering::SeqCst);
    }
}

fn counter_is_the_same_on_all_cores(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    ensure_equal!(smp::start(1, play), psci::SUCCESS, "CPU_ON");
    play(0);
    ensure!(smp::wait_until_off(1), "core 1 does not end");
    ensure!(
        !BACKWARDS.load(Ordering::SeqCst),
        "a core's counter is behind the other's"
    );
    Ok(())
}

/// CVAL reads back; TVAL is the distance to it; CTL has what was written and a STATUS that is true.
fn timer_registers_read_back(_: &Machine) -> Outcome {
    for (timer, compare, distance) in [
        (
            Timer::Virtual,
            encode(3, 3, 14, 3, 2),
            encode(3, 3, 14, 3, 0),
        ),
        (
            Timer::Physical,
            encode(3, 3, 14, 2, 2),
            encode(3, 3, 14, 2, 0),
        ),
    ] {
        let far = timer.counter() + timer::ticks(1_000_000);
        timer.set_compare(far);
        timer.set_control(timer::ENABLE | timer::MASK);
        ensure_equal!(read(compare)?, far, "{timer:?} CVAL");
        let left = read(distance)?;
        ensure!(
            left > 0 && left <= timer::ticks(1_000_000),
            "{timer:?} TVAL is {left:#x}"
        );
        ensure_equal!(
            timer.control(),
            timer::ENABLE | timer::MASK,
            "{timer:?} CTL before the time"
        );
        write_encoded(distance, 0).map_err(|fault| failed_read(distance, fault))?;
        let fired = timer::ENABLE | timer::MASK | timer::STATUS;
        ensure_equal!(timer.control(), fired, "{timer:?} CTL after the time");
        timer.stop();
    }
    write_register!("cntkctl_el1", 0);
    Ok(())
}
