//! Stolen time: what a guest reads of the time that its vCPUs could have run and did not (Arm DEN0057A, "Paravirtualized time
//! for Arm-based systems"). A page of the VM's own with 64 bytes for each vCPU, which the guest may only read.
//!
//! Only VMs that share a core, or have a budget or windows, have it: of others nothing is stolen, and they are told that
//! there is no such thing.

use tessera_abi::manifest as abi;
use tessera_memory::{Access, Attributes, Frames, Ipa, PAGE_SIZE, Pa, Span};

use super::memory::{GuestMemory, MemoryError};
use crate::arch::aarch64::machine::write_shared_word;
use crate::manifest::VmConfig;

/// Bytes of one vCPU's structure: all of [`abi::MAX_VCPUS`] fit a page (DEN0057A 3.2.2: 64-byte aligned).
const STRUCTURE: u64 = 64;
/// Where the stolen time, in nanoseconds, is in it. Revision and attributes before it are zero.
const STOLEN: u64 = 8;
/// Where QEMU has it.
const USUAL_PLACE: u64 = 0x090a_0000;

const _: () = assert!(abi::MAX_VCPUS as u64 * STRUCTURE <= PAGE_SIZE);

/// Where a VM's page is.
#[derive(Clone, Copy, Debug)]
pub struct StolenTime {
    ipa: u64,
    frame: Pa,
}

impl StolenTime {
    /// Makes the page in `memory`, if there is a place for it that the guest does not use.
    ///
    /// # Errors
    /// No memory for it.
    pub(super) fn new(
        memory: &mut GuestMemory,
        config: &VmConfig,
        ipa_bits: u32,
        frames: &mut Frames,
    ) -> Result<Option<Self>, MemoryError> {
        let Some(ipa) = place(config, ipa_bits) else { return Ok(None) };
        let read_only = Attributes { access: Access::READ, ..Attributes::RAM };
        let Some(span) = Span::new(Ipa::new(ipa), PAGE_SIZE) else { return Ok(None) };
        let frame = memory.map_fresh(span, read_only, frames)?;
        Ok(Some(Self { ipa, frame }))
    }

    /// The guest physical address of vCPU `vcpu`'s structure.
    pub fn address(&self, vcpu: usize) -> u64 {
        self.ipa + vcpu as u64 * STRUCTURE
    }

    /// Says how much was stolen from vCPU `vcpu` in all, in nanoseconds.
    pub fn tell(&self, vcpu: usize, nanoseconds: u64) {
        if vcpu < abi::MAX_VCPUS {
            write_shared_word(self.frame.get() + vcpu as u64 * STRUCTURE + STOLEN, nanoseconds);
        }
    }
}

/// A page that nothing else of the guest's machine is at: QEMU's, or the last of all.
fn place(config: &VmConfig, ipa_bits: u32) -> Option<u64> {
    let last = 1u64.checked_shl(ipa_bits)?.checked_sub(PAGE_SIZE)?;
    [USUAL_PLACE, last].into_iter().find(|place| config.is_free(*place, PAGE_SIZE))
}
