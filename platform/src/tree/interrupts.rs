//! Which interrupts a device raises: `interrupts`, `interrupts-extended` and the inheritance of `interrupt-parent`
//! (Devicetree Specification 0.4, 2.4), as numbers of the GIC (Linux bindings arm,gic.yaml and arm,gic-v3.yaml).

use super::{BoardError, Cells, DeviceNode, MAX_DEPTH, Models};
use crate::interrupt_id::{IntId, Interrupt, Trigger};
use alloc::format;
use alloc::vec::Vec;

/// `compatible` of a GICv2 (and of the GICv1, which differs in nothing that the tree says).
pub(crate) const GIC_V2: &[&str] = &[
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a7-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a5-gic",
    "arm,pl390",
    "qcom,msm-qgic2",
];

/// `compatible` of a GICv3 or GICv4.
pub(crate) const GIC_V3: &[&str] = &["arm,gic-v3", "qcom,msm8996-gic-v3"];

/// No controller describes an interrupt by more cells.
const MAX_SPECIFIER: usize = 16;

impl<'tree> DeviceNode<'tree> {
    /// The interrupts it raises, in the order of `interrupts` (or `interrupts-extended`, which wins); empty if none.
    ///
    /// An error if one goes to another controller than the GIC.
    pub fn interrupts(self) -> Result<Vec<Interrupt>, BoardError> {
        if self.property("interrupts-extended").is_some() {
            return self.extended_interrupts();
        }
        let Some(value) = self.property("interrupts") else { return Ok(Vec::new()) };
        let controller = self.interrupt_controller()?;
        let each = controller.specifier_cells()?;
        let cells = Cells::new(value).filter(|cells| cells.len().is_multiple_of(each));
        let mut cells = cells
            .ok_or_else(|| self.error("interrupts", format!("it is no whole number of {each}-cell entries"), AGREE))?;
        if !cells.is_empty() {
            self.expect_gic("interrupts", controller)?;
        }
        let mut interrupts = Vec::with_capacity(cells.len() / each);
        // Each round takes at least a cell: specifier_cells is never 0.
        while let Some(specifier) = cells.take_run(each) {
            interrupts.push(self.of_gic("interrupts", specifier)?);
        }
        Ok(interrupts)
    }

    fn extended_interrupts(self) -> Result<Vec<Interrupt>, BoardError> {
        const NAME: &str = "interrupts-extended";
        let broken = || self.error(NAME, "an entry is cut short or names no interrupt controller", AGREE);
        let mut cells = self.cells(NAME).ok_or_else(broken)?;
        let mut interrupts = Vec::new();
        while let Some(phandle) = cells.next() {
            let controller = self.tree.by_phandle(phandle).ok_or_else(broken)?;
            let specifier = cells.take_run(controller.specifier_cells()?).ok_or_else(broken)?;
            interrupts.push(self.decode(NAME, controller, specifier)?);
        }
        Ok(interrupts)
    }

    /// The node that its `interrupts` go to: that of `interrupt-parent`, here or inherited; without one the nearest
    /// node above that takes interrupts.
    pub fn interrupt_controller(self) -> Result<DeviceNode<'tree>, BoardError> {
        let mut node = self;
        // A tree whose interrupt-parents run in a circle would never end.
        for _ in 0..MAX_DEPTH {
            let next = match node.property("interrupt-parent") {
                Some(value) => Cells::one(value).and_then(|phandle| self.tree.by_phandle(phandle)),
                None => node.parent(),
            };
            node = next
                .ok_or_else(|| node.error("interrupt-parent", "it leads nowhere", "name the interrupt controller"))?;
            if node.property("#interrupt-cells").is_some() {
                return Ok(node);
            }
        }
        Err(self.error("interrupt-parent", "it leads in a circle", "name the interrupt controller"))
    }

    /// How many cells describe an interrupt of this controller.
    pub(crate) fn specifier_cells(self) -> Result<usize, BoardError> {
        let cells = self.u32("#interrupt-cells").map(|cells| cells as usize);
        cells
            .filter(|cells| (1..=MAX_SPECIFIER).contains(cells))
            .ok_or_else(|| self.error("#interrupt-cells", "it is missing or not 1 to 16", "a GIC has 3"))
    }

    /// Decodes `specifier`, found in `property` of this node, as an interrupt of `controller`.
    pub(crate) fn decode(
        self,
        property: &'static str,
        controller: DeviceNode,
        specifier: Cells,
    ) -> Result<Interrupt, BoardError> {
        self.expect_gic(property, controller)?;
        self.of_gic(property, specifier)
    }

    fn expect_gic(self, property: &'static str, controller: DeviceNode) -> Result<(), BoardError> {
        const GICS: Models = Models::new(&[GIC_V2, GIC_V3]);
        if controller.is_one_of(&GICS) {
            return Ok(());
        }
        let problem = format!("an interrupt goes to {}, which is no GIC", controller.path());
        Err(self.error(property, problem, "only interrupts of the GIC can be used"))
    }

    fn of_gic(self, property: &'static str, specifier: Cells) -> Result<Interrupt, BoardError> {
        decode_gic(specifier).ok_or_else(|| {
            let found: Vec<_> = specifier.map(|cell| format!("{cell:#x}")).collect();
            let problem = format!("<{}> is no interrupt of a GIC", found.join(" "));
            self.error(property, problem, "use <0 SPI flags> or <1 PPI flags>, flags 1, 2 (edge), 4 or 8 (level)")
        })
    }
}

const AGREE: &str = "make it agree with the controller's #interrupt-cells";

/// Decodes kind, number and flags. The low 4 bits of the flags say the trigger; bits 15..8 are GICv2's mask of cores.
fn decode_gic(mut specifier: Cells) -> Option<Interrupt> {
    let (kind, number, flags) = (specifier.next()?, specifier.next()?, specifier.next()?);
    let id = match kind {
        0 => IntId::spi(number)?,
        1 => IntId::ppi(number)?,
        _ => return None,
    };
    let trigger = match flags & 0xf {
        1 | 2 => Trigger::Edge,
        // 0 leaves it as the firmware set it up; a level-sensitive reading of it loses nothing.
        0 | 4 | 8 => Trigger::Level,
        _ => return None,
    };
    Some(Interrupt { id, trigger })
}
