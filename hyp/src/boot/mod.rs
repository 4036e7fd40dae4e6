//! From the first Rust instruction to the first guest instruction.
//!
//! Everything a user can get wrong is refused here, before any guest starts, by one line that says what to change.

mod cores;
mod devices;
mod early;
mod layout;
mod selftest;

use core::fmt::Display;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use spin::Mutex;
use tessera_memory::vmid::VmidBits;
use tessera_memory::{Frames, Geometry, Owner, Pa, Span, VmidAllocator};
use tessera_platform::board::{Board, Conduit, Console, Psci, find_console, find_exit};
use tessera_platform::gic::{Controller, Gic, GicError};
use tessera_platform::smccc::Architecture;
use tessera_platform::timer::Clock;
use tessera_platform::tree::Tree;
use tessera_platform::watchdog::Watchdog;
use tessera_platform::{Affinity, IntId, gicv2};

use crate::arch::aarch64::registers::read_register;
use crate::arch::aarch64::{self as arch, fault, stage1};
use crate::archive::Archive;
use crate::arguments::{self, Arguments};
use crate::interrupts::HardwareEnd;
use crate::manifest::{BoardFacts, Manifest, Placement, Reserved, VmConfig};
use crate::seed::SeedSource;
use crate::system::{Interrupts, System};
use crate::vm::{Claim, GicParts, Parts, Vm};
use crate::{heap, leave, manifest, terminal};
use layout::Layout;

/// The most a device tree may have, in bytes: what the first translation table is sure to cover.
const DEVICE_TREE_LIMIT: u32 = 2 << 20;

/// Refuses to go on if the result is an error.
fn require<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| terminal::refuse(format_args!("{error}")))
}

/// The first Rust code. `tree` is what the loader gave in X0, by the arm64 boot protocol the device tree's address.
#[unsafe(no_mangle)]
extern "C" fn tessera_boot(tree: u64) -> ! {
    if arch::current_exception_level() != 2 {
        early::say(format_args!("\r\n{}\r\n", WrongExceptionLevel));
        wrong_exception_level(device_tree(tree).unwrap_or_default());
    }
    let Some(blob) = device_tree(tree) else {
        early::say(format_args!(
            "\r\nno device tree at {tree:#x} (X0): let the loader hand one over; on a Raspberry Pi, put \
             bcm2711-rpi-4-b.dtb on the card\r\n"
        ));
        arch::halt()
    };
    arch::install_vectors();
    early::say(format_args!("e"));
    let (start, end) = fault::image_span();
    // SAFETY: at EL2, MMU off, once; this is the image that runs.
    unsafe { stage1::enable_early((start, end - start), (tree, blob.len() as u64)) };
    early::say(format_args!("r"));
    heap::initialize();
    early::say(format_args!("a\r\n"));
    let board = discover(blob);
    let arguments = Arguments::read(board.chosen.bootargs.as_deref());
    terminal::start_log(&board, arguments);
    introduce(&board);
    selftest::select(arguments.selftest);
    terminal::mark("memory");
    let layout = require(Layout::new(&board, (start, end), (tree, blob.len() as u64)));
    layout.activate();
    start_system(board, layout, blob)
}

/// Reads the board, once there is a terminal to say what is wrong with it.
fn discover(blob: &[u8]) -> Board {
    let tree = Tree::parse(blob);
    let console = open_terminal(tree.as_ref().ok());
    // What follows is not heard where the early console was.
    match (&tree, &console) {
        (Err(error), _) => early::say(format_args!("error: {error}\r\n")),
        (_, Some(console)) if early::is_at(console.registers) => {}
        (_, Some(console)) => early::say(format_args!("the console is {}\r\n", console.path)),
        (_, None) => early::say(format_args!("the device tree names no console\r\n")),
    }
    terminal::mark("device tree");
    let tree = require(tree);
    Board::from_tree(&tree, console).unwrap_or_else(|error| {
        set_exit(&tree);
        terminal::refuse(format_args!("{error}"))
    })
}

/// Says what runs on what, and which wishes of the loader's are not followed.
fn introduce(board: &Board) {
    log::info!("Tessera {} on {}", env!("CARGO_PKG_VERSION"), board.model);
    if let Some(console) = board.console.as_ref().filter(|console| console.is_replacement) {
        log::warn!("stdout-path names no UART that there is a driver for: the console is {}", console.path);
    }
    for word in arguments::unknown(board.chosen.bootargs.as_deref()) {
        log::warn!("there is no boot argument `tessera.{word}`: there are {}", arguments::KNOWN);
    }
}

