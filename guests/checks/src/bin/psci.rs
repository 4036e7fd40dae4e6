//! PSCI 1.1 and SMCCC as the specifications want them (Arm DEN 0022F, DEN 0028F).
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use guest_runtime::catch::catch;
use guest_runtime::checks::{self, Outcome};
use guest_runtime::psci::{self, Conduit};
use guest_runtime::timer::Timer;
use guest_runtime::{Machine, delay, ensure, ensure_equal, entry, gic, list, println, skip, smp};

entry!(main);

/// Function numbers that no specification gives to anybody we are.
const UNKNOWN: [u32; 6] = [
    0x8400_001f,
    0xc400_00ff,
    0x8500_0001,
    0xc600_0001,
    0xb200_0000,
    0x0000_0001,
];
/// A core that no machine of ours has.
const MISSING_CORE: u64 = 0x37;
/// The functions that PSCI 1.1 makes mandatory (DEN 0022F, 5.1), but MIGRATE and the like.
const MANDATORY: [u32; 9] = [
    psci::VERSION,
    psci::CPU_SUSPEND,
    psci::CPU_SUSPEND_32,
    psci::CPU_OFF,
    psci::CPU_ON,
    psci::CPU_ON_32,
    psci::AFFINITY_INFO,
    psci::SYSTEM_OFF,
    psci::FEATURES,
];

fn main(machine: &Machine) {
    checks::run(
        machine,
        list![
            version,
            features_of_mandatory_functions,
            features_of_unknown_functions,
            unknown_functions,
            smc_answers_like_hvc,
            smccc_version,
            preserved_registers,
            upper_bits_of_32_bit_calls,
            migrate_info_type,
            affinity_info,
            boot_core_is_already_on,
            missing_core,
            all_cores_start_and_stop,
            state_at_start,
            running_core_is_already_on,
            two_starts_at_once,
            suspend_returns,
        ],
    );
}

fn version(_: &Machine) -> Outcome {
    let version = psci::call(psci::VERSION, [0; 3]);
    ensure!(
        version >= 0x1_0000 && version < 0x2_0000,
        "PSCI_VERSION is {version:#x}"
    );
    println!("psci: {}.{}", version >> 16, version & 0xffff);
    Ok(())
}

fn features_of_mandatory_functions(_: &Machine) -> Outcome {
    for function in MANDATORY {
        let features = psci::call(psci::FEATURES, [function.into(), 0, 0]);
        ensure!(features >= 0, "PSCI_FEATURES({function:#x}) is {features}");
    }
    Ok(())
}

fn features_of_unknown_functions(_: &Machine) -> Outcome {
    for function in UNKNOWN {
        let features = psci::call(psci::FEATURES, [function.into(), 0, 0]);
        ensure_equal!(
            features,
            psci::NOT_SUPPORTED,
            "PSCI_FEATURES({function:#x})"
        );
    }
    Ok(())
}

fn unknown_functions(_: &Machine) -> Outcome {
    for function in UNKNOWN {
        ensure_equal!(
            psci::call(function, [1, 2, 3]),
            psci::NOT_SUPPORTED,
            "function {function:#x}"
        );
    }
    // To a 64-bit caller the answer is -1 in 64 bits.
    let raw = psci::call_raw(Conduit::Hvc, 0xc400_00ff, [0; 3]);
    ensure_equal!(raw, u64::MAX, "64-bit function");
    Ok(())
}

fn smc_answers_like_hvc(_: &Machine) -> Outcome {
    let Ok(version) = catch(|| psci::call_raw(Conduit::Smc, psci::VERSION.into(), [0; 3])) else {
        // Lawful where there is no EL3 and nobody traps SMC (Arm ARM C6.2.333).
        skip!("SMC is undefined here");
    };
    ensure_equal!(
        version as i32,
        psci::call(psci::VERSION, [0; 3]),
        "PSCI_VERSION by SMC"
    );
    for function in UNKNOWN {
        let answer = psci::call_raw(Conduit::Smc, function.into(), [0; 3]) as i32;
        ensure_equal!(answer, psci::NOT_SUPPORTED, "function {function:#x} by SMC");
    }
    Ok(())
}

