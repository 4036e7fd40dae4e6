//! What a Stage-2 abort was about: the one place that reads HPFAR_EL2 and FAR_EL2 for it, and asks by AT.

use tessera_memory::{GuestFault, Ipa, Va};

use crate::arch::aarch64::traps::{self, Stage1Access};
use crate::exit::syndrome::Abort;

/// The guest physical address of an access that is described (ESR_EL2.ISV) and met no translation.
#[inline(always)]
pub fn described_address() -> u64 {
    traps::fault_page() | traps::fault_virtual_address() & 0xfff
}

/// The refused access; `None` if the guest's tables do not lead there any more, or not at this moment: it is to be repeated,
/// and faults anew or not.
pub fn of(abort: Abort) -> Option<GuestFault> {
    let address = traps::fault_virtual_address();
    let page = if abort.has_page() { traps::fault_page() } else { page_of(address)? };
    Some(GuestFault { page: Ipa::new(page).page(), kind: abort.kind(), va: Va::new(address) })
}

/// The page to which the guest's own tables lead for `address`, which was accessed just now.
fn page_of(address: u64) -> Option<u64> {
    // EL1 may read whatever may be accessed in any way.
    let read = Stage1Access { from_user: false, is_write: false };
    let page = traps::stage1_translate(address, read).ok();
    if page.is_none() {
        // The access went by what the TLB remembers of other tables: it would fault for ever.
        traps::forget_translation(address);
    }
    page
}

/// The virtual address of the abort that is being handled.
pub fn address() -> u64 {
    traps::fault_virtual_address()
}
