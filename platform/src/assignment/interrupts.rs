//! Where a node's interrupts end: at the GIC, there through a nexus (`interrupt-map`, Devicetree Specification 0.4, 2.4.3),
//! or at another controller, which the node then needs.

use super::resources;
use crate::interrupt_id::Interrupt;
use crate::tree::{BoardError, Cells, DeviceNode};
use alloc::format;
use alloc::vec::Vec;

/// An entry of an interrupt property: whose interrupt, and its specifier.
struct Entry<'tree> {
    controller: DeviceNode<'tree>,
    specifier: Cells<'tree>,
    property: &'static str,
}

const MAP: &str = "interrupt-map";

/// Whether it raises any interrupt.
pub(super) fn has_any(node: DeviceNode) -> bool {
    ["interrupts", "interrupts-extended", MAP].iter().any(|name| node.property(name).is_some())
}

/// The controllers (other than the GIC) its interrupts go to, and the properties that say so.
pub(super) fn controllers<'tree>(
    node: DeviceNode<'tree>,
) -> Result<Vec<(DeviceNode<'tree>, &'static str)>, BoardError> {
    let entries = entries(node)?.into_iter();
    let others = entries.filter(|entry| !resources::is_gic(entry.controller) && entry.controller != node);
    Ok(others.map(|entry| (entry.controller, entry.property)).collect())
}

/// Adds the interrupts at the GIC that it raises itself, or that come through it if it is a nexus.
pub(super) fn of_gic<'tree>(
    node: DeviceNode<'tree>,
    found: &mut Vec<(DeviceNode<'tree>, Interrupt)>,
) -> Result<(), BoardError> {
    for entry in entries(node)?.into_iter().filter(|entry| resources::is_gic(entry.controller)) {
        let (name, controller) = (entry.property, entry.controller);
        if entry.specifier.len() != 3 {
            let problem = format!("{} has {} cells for an interrupt", controller.path(), entry.specifier.len());
            return Err(node.error(name, problem, "only a GIC with 3 is offered to guests"));
        }
        let interrupt = node.decode(name, controller, entry.specifier)?;
        if interrupt.id.is_private() {
            let problem = format!("{} is private to each core: it cannot be given away", interrupt.id);
            return Err(node.error(name, problem, "name another device"));
        }
        found.push((node, interrupt));
    }
    Ok(())
}

fn entries<'tree>(node: DeviceNode<'tree>) -> Result<Vec<Entry<'tree>>, BoardError> {
    let mut found = Vec::new();
    if node.property("interrupts-extended").is_some() {
        extended(node, &mut found)?;
    } else if node.property("interrupts").is_some() {
        plain(node, &mut found)?;
    }
    if node.property(MAP).is_some() {
        mapped(node, &mut found)?;
    }
    Ok(found)
}

const AGREE: &str = "make it agree with the controller's #interrupt-cells";

fn plain<'tree>(node: DeviceNode<'tree>, found: &mut Vec<Entry<'tree>>) -> Result<(), BoardError> {
    let controller = node.interrupt_controller()?;
    let each = controller.specifier_cells()?;
    let cells = node.cells("interrupts").filter(|cells| cells.len().is_multiple_of(each));
    let mut cells = cells
        .ok_or_else(|| node.error("interrupts", format!("it is no whole number of {each}-cell entries"), AGREE))?;
    while let Some(specifier) = cells.take_run(each).filter(|run| !run.is_empty()) {
        found.push(Entry { controller, specifier, property: "interrupts" });
    }
    Ok(())
}

fn extended<'tree>(node: DeviceNode<'tree>, found: &mut Vec<Entry<'tree>>) -> Result<(), BoardError> {
    let property = "interrupts-extended";
    let broken = || node.error(property, "an entry is cut short or names no interrupt controller", AGREE);
    let mut cells = node.cells(property).ok_or_else(broken)?;
    while let Some(phandle) = cells.next() {
        let controller = node.tree().by_phandle(phandle).ok_or_else(broken)?;
        let specifier = cells.take_run(controller.specifier_cells()?).ok_or_else(broken)?;
        found.push(Entry { controller, specifier, property });
    }
    Ok(())
}

/// Entries of (child address, child specifier, parent, parent's address, parent's specifier).
fn mapped<'tree>(node: DeviceNode<'tree>, found: &mut Vec<Entry<'tree>>) -> Result<(), BoardError> {
    let broken = || node.error(MAP, "an entry is cut short or names no interrupt controller", AGREE);
    let address_cells = |node: DeviceNode| node.u32("#address-cells").map_or(0, |count| count as usize);
    let child = address_cells(node).checked_add(node.specifier_cells()?).ok_or_else(broken)?;
    let mut cells = node.cells(MAP).ok_or_else(broken)?;
    while !cells.is_empty() {
        cells.take_run(child).ok_or_else(broken)?;
        let phandle = cells.next().ok_or_else(broken)?;
        let controller = node.tree().by_phandle(phandle).ok_or_else(broken)?;
        cells.take_run(address_cells(controller)).ok_or_else(broken)?;
        let specifier = cells.take_run(controller.specifier_cells()?).ok_or_else(broken)?;
        found.push(Entry { controller, specifier, property: MAP });
    }
    Ok(())
}
