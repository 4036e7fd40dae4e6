//! References to other nodes that the common bindings define: clocks, resets, supplies, and so on (dt-schema; Linux's
//! drivers/of/property.c follows the same ones).
//!
//! Interrupts are not here: they are followed through controllers and nexuses by `interrupts`.

use crate::tree::{BoardError, Cells, DeviceNode, Tree};
use alloc::format;
use alloc::vec::Vec;

/// Properties that are lists of a phandle and as many cells as the property beside it (of the node referred to) says.
const LISTS: &[(&str, &str)] = &[
    ("clocks", "#clock-cells"),
    ("assigned-clocks", "#clock-cells"),
    ("assigned-clock-parents", "#clock-cells"),
    ("resets", "#reset-cells"),
    ("power-domains", "#power-domain-cells"),
    ("dmas", "#dma-cells"),
    ("mboxes", "#mbox-cells"),
    ("phys", "#phy-cells"),
    ("pwms", "#pwm-cells"),
    ("io-channels", "#io-channel-cells"),
    ("hwlocks", "#hwlock-cells"),
    ("interconnects", "#interconnect-cells"),
    ("thermal-sensors", "#thermal-sensor-cells"),
    ("nvmem-cells", "#nvmem-cell-cells"),
    ("cooling-device", "#cooling-cells"),
];

/// Properties that are lists of phandles alone.
const PLAIN: &[&str] = &[
    "phy-handle",
    "firmware",
    "brcm,firmware",
    "raspberrypi,firmware",
    "syscon",
    "extcon",
    "mmc-pwrseq",
    "memory-region",
];

/// What no guest is offered: its tree goes without.
pub(super) const LEFT_OUT: &[&str] =
    &["iommus", "iommu-map", "iommu-map-mask", "msi-parent", "msi-map", "msi-map-mask", "interrupt-affinity"];

/// A node that another one refers to, and the property that does.
pub(super) struct Reference<'tree> {
    pub(super) to: DeviceNode<'tree>,
    pub(super) property: &'tree str,
}

/// Every other node that `node` refers to, but for properties that are left out.
pub(super) fn of<'tree>(
    tree: &'tree Tree<'tree>,
    node: DeviceNode<'tree>,
    is_left_out: impl Fn(&'tree str) -> bool,
) -> Result<Vec<Reference<'tree>>, BoardError> {
    let mut found = Vec::new();
    for (property, value) in node.properties().filter(|(property, _)| !is_left_out(property)) {
        let Some(kind) = Kind::of(property) else { continue };
        let cells = Cells::new(value).ok_or_else(|| broken(node, property))?;
        let targets = targets(tree, node, property, kind, cells)?;
        let others = targets.into_iter().filter(|to| *to != node);
        found.extend(others.map(|to| Reference { to, property }));
    }
    Ok(found)
}

#[derive(Clone, Copy)]
enum Kind {
    /// The name of the property that says how many cells follow a phandle.
    List(&'static str),
    /// Phandles alone.
    Plain,
}

impl Kind {
    fn of(property: &str) -> Option<Self> {
        if let Some((_, cells)) = LISTS.iter().find(|(name, _)| *name == property) {
            return Some(Self::List(cells));
        }
        if is_gpio(property) {
            return Some(Self::List("#gpio-cells"));
        }
        let is_pin_state =
            property.strip_prefix("pinctrl-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
        let is_plain = PLAIN.contains(&property) || property.ends_with("-supply") || is_pin_state;
        is_plain.then_some(Self::Plain)
    }
}

/// `gpios`, `reset-gpios`, `gpio`, `cd-gpio`; but not `nr-gpios`, which is a number.
fn is_gpio(property: &str) -> bool {
    let named = ["gpios", "gpio"]
        .iter()
        .any(|name| property.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('-')));
    named && property != "nr-gpios" && !property.ends_with(",nr-gpios")
}

fn targets<'tree>(
    tree: &'tree Tree<'tree>,
    node: DeviceNode<'tree>,
    property: &str,
    kind: Kind,
    mut cells: Cells<'tree>,
) -> Result<Vec<DeviceNode<'tree>>, BoardError> {
    let mut targets = Vec::new();
    while let Some(phandle) = cells.next() {
        // A place that is left free (dt-schema, phandle arrays).
        if phandle == 0 {
            continue;
        }
        let target = tree.by_phandle(phandle).ok_or_else(|| {
            let problem = format!("it refers to phandle {phandle:#x}, which no node has");
            node.error(owned(property), problem, "correct the board's tree")
        })?;
        if let Kind::List(count) = kind {
            let count = specifier_cells(target, count)?;
            cells.take_run(count).ok_or_else(|| broken(node, property))?;
        }
        targets.push(target);
    }
    Ok(targets)
}

/// How many cells follow a phandle of `target`. A nvmem cell has none if it does not say.
fn specifier_cells(target: DeviceNode, property: &'static str) -> Result<usize, BoardError> {
    match (target.u32(property), property) {
        (Some(count), _) if count <= 16 => Ok(count as usize),
        (None, "#nvmem-cell-cells") => Ok(0),
        _ => Err(target.error(property, "it is missing or above 16, but other nodes refer to this one", "correct it")),
    }
}

fn broken(node: DeviceNode, property: &str) -> BoardError {
    node.error(owned(property), "an entry is cut short", "make it agree with the cells of the nodes it refers to")
}

fn owned(property: &str) -> alloc::string::String {
    property.into()
}
