//! Whether devices that access memory by themselves reach any of their guest's.

use super::conflict::wants;
use super::{Assignment, Conflict};
use crate::span::Span;
use crate::tree::{BoardError, DeviceNode};
use alloc::format;

impl<'tree> Assignment<'tree> {
    /// The first device of VM `owner` that may access memory by itself, is not one of `harmless`, and reaches nothing of
    /// the guest's `memory`. Reaching a part suffices: the guest's drivers copy to and from there.
    ///
    /// # Errors
    /// The tree does not say what it reaches.
    pub fn out_of_reach(
        &self,
        owner: &str,
        harmless: &[DeviceNode<'tree>],
        memory: &[Span],
    ) -> Result<Option<Conflict<'tree>>, BoardError> {
        for master in self.dma_masters() {
            if !self.gives(master) || harmless.contains(&master) {
                continue;
            }
            let reach = master.dma_reach()?;
            if !reach.iter().any(|one| memory.iter().any(|region| one.overlaps(*region))) {
                return Ok(Some(self.unreached(owner, master, &reach)));
            }
        }
        Ok(None)
    }

    fn unreached(&self, owner: &str, master: DeviceNode<'tree>, reach: &[Span]) -> Conflict<'tree> {
        let problem = format!(
            "{} accesses memory by itself, and reaches {reach:?} (dma-ranges), where the VM has none; {}",
            master.path(),
            wants((owner, self), master)
        );
        let remedy = "give the VM some memory there, `{ base = ADDRESS, size = SIZE, one-to-one = true }`; if this device \
            does no DMA, name it with `{ device = \"PATH\", dma = false }`";
        Conflict { problem, remedy: remedy.into(), cause: self.cause(master) }
    }
}