fn smccc_version(_: &Machine) -> Outcome {
    if psci::call(psci::FEATURES, [psci::SMCCC_VERSION.into(), 0, 0]) < 0 {
        // SMCCC 1.0 has no version function, and PSCI says so.
        ensure_equal!(
            psci::call(psci::SMCCC_VERSION, [0; 3]),
            psci::NOT_SUPPORTED,
            "SMCCC_VERSION"
        );
        skip!("only SMCCC 1.0 here");
    }
    let version = psci::call(psci::SMCCC_VERSION, [0; 3]);
    ensure!(version >= 0x1_0001, "SMCCC_VERSION is {version:#x}");
    println!("smccc: {}.{}", version >> 16, version & 0xffff);
    let features = |function: u32| psci::call(psci::SMCCC_ARCH_FEATURES, [function.into(), 0, 0]);
    ensure!(
        features(psci::SMCCC_VERSION) >= 0,
        "ARCH_FEATURES does not know SMCCC_VERSION"
    );
    ensure!(
        features(psci::SMCCC_ARCH_FEATURES) >= 0,
        "ARCH_FEATURES does not know itself"
    );
    ensure_equal!(
        features(0x8000_7f00),
        psci::NOT_SUPPORTED,
        "ARCH_FEATURES of an unknown function"
    );
    Ok(())
}

/// x4 to x17 come back as they went, after known and unknown functions (DEN 0028F, 2.6).
fn preserved_registers(_: &Machine) -> Outcome {
    for function in [
        psci::VERSION,
        psci::AFFINITY_INFO,
        psci::CPU_ON,
        psci::SMCCC_VERSION,
        UNKNOWN[0],
    ] {
        let mut registers = [0; 18];
        for (index, register) in registers.iter_mut().enumerate() {
            *register = 0xdead_0000_beef_0000 + index as u64;
        }
        registers[0] = function.into();
        registers[1] = MISSING_CORE;
        let after = psci::call_with(Conduit::Hvc, registers);
        ensure_equal!(
            &after[4..],
            &registers[4..],
            "x4 to x17 after {function:#x}"
        );
    }
    Ok(())
}

/// A 32-bit function takes 32-bit arguments, and its number is W0 (DEN 0028F, 2.5 and 3.1).
fn upper_bits_of_32_bit_calls(machine: &Machine) -> Outcome {
    if machine.is_plain_qemu {
        skip!("QEMU's own PSCI looks at the upper bits");
    }
    let junk = 0xabcd_ef01_0000_0000;
    let state = psci::call_raw(Conduit::Hvc, psci::AFFINITY_INFO_32.into(), [junk, junk, 0]);
    ensure_equal!(
        state as i32,
        psci::STATE_ON,
        "AFFINITY_INFO of the boot core"
    );
    let version = psci::call_raw(Conduit::Hvc, junk | u64::from(psci::VERSION), [0; 3]);
    ensure_equal!(
        version as i32,
        psci::call(psci::VERSION, [0; 3]),
        "PSCI_VERSION"
    );
    Ok(())
}

/// No trusted OS that would have to move: 2, or the function is absent.
fn migrate_info_type(_: &Machine) -> Outcome {
    let migrate = psci::call(psci::MIGRATE_INFO_TYPE, [0; 3]);
    ensure!(
        migrate == 2 || migrate == psci::NOT_SUPPORTED,
        "MIGRATE_INFO_TYPE is {migrate}"
    );
    Ok(())
}

fn state_of(core: usize) -> i32 {
    psci::call(psci::AFFINITY_INFO, [core as u64, 0, 0])
}

fn affinity_info(machine: &Machine) -> Outcome {
    ensure_equal!(state_of(0), psci::STATE_ON, "the boot core's state");
    for core in 1..machine.cores {
        ensure_equal!(state_of(core), psci::STATE_OFF, "core {core}'s state");
        let by_32_bits = psci::call(psci::AFFINITY_INFO_32, [core as u64, 0, 0]);
        ensure_equal!(
            by_32_bits,
            psci::STATE_OFF,
            "core {core}'s state by the 32-bit function"
        );
    }
    ensure_equal!(
        state_of(MISSING_CORE as usize),
        psci::INVALID_PARAMETERS,
        "a missing core's state"
    );
    Ok(())
}

