//! What giving devices of the board to a guest means: which nodes it needs with them, which registers and interrupts those
//! have, and what of it nobody else may have.
//!
//! Pure: xtask asks the same of the tree it knows (to say early what is wrong) as EL2 of the tree it booted with (to be
//! safe). Whom a device is for, and how a guest's tree is written, belongs to those. Needed nodes are found by the
//! references that the common bindings define (`references`); what a driver reads besides is the user's to name.

mod closure;
mod conflict;
mod dma;
mod everything;
mod interrupts;
mod references;
mod resources;
mod sub_page;

pub use conflict::{Conflict, Kept, between, with_kept};
pub use everything::everything_except;

use crate::interrupt_id::Interrupt;
use crate::span::Span;
use crate::tree::{BoardError, DeviceNode, Tree};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Registers and devices are given in pages of so many bytes: what Stage 2 can tell apart.
pub const PAGE_BYTES: u64 = 4096;

/// Why a node is given.
#[derive(Clone, Copy)]
pub enum Reason<'tree> {
    /// It was named.
    Named,
    /// It is part of (below) a node that is given.
    Part(DeviceNode<'tree>),
    /// The node's `property` refers to it.
    Referred(DeviceNode<'tree>, &'tree str),
    /// The node is reached through it only: a port of it, or a device on a bus that it drives.
    Holds(DeviceNode<'tree>),
}

/// A node that is given.
#[derive(Clone, Copy)]
pub struct Given<'tree> {
    /// Which.
    pub node: DeviceNode<'tree>,
    /// Why.
    pub reason: Reason<'tree>,
    /// Whether only one guest can have it. Others, like fixed clocks, have no state and are copied as often as needed.
    pub exclusive: bool,
}

/// Registers that are given.
#[derive(Clone, Copy)]
pub struct Region<'tree> {
    /// Whose they are.
    pub node: DeviceNode<'tree>,
    /// Machine addresses, in bytes; never empty.
    pub span: Span,
    /// Whether pages that it does not fill stay with EL2, which passes on accesses to it alone.
    pub by_sub_page: bool,
}

impl Region<'_> {
    /// The whole pages it lies in.
    pub fn pages(&self) -> Span {
        pages(self.span)
    }
}

/// Whether a guest's tree has the property `name` where the board's has it: not if it speaks of an SMMU or of MSIs, which no
/// guest is offered.
fn is_offered(name: &str) -> bool {
    !references::LEFT_OUT.contains(&name)
}

/// What a bus is without what drives it.
const BUS_PROPERTIES: [&str; 6] =
    ["compatible", "#address-cells", "#size-cells", "ranges", "dma-ranges", "dma-coherent"];

/// `span` grown to whole pages.
fn pages(span: Span) -> Span {
    let start = span.start() & !(PAGE_BYTES - 1);
    // A span ends at 52 bits at most: a multiple of pages.
    Span::between(start, span.end().next_multiple_of(PAGE_BYTES)).unwrap_or(span)
}

/// A property that is left out: what it refers to is not needed then, and the guest's tree lacks it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LeftOut<'tree> {
    /// Whose it is.
    pub node: DeviceNode<'tree>,
    /// Its name.
    pub property: &'tree str,
}

impl<'tree> LeftOut<'tree> {
    /// The property `name` of `node`.
    ///
    /// # Errors
    /// It has none.
    pub fn new(node: DeviceNode<'tree>, name: &str) -> Result<Self, BoardError> {
        let found = node.properties().find(|(property, _)| *property == name);
        let property = found.map(|(property, _)| property).ok_or_else(|| {
            let all: Vec<_> = node.properties().map(|(property, _)| property).collect();
            node.error(
                "",
                format!("it has no property `{}`", name.escape_default()),
                format!("it has: {}", all.join(", ")),
            )
        })?;
        Ok(Self { node, property })
    }
}

/// What a node is in the tree of the guest that is given devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Nothing.
    Absent,
    /// A bus above something given: only how it translates addresses.
    Bus,
    /// Disabled on this board, but referred to by something given.
    Mentioned,
    /// Given.
    Given,
}

/// Devices of the board, and all that comes with them.
pub struct Assignment<'tree> {
    tree: &'tree Tree<'tree>,
    /// In tree order.
    given: Vec<Given<'tree>>,
    regions: Vec<Region<'tree>>,
    interrupts: Vec<(DeviceNode<'tree>, Interrupt)>,
    roles: Vec<Role>,
    left_out: Vec<LeftOut<'tree>>,
}

