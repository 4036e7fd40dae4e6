//! From a machine whose memory can be used to guests that run: interrupt controller, archive, VMs, cores.

use crate::lock::Mutex;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use tessera_memory::vmid::VmidBits;
use tessera_memory::{Frames, Geometry, Owner, Pa, Span, VmidAllocator};
use tessera_platform::assignment::Assignment;
use tessera_platform::board::{Board, Core};
use tessera_platform::gic::{Controller, Gic, GicError};
use tessera_platform::smccc::Architecture;
use tessera_platform::timer::Clock;
use tessera_platform::{IntId, gicv2};

use super::layout::{Layout, boot_text_bytes};
use super::{cores, devices, own_index, require};
use crate::arch::aarch64::registers::read_register;
use crate::archive::Archive;
use crate::arguments::Arguments;
use crate::doorbell::Doorbell;
use crate::interrupts::HardwareEnd;
use crate::leave;
use crate::machine::{Interrupts, Machine, Place};
use crate::manifest::{BoardFacts, CoreFrame, Manifest, Placement, Reserved, VmConfig};
use crate::seed::SeedSource;
use crate::supply::Supply;
use crate::system::System;
use crate::vm::{Claim, GicParts, Parts, Vm};
use crate::{heap, manifest, terminal};

/// What EL2 drives of the machine itself.
struct Hardware {
    gic: Gic,
    clock: Clock,
    gic_parts: GicParts,
}

/// What is to run, checked.
struct Plan {
    manifest: Manifest,
    placements: Vec<Placement>,
    claims: Vec<Vec<Claim>>,
    board_devices: &'static [Option<Assignment<'static>>],
    cores: Vec<Core>,
}

/// All of RAM can be used: finds out what to run, builds it, and runs it.
pub fn start(board: Board, mut layout: Layout, tree: &'static [u8]) -> ! {
    terminal::mark("interrupt controller");
    let hardware = hardware(&board);
    terminal::mark("system archive");
    let archive = require(Archive::parse(layout.archive()));
    require(layout.extend_heap(Manifest::most_heap(&archive)));
    let mut frames = Frames::new();
    for span in layout.free() {
        require(frames.add_memory(span));
    }
    let plan = plan(&board, &mut layout, &hardware.gic, &mut frames, tree, &archive);
    let names: Vec<&str> = plan.manifest.vms.iter().map(|vm| vm.name.as_str()).collect();
    terminal::add_guests(&names);
    terminal::mark("guests");
    let system = build(&board, hardware, plan, frames, layout.archive()).install();
    terminal::mark("cores");
    let others = require(cores::start_all(system, &board, &layout));
    let own = cores::own(system, own_index(system).unwrap_or(0));
    drop(board);
    let mut frames = system.supply.frames.lock();
    require(layout.give_back(&mut frames, others));
    drop(frames);
    // Ends the line of marks: guests speak from here on.
    report(system, &layout);
    cores::boot_core(system, own, layout.into_map())
}

fn hardware(board: &Board) -> Hardware {
    // SAFETY: the final tables map the controller's registers, for good.
    let gic = require(unsafe { Gic::new(&board.interrupt_controller) });
    require(gic.initialize());
    let clock = Clock::of_board(&board.timer).unwrap_or_else(|| {
        leave::refuse(format_args!("neither CNTFRQ_EL0 nor the device tree's timer node says how fast the counter is"))
    });
    let gic_parts = require(gic_parts(&gic, board, clock));
    Hardware { gic, clock, gic_parts }
}

/// Reads what is to run, takes what it asks for, and checks it.
fn plan(
    board: &Board,
    layout: &mut Layout,
    gic: &Gic,
    frames: &mut Frames,
    tree: &'static [u8],
    archive: &Archive<'_>,
) -> Plan {
    let mut manifest = require(Manifest::read(archive));
    require(adopt(frames, layout.archive()));
    let available = frames.free_frames();
    let claims = claim(&manifest, frames);
    let claimed = available - frames.free_frames();
    require(layout.grow_heap(frames, heap_bytes(&manifest)));
    let tree = require(devices::tree(&manifest, tree, layout, frames));
    let board_devices = require(devices::assign(&mut manifest, tree, board, layout));
    let cores: Vec<_> = board.cores.iter().filter(|core| core.usable).cloned().collect();
    let available = frames.free_frames() + claimed;
    let placements = require(validate(&manifest, board, layout, gic, available, cores.len()));
    require(devices::map_sub_pages(&manifest, board, layout));
    // What was wrong with them a valid manifest does not have.
    Plan { manifest, placements, claims: require(claims), board_devices, cores }
}