fn boot_core_is_already_on(_: &Machine) -> Outcome {
    let result = psci::call(psci::CPU_ON, [0, smp::entry_address(), 0]);
    ensure_equal!(result, psci::ALREADY_ON, "CPU_ON of the calling core");
    Ok(())
}

/// Cores that are not there: another number, another cluster, every affinity level, reserved bits.
fn missing_core(machine: &Machine) -> Outcome {
    let targets = [
        machine.cores as u64,
        MISSING_CORE,
        1 << 8,
        1 << 16,
        1 << 32,
        0xff_00ff_ffff,
        1 << 63,
    ];
    for target in targets {
        let result = psci::call(psci::CPU_ON, [target, smp::entry_address(), 0]);
        ensure_equal!(result, psci::INVALID_PARAMETERS, "CPU_ON of {target:#x}");
    }
    Ok(())
}

static VISITS: AtomicUsize = AtomicUsize::new(0);

fn visit(core: usize) {
    VISITS.fetch_add(1 << (8 * core), Ordering::SeqCst);
}

/// Each core three times: on, off by itself, seen off, on again.
fn all_cores_start_and_stop(machine: &Machine) -> Outcome {
    let mut expected = 0;
    for core in 1..machine.cores {
        for _ in 0..3 {
            ensure_equal!(
                smp::start(core, visit),
                psci::SUCCESS,
                "CPU_ON of core {core}"
            );
            ensure!(
                smp::wait_until_off(core),
                "core {core} is not off after CPU_OFF"
            );
            expected += 1 << (8 * core);
        }
    }
    ensure_equal!(
        VISITS.load(Ordering::SeqCst),
        expected,
        "visits, a byte for each core"
    );
    Ok(())
}

/// What a started core sees: context, CurrentEL, SCTLR_EL1, DAIF, SPSel.
#[repr(C, align(64))]
struct Arrival(UnsafeCell<[u64; 8]>);

// SAFETY: one core writes it and then switches itself off; the other reads it after that.
unsafe impl Sync for Arrival {}

static ARRIVAL: Arrival = Arrival(UnsafeCell::new([0; 8]));

