//! The interrupt controller (Linux bindings interrupt-controller/arm,gic.yaml and arm,gic-v3.yaml).

use crate::interrupt_id::Interrupt;
use crate::span::Span;
use crate::tree::interrupts::{GIC_V2, GIC_V3};
use crate::tree::{BoardError, DeviceNode};
use alloc::format;
use alloc::vec::Vec;

/// The board's interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterruptController {
    /// A GICv2 with virtualization extensions.
    GicV2(GicV2),
    /// A GICv3 or GICv4.
    GicV3(GicV3),
}

/// Where the parts of a GICv2 are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GicV2 {
    /// GICD, the distributor.
    pub distributor: Span,
    /// GICC, the cores' own interface (each core sees its own).
    pub cpu_interface: Span,
    /// GICH, the hypervisor's control of virtual interrupts.
    pub virtual_control: Span,
    /// GICV, what a guest is given in place of GICC.
    pub virtual_cpu_interface: Span,
    /// The private interrupt that GICH raises.
    pub maintenance: Interrupt,
}

/// Where the parts of a GICv3 are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GicV3 {
    /// GICD, the distributor.
    pub distributor: Span,
    /// The regions that hold the cores' redistributors (GICR); at least one.
    pub redistributors: Vec<Span>,
    /// Bytes from one redistributor to the next, where it is not as GICR_TYPER implies.
    pub redistributor_stride: Option<u64>,
    /// The private interrupt that the ICH registers raise.
    pub maintenance: Interrupt,
}

/// Size in bytes of a GICv3 distributor and of each frame of a redistributor.
const FRAME: u64 = 0x1_0000;
/// What parts are multiples of, in bytes, so that each can be mapped by itself.
const PAGE: u64 = 0x1000;

/// The first GIC of the tree: others are cascaded behind it. Its registers lie outside of `memory`.
pub(super) fn find(parts: &[DeviceNode], memory: &[Span]) -> Result<InterruptController, BoardError> {
    let is_controller = |node: &&DeviceNode| node.property("interrupt-controller").is_some();
    let first_of = |models| parts.iter().filter(is_controller).find(|node| node.is_compatible(models)).copied();
    if let Some(node) = first_of(GIC_V3) {
        return gic_v3(&Regions::of(node, memory)?).map(InterruptController::GicV3);
    }
    if let Some(node) = first_of(GIC_V2) {
        return gic_v2(&Regions::of(node, memory)?).map(InterruptController::GicV2);
    }
    Err(BoardError::new("/", "", "there is no interrupt controller that is known", "it needs a GICv2 or a GICv3"))
}

/// The regions of a controller's `reg`.
struct Regions<'tree> {
    node: DeviceNode<'tree>,
    spans: Vec<Span>,
    memory: &'tree [Span],
}

impl<'tree> Regions<'tree> {
    fn of(node: DeviceNode<'tree>, memory: &'tree [Span]) -> Result<Self, BoardError> {
        Ok(Self { node, spans: node.registers()?, memory })
    }

    /// Region `index`, called `what`, with at least `least` bytes.
    fn get(&self, index: usize, what: &str, least: u64) -> Result<Span, BoardError> {
        let found = self.spans.get(index).copied().filter(|region| region.size() >= least);
        let problem = match found.map(|found| (found, self.misplaced(index, found))) {
            Some((found, None)) => return Ok(found),
            Some((_, Some(how))) => how,
            None => "is missing or too small",
        };
        let problem = format!("entry {index}, the {what} of {least:#x} bytes, {problem}");
        Err(self.node.error("reg", problem, "list all regions of a GIC with virtualization extensions, where they are"))
    }

    /// What is wrong with the place of region `index`, which is `found`.
    fn misplaced(&self, index: usize, found: Span) -> Option<&'static str> {
        let overlaps = |other: &Span| other.overlaps(found);
        if !found.start().is_multiple_of(PAGE) {
            Some("is at no multiple of 4096")
        } else if self.memory.iter().any(overlaps) {
            Some("is in memory")
        } else if self.spans.iter().take(index).any(overlaps) {
            Some("overlaps an entry before it")
        } else {
            None
        }
    }
}

fn gic_v2(regions: &Regions) -> Result<GicV2, BoardError> {
    Ok(GicV2 {
        distributor: regions.get(0, "distributor (GICD)", 0x1000)?,
        cpu_interface: regions.get(1, "CPU interface (GICC)", 0x2000)?,
        virtual_control: regions.get(2, "virtual interface control (GICH)", 0x1000)?,
        virtual_cpu_interface: regions.get(3, "virtual CPU interface (GICV)", 0x1000)?,
        maintenance: maintenance(regions.node)?,
    })
}

fn gic_v3(regions: &Regions) -> Result<GicV3, BoardError> {
    let node = regions.node;
    let count = match node.property("#redistributor-regions") {
        Some(_) => node.u32("#redistributor-regions").map(|count| count as usize),
        None => Some(1),
    };
    let redistributors =
        count.and_then(|count| regions.spans.get(1..count.checked_add(1)?)).filter(|found| !found.is_empty());
    let redistributors = redistributors.ok_or_else(|| {
        node.error("#redistributor-regions", "reg does not hold that many", "list the distributor, then each region")
    })?;
    for index in 1..=redistributors.len() {
        regions.get(index, "redistributor region (GICR)", 2 * FRAME)?;
    }
    Ok(GicV3 {
        distributor: regions.get(0, "distributor (GICD)", FRAME)?,
        redistributors: redistributors.to_vec(),
        redistributor_stride: stride(node)?,
        maintenance: maintenance(node)?,
    })
}

fn stride(node: DeviceNode) -> Result<Option<u64>, BoardError> {
    const NAME: &str = "redistributor-stride";
    if node.property(NAME).is_none() {
        return Ok(None);
    }
    let stride = node.u64(NAME).filter(|&stride| stride >= 2 * FRAME && stride.is_multiple_of(FRAME));
    stride.map(Some).ok_or_else(|| node.error(NAME, "it is no multiple of 64 KiB from 128 KiB up", "correct it"))
}

/// The maintenance interrupt: the controller's own, and only, interrupt.
fn maintenance(node: DeviceNode) -> Result<Interrupt, BoardError> {
    let first = node.interrupts()?.first().copied();
    first.filter(|interrupt| interrupt.id.is_private()).ok_or_else(|| {
        node.error("interrupts", "there is no private maintenance interrupt", "add it; on most boards it is <1 9 4>")
    })
}
