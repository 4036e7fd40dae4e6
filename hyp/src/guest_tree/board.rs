//! Nodes of the board's own tree in a guest's: devices it is given, with all their properties, and the buses above them.
//!
//! References (phandles) stay as they are, so what the guest's own machine adds takes numbers that the board does not use,
//! and the guest's interrupt controller takes that of the board's.

use alloc::vec::Vec;

use tessera_platform::assignment::{Assignment, Role};
use tessera_platform::tree::{Cells, DeviceNode, Tree};

use super::Phandles;
use super::blob::Writer;
use crate::manifest::VmConfig;

/// The guest's own clock beside the board's, of which none is called so, neither as a node nor as a clock.
const CLOCK_NAME: &str = "tessera-uart-clock";

/// The phandles of what the guest's own machine adds to `assignment`.
pub(super) fn phandles(assignment: &Assignment) -> Phandles {
    let is_free = |phandle: &u32| assignment.tree().by_phandle(*phandle).is_none();
    let gic = assignment.interrupt_controller().and_then(|gic| gic.u32("phandle"));
    let mut free = (Phandles::OWN.gic..u32::MAX).filter(is_free);
    let gic = gic.or_else(|| free.next()).unwrap_or(Phandles::OWN.gic);
    let clock = free.find(|phandle| *phandle != gic).unwrap_or(Phandles::OWN.clock);
    Phandles { gic, clock, clock_name: CLOCK_NAME }
}

/// Whether the board's root says that all devices see what is in the caches.
pub(super) fn is_coherent(tree: &Tree) -> bool {
    tree.root().property("dma-coherent").is_some()
}

/// Writes what is given, and the buses above it, into the guest's root, whose addresses and sizes have two cells each.
pub(super) fn nodes<'a>(root: &mut Writer<'a>, assignment: &'a Assignment<'a>) {
    let board = assignment.tree().root();
    for node in board.children() {
        self::node(root, assignment, node, true);
    }
}

/// One node with all below it. Trees are nested at most `MAX_DEPTH` deep.
fn node<'a>(parent: &mut Writer<'a>, assignment: &'a Assignment<'a>, node: DeviceNode<'a>, at_root: bool) {
    let role = assignment.role(node);
    if role == Role::Absent {
        return;
    }
    parent.node(node.name(), |writer| {
        for (name, value) in node.properties().filter(|(name, _)| assignment.copies(node, name)) {
            match at_root.then(|| widened(node, name)).flatten() {
                Some(wide) => writer.bytes(name, &wide),
                None => writer.bytes(name, value),
            }
        }
        match role {
            Role::Given => inherited(writer, node),
            // Perhaps only because of a bus above it.
            Role::Mentioned => writer.string("status", "disabled"),
            Role::Absent | Role::Bus => {}
        }
        for child in node.children() {
            self::node(writer, assignment, child, false);
        }
    });
}

/// An interrupt parent that the board's tree states above the node, where the guest's does not.
fn inherited(writer: &mut Writer, node: DeviceNode) {
    if node.property("interrupts").is_none() || node.property("interrupt-parent").is_some() {
        return;
    }
    let controller = node.interrupt_controller().ok();
    if let Some(phandle) = controller.and_then(|controller| controller.u32("phandle")) {
        writer.u32("interrupt-parent", phandle);
    }
}

/// `reg` and `ranges` of a node at the root, where the board's root has other numbers of cells than the guest's.
fn widened(node: DeviceNode, name: &str) -> Option<Vec<u8>> {
    let root = node.parent()?;
    let cells = |bus: DeviceNode, name, default| bus.u32(name).map_or(default, |count| count as usize);
    let (address, size) = (cells(root, "#address-cells", 2), cells(root, "#size-cells", 1));
    let inner = (cells(node, "#address-cells", 2), cells(node, "#size-cells", 1));
    if (address, size) == (2, 2) {
        return None;
    }
    // Of each entry: cells that stay, then a number that gets two, then what is left.
    match name {
        "reg" => rewritten(node.cells(name)?, 0, address, size, true),
        "ranges" | "dma-ranges" => rewritten(node.cells(name)?, inner.0, address, inner.1, false),
        _ => None,
    }
}

/// Entries of `kept` cells, an address of `address` cells, and a size of `size` cells, with an address of two cells and,
/// where `wide`, a size of two. `None` if they are no such entries.
fn rewritten(mut cells: Cells, kept: usize, address: usize, size: usize, wide: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    if kept + address + size == 0 {
        return None;
    }
    while !cells.is_empty() {
        cells.take_run(kept)?.for_each(|cell| bytes.extend(cell.to_be_bytes()));
        bytes.extend(cells.take_number(address)?.to_be_bytes());
        match wide {
            true => bytes.extend(cells.take_number(size)?.to_be_bytes()),
            false => cells.take_run(size)?.for_each(|cell| bytes.extend(cell.to_be_bytes())),
        }
    }
    Some(bytes)
}

/// The board's aliases of what is given; a guest with a console has `serial` numbers of its own.
pub(super) fn aliases<'a>(aliases: &mut Writer<'a>, assignment: &'a Assignment<'a>, config: &VmConfig) {
    let tree = assignment.tree();
    let Some(all) = tree.by_path("/aliases") else { return };
    for (name, _) in all.properties() {
        let target = all.string(name).filter(|path| path.starts_with('/')).and_then(|path| tree.by_path(path));
        let is_given = target.is_some_and(|node| assignment.gives(node));
        if let Some(path) = all.string(name).filter(|_| is_given)
            && !(config.console().is_some() && name.starts_with("serial"))
        {
            aliases.string(name, path);
        }
    }
}