global_asm!(
    r#"
.section .text.arrive, "ax"
.global arrive
arrive:
    adrp    x1, {arrival}
    add     x1, x1, :lo12:{arrival}
    mrs     x2, CurrentEL
    mrs     x3, sctlr_el1
    mrs     x4, daif
    mrs     x5, spsel
    stp     x0, x2, [x1]
    stp     x3, x4, [x1, #16]
    str     x5, [x1, #32]
    dsb     sy
    ldr     x0, =0x84000002
    hvc     #0
    b       .
.ltorg
"#,
    arrival = sym ARRIVAL,
);

/// Cleans and invalidates the line, so that neither core's cache hides the other's stores.
fn read_arrival() -> [u64; 8] {
    let place = ARRIVAL.0.get();
    // SAFETY: cache maintenance of our own memory, read when the other core is off.
    unsafe {
        core::arch::asm!("dsb sy", "dc civac, {place}", "dsb sy", place = in(reg) place, options(nostack));
        place.read_volatile()
    }
}

fn state_at_start(machine: &Machine) -> Outcome {
    unsafe extern "C" {
        fn arrive();
    }
    if machine.cores < 2 {
        skip!("only one core");
    }
    let context = 0x0123_4567_89ab_cdef;
    let _ = read_arrival();
    let result = psci::call(psci::CPU_ON, [1, arrive as *const () as u64, context]);
    ensure_equal!(result, psci::SUCCESS, "CPU_ON");
    let arrived = || read_arrival()[0] != 0;
    ensure!(
        smp::wait_until_off_after(1, arrived),
        "core 1 did not arrive"
    );
    let [x0, level, control, masks, stack, ..] = read_arrival();
    ensure_equal!(x0, context, "x0");
    ensure_equal!(level, 1 << 2, "CurrentEL");
    ensure_equal!(control & 0x1005, 0, "SCTLR_EL1.{{I,C,M}}");
    ensure_equal!(masks, 0x3c0, "DAIF");
    ensure_equal!(stack, 1, "SPSel");
    Ok(())
}

static RELEASE: AtomicBool = AtomicBool::new(false);

fn wait_for_release(_: usize) {
    delay::until(10_000_000, || RELEASE.load(Ordering::SeqCst));
}

fn running_core_is_already_on(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    RELEASE.store(false, Ordering::SeqCst);
    ensure_equal!(smp::start(1, wait_for_release), psci::SUCCESS, "CPU_ON");
    ensure!(
        delay::until(5_000_000, || state_of(1) == psci::STATE_ON),
        "core 1 does not get on"
    );
    ensure_equal!(
        smp::start(1, wait_for_release),
        psci::ALREADY_ON,
        "CPU_ON of a running core"
    );
    RELEASE.store(true, Ordering::SeqCst);
    ensure!(smp::wait_until_off(1), "core 1 does not get off");
    Ok(())
}

static OTHERS_RESULT: AtomicI32 = AtomicI32::new(0);
static READY: AtomicBool = AtomicBool::new(false);

fn start_core_2(_: usize) {
    READY.store(true, Ordering::SeqCst);
    while !RELEASE.load(Ordering::SeqCst) {}
    OTHERS_RESULT.store(
        psci::call(psci::CPU_ON, [2, smp::entry_address(), 2]),
        Ordering::SeqCst,
    );
}

/// Cores 0 and 1 start core 2 at the same time: exactly one of them does.
fn two_starts_at_once(machine: &Machine) -> Outcome {
    if machine.cores < 3 {
        skip!("fewer than three cores");
    }
    if machine.is_plain_qemu {
        skip!("QEMU's own PSCI may start a core twice");
    }
    for round in 0..50 {
        VISITS.store(0, Ordering::SeqCst);
        READY.store(false, Ordering::SeqCst);
        RELEASE.store(false, Ordering::SeqCst);
        smp::set_job(2, visit_slowly);
        ensure_equal!(
            smp::start(1, start_core_2),
            psci::SUCCESS,
            "CPU_ON of core 1"
        );
        ensure!(
            delay::until(5_000_000, || READY.load(Ordering::SeqCst)),
            "core 1 does not get ready"
        );
        RELEASE.store(true, Ordering::SeqCst);
        let own = psci::call(psci::CPU_ON, [2, smp::entry_address(), 2]);
        ensure!(
            smp::wait_until_off(1) && smp::wait_until_off(2),
            "cores do not get off"
        );
        let other = OTHERS_RESULT.load(Ordering::SeqCst);
        // ALREADY_ON, or ON_PENDING (-5) while it is on its way.
        let refused = |result: i32| result == psci::ALREADY_ON || result == -5;
        let one = own == psci::SUCCESS && refused(other) || other == psci::SUCCESS && refused(own);
        ensure!(one, "round {round}: results {own} and {other}");
        ensure_equal!(
            VISITS.load(Ordering::SeqCst),
            1 << 16,
            "visits in round {round}"
        );
    }
    Ok(())
}

/// Long enough that the slower CPU_ON finds the core still on.
fn visit_slowly(core: usize) {
    visit(core);
    delay::microseconds(2_000);
}

/// CPU_SUSPEND to standby returns once an interrupt is pending, even a masked one.
fn suspend_returns(machine: &Machine) -> Outcome {
    gic::start(machine);
    gic::enable(machine, Timer::Virtual.interrupt());
    let deadline = Timer::Virtual.start(5_000);
    let result = psci::call(psci::CPU_SUSPEND, [0, 0, 0]);
    let late = Timer::Virtual.counter() >= deadline;
    Timer::Virtual.stop();
    ensure_equal!(result, psci::SUCCESS, "CPU_SUSPEND");
    // Standby may end early for no reason, so time proves nothing; that the interrupt is what it waits for, this does.
    println!(
        "suspend: woke {} the interrupt",
        if late { "after" } else { "before" }
    );
    Ok(())
}
