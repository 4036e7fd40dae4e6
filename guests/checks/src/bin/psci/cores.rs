//! Starting and stopping cores.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use guest_runtime::checks::Outcome;
use guest_runtime::{Machine, delay, ensure, ensure_equal, psci, skip, smp};

use crate::MISSING_CORE;

fn state_of(core: usize) -> i32 {
    psci::call(psci::AFFINITY_INFO, [core as u64, 0, 0])
}

pub fn affinity_info(machine: &Machine) -> Outcome {
    ensure_equal!(state_of(0), psci::STATE_ON, "the boot core's state");
    for core in 1..machine.cores {
        ensure_equal!(state_of(core), psci::STATE_OFF, "core {core}'s state");
        let by_32_bits = psci::call(psci::AFFINITY_INFO_32, [core as u64, 0, 0]);
        ensure_equal!(by_32_bits, psci::STATE_OFF, "core {core}'s state by the 32-bit function");
    }
    ensure_equal!(state_of(MISSING_CORE as usize), psci::INVALID_PARAMETERS, "a missing core's state");
    Ok(())
}

pub fn boot_core_is_already_on(_: &Machine) -> Outcome {
    let result = psci::call(psci::CPU_ON, [0, smp::entry_address(), 0]);
    ensure_equal!(result, psci::ALREADY_ON, "CPU_ON of the calling core");
    Ok(())
}

/// Cores that are not there: another number, another cluster, every affinity level, reserved bits.
pub fn missing_core(machine: &Machine) -> Outcome {
    let targets = [machine.cores as u64, MISSING_CORE, 1 << 8, 1 << 16, 1 << 32, 0xff_00ff_ffff, 1 << 63];
    for target in targets {
        let result = psci::call(psci::CPU_ON, [target, smp::entry_address(), 0]);
        ensure_equal!(result, psci::INVALID_PARAMETERS, "CPU_ON of {target:#x}");
    }
    Ok(())
}

/// No core starts where no memory is.
pub fn entry_outside_memory(machine: &Machine) -> Outcome {
    if machine.is_plain_qemu {
        skip!("QEMU starts a core anywhere");
    }
    let memory = machine.memory;
    for core in 1..machine.cores {
        for entry in [memory.start - 4, memory.end(), 0, 0x0800_0000, 1 << 40, u64::MAX - 3] {
            let result = psci::call(psci::CPU_ON, [core as u64, entry, 0]);
            ensure_equal!(result, psci::INVALID_ADDRESS, "CPU_ON of core {core} at {entry:#x}");
        }
        ensure_equal!(state_of(core), psci::STATE_OFF, "core {core}'s state");
    }
    Ok(())
}

static VISITS: AtomicUsize = AtomicUsize::new(0);

fn visit(core: usize) {
    VISITS.fetch_add(1 << (8 * core), Ordering::SeqCst);
}

/// Each core three times: on, off by itself, seen off, on again.
pub fn all_cores_start_and_stop(machine: &Machine) -> Outcome {
    let mut expected = 0;
    for core in 1..machine.cores {
        for _ in 0..3 {
            ensure_equal!(smp::start(core, visit), psci::SUCCESS, "CPU_ON of core {core}");
            smp::wait_until_off(core);
            expected += 1 << (8 * core);
        }
    }
    ensure_equal!(VISITS.load(Ordering::SeqCst), expected, "visits, a byte for each core");
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

pub fn state_at_start(machine: &Machine) -> Outcome {
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
    smp::wait_until_off_after(1, arrived);
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
    delay::wait_for("core 0's release", || RELEASE.load(Ordering::SeqCst));
}

pub fn running_core_is_already_on(machine: &Machine) -> Outcome {
    if machine.cores < 2 {
        skip!("only one core");
    }
    RELEASE.store(false, Ordering::SeqCst);
    ensure_equal!(smp::start(1, wait_for_release), psci::SUCCESS, "CPU_ON");
    delay::wait_for("core 1 to get on", || state_of(1) == psci::STATE_ON);
    ensure_equal!(smp::start(1, wait_for_release), psci::ALREADY_ON, "CPU_ON of a running core");
    RELEASE.store(true, Ordering::SeqCst);
    smp::wait_until_off(1);
    Ok(())
}

static OTHERS_RESULT: AtomicI32 = AtomicI32::new(0);
static READY: AtomicBool = AtomicBool::new(false);

fn start_core_2(_: usize) {
    READY.store(true, Ordering::SeqCst);
    delay::wait_for("core 0's release", || RELEASE.load(Ordering::SeqCst));
    OTHERS_RESULT.store(psci::call(psci::CPU_ON, [2, smp::entry_address(), 2]), Ordering::SeqCst);
}

/// Cores 0 and 1 start core 2 at the same time: exactly one of them does.
pub fn two_starts_at_once(machine: &Machine) -> Outcome {
    if machine.cores < 3 {
        skip!("fewer than three cores");
    }
    if machine.is_plain_qemu {
        skip!("QEMU's own PSCI may start a core twice");
    }
    (0..50).try_for_each(start_core_2_twice)
}

fn start_core_2_twice(round: usize) -> Outcome {
    VISITS.store(0, Ordering::SeqCst);
    READY.store(false, Ordering::SeqCst);
    RELEASE.store(false, Ordering::SeqCst);
    smp::set_job(2, visit_and_stay);
    ensure_equal!(smp::start(1, start_core_2), psci::SUCCESS, "CPU_ON of core 1");
    let ready = || READY.load(Ordering::SeqCst);
    delay::wait_for("core 1 to get ready", ready);
    RELEASE.store(true, Ordering::SeqCst);
    let own = psci::call(psci::CPU_ON, [2, smp::entry_address(), 2]);
    smp::wait_until_off(1);
    let other = OTHERS_RESULT.load(Ordering::SeqCst);
    RELEASE.store(false, Ordering::SeqCst);
    smp::wait_until_off(2);
    // ALREADY_ON, or ON_PENDING (-5) while it is on its way.
    let refused = |result: i32| result == psci::ALREADY_ON || result == -5;
    let one = own == psci::SUCCESS && refused(other) || other == psci::SUCCESS && refused(own);
    ensure!(one, "round {round}: results {own} and {other}");
    ensure_equal!(VISITS.load(Ordering::SeqCst), 1 << 16, "visits in round {round}");
    Ok(())
}

/// Stays on until both CPU_ONs are answered.
fn visit_and_stay(core: usize) {
    visit(core);
    delay::wait_for("both answers", || !RELEASE.load(Ordering::SeqCst));
}