/// Learns how to leave the machine from a tree that may be wrong elsewhere.
fn set_exit(tree: &Tree) {
    let chosen = tree.by_path("/chosen");
    let arguments = Arguments::read(chosen.and_then(|chosen| chosen.string("bootargs")));
    let (psci, watchdog) = find_exit(tree);
    // At EL2 an HVC would come back to us.
    let is_above = |psci: &Psci| psci.conduit == Conduit::Smc || arch::current_exception_level() != 2;
    // SAFETY: the tree's watchdog; the MMU is off, or the first tables map all that is not RAM as device.
    let watchdog = watchdog.and_then(|registers| unsafe { Watchdog::new(registers) });
    leave::set(arguments, psci.filter(is_above), watchdog);
}

/// The device tree at `address`, if there is one: its header says how long it is (Devicetree Specification 5.2).
fn device_tree(address: u64) -> Option<&'static [u8]> {
    const MAGIC: u32 = 0xd00d_feed;
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: the loader promises a device tree here; only its header is read before it shows that it is one.
    let (magic, bytes) =
        unsafe { ((address as *const u32).read_volatile(), (address as *const u32).add(1).read_volatile()) };
    let bytes = u32::from_be(bytes);
    if u32::from_be(magic) != MAGIC || bytes > DEVICE_TREE_LIMIT {
        return None;
    }
    // SAFETY: the tree says it is so long, and nobody writes it.
    Some(unsafe { core::slice::from_raw_parts(address as *const u8, bytes as usize) })
}

/// Speaks on the tree's console from here on, if there is one.
fn open_terminal(tree: Option<&Tree>) -> Option<Console> {
    let console = tree.and_then(find_console)?;
    // SAFETY: the tree's UART; the first tables map all that is not RAM as device, the final ones map it too.
    unsafe { terminal::open(&console) };
    Some(console)
}

/// What is wrong, and what to change.
struct WrongExceptionLevel;

impl Display for WrongExceptionLevel {
    fn fmt(&self, out: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(
            out,
            "entered at EL{}, but a hypervisor needs EL2: in QEMU say `-M virt,virtualization=on`, on a board use \
             firmware that starts the kernel at EL2",
            arch::current_exception_level()
        )
    }
}

/// EL1: somebody forgot to enable virtualization; EL3: no firmware ran. The MMU stays off: this only speaks and stops.
fn wrong_exception_level(blob: &[u8]) -> ! {
    heap::initialize();
    let tree = Tree::parse(blob).ok();
    open_terminal(tree.as_ref());
    // The whole board cannot be discovered: at EL1 QEMU's tree lacks what only EL2 needs.
    if let Some(tree) = &tree {
        set_exit(tree);
    }
    terminal::refuse(format_args!("{WrongExceptionLevel}"))
}

