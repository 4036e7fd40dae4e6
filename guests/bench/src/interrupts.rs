//! Interrupts: from what causes one to the handler, and back to the interrupted code.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::{Machine, psci, register, smp, timer, write_register};

use crate::gic::{Controller, SGIS, Trigger};
use crate::samples::{self, Figures};
use crate::{calls, clock, vectors};

/// How often the flag is looked at before an interrupt counts as lost.
const PATIENCE: u64 = 10_000_000;
/// From setting the timer to its deadline, in nanoseconds: more than any hypervisor needs to set it.
const TIMER_DELAY: u64 = 20_000;
/// The same for a guest that sleeps, in nanoseconds: longer than Xen's timers are late by default (50 us) and than KVM
/// polls before it lets a sleeping vCPU go (at most 500 us).
const SLEEP_DELAY: u64 = 1_000_000;
/// Of the generator of SGIs' numbers, a linear congruential one.
const FACTOR: u32 = 1_664_525;
/// Between two SGIs to another vCPU, in nanoseconds: it must have gone back to sleep.
const PEER_DELAY: u64 = 20_000;

/// Not 0 once the handler has run.
static DONE: AtomicU64 = AtomicU64::new(0);
/// The counter as the vector read it.
static ENTERED: AtomicU64 = AtomicU64::new(0);
/// What the handler measured.
static COST: AtomicU64 = AtomicU64::new(0);
/// How far the other vCPU is.
static PEER: AtomicU64 = AtomicU64::new(0);
/// Cores of a storm.
static STORMING: AtomicU64 = AtomicU64::new(0);
const READY: u64 = 1;
const ENDING: u64 = 2;
const ENDED: u64 = 3;

struct Shared(UnsafeCell<Option<Controller>>);

// SAFETY: written before interrupts are let through and before another core starts.
unsafe impl Sync for Shared {}

static CONTROLLER: Shared = Shared(UnsafeCell::new(None));

/// Runs `action` with the controller, if it is set up.
#[inline(always)]
fn with_controller(action: impl FnOnce(&Controller)) {
    // SAFETY: see `Shared`.
    if let Some(controller) = unsafe { (*CONTROLLER.0.get()).as_ref() } {
        action(controller);
    }
}

/// Brings the controller to a known state and lets interrupts through to `handler`.
pub fn begin(machine: &Machine, handler: vectors::Handler) -> Controller {
    register::mask_interrupts();
    timer::Timer::Virtual.stop();
    let controller = Controller::new(machine.gic_frames);
    // SAFETY: interrupts are masked and no other core runs.
    unsafe { CONTROLLER.0.get().write(Some(controller)) };
    vectors::set_handler(handler);
    vectors::install();
    controller.reset();
    register::unmask_interrupts();
    controller
}

/// Takes and ends an interrupt.
#[inline(always)]
pub fn acknowledge_and_end() {
    with_controller(|controller| {
        let interrupt = controller.acknowledge();
        controller.end(interrupt);
    });
}

/// Acknowledges and ends, as the shortest useful handler does.
extern "C" fn take(entered: u64) {
    acknowledge_and_end();
    ENTERED.store(entered, Ordering::Relaxed);
    DONE.store(1, Ordering::Release);
}

/// As [`take`] for the timer, whose level falls only when it is off.
extern "C" fn take_timer(entered: u64) {
    write_register!("cntv_ctl_el0", 0);
    take(entered);
}

/// Measures ending the interrupt.
extern "C" fn measure_end(_: u64) {
    with_controller(|controller| {
        let interrupt = controller.acknowledge();
        COST.store(controller.ticks_of_end(interrupt), Ordering::Relaxed);
    });
    DONE.store(1, Ordering::Release);
}

/// Measures deactivating the interrupt after its priority has been dropped.
extern "C" fn measure_deactivate(_: u64) {
    with_controller(|controller| {
        let interrupt = controller.acknowledge();
        controller.end(interrupt);
        COST.store(controller.ticks_of_deactivate(interrupt), Ordering::Relaxed);
    });
    DONE.store(1, Ordering::Release);
}

