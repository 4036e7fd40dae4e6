//! Which nodes come along with those that are named.

use super::{Given, LeftOut, Reason, interrupts, references, resources};
use crate::tree::{BoardError, DeviceNode, Tree};
use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;

/// `compatible` of nodes that only state facts: as good in two guests' trees as in one.
const STATELESS: &[&str] = &["fixed-clock", "fixed-factor-clock", "regulator-fixed", "simple-bus"];

/// Nodes that describe the machine itself: each guest has its own instead.
const MACHINE: &[&str] = &[
    "cpus",
    "chosen",
    "aliases",
    "memory",
    "psci",
    "timer",
    "pmu",
    "arm-pmu",
    "reserved-memory",
    "__symbols__",
    "firmware",
];
/// The Raspberry Pi's per-core interrupt controller, which also sets the speed of all cores' counters.
const MACHINE_MODELS: &[&str] = &["brcm,bcm2836-l1-intc"];

/// `named`, all below them, and all that these need, in tree order; and the disabled nodes that these refer to.
pub(super) fn of<'tree>(
    tree: &'tree Tree<'tree>,
    named: &[DeviceNode<'tree>],
    left_out: &[LeftOut<'tree>],
) -> Result<(Vec<Given<'tree>>, Vec<DeviceNode<'tree>>), BoardError> {
    let mut closure = Closure {
        tree,
        given: Vec::new(),
        mentioned: Vec::new(),
        left_out,
        seen: vec![false; tree.nodes().count()],
        edges: Vec::new(),
        next: 0,
    };
    for &node in named {
        closure.name(node)?;
    }
    while let Some(given) = closure.given.get(closure.next).copied() {
        closure.next += 1;
        closure.follow(given)?;
    }
    closure.settle();
    let positions: BinaryHeap<_> =
        closure.given.iter().enumerate().map(|(index, given)| (given.node.position(), index)).collect();
    let in_tree_order =
        positions.into_sorted_vec().into_iter().filter_map(|(_, index)| closure.given.get(index).copied());
    Ok((in_tree_order.collect(), closure.mentioned))
}

struct Closure<'a, 'tree> {
    tree: &'tree Tree<'tree>,
    given: Vec<Given<'tree>>,
    /// Disabled nodes that are referred to: drivers look at their properties all the same.
    mentioned: Vec<DeviceNode<'tree>>,
    /// What is not followed.
    left_out: &'a [LeftOut<'tree>],
    /// By position in the tree: whether it is in `given`.
    seen: Vec<bool>,
    /// Positions: who needs whom.
    edges: Vec<(usize, usize)>,
    /// The first of `given` whose needs have not been looked at.
    next: usize,
}

impl<'tree> Closure<'_, 'tree> {
    fn name(&mut self, node: DeviceNode<'tree>) -> Result<(), BoardError> {
        if !node.is_enabled() {
            return Err(node.error("status", "it is disabled: this board does not have it", "name another device"));
        }
        if let Some(why) = not_for_guests(node) {
            return Err(node.error("", why, "name another device"));
        }
        self.add(node, Reason::Named);
        Ok(())
    }

    fn add(&mut self, node: DeviceNode<'tree>, reason: Reason<'tree>) {
        if let Some(seen) = self.seen.get_mut(node.position()).filter(|seen| !**seen) {
            *seen = true;
            self.given.push(Given { node, reason, exclusive: matches!(reason, Reason::Named) });
        }
    }

    fn need(
        &mut self,
        by: DeviceNode<'tree>,
        node: DeviceNode<'tree>,
        reason: Reason<'tree>,
    ) -> Result<(), BoardError> {
        if let Some(why) = not_for_guests(node) {
            let problem = alloc::format!("it needs {}: {why}", node.path());
            return Err(by.error("", problem, "name another device"));
        }
        self.edges.push((by.position(), node.position()));
        self.add(node, reason);
        Ok(())
    }

    fn follow(&mut self, given: Given<'tree>) -> Result<(), BoardError> {
        let node = given.node;
        if let Some(holder) = node.ancestors().skip(1).find(|above| !is_plain_bus(*above)) {
            self.need(node, holder, Reason::Holds(node))?;
        }
        if brings_children(given.reason) {
            for child in node.children().filter(|child| child.is_enabled()) {
                self.need(node, child, Reason::Part(node))?;
            }
        }
        let is_left_out = |property| self.left_out.contains(&LeftOut { node, property });
        for reference in references::of(self.tree, node, is_left_out)? {
            if reference.to.is_enabled() {
                self.need(node, reference.to, Reason::Referred(node, reference.property))?;
            } else if not_for_guests(reference.to).is_none() && reference.to.ancestors().skip(1).all(is_plain_bus) {
                self.mentioned.push(reference.to);
            }
        }
        for (controller, property) in interrupts::controllers(node)? {
            self.need(node, controller, Reason::Referred(node, property))?;
        }
        Ok(())
    }

    /// Finds out which nodes only one guest can have: those with state, and those that need such ones.
    fn settle(&mut self) {
        let mut exclusive = vec![false; self.seen.len()];
        for given in &self.given {
            if let Some(one) = exclusive.get_mut(given.node.position()) {
                *one = given.exclusive || has_state(given.node);
            }
        }
        let is = |exclusive: &[bool], position: usize| exclusive.get(position).copied().unwrap_or(true);
        // Each round marks one more or is the last.
        while let Some(&(by, _)) = self.edges.iter().find(|&&(by, on)| is(&exclusive, on) && !is(&exclusive, by)) {
            if let Some(one) = exclusive.get_mut(by) {
                *one = true;
            }
        }
        for given in &mut self.given {
            given.exclusive = is(&exclusive, given.node.position());
        }
    }
}

/// Whether what is below a node comes with it: a device with its parts and the devices on it, a pin state with its pins.
fn brings_children(reason: Reason) -> bool {
    match reason {
        Reason::Named | Reason::Part(_) => true,
        Reason::Referred(_, property) => property.starts_with("pinctrl-"),
        Reason::Holds(_) => false,
    }
}

fn has_state(node: DeviceNode) -> bool {
    !node.is_compatible(STATELESS) || node.property("reg").is_some() || interrupts::has_any(node)
}

/// Whether it only groups nodes or translates addresses: what is on it does not need it beyond that.
pub(super) fn is_plain_bus(node: DeviceNode) -> bool {
    let does_nothing = ["reg", "clocks", "power-domains", "resets"].iter().all(|name| node.property(name).is_none());
    let is_bus = node.property("ranges").is_some() || node.property("compatible").is_none();
    node.parent().is_none() || does_nothing && (is_bus || node.is_compatible(&["simple-bus"]))
}

/// Why no guest can have a node of the board; `None` if one can.
pub(super) fn not_for_guests(node: DeviceNode) -> Option<&'static str> {
    if resources::is_interrupt_controller_of_board(node) {
        return Some("the interrupt controller is EL2's; each guest has one of its own");
    }
    let top = node.ancestors().filter(|above| above.parent().is_some()).last();
    let base = top.map_or("", |top| top.name().split('@').next().unwrap_or(""));
    if top.is_none() {
        return Some("the root is the whole board: use `everything-except`");
    }
    (MACHINE.contains(&base) || node.is_compatible(MACHINE_MODELS))
        .then_some("it describes the machine, of which each guest has its own")
}
