//! What a board consists of, as far as the hypervisor itself must know: memory, cores, interrupt controller, console,
//! timers and firmware calls, read from the device tree once at boot.
//!
//! A kind of part that the hypervisor drives belongs here, one module each. Devices that are only handed on to
//! guests do not: those are asked from the [`Tree`] itself.

mod chosen;
mod console;
mod cores;
mod interrupt_controller;
mod memory;
mod psci;
mod summary;
mod timer;
mod watchdog;

pub use crate::tree::BoardError;
pub use chosen::Chosen;
pub use console::{Console, UartKind, find_console};
pub use cores::{Core, EnableMethod};
pub use interrupt_controller::{GicV2, GicV3, InterruptController};
pub use memory::Reservation;
pub use psci::{Conduit, Psci, PsciVersion};
pub use timer::Timer;

use crate::span::{self, Span};
use crate::tree::interrupts::{GIC_V2, GIC_V3};
use crate::tree::{DeviceNode, Models, Tree};
use alloc::string::String;
use alloc::vec::Vec;

/// All models that the modules here look for.
const MODELS: Models = Models::new(&[psci::MODELS, GIC_V2, GIC_V3, timer::MODELS, watchdog::MODELS]);

/// The nodes of [`MODELS`] that are not disabled: found in one pass, since they are few in a large tree.
#[inline(never)]
fn known_parts<'tree>(tree: &'tree Tree) -> Vec<DeviceNode<'tree>> {
    // Many have the models of the one before them: trees list devices of one kind in a row.
    let mut others: &[u32] = &[];
    let is_known = |node: &DeviceNode<'tree>| {
        let models = node.compatible_words();
        if models.iter().eq(others) {
            return false;
        }
        let is_known = node.is_one_of(&MODELS);
        if !is_known {
            others = models;
        }
        is_known && node.is_enabled()
    };
    tree.nodes().filter(is_known).collect()
}

/// The first of `parts` that is one of `models`.
fn first_of<'tree>(parts: &[DeviceNode<'tree>], models: &[&str]) -> Option<DeviceNode<'tree>> {
    parts.iter().find(|node| node.is_compatible(models)).copied()
}

/// The most heap, in bytes, that [`Board::from_tree`] takes: what grows with a board is the number of its cores and
/// reservations.
pub fn most_heap(tree: &Tree) -> usize {
    const BYTES: usize = 8 * 1024;
    const BYTES_FOR_EACH: usize = 512;
    let children = |path| tree.by_path(path).map_or(0, |node| node.children().count());
    let reserved = tree.reservations().count().min(memory::MAX_RESERVATIONS);
    BYTES + (children("/cpus") + children("/reserved-memory") + reserved) * BYTES_FOR_EACH
}

/// What switches off a board whose tree may be wrong elsewhere, once that has been said: firmware, or the registers of a
/// watchdog.
pub fn find_exit(tree: &Tree) -> (Option<Psci>, Option<Span>) {
    let parts = known_parts(tree);
    (psci::find(&parts).ok().flatten(), watchdog::find(&parts))
}

/// A machine, as its device tree describes it. Owns all its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Name of the board for people (`model`); empty if the tree has none.
    pub model: String,
    /// What it is compatible with, the most exact first.
    pub compatible: Vec<String>,
    /// All memory: sorted, not touching each other, none empty.
    pub memory: Vec<Span>,
    /// Memory (or addresses beside it) that something else uses, in the order of the tree.
    pub reserved: Vec<Reservation>,
    /// The cores, in the order of the tree; at least one, no two of one affinity.
    pub cores: Vec<Core>,
    /// The interrupt controller.
    pub interrupt_controller: InterruptController,
    /// The UART to talk to people through, if the tree names one.
    pub console: Option<Console>,
    /// The generic timer's interrupts.
    pub timer: Timer,
    /// How to call the firmware; without it a call may hang the machine.
    pub psci: Option<Psci>,
    /// Registers of the watchdog that can reset the machine (see [`crate::watchdog`]), if there is one.
    pub watchdog: Option<Span>,
    /// What the boot loader hands over.
    pub chosen: Chosen,
}

impl Board {
    /// Reads the board from a flattened device tree, which may be followed by other bytes.
    ///
    /// Never panics and never recurses, whatever the bytes. Needs some heap (30 bytes per node while it runs) and
    /// less than 4 KiB of stack. The error says what to change; to show it and to stop, see [`find_console`] and
    /// [`find_exit`].
    pub fn discover(blob: &[u8]) -> Result<Self, BoardError> {
        let tree = Tree::parse(blob)?;
        Self::from_tree(&tree, find_console(&tree))
    }

    /// Reads the board from a tree that is parsed already, and whose console has been found already.
    pub fn from_tree(tree: &Tree, console: Option<Console>) -> Result<Self, BoardError> {
        let root = tree.root();
        let parts = known_parts(tree);
        let psci = psci::find_for_el2(&parts)?;
        let memory = memory::find(tree)?;
        Ok(Self {
            model: root.string("model").unwrap_or("").into(),
            compatible: root.strings("compatible").map(String::from).collect(),
            reserved: memory::find_reserved(tree)?,
            cores: cores::find(tree, psci.is_some())?,
            interrupt_controller: interrupt_controller::find(&parts, &memory)?,
            memory,
            console,
            timer: timer::find(&parts)?,
            psci,
            watchdog: watchdog::find(&parts),
            chosen: chosen::find(tree)?,
        })
    }

    /// The registers that the hypervisor itself uses: interrupt controller, console and watchdog.
    pub fn own_registers(&self) -> Vec<Span> {
        // Enough for nearly all boards.
        let mut spans = Vec::with_capacity(8);
        match &self.interrupt_controller {
            InterruptController::GicV3(gic) => {
                spans.push(gic.distributor);
                spans.extend(&gic.redistributors);
            }
            InterruptController::GicV2(gic) => {
                spans.extend([gic.distributor, gic.cpu_interface, gic.virtual_control, gic.virtual_cpu_interface]);
            }
        }
        spans.extend(self.console.as_ref().map(|uart| uart.registers));
        spans.extend(self.watchdog);
        spans
    }

    /// The memory that neither a reservation nor one of `used` (the image, the tree itself, the initrd) takes:
    /// sorted, not touching each other.
    pub fn free_memory(&self, used: &[Span]) -> Vec<Span> {
        let reserved = self.reserved.iter().map(|reservation| reservation.span);
        span::subtract(self.memory.clone(), reserved.chain(used.iter().copied()).collect())
    }
}
