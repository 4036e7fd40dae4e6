//! PSCI 1.1 and SMCCC as the specifications want them (Arm DEN 0022F, DEN 0028F).
#![no_std]
#![no_main]

mod cores;

use guest_runtime::catch::catch;
use guest_runtime::checks::{self, Outcome};
use guest_runtime::psci::{self, Conduit};
use guest_runtime::timer::Timer;
use guest_runtime::{Machine, ensure, ensure_equal, entry, gic, list, println, skip};

entry!(main);

/// Function numbers that no specification gives to anybody we are.
const UNKNOWN: [u32; 6] = [0x8400_001f, 0xc400_00ff, 0x8500_0001, 0xc600_0001, 0xb200_0000, 0x0000_0001];
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
            workarounds,
            preserved_registers,
            upper_bits_of_32_bit_calls,
            migrate_info_type,
            cores::affinity_info,
            cores::boot_core_is_already_on,
            cores::missing_core,
            cores::entry_outside_memory,
            cores::all_cores_start_and_stop,
            cores::state_at_start,
            cores::running_core_is_already_on,
            cores::two_starts_at_once,
            suspend_returns,
        ],
    );
}

fn version(_: &Machine) -> Outcome {
    let version = psci::call(psci::VERSION, [0; 3]);
    ensure!((0x1_0000..0x2_0000).contains(&version), "PSCI_VERSION is {version:#x}");
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
        ensure_equal!(features, psci::NOT_SUPPORTED, "PSCI_FEATURES({function:#x})");
    }
    Ok(())
}

fn unknown_functions(_: &Machine) -> Outcome {
    for function in UNKNOWN {
        ensure_equal!(psci::call(function, [1, 2, 3]), psci::NOT_SUPPORTED, "function {function:#x}");
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
    ensure_equal!(version as i32, psci::call(psci::VERSION, [0; 3]), "PSCI_VERSION by SMC");
    for function in UNKNOWN {
        let answer = psci::call_raw(Conduit::Smc, function.into(), [0; 3]) as i32;
        ensure_equal!(answer, psci::NOT_SUPPORTED, "function {function:#x} by SMC");
    }
    Ok(())
}

fn smccc_version(_: &Machine) -> Outcome {
    if psci::call(psci::FEATURES, [psci::SMCCC_VERSION.into(), 0, 0]) < 0 {
        // SMCCC 1.0 has no version function, and PSCI says so.
        ensure_equal!(psci::call(psci::SMCCC_VERSION, [0; 3]), psci::NOT_SUPPORTED, "SMCCC_VERSION");
        skip!("only SMCCC 1.0 here");
    }
    let version = psci::call(psci::SMCCC_VERSION, [0; 3]);
    ensure!(version >= 0x1_0001, "SMCCC_VERSION is {version:#x}");
    println!("smccc: {}.{}", version >> 16, version & 0xffff);
    let features = |function: u32| psci::call(psci::SMCCC_ARCH_FEATURES, [function.into(), 0, 0]);
    ensure!(features(psci::SMCCC_VERSION) >= 0, "ARCH_FEATURES does not know SMCCC_VERSION");
    ensure!(features(psci::SMCCC_ARCH_FEATURES) >= 0, "ARCH_FEATURES does not know itself");
    ensure_equal!(features(0x8000_7f00), psci::NOT_SUPPORTED, "ARCH_FEATURES of an unknown function");
    Ok(())
}

/// Against speculation, by firmware (DEN 0028F, 7): what is offered can be called, and what is not is no function.
fn workarounds(_: &Machine) -> Outcome {
    for (number, function) in (1..).zip([0x8000_8000_u32, 0x8000_7fff, 0x8000_3fff]) {
        let offer = psci::call(psci::SMCCC_ARCH_FEATURES, [function.into(), 0, 0]);
        println!("workaround {number}: {offer}");
        for conduit in [Conduit::Hvc, Conduit::Smc] {
            let mut registers = [0x0123_4567_89ab_cdef; 18];
            registers[0] = function.into();
            let Ok(after) = catch(|| psci::call_with(conduit, registers)) else { continue };
            ensure_equal!(&after[4..], &registers[4..], "x4 to x17 after workaround {number}");
            ensure_equal!(after[0] as i32 == psci::NOT_SUPPORTED, offer < 0, "workaround {number} is no function");
        }
    }
    Ok(())
}

/// x4 to x17 come back as they went, after known and unknown functions (DEN 0028F, 2.6).
fn preserved_registers(_: &Machine) -> Outcome {
    for function in [psci::VERSION, psci::AFFINITY_INFO, psci::CPU_ON, psci::SMCCC_VERSION, UNKNOWN[0]] {
        let mut registers = [0; 18];
        for (index, register) in registers.iter_mut().enumerate() {
            *register = 0xdead_0000_beef_0000 + index as u64;
        }
        registers[0] = function.into();
        registers[1] = MISSING_CORE;
        let after = psci::call_with(Conduit::Hvc, registers);
        ensure_equal!(&after[4..], &registers[4..], "x4 to x17 after {function:#x}");
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
    ensure_equal!(state as i32, psci::STATE_ON, "AFFINITY_INFO of the boot core");
    let version = psci::call_raw(Conduit::Hvc, junk | u64::from(psci::VERSION), [0; 3]);
    ensure_equal!(version as i32, psci::call(psci::VERSION, [0; 3]), "PSCI_VERSION");
    Ok(())
}

/// No trusted OS that would have to move: 2, or the function is absent.
fn migrate_info_type(_: &Machine) -> Outcome {
    let migrate = psci::call(psci::MIGRATE_INFO_TYPE, [0; 3]);
    ensure!(migrate == 2 || migrate == psci::NOT_SUPPORTED, "MIGRATE_INFO_TYPE is {migrate}");
    Ok(())
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
    println!("suspend: woke {} the interrupt", if late { "after" } else { "before" });
    Ok(())
}