/// Makes the VMs, and the system of them.
fn build(board: &Board, hardware: Hardware, plan: Plan, frames: Frames, archive: &'static [u8]) -> System {
    let gic_parts = hardware.gic_parts;
    let machine: &_ = Box::leak(Box::new(machine(board, hardware, plan.cores, plan.manifest.housekeeping)));
    if machine.attendant.is_some() {
        terminal::appoint_attendant();
    }
    let seeds = SeedSource::new(&board.chosen.seed, machine.clock.now()).map(Mutex::new);
    let supply: &_ = Box::leak(Box::new(Supply { frames: Mutex::new(frames), seeds }));
    let parts = Parts {
        frames: &mut supply.frames.lock(),
        supply,
        machine,
        geometry: geometry(),
        gic: gic_parts,
        archive,
        cpu_compatible: machine.cores.first().map_or("", |core| core.compatible.as_str()),
        board_devices: plan.board_devices,
        claims: plan.claims,
    };
    let Manifest { vms, frames, housekeeping, .. } = plan.manifest;
    let vms = require(build_vms(vms, &frames, &plan.placements, parts));
    System { machine, passthrough: passthrough(&vms), vms, supply, frames, housekeeping }
}

/// What EL2 drives of the board from here on.
fn machine(board: &Board, hardware: Hardware, cores: Vec<Core>, housekeeping: Option<usize>) -> Machine {
    let Hardware { gic, clock, gic_parts } = hardware;
    let interrupts = require(interrupts(board));
    Machine {
        gic,
        interrupts,
        // It is called by the UART's interrupt.
        attendant: housekeeping.filter(|_| interrupts.uart.is_some()),
        hardware_end: gic_parts.hardware_end,
        clock,
        firmware: Architecture::find(board.psci),
        hardens_exits: Arguments::read(board.chosen.bootargs.as_deref()).hardens_exits,
        nobodys_doorbell: Doorbell::new(),
        doorbells: cores.iter().map(|_| Doorbell::new()).collect(),
        cores,
        vtcr: vtcr(),
    }
}

/// Takes the memory that VMs ask for by machine address, before anything else can come to lie there.
fn claim(manifest: &Manifest, frames: &mut Frames) -> Result<Vec<Vec<Claim>>, String> {
    let of_vm = |(index, vm): (usize, &VmConfig)| {
        Claim::take(index, vm, frames).map_err(|problem| format!("VM `{}`: {problem}", vm.name))
    };
    manifest.vms.iter().enumerate().map(of_vm).collect()
}

/// The heap that the VMs are built in: what is not needed is given back.
fn heap_bytes(manifest: &Manifest) -> u64 {
    const BYTES_PER_VM: u64 = 24 * 1024;
    const BYTES_PER_VCPU: u64 = 4 * 1024;
    const BYTES_PER_DEVICE: u64 = 1024;
    let of_vm =
        |vm: &VmConfig| BYTES_PER_VM + vm.vcpus() as u64 * BYTES_PER_VCPU + vm.devices.len() as u64 * BYTES_PER_DEVICE;
    manifest.vms.iter().map(of_vm).sum()
}

/// The archive's pages can be shared from now on.
fn adopt(frames: &mut Frames, archive: &[u8]) -> Result<(), tessera_memory::Error> {
    let bytes = (archive.len() as u64).next_multiple_of(tessera_memory::PAGE_SIZE);
    let start = Pa::new(archive.as_ptr() as u64);
    let span = Span::new(start, bytes).ok_or(tessera_memory::Error::OutsidePaSpace(start))?;
    frames.adopt(span, Owner::Archive)
}

fn validate(
    manifest: &Manifest,
    board: &Board,
    layout: &Layout,
    gic: &Gic,
    available_frames: u64,
    cores: usize,
) -> Result<Vec<Placement>, manifest::ManifestError> {
    let plain = |span: &tessera_platform::Span| manifest::Span { start: span.start(), bytes: span.size() };
    let ram: Vec<_> = board.memory.iter().map(plain).collect();
    let kept = layout.kept(board);
    let reserved: Vec<_> = kept.iter().map(|(owner, span)| Reserved { owner, span: plain(span) }).collect();
    let uart = board.console.as_ref().and_then(|uart| uart.interrupt).map(|interrupt| interrupt.id.number());
    let reserved_spis: Vec<u32> = uart.and_then(|id| id.checked_sub(32)).into_iter().collect();
    manifest.validate(&BoardFacts {
        cores,
        available_memory: available_frames * tessera_memory::PAGE_SIZE,
        ram: &ram,
        reserved: &reserved,
        gic_version: gic.version(),
        spis: gic.interrupt_count().saturating_sub(32),
        reserved_spis: &reserved_spis,
        ipa_bits: u32::from(geometry().ipa_bits()),
    })
}

/// The shape of the guests' physical address spaces, as this machine allows.
fn geometry() -> Geometry {
    let range = (read_register!("id_aa64mmfr0_el1") & 0xf) as u8;
    require(Geometry::default_for(range))
}

fn vtcr() -> u64 {
    geometry().vtcr(vmid_bits())
}

fn vmid_bits() -> VmidBits {
    VmidBits::from_id_register(read_register!("id_aa64mmfr1_el1"))
}