impl<'tree> Assignment<'tree> {
    /// What giving `named` means, each with the nodes below it, and without the properties `left_out`.
    ///
    /// # Errors
    /// A node that is disabled or that no guest can have, or a reference that cannot be followed.
    pub fn new(
        tree: &'tree Tree<'tree>,
        named: &[DeviceNode<'tree>],
        left_out: &[LeftOut<'tree>],
    ) -> Result<Self, BoardError> {
        let (given, mentioned) = closure::of(tree, named, left_out)?;
        let mut regions = Vec::new();
        let mut interrupts = Vec::new();
        for one in &given {
            regions.extend(resources::regions(one.node)?);
            interrupts::of_gic(one.node, &mut interrupts)?;
        }
        let roles = roles(tree, &given, &mentioned);
        Ok(Self { tree, given, regions, interrupts, roles, left_out: left_out.to_vec() })
    }

    /// The tree that the devices are of.
    pub fn tree(&self) -> &'tree Tree<'tree> {
        self.tree
    }

    /// The board's GIC.
    pub fn interrupt_controller(&self) -> Option<DeviceNode<'tree>> {
        self.tree.nodes().find(|node| resources::is_gic(*node) && node.is_enabled())
    }

    /// The nodes that are given, in tree order.
    pub fn given(&self) -> &[Given<'tree>] {
        &self.given
    }

    /// Their registers.
    pub fn regions(&self) -> &[Region<'tree>] {
        &self.regions
    }

    /// Their shared interrupts at the GIC, each with its device.
    pub fn interrupts(&self) -> &[(DeviceNode<'tree>, Interrupt)] {
        &self.interrupts
    }

    /// The pages their registers lie in, but for what is given by sub-page: sorted, not touching each other.
    pub fn pages(&self) -> Vec<Span> {
        crate::span::merge(self.regions.iter().filter_map(Region::mapped).collect())
    }

    /// Their interrupts, each once, by their numbers.
    pub fn distinct_interrupts(&self) -> Vec<Interrupt> {
        let mut all: Vec<Interrupt> = Vec::new();
        for (_, interrupt) in &self.interrupts {
            if let Err(place) = all.binary_search_by_key(&interrupt.id, |known| known.id) {
                all.insert(place, *interrupt);
            }
        }
        all
    }

    /// Those that (may) read and write memory by themselves, and those that come along in pages of what is given: whoever
    /// has their registers has them, named or not, enabled or not.
    pub fn dma_masters(&self) -> Vec<DeviceNode<'tree>> {
        let own = self.given.iter().map(|given| given.node).filter(|node| resources::masters_dma(*node));
        let comes_along = |node: &DeviceNode<'tree>| {
            let regions = resources::regions(*node).unwrap_or_default();
            !self.gives(*node)
                && regions.iter().any(|region| self.regions.iter().any(|own| own.gives_access_to(region.span)))
        };
        let others = self.tree.nodes().filter(|node| resources::masters_dma(*node));
        own.chain(others.filter(comes_along)).collect()
    }

    /// What `node` is in the tree of a guest that is given this.
    pub fn role(&self, node: DeviceNode) -> Role {
        self.roles.get(node.position()).copied().unwrap_or(Role::Absent)
    }

    /// Whether the guest's tree has the property `name` of `node` as the board's tree has it.
    pub fn copies(&self, node: DeviceNode<'tree>, name: &str) -> bool {
        let is_kept = is_offered(name) && !self.left_out.iter().any(|left| left.node == node && left.property == name);
        match self.role(node) {
            Role::Absent => false,
            Role::Bus => BUS_PROPERTIES.contains(&name),
            Role::Mentioned => is_kept && name != "status",
            Role::Given => is_kept,
        }
    }

    /// Whether `node` is given.
    pub fn gives(&self, node: DeviceNode) -> bool {
        self.role(node) == Role::Given
    }

    /// How `node` comes to be given.
    fn find(&self, node: DeviceNode) -> Option<&Given<'tree>> {
        self.given.iter().find(|given| given.node == node)
    }

    /// The node that was named and brings `node` along.
    pub fn cause(&self, node: DeviceNode<'tree>) -> DeviceNode<'tree> {
        self.chain(node).last().map_or(node, |given| given.node)
    }

    /// `node` and, one after the other, who needs it; the last one was named.
    fn chain(&self, node: DeviceNode<'tree>) -> impl Iterator<Item = &Given<'tree>> {
        let next = |given: &&Given<'tree>| match given.reason {
            Reason::Named => None,
            Reason::Part(other) | Reason::Referred(other, _) | Reason::Holds(other) => self.find(other),
        };
        // Each was found from the next one: the chain has an end, and no node twice.
        core::iter::successors(self.find(node), next).take(self.given.len())
    }

    /// Why it is given, in words: `for /emmc2bus/mmc@7e340000 (clocks)`; empty if it was named.
    pub fn explain(&self, node: DeviceNode<'tree>) -> String {
        let steps = self.chain(node).filter_map(|given| match given.reason {
            Reason::Named => None,
            Reason::Part(other) => Some(format!("as part of {}", other.path())),
            Reason::Referred(other, property) => Some(format!("for {} ({property})", other.path())),
            Reason::Holds(other) => Some(format!("to reach {}", other.path())),
        });
        steps.collect::<Vec<_>>().join(", that ")
    }
}

/// What each node of the tree is, by its position.
fn roles(tree: &Tree, given: &[Given], mentioned: &[DeviceNode]) -> Vec<Role> {
    let mut roles = alloc::vec![Role::Absent; tree.nodes().count()];
    let mut set = |node: DeviceNode, role| {
        if let Some(place) = roles.get_mut(node.position()) {
            *place = role;
        }
    };
    let nodes = || given.iter().map(|given| given.node);
    for node in nodes().chain(mentioned.iter().copied()) {
        node.ancestors().skip(1).for_each(|above| set(above, Role::Bus));
    }
    mentioned.iter().for_each(|node| set(*node, Role::Mentioned));
    nodes().for_each(|node| set(node, Role::Given));
    roles
}
