//! From the first Rust instruction to the first guest instruction.
//!
//! Everything a user can get wrong is refused here, before any guest starts, by one line that says what to change.

mod cores;
mod devices;
mod handover;
mod layout;
mod room;
mod selftest;
mod system;

use alloc::string::String;
use core::fmt::Display;

use tessera_platform::Affinity;
use tessera_platform::board::{self, Board, Conduit, Console, Psci, find_console, find_exit};
use tessera_platform::tree::Tree;
use tessera_platform::watchdog::Watchdog;

use crate::arch::aarch64::{self as arch, backtrace, stage1};
use crate::arguments::{self, Arguments};
use crate::system::System;
use crate::{early, heap, leave, terminal};
use layout::Layout;
use room::Rooms;

/// The most a device tree may have, in bytes, with the room that a loader (QEMU: as much again) leaves in it.
const DEVICE_TREE_LIMIT: u32 = 8 << 20;

/// Refuses to go on if the result is an error.
fn require<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| leave::refuse(format_args!("{error}")))
}

/// The first Rust code. `tree` is what the loader gave in X0, by the arm64 boot protocol the device tree's address.
#[unsafe(no_mangle)]
extern "C" fn tessera_boot(tree: u64) -> ! {
    if arch::current_exception_level() != 2 {
        early::say(format_args!("\n{}\n", WrongExceptionLevel));
        wrong_exception_level(device_tree(tree).unwrap_or_default());
    }
    let blob = device_tree(tree).unwrap_or_else(|problem| {
        early::say(format_args!("\nerror: {problem}\n"));
        arch::halt()
    });
    arch::install_vectors();
    early::say(format_args!("e"));
    let (start, end) = backtrace::image_span();
    // SAFETY: at EL2, MMU off, once; this is the image that runs.
    unsafe { stage1::enable_early((start, end - start), (tree, blob.len() as u64)) };
    early::say(format_args!("r"));
    heap::initialize(exhausted);
    early::say(format_args!("a\n"));
    let mut rooms = require(rooms((start, end), blob));
    let board = discover(blob, &mut rooms);
    let arguments = Arguments::read(board.chosen.bootargs.as_deref());
    set_exit_of(arguments, board.psci, board.watchdog);
    terminal::start_log(&board, arguments);
    introduce(&board);
    selftest::select(arguments.selftest);
    terminal::mark("memory");
    let layout = require(Layout::new(&board, &mut rooms));
    layout.activate();
    system::start(board, layout, blob)
}

/// What takes memory so far: the image, first byte and end, and the device tree, for whose index the heap is large enough then.
fn rooms((start, end): (u64, u64), blob: &'static [u8]) -> Result<Rooms, String> {
    let image = layout::pages(start, end)?;
    let tree = layout::pages(blob.as_ptr() as u64, blob.as_ptr() as u64 + blob.len() as u64)?;
    let mut rooms = Rooms::new(blob, image, tree);
    rooms.ensure(Tree::most_heap(blob), "the device tree's index")?;
    Ok(rooms)
}

/// There is too little heap for what boot wants now. What it can foresee it has provided for, or refused.
fn exhausted(bytes: usize) -> ! {
    leave::refuse(format_args!(
        "EL2's heap has no {bytes} bytes left: the device tree or the system is larger than it was built for; leave some VMs, \
         devices or reservations out"
    ))
}

/// Reads the board, once there is a terminal to say what is wrong with it.
fn discover(blob: &[u8], rooms: &mut Rooms) -> Board {
    let (tree, result) = require(Tree::parse_to_error(blob));
    let console = open_terminal(Some(&tree));
    // What follows is not heard where the early console was.
    match &console {
        Some(console) if terminal::is_open() && early::is_at(console.registers) => {}
        Some(console) if terminal::is_open() => early::say(format_args!("the console is {}\n", console.path)),
        Some(console) => early::say(format_args!("there is no driver for the console, {console}\n")),
        None => early::say(format_args!("the device tree names no console\n")),
    }
    terminal::mark("device tree");
    if let Err(error) = result {
        set_exit(&tree);
        leave::refuse(format_args!("{error}"));
    }
    require(rooms.ensure(board::most_heap(&tree), "the board"));
    Board::from_tree(&tree, console).unwrap_or_else(|error| {
        set_exit(&tree);
        leave::refuse(format_args!("{error}"))
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
    set_exit_of(arguments, psci.filter(is_above), watchdog);
}

/// Learns how to leave the machine: by the firmware, or by the watchdog with these registers.
fn set_exit_of(arguments: Arguments<'_>, psci: Option<Psci>, watchdog: Option<tessera_platform::Span>) {
    // SAFETY: the tree's watchdog; the MMU is off, or the first tables map all that is not RAM as device, and the final ones
    // map it too.
    let watchdog = watchdog.and_then(|registers| unsafe { Watchdog::new(registers) });
    leave::set(arguments, psci, watchdog);
}

/// The device tree at `address`: its header says how long it is (Devicetree Specification 5.2).
fn device_tree(address: u64) -> Result<&'static [u8], NoTree> {
    const MAGIC: u32 = 0xd00d_feed;
    if address == 0 || !address.is_multiple_of(8) {
        return Err(NoTree::Absent(address));
    }
    // SAFETY: the loader promises a device tree here; only its header is read before it shows that it is one.
    let (magic, bytes) =
        unsafe { ((address as *const u32).read_volatile(), (address as *const u32).add(1).read_volatile()) };
    let bytes = u32::from_be(bytes);
    if u32::from_be(magic) != MAGIC {
        return Err(NoTree::Absent(address));
    }
    if bytes > DEVICE_TREE_LIMIT {
        return Err(NoTree::TooLarge(bytes));
    }
    // SAFETY: the tree says it is so long, and nobody writes it.
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, bytes as usize) })
}

/// Speaks on the tree's console from here on, if there is one.
fn open_terminal(tree: Option<&Tree>) -> Option<Console> {
    let console = tree.and_then(find_console)?;
    // SAFETY: the tree's UART; the first tables map all that is not RAM as device, the final ones map it too.
    unsafe { terminal::open(&console) };
    Some(console)
}

/// Why there is no device tree to read.
enum NoTree {
    /// None begins at this address.
    Absent(u64),
    /// It has so many bytes.
    TooLarge(u32),
}

impl Display for NoTree {
    fn fmt(&self, out: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Self::Absent(address) => write!(
                out,
                "no device tree at {address:#x} (X0): let the loader hand one over; on a Raspberry Pi, put \
                 bcm2711-rpi-4-b.dtb on the card"
            ),
            Self::TooLarge(bytes) => write!(
                out,
                "the device tree has {bytes} bytes, more than the {DEVICE_TREE_LIMIT} that can be mapped: take nodes or \
                 labels (`dtc -@`) out"
            ),
        }
    }
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
    heap::initialize(exhausted);
    let tree = Tree::parse(blob).ok();
    open_terminal(tree.as_ref());
    // The whole board cannot be discovered: at EL1 QEMU's tree lacks what only EL2 needs.
    if let Some(tree) = &tree {
        set_exit(tree);
    }
    leave::refuse(format_args!("{WrongExceptionLevel}"))
}

/// Where this core is in the system's list of cores.
fn own_index(system: &System) -> Option<usize> {
    let own = Affinity::of_this_core();
    system.machine.cores.iter().position(|core| core.affinity == own)
}