fn build_vms(
    configs: Vec<VmConfig>,
    frames: &[CoreFrame],
    placements: &[Placement],
    mut parts: Parts,
) -> Result<Vec<Vm>, String> {
    let mut vmids = VmidAllocator::new(vmid_bits());
    let places = places(placements, parts.machine.cores.len());
    let build = |(index, ((config, placement), places)): (usize, ((VmConfig, &Placement), &Vec<Place>))| {
        let vmid = vmids.allocate().map_err(|error| format!("{error}"))?;
        let has_windows = |core| frames.iter().any(|frame| frame.core == core);
        let is_kept_waiting = config.scheduling.budget.is_some()
            || places.iter().any(|place| is_shared(placements, place.core) || has_windows(place.core));
        Vm::build(index, config, placement, places, is_kept_waiting, vmid, &mut parts)
            .map_err(|error| format!("{error}"))
    };
    configs.into_iter().zip(placements).zip(&places).enumerate().map(build).collect()
}

/// Whether several vCPUs run on a core.
fn is_shared(placements: &[Placement], core: usize) -> bool {
    placements.iter().flat_map(|placement| &placement.cores).filter(|other| **other == core).count() > 1
}

/// A VM has one vCPU on a core at most, so there are slots for all of a core's: a doorbell has a bit for each.
const _: () = assert!(tessera_abi::manifest::MAX_VMS <= u64::BITS as usize);

/// Where each VM's vCPUs run: on each core in the order of the VMs.
fn places(placements: &[Placement], cores: usize) -> Vec<Vec<Place>> {
    let mut taken = alloc::vec![0; cores];
    let mut place = |core: usize| {
        let slot = taken.get_mut(core).map_or(0, |taken| core::mem::replace(taken, *taken + 1));
        Place { core, slot }
    };
    placements.iter().map(|placement| placement.cores.iter().map(|core| place(*core)).collect()).collect()
}

/// What the guests' interrupt controllers are made of.
fn gic_parts(gic: &Gic, board: &Board, clock: Clock) -> Result<GicParts, GicError> {
    let (mut hardware_end, mut cpu_interface) = (HardwareEnd::Works, None);
    if let Gic::V2(driver) = gic {
        cpu_interface = Some(driver.virtual_cpu_interface_address());
        driver.initialize_core()?;
        hardware_end = try_hardware_end(driver, board.timer.hypervisor.id, clock);
    }
    Ok(GicParts { list_registers: hardware_end.usable(gic.list_register_count()), hardware_end, cpu_interface })
}

/// Whether this GICv2 lets guests end hardware interrupts by themselves.
fn try_hardware_end(driver: &gicv2::Driver, timer: IntId, clock: Clock) -> HardwareEnd {
    let (raise, lower) = (|| clock.set_deadline(0), || clock.disarm());
    if driver.ends_in_hardware(timer, raise, lower) {
        return HardwareEnd::Works;
    }
    match driver.ends_when_nudged(timer, raise, lower) {
        true => HardwareEnd::Nudged,
        false => HardwareEnd::Forgotten,
    }
}

/// The interrupts EL2 uses. Any SGI would do for the kick: those of guests are virtual.
fn interrupts(board: &Board) -> Result<Interrupts, &'static str> {
    use tessera_platform::board::InterruptController;
    let maintenance = match &board.interrupt_controller {
        InterruptController::GicV2(gic) => gic.maintenance.id,
        InterruptController::GicV3(gic) => gic.maintenance.id,
    };
    Ok(Interrupts {
        kick: IntId::sgi(0).ok_or("there is no SGI 0")?,
        virtual_timer: board.timer.virtual_timer.id,
        hypervisor_timer: board.timer.hypervisor.id,
        maintenance,
        uart: board.console.as_ref().and_then(|uart| uart.interrupt).map(|interrupt| interrupt.id),
    })
}

fn passthrough(vms: &[Vm]) -> Vec<(IntId, usize)> {
    let of_vm = |vm: &Vm| {
        let ids = vm.config.hardware_interrupts().filter_map(|(_, interrupt)| IntId::spi(interrupt.spi));
        ids.map(|id| (id, vm.index)).collect::<Vec<_>>()
    };
    vms.iter().flat_map(of_vm).collect()
}

fn report(system: &System, layout: &Layout) {
    let free = system.supply.frames.lock().free_frames() * 4 + boot_text_bytes() / 1024;
    let (used, heap) = heap::usage();
    log::info!(
        "{} cores, {free} KiB free; EL2 keeps {} KiB: code {} KiB, data, heap and stacks {} KiB; {} of {} KiB of heap used",
        system.machine.cores.len(),
        layout.kept_bytes() / 1024,
        layout.constant_bytes() / 1024,
        (layout.kept_bytes() - layout.constant_bytes()) / 1024,
        used / 1024,
        heap / 1024
    );
    for vm in &system.vms {
        log::info!("{}", vm.summary());
    }
}
