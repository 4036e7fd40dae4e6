//! Memory of the machine that VMs ask for by its address. It is taken first, so that nothing else comes to lie there.

use alloc::vec::Vec;

use tessera_memory::frames::Unscrubbed;
use tessera_memory::{Error, Frames, Ipa, Owner, Pa, Span, VmId};

use super::memory::{self, MemoryError};
use crate::manifest::VmConfig;

/// A piece of a VM's memory, taken but neither scrubbed nor mapped.
pub struct Claim {
    /// Where the VM has it.
    pub ipa: Span<Ipa>,
    /// What it is.
    pub frames: Unscrubbed<Span<Pa>>,
}

impl Claim {
    /// Takes all that VM `index` asks for by machine address.
    ///
    /// # Errors
    /// It is not free.
    pub fn take(index: usize, config: &VmConfig, frames: &mut Frames) -> Result<Vec<Self>, MemoryError> {
        let mut claims = Vec::new();
        for region in &config.memory {
            let Some(machine) = region.machine else { continue };
            for ipa in memory::own_pieces(config, region)? {
                let start = Pa::new(machine + (ipa.start().get() - region.ipa));
                let span = Span::new(start, ipa.bytes()).ok_or(Error::OutsidePaSpace(start))?;
                // VMs are at most `MAX_VMS`.
                let frames = frames.allocate_exact(Owner::Vm(VmId(index as u16)), span)?;
                claims.push(Self { ipa, frames });
            }
        }
        Ok(claims)
    }
}
