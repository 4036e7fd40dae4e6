//! Bringing cores up, and what each sets up for itself before it runs guests.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use tessera_platform::board::{Board, Core as BoardCore, EnableMethod};
use tessera_platform::gic::Controller;
use tessera_platform::interrupt_id::Trigger;
use tessera_platform::psci::Firmware;
use tessera_platform::{Affinity, Span, timer};

use super::layout::Layout;
use super::{handover, own_index, selftest};
use crate::arch::aarch64::machine::clean_to_coherency;
use crate::arch::aarch64::stage1::{AddressSpace, SecondaryStart};
use crate::arch::aarch64::{self as arch, traps, virtual_interface};
use crate::fault;
use crate::leave;
use crate::scheduler::{CoreSchedule, Scheduler};
use crate::system::System;
use crate::terminal;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// How long it may take until the next core comes. It is nothing's measure but of cores that never come: one that has
/// come says by itself what is wrong with it, however long it takes to find out.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How many secondary cores have come.
static COME: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    /// A secondary core's first instruction: see `arch::aarch64::start`.
    fn secondary_start();

    /// The same for a core that comes from a spin table: it finds its [`SPIN_TABLE_RECORD`] by itself.
    fn spin_table_start();
}

/// The machine address of the `SecondaryStart` of the core that is released next from a spin table.
#[unsafe(no_mangle)]
static SPIN_TABLE_RECORD: AtomicU64 = AtomicU64::new(0);

/// Starts the other cores that are wanted, and waits until they are there; gives how many they are.
///
/// # Errors
/// One does not start, and which.
pub fn start_all(system: &'static System, board: &Board, layout: &Layout) -> Result<usize, String> {
    let own = own_index(system).ok_or_else(no_own_core)?;
    let others: Vec<usize> =
        (0..system.machine.cores.len()).filter(|index| *index != own && is_wanted(system, *index)).collect();
    for (number, index) in others.iter().enumerate() {
        start(system, board, layout, number, *index)
            .map_err(|problem| format!("core {index} does not start: {problem}"))?;
    }
    wait_to_come(system, others.len())?;
    // Without a limit: each of them gets ready, or stops the machine and says why, in a bounded number of steps.
    while handover::ready() < others.len() {
        core::hint::spin_loop();
    }
    Ok(others.len())
}

fn no_own_core() -> String {
    let own = Affinity::of_this_core();
    format!(
        "this runs on core {own} (MPIDR_EL1 {:#x}), which the device tree does not have or says is not to be used: \
         correct reg and status of its node below /cpus",
        own.value()
    )
}

/// A core is wanted if it has vCPUs or works for all. One that spins in memory that only the device tree protects is taken
/// out of there in any case, and waits here at less cost.
fn is_wanted(system: &System, index: usize) -> bool {
    let is_used = system.vms.iter().any(|vm| vm.vcpus.iter().any(|vcpu| vcpu.place.core == index));
    let spins = |core: &BoardCore| matches!(core.enable, EnableMethod::SpinTable { .. });
    is_used || system.housekeeping == Some(index) || system.machine.cores.get(index).is_some_and(spins)
}

/// Waits until `count` other cores have come.
fn wait_to_come(system: &System, count: usize) -> Result<(), String> {
    let clock = system.machine.clock;
    let mut come = COME.load(Ordering::Acquire);
    let mut since = clock.now();
    while come < count {
        let now = clock.now();
        match COME.load(Ordering::Acquire) {
            // Nothing came, though there was time since the last did.
            same if same == come && now.saturating_sub(since) > clock.ticks(PATIENCE) => {
                return Err(format!("only {come} of the {count} other cores needed have started"));
            }
            same if same == come => core::hint::spin_loop(),
            more => (come, since) = (more, now),
        }
    }
    Ok(())
}

fn start(system: &System, board: &Board, layout: &Layout, number: usize, index: usize) -> Result<(), String> {
    let start = layout.secondary_start(number).ok_or("there is no stack for it")?;
    let core = system.machine.cores.get(index).ok_or("there is no such core")?;
    let start = Box::leak(Box::new(start));
    start.publish();
    let entry = secondary_start as *const () as u64;
    match (&core.enable, board.psci) {
        (EnableMethod::Psci, Some(psci)) => Firmware::new(psci)
            .cpu_on(core.affinity, entry, start as *const _ as u64)
            .map_err(|error| format!("{error}")),
        (EnableMethod::SpinTable { release }, _) => {
            release_core(board, *release, start)?;
            // They all find their record at one place: the next one waits for this one.
            wait_to_come(system, number + 1)
        }
        _ => Err("there is neither firmware that starts it (PSCI) nor a spin table".into()),
    }
}

