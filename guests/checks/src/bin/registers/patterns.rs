//! Every register that a switch between guests must carry, filled with a pattern while the core exits and sleeps.

extern crate alloc;

use alloc::vec::Vec;

use guest_runtime::checks::Outcome;
use guest_runtime::psci::Conduit;
use guest_runtime::register::{self, encode, read_encoded};
use guest_runtime::timer::Timer;
use guest_runtime::{Machine, ensure, ensure_equal, gic, machine, mmio, psci, read_register, vectors};

use crate::{EXITS, HARMLESS_DEVICE, hold, meet, on_all_cores, own, report};

/// A register that may hold a pattern while its core runs, and the bits that may be changed safely.
struct Patterned {
    name: &'static str,
    encoding: u32,
    mask: u64,
}

const fn patterned(name: &'static str, encoding: u32, mask: u64) -> Patterned {
    Patterned { name, encoding, mask }
}

const ALL: u64 = u64::MAX;

/// Every EL1 and EL0 register that a switch between guests must carry and that can be changed under our feet, with
/// interrupts masked. Those that translation or control depend on keep their value but for harmless bits.
const PATTERNED: [Patterned; 33] = [
    patterned("SP_EL0", encode(3, 0, 4, 1, 0), ALL),
    patterned("ELR_EL1", encode(3, 0, 4, 0, 1), ALL),
    patterned("SPSR_EL1", encode(3, 0, 4, 0, 0), 0xf000_03df),
    patterned("ESR_EL1", encode(3, 0, 5, 2, 0), 0xffff_ffff),
    patterned("FAR_EL1", encode(3, 0, 6, 0, 0), ALL),
    patterned("AFSR0_EL1", encode(3, 0, 5, 1, 0), 0xffff_ffff),
    patterned("AFSR1_EL1", encode(3, 0, 5, 1, 1), 0xffff_ffff),
    patterned("PAR_EL1", encode(3, 0, 7, 4, 0), 0xff00_ffff_ffff_ff80),
    patterned("TPIDR_EL0", encode(3, 3, 13, 0, 2), ALL),
    patterned("TPIDRRO_EL0", encode(3, 3, 13, 0, 3), ALL),
    patterned("TPIDR_EL1", encode(3, 0, 13, 0, 4), ALL),
    patterned("CONTEXTIDR_EL1", encode(3, 0, 13, 0, 1), 0xffff_ffff),
    patterned("VBAR_EL1", encode(3, 0, 12, 0, 0), 0xffff_f800),
    patterned("TTBR1_EL1", encode(3, 0, 2, 0, 1), 0xffff_ffff_f000),
    // TTBR0_EL1: the ASID. TCR_EL1: T1SZ and TBI1, of the half that is switched off. MAIR_EL1: attributes 4 to 7.
    patterned("TTBR0_EL1", encode(3, 0, 2, 0, 0), 0xff << 48),
    patterned("TCR_EL1", encode(3, 0, 2, 0, 2), 0xf << 16 | 1 << 38),
    patterned("MAIR_EL1", encode(3, 0, 10, 2, 0), 0xffff_ffff << 32),
    patterned("AMAIR_EL1", encode(3, 0, 10, 3, 0), ALL),
    // SCTLR_EL1: UCI, UCT, DZE, UMA, all about EL0. CPACR_EL1: FPEN. CNTKCTL_EL1: EL0's access.
    patterned("SCTLR_EL1", encode(3, 0, 1, 0, 0), 1 << 26 | 1 << 15 | 1 << 14 | 1 << 9),
    patterned("CPACR_EL1", encode(3, 0, 1, 0, 2), 3 << 20),
    patterned("CNTKCTL_EL1", encode(3, 0, 14, 1, 0), 0x3ff),
    patterned("CSSELR_EL1", encode(3, 2, 0, 0, 0), 0b11),
    patterned("CNTV_CVAL_EL0", encode(3, 3, 14, 3, 2), ALL),
    // CNTV_CTL_EL0: IMASK.
    patterned("CNTV_CTL_EL0", encode(3, 3, 14, 3, 1), 1 << 1),
    patterned("CNTP_CVAL_EL0", encode(3, 3, 14, 2, 2), ALL),
    patterned("MDSCR_EL1", encode(2, 0, 0, 2, 2), 1 << 12),
    patterned("DBGBVR0_EL1", encode(2, 0, 0, 0, 4), 0xffff_ffff_fffc),
    patterned("DBGWVR0_EL1", encode(2, 0, 0, 0, 6), 0xffff_ffff_fffc),
    patterned("PMUSERENR_EL0", encode(3, 3, 9, 14, 0), 0xf),
    patterned("PMSELR_EL0", encode(3, 3, 9, 12, 5), 0x3),
    patterned("PMCCFILTR_EL0", encode(3, 3, 14, 15, 7), 1 << 30),
    // Where there is the RAS extension: nothing traps it, though ID_AA64PFR0_EL1 denies it.
    patterned("DISR_EL1", encode(3, 0, 12, 1, 1), 1 << 31 | 0x1ff_ffff),
    patterned("ICC_PMR_EL1", encode(3, 0, 4, 6, 0), 0x18),
];

/// A value that depends on register and seed in all its bits; no bit is the same in the other of two guests.
fn pattern_for(index: usize, seed: u64) -> u64 {
    let mixed = (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    own(mixed ^ mixed >> 29)
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
    Some(Trial { register, old, held: new, after: 0 })
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
    hold();
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
    let mut trials: Vec<Trial> = registers.filter_map(|(index, register)| begin(index, register, seed)).collect();
    run_trials(&mut trials);
    vectors::install();
    for trial in &trials {
        ensure_equal!(trial.after, trial.held, "{} on core {}", trial.register.name, register::core_index());
    }
    let held = trials.iter().filter(|trial| trial.held != trial.old).count();
    // By chance a pattern of few bits may be what was there before.
    ensure!(held >= 15, "only {held} registers took a pattern at all");
    Ok(())
}

pub fn patterns_survive(_: &Machine) -> Outcome {
    for seed in 1..4 {
        check_patterns(seed)?;
    }
    Ok(())
}

fn patterns_job(core: usize) {
    gic::start_core(machine::get());
    gic::enable(machine::get(), Timer::Virtual.interrupt());
    meet();
    let outcome = (1..4).try_for_each(|seed| check_patterns(seed * 1000 + core as u64));
    report(core, &outcome);
}

pub fn patterns_survive_on_all_cores(machine: &Machine) -> Outcome {
    on_all_cores(machine, patterns_job)
}

/// The result of an address translation is still there after exits that may have needed one of their own.
pub fn par_survives_device_accesses(_: &Machine) -> Outcome {
    let place = 0u64;
    // SAFETY: translates an address, nothing else.
    unsafe { core::arch::asm!("at s1e1r, {}", "isb", in(reg) &raw const place, options(nostack)) };
    let before = read_register!("par_el1");
    ensure!(before & 1 == 0, "AT S1E1R of our own stack faults: PAR_EL1 {before:#x}");
    ensure_equal!(before & 0xffff_ffff_f000, &raw const place as u64 & !0xfff, "address in PAR_EL1");
    make_exits();
    mmio::write32(0x0900_0000 + 0x38, 0);
    ensure_equal!(read_register!("par_el1"), before, "PAR_EL1 after device accesses");
    Ok(())
}