/// Looks until the handler has run; says whether it has.
#[inline(always)]
fn wait() -> bool {
    let flag = DONE.as_ptr();
    let done: u64;
    // SAFETY: only reads the flag, which outlives everything.
    unsafe {
        asm!(
            "2: ldr {done}, [{flag}]", "cbnz {done}, 3f", "subs {n}, {n}, #1", "b.ne 2b", "3:",
            done = out(reg) done, flag = in(reg) flag, n = inout(reg) PATIENCE => _, options(nostack, readonly)
        );
    }
    done != 0
}

/// From just before `trigger` until the interrupted code has seen the handler's mark.
#[inline(always)]
fn round_trip(trigger: impl FnOnce()) -> Option<u64> {
    DONE.store(0, Ordering::SeqCst);
    let start = timer::counter();
    trigger();
    let done = wait();
    let end = timer::counter();
    done.then(|| end.wrapping_sub(start))
}

/// As [`round_trip`] without an interrupt.
#[inline(never)]
fn empty_round_trip() -> u64 {
    DONE.store(1, Ordering::SeqCst);
    let start = timer::counter();
    wait();
    timer::counter().wrapping_sub(start)
}

/// An SGI to oneself, and back.
pub fn self_sgi(machine: &Machine) -> Option<Figures> {
    let sgi = begin(machine, take).sgi(register::core_index());
    samples::measure(|| round_trip(|| sgi.send()), empty_round_trip)
}

/// SGIs to oneself whose numbers change without order, and back.
pub fn mixed_sgis(machine: &Machine) -> Option<Figures> {
    let controller = begin(machine, take);
    controller.enable_all_sgis();
    let mut state = 1_u32;
    let sample = || {
        state = state.wrapping_mul(FACTOR).wrapping_add(1);
        let sgi = controller.sgi_numbered(register::core_index(), (state >> 16) % SGIS);
        round_trip(|| sgi.send())
    };
    samples::measure(sample, empty_round_trip)
}

/// A shared interrupt made pending by a write to the distributor, and back.
pub fn shared(machine: &Machine, trigger: Trigger) -> Option<Figures> {
    let controller = begin(machine, take);
    let interrupt = controller.spare_shared()?;
    controller.enable_shared(interrupt, trigger);
    let (register, value) = controller.pending(interrupt);
    samples::measure(|| round_trip(|| guest_runtime::mmio::write32(register, value)), empty_round_trip)
}

/// Ending an interrupt (EOImode 0).
pub fn end(machine: &Machine) -> Option<Figures> {
    let sgi = begin(machine, measure_end).sgi(register::core_index());
    let sample = || round_trip(|| sgi.send()).map(|_| COST.load(Ordering::Relaxed));
    samples::measure(sample, calls::nothing)
}

/// Deactivating an interrupt (EOImode 1).
pub fn deactivate(machine: &Machine) -> Option<Figures> {
    let controller = begin(machine, measure_deactivate);
    controller.set_split(true);
    let sgi = controller.sgi(register::core_index());
    let sample = || round_trip(|| sgi.send()).map(|_| COST.load(Ordering::Relaxed));
    samples::measure(sample, calls::nothing)
}

/// From the virtual timer's deadline to the first instruction of the vector.
fn from_deadline(delay: u64, pause: impl Fn() -> bool) -> Option<u64> {
    DONE.store(0, Ordering::SeqCst);
    let deadline = timer::counter() + clock::ticks(delay);
    timer::Timer::Virtual.set_compare(deadline);
    timer::Timer::Virtual.set_control(timer::ENABLE);
    pause().then(|| ENTERED.load(Ordering::Relaxed).wrapping_sub(deadline))
}

/// What reading the counter inside the vector adds.
fn vector_overhead() -> u64 {
    clock::ticks(vectors::BEFORE_COUNTER)
}