/// All of RAM can be used: finds out what to run, builds it, and runs it.
fn start_system(board: Board, mut layout: Layout, tree: &'static [u8]) -> ! {
    terminal::mark("interrupt controller");
    // SAFETY: the final tables map the controller's registers, for good.
    let gic = require(unsafe { Gic::new(&board.interrupt_controller) });
    require(gic.initialize());
    let clock = Clock::of_board(&board.timer).unwrap_or_else(|| {
        terminal::refuse(format_args!(
            "neither CNTFRQ_EL0 nor the device tree's timer node says how fast the counter is"
        ))
    });
    let gic_parts = require(gic_parts(&gic, &board, clock));
    let mut frames = Frames::new();
    for span in layout.free() {
        require(frames.add_memory(*span));
    }
    terminal::mark("system archive");
    let archive_bytes = layout.archive();
    let archive = require(Archive::parse(archive_bytes));
    let mut manifest = require(Manifest::read(&archive));
    require(adopt(&mut frames, archive_bytes));
    let available = frames.available_frames();
    let claims = claim(&manifest, &mut frames);
    let claimed = available - frames.available_frames();
    require(layout.grow_heap(&mut frames, heap_bytes(&manifest, board.cores.len())));
    let tree = require(devices::tree(&manifest, tree, &mut layout, &mut frames));
    let board_devices = require(devices::assign(&mut manifest, tree, &board, &layout));
    let cores: Vec<_> = board.cores.iter().filter(|core| core.usable).cloned().collect();
    let placements =
        require(validate(&manifest, &board, &layout, &gic, frames.available_frames() + claimed, cores.len()));
    require(devices::map_sub_pages(&manifest, &board, &mut layout));
    let names: Vec<&str> = manifest.vms.iter().map(|vm| vm.name.as_str()).collect();
    terminal::set_guests(&names);
    terminal::mark("guests");
    let mut seeds = SeedSource::new(&board.chosen.seed, clock.now());
    let parts = Parts {
        frames: &mut frames,
        geometry: geometry(),
        gic: gic_parts,
        archive: archive_bytes,
        cpu_compatible: cores.first().map_or("", |core| core.compatible.as_str()),
        board_devices,
        seeds: seeds.as_mut(),
        // What was wrong with them a valid manifest does not have.
        claims: require(claims),
    };
    let vms = require(build_vms(manifest.vms, &placements, parts));
    let interrupts = require(interrupts(&board));
    let passthrough = passthrough(&vms);
    let system = System {
        gic,
        interrupts,
        hardware_end: gic_parts.hardware_end,
        clock,
        firmware: Architecture::find(board.psci),
        hardens_exits: Arguments::read(board.chosen.bootargs.as_deref()).hardens_exits,
        cores,
        vms,
        frames: Mutex::new(frames),
        passthrough,
        seeds: seeds.map(Mutex::new),
        vtcr: vtcr(),
    };
    let system = system.install();
    terminal::mark("cores");
    require(cores::start_all(system, &board, &layout));
    // Ends the line of marks: guests speak from here on.
    report(system, &layout);
    cores::boot_core(system)
}

/// Takes the memory that VMs ask for by machine address, before anything else can come to lie there.
fn claim(manifest: &Manifest, frames: &mut Frames) -> Result<Vec<Vec<Claim>>, String> {
    let of_vm = |(index, vm): (usize, &VmConfig)| {
        Claim::take(index, vm, frames).map_err(|problem| format!("VM `{}`: {problem}", vm.name))
    };
    manifest.vms.iter().enumerate().map(of_vm).collect()
}

/// The heap that many VMs need, and more vCPUs than cores, beyond what every system has.
fn heap_bytes(manifest: &Manifest, cores: usize) -> u64 {
    const VMS: usize = 2;
    const BYTES_PER_VM: u64 = 16 * 1024;
    const BYTES_PER_VCPU: u64 = 4 * 1024;
    let vcpus: usize = manifest.vms.iter().map(VmConfig::vcpus).sum();
    let beyond = |count: usize, covered: usize| count.saturating_sub(covered) as u64;
    beyond(manifest.vms.len(), VMS) * BYTES_PER_VM + beyond(vcpus, cores) * BYTES_PER_VCPU
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

fn build_vms(configs: Vec<VmConfig>, placements: &[Placement], mut parts: Parts) -> Result<Vec<Vm>, String> {
    let mut vmids = VmidAllocator::new(vmid_bits());
    let build = |(index, (config, placement)): (usize, (VmConfig, &Placement))| {
        let vmid = vmids.allocate().map_err(|error| format!("{error}"))?;
        Vm::build(index, config, placement, vmid, &mut parts).map_err(|error| format!("{error}"))
    };
    configs.into_iter().zip(placements).enumerate().map(build).collect()
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
    let free = system.frames.lock().free_frames() * 4;
    let (used, heap) = heap::usage();
    log::info!(
        "{} cores, {free} KiB free; EL2 keeps {} KiB: image {} KiB, heap and stacks {} KiB; {} of {} KiB of heap used",
        system.cores.len(),
        layout.kept_bytes() / 1024,
        layout.image_bytes() / 1024,
        layout.carved_bytes() / 1024,
        used / 1024,
        heap / 1024
    );
    for vm in &system.vms {
        log::info!("{}", vm.summary());
    }
}

/// Where this core is in the system's list of cores.
fn own_index(system: &System) -> Option<usize> {
    let own = Affinity::of_this_core();
    system.cores.iter().position(|core| core.affinity == own)
}