/// Lets a core go that waits for an address at machine address `release` (Devicetree Specification 0.4, 3.8.1).
fn release_core(board: &Board, release: u64, start: &SecondaryStart) -> Result<(), String> {
    let entry = Span::new(release, 8).filter(|_| release.is_multiple_of(8));
    let entry = entry.ok_or_else(|| format!("its spin table at {release:#x} is at no multiple of 8"))?;
    board.check_in_memory("its spin table", entry).map_err(|error| format!("{error}"))?;
    SPIN_TABLE_RECORD.store(start as *const _ as u64, Ordering::Relaxed);
    // It reads both past the caches, as its MMU is off.
    clean_to_coherency(SPIN_TABLE_RECORD.as_ptr() as u64, 8);
    // SAFETY: memory that EL2 maps for writing, at the place that the device tree keeps for this.
    unsafe { (entry.start() as *mut u64).write_volatile(spin_table_start as *const () as u64) };
    clean_to_coherency(entry.start(), 8);
    arch::send_event();
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn tessera_secondary() -> ! {
    arch::install_vectors();
    COME.fetch_add(1, Ordering::Release);
    // It is there before any core is started.
    let Some(system) = System::get() else { arch::halt() };
    let Some(index) = own_index(system) else { leave::refuse(format_args!("{}", no_own_core())) };
    set_up(system);
    // Before boot takes back what is free of the heap.
    let own = own(system, index);
    selftest::run(index);
    handover::secondary(system, index, own)
}

/// The rest of the boot core's life.
pub fn boot_core(system: &'static System, own: Own, map: &'static mut AddressSpace) -> ! {
    let index = own_index(system).unwrap_or(0);
    set_up(system);
    // Not before the timer that this was tried with is known to be right.
    if let Some(remedy) = system.machine.hardware_end.remedy() {
        log::info!("this GICv2 forgets interrupts that guests end by themselves (as QEMU's does): {remedy}");
    }
    selftest::run(index);
    // A device may interrupt as soon as it is enabled: what it leads to must be known.
    system.vms.iter().for_each(Vm::map_hardware);
    enable_shared_interrupts(system);
    fault::exploration_is_over();
    system.vms.iter().for_each(Vm::start);
    handover::boot_core(system, index, own, map)
}

/// What each core has of its own: traps, interrupt controller, timers.
fn set_up(system: &System) {
    traps::configure_core(system.machine.vtcr);
    if arch::take_system_error() {
        log::warn!("firmware left an SError pending on core {}: dropped", Affinity::of_this_core());
    }
    if let Err(error) = system.machine.gic.initialize_core() {
        leave::refuse(format_args!("{error}"));
    }
    virtual_interface::initialize(&system.machine.gic, system.machine.hardware_end);
    let own = system.machine.interrupts;
    for id in [own.kick, own.virtual_timer, own.hypervisor_timer, own.maintenance] {
        system.machine.gic.enable(id);
    }
    check_timers(system);
}

/// Nobody could tell why guests' timers are silent later.
fn check_timers(system: &System) {
    let own = system.machine.interrupts;
    let is_pending = |id| system.machine.gic.is_pending(id);
    if let Err(error) = timer::check_interrupts(own.hypervisor_timer, own.virtual_timer, &is_pending) {
        leave::refuse(format_args!("{error}"));
    }
    // Where edges are latched.
    for id in [own.hypervisor_timer, own.virtual_timer] {
        system.machine.gic.clear_pending(id);
    }
}

fn enable_shared_interrupts(system: &System) {
    if let Some(uart) = system.machine.interrupts.uart {
        let home = system.housekeeping.and_then(|index| system.machine.core_affinity(index));
        system.machine.gic.route(uart, home.unwrap_or(Affinity::of_this_core()));
        system.machine.gic.enable(uart);
        terminal::enable_input();
    }
    for (id, vm) in &system.passthrough {
        let Some(vm) = system.vms.get(*vm) else { continue };
        let is_edge = vm.config.hardware_interrupts().any(|(_, one)| one.spi + 32 == id.number() && one.edge);
        system.machine.gic.set_trigger(*id, if is_edge { Trigger::Edge } else { Trigger::Level });
        if let Some(core) = vm.vcpus.first().and_then(|vcpu| system.machine.core_affinity(vcpu.place.core)) {
            system.machine.gic.route(*id, core);
        }
        system.machine.gic.enable(*id);
    }
}

/// What a core has on the heap: its vCPUs, and who decides among them.
pub type Own = (Vec<Vcpu>, Scheduler);

/// What core `index` needs; nothing is allocated for it later.
pub fn own(system: &'static System, index: usize) -> Own {
    let vcpus = system.vms.iter().flat_map(|vm| vm.vcpus.iter().enumerate().map(move |vcpu| (vm, vcpu)));
    let own = vcpus.filter(|(_, (_, control))| control.place.core == index);
    let own: Vec<_> = own.map(|(vm, (number, _))| Vcpu::new(vm, number)).collect();
    let clock = system.machine.clock;
    let claims = own.iter().map(|vcpu| (vcpu.vm.index, &vcpu.vm.config.scheduling));
    let frame = system.frames.iter().find(|frame| frame.core == index);
    let scheduler = Scheduler::new(clock.now(), CoreSchedule::new(claims, frame, clock));
    (own, scheduler)
}