/// The virtual timer while the guest spins.
pub fn timer_spinning(machine: &Machine) -> Option<Figures> {
    begin(machine, take_timer);
    samples::measure(|| from_deadline(TIMER_DELAY, wait), vector_overhead)
}

/// The virtual timer while the guest sleeps in WFI.
pub fn timer_sleeping(machine: &Machine) -> Option<Figures> {
    begin(machine, take_timer);
    samples::measure(|| from_deadline(SLEEP_DELAY, sleep), vector_overhead)
}

fn sleep() -> bool {
    while DONE.load(Ordering::Acquire) == 0 {
        // SAFETY: waits for the timer, which is set. The handler runs before the next instruction.
        unsafe { asm!("wfi", options(nostack)) };
    }
    true
}

/// Sets the boot core up for SGIs of all numbers.
pub fn begin_storm(machine: &Machine) {
    begin(machine, take).enable_all_sgis();
    STORMING.store(machine.cores as u64, Ordering::SeqCst);
}

/// The same for another core.
pub fn join_storm() {
    with_controller(|controller| {
        let own = Controller::new(controller.frames());
        own.reset_core();
        own.enable_all_sgis();
    });
    vectors::install();
    register::unmask_interrupts();
}

/// Sends an SGI of this number to all cores, one after the other.
pub fn send_in_storm(number: u32) {
    with_controller(|controller| {
        for core in 0..STORMING.load(Ordering::Relaxed) as usize {
            controller.sgi_numbered(core, number).send();
        }
    });
}

/// What the other vCPU does: sleep, and take SGIs.
fn be_the_peer(_: usize) {
    with_controller(|controller| Controller::new(controller.frames()).reset_core());
    vectors::install();
    register::unmask_interrupts();
    PEER.store(READY, Ordering::SeqCst);
    while PEER.load(Ordering::SeqCst) != ENDING {
        // SAFETY: only waits; the last SGI comes after the flag.
        unsafe { asm!("wfi", options(nostack)) };
    }
    register::mask_interrupts();
    PEER.store(ENDED, Ordering::SeqCst);
}

/// From sending an SGI to the vector of another vCPU, which sleeps.
///
/// QEMU counts instructions on one host thread: the sender hands over by YIELD, so that both vCPUs' instructions count
/// and none that the sender only waits with.
pub fn other_sgi(machine: &Machine) -> Option<Figures> {
    let sgi = begin(machine, take).sgi(1);
    if smp::start(1, be_the_peer) != psci::SUCCESS || !hand_over_until(|| PEER.load(Ordering::SeqCst) == READY) {
        return None;
    }
    let figures = samples::measure(|| to_peer(sgi), vector_overhead);
    PEER.store(ENDING, Ordering::SeqCst);
    sgi.send();
    let ended = hand_over_until(|| PEER.load(Ordering::SeqCst) == ENDED);
    figures.filter(|_| ended)
}

fn to_peer(sgi: crate::gic::Sgi) -> Option<u64> {
    let until = timer::counter() + clock::ticks(PEER_DELAY);
    hand_over_until(|| {
        // Handing over is slow on the host: seldom is enough.
        spin(1000);
        timer::counter() >= until
    });
    DONE.store(0, Ordering::SeqCst);
    let start = timer::counter();
    sgi.send();
    let done = hand_over_until(|| DONE.load(Ordering::Acquire) != 0);
    done.then(|| ENTERED.load(Ordering::Relaxed).wrapping_sub(start))
}

/// Executes about this many instructions.
fn spin(instructions: u64) {
    // SAFETY: only counts a register down.
    unsafe { asm!("2: subs {n}, {n}, #2", "b.hi 2b", n = inout(reg) instructions => _, options(nomem, nostack)) };
}

/// Lets the other vCPU run until `condition` holds; says whether it came to that.
#[inline(always)]
fn hand_over_until(condition: impl Fn() -> bool) -> bool {
    (0..PATIENCE).any(|_| {
        // SAFETY: a hint.
        unsafe { asm!("yield", options(nostack)) };
        condition()
    })
}
