//! EL2's own accesses to a guest's memory, in its name: by its own translation, and with the rights that it has.
//!
//! What is in the way is resolved as if the guest had met it ([`crate::vm::Vm::resolve`]): a shared page is copied before it is
//! written, and a table of the guest's is waited for while another core changes what maps it.

use tessera_memory::{FaultKind, GuestFault, Ipa, Va, guest_walk};

use crate::arch::aarch64::registers::read_register;
use crate::arch::aarch64::traps::{self, Stage1Access, Stage1Fault};
use crate::exit::byte_order::are_tables_big_endian;
use crate::exit::emulate::Refusal;
use crate::vcpu::Vcpu;
use crate::vm::{Resolution, Vm};

/// How often a translation is tried: each level's table may be in the way once.
const ATTEMPTS: usize = 5;
/// DFSC: external abort on a walk; the level is added.
const WALK_EXTERNAL: u64 = 0b01_0100;

/// Where the guest's own tables lead for `address`.
///
/// # Errors
/// The guest's own fault, or an external abort of its walk; `Changed` if its tables are changing.
pub fn translate(vm: &Vm, address: u64, access: Stage1Access) -> Result<u64, Refusal> {
    for _ in 0..ATTEMPTS {
        match traps::stage1_translate(address, access) {
            Ok(ipa) => return Ok(ipa),
            Err(fault) if fault.is_stage2 => resolve_walk(vm, address, access, fault)?,
            Err(fault) => return Err(Refusal::Fault { address, status: fault.status, is_write: access.is_write }),
        }
    }
    // Back to the guest, which comes again: EL2 does not wait for other cores.
    Err(Refusal::Changed)
}

/// Stage 2 was in the way of the walk for `address`. AT does not tell which table, so the walk is repeated in software.
fn resolve_walk(vm: &Vm, address: u64, access: Stage1Access, fault: Stage1Fault) -> Result<(), Refusal> {
    let kind = if fault.is_permission() { FaultKind::WalkUpdate } else { FaultKind::WalkRead };
    let page = last_table(vm, address).ok_or(Refusal::Changed)?;
    let status = WALK_EXTERNAL | fault.status & 0b11;
    match resolve(vm, &GuestFault { page, kind, va: Va::new(address) }) {
        Resolution::Retry => Ok(()),
        Resolution::Emulate | Resolution::Inject => Err(Refusal::Fault { address, status, is_write: access.is_write }),
        Resolution::Stop(reason) => {
            vm.request_stop(reason);
            Err(Refusal::Changed)
        }
    }
}

/// The page of the last table that a walk for `address` reads: the one that is missing, or the one with the leaf. `None` if it
/// reads none.
fn last_table(vm: &Vm, address: u64) -> Option<Ipa> {
    let registers = guest_walk::Registers {
        sctlr: read_register!("sctlr_el1"),
        tcr: read_register!("tcr_el1"),
        ttbr0: read_register!("ttbr0_el1"),
        ttbr1: read_register!("ttbr1_el1"),
    };
    let mut last = None;
    let memory = vm.memory().lock();
    // Where it leads does not matter, AT says that.
    let _ = guest_walk::walk(&registers, Va::new(address), |entry| {
        last = Some(entry.page());
        let mut descriptor = [0; 8];
        memory.load(entry, &mut descriptor)?;
        let is_big = are_tables_big_endian(registers.sctlr);
        Some(if is_big { u64::from_be_bytes(descriptor) } else { u64::from_le_bytes(descriptor) })
    });
    last
}

/// The word of code at which the guest is.
///
/// # Errors
/// `Changed` if its tables are; `External` if there is no memory.
pub fn instruction(vcpu: &Vcpu) -> Result<u32, Refusal> {
    // EL1 may read whatever EL0 may execute.
    let read = Stage1Access { from_user: false, is_write: false };
    let ipa = translate(vcpu.vm, vcpu.pc(), read).map_err(|_| Refusal::Changed)?;
    let mut word = [0; 4];
    vcpu.vm.memory().lock().load(Ipa::new(ipa), &mut word).ok_or(Refusal::External)?;
    Ok(u32::from_le_bytes(word))
}

/// Whether `bytes` of the guest's memory at `ipa` (no device), all in one page, may be read, or written: a shared page gets its
/// own frame for that.
pub fn is_open(vm: &Vm, ipa: Ipa, bytes: u64, is_write: bool) -> bool {
    let kind = if is_write { FaultKind::Write } else { FaultKind::Read };
    let is_memory = || vm.memory().lock().is_accessible(ipa, bytes, is_write);
    let fault = GuestFault { page: ipa.page(), kind, va: Va::new(ipa.get()) };
    is_memory() || resolve(vm, &fault) == Resolution::Retry && is_memory()
}

/// In line it is where guests' own faults arrive.
#[inline(never)]
fn resolve(vm: &Vm, fault: &GuestFault) -> Resolution {
    vm.resolve(fault)
}
