//! Stage-2 aborts: emulated devices, devices that share a page, copy on write, and what is not there.

use tessera_memory::Ipa;

use crate::arch::aarch64::traps::{self, Stage1Access};
use crate::devices::DeviceSlot;
use crate::exit::emulate::{self, Refusal};
use crate::exit::syndrome::{Abort, Access, Reason};
use crate::exit::{Next, finish, inject, synchronous_exception};
use crate::life::{CrashReason, StopReason};
use crate::processor::Processor;
use crate::vcpu::Vcpu;

/// Handles a data abort.
#[inline(always)]
pub fn data(processor: &mut Processor, vcpu: &mut Vcpu, abort: Abort) -> Next {
    // What is described is no table walk (Arm ARM, AArch64.FaultSyndrome: not where `s2fs1walk`).
    if let Some(access) = abort.access() {
        let ipa = traps::fault_page() | traps::fault_virtual_address() & 0xfff;
        // Asked only now: the compiler would make one test of both, and a longer one.
        if abort.reason() == Reason::Translation
            && let Some((device, offset)) = vcpu.vm.bus.find(ipa)
        {
            return device_access(processor, vcpu, device, offset, access, abort.is_write());
        }
    }
    other_data(processor, vcpu, abort)
}

/// A load or store to an emulated device.
#[inline(always)]
fn device_access(
    processor: &mut Processor,
    vcpu: &mut Vcpu,
    device: DeviceSlot,
    offset: u64,
    access: Access,
    is_write: bool,
) -> Next {
    let vm = vcpu.vm;
    if is_write {
        let value = access.truncate(vcpu.register(access.transfer()));
        vm.device_write(processor, vcpu.index, device, offset, access.bytes(), value);
    } else {
        let value = vm.device_read(processor, vcpu.index, device, offset, access.bytes());
        vcpu.set_register(access.transfer(), access.extend(value));
    }
    finish::instruction(vcpu);
    Next::Resume
}

#[inline(never)]
fn other_data(processor: &mut Processor, vcpu: &mut Vcpu, abort: Abort) -> Next {
    let address = traps::fault_virtual_address();
    let Some(ipa) = fault_address(vcpu, &abort, address) else {
        // The guest changed its tables since: the retry faults anew, or not.
        return Next::Resume;
    };
    if is_device(vcpu, &abort, ipa) {
        return match abort.access() {
            // Of a device of EL2's the fast path has seen to it.
            Some(access) => passed_on(vcpu, &abort, access, address, ipa),
            None => undescribed(processor, vcpu, &abort, address, ipa),
        };
    }
    if is_resolved(vcpu, &abort, ipa) {
        return Next::Resume;
    }
    external_abort(vcpu, &abort, address)
}

/// Whether a load, store or the like met a device that is not mapped.
fn is_device(vcpu: &Vcpu, abort: &Abort, ipa: Ipa) -> bool {
    abort.reason() == Reason::Translation && !abort.on_table_walk() && vcpu.vm.has_device_at(ipa.get())
}

/// A load or store to a device of the board that shares its page.
fn passed_on(vcpu: &mut Vcpu, abort: &Abort, access: Access, address: u64, ipa: Ipa) -> Next {
    let bytes = access.bytes();
    let done = if abort.is_write() {
        let value = access.truncate(vcpu.register(access.transfer()));
        vcpu.vm.passed_store(ipa.get(), bytes, value)
    } else {
        let value = vcpu.vm.passed_load(ipa.get(), bytes);
        value.map(|value| vcpu.set_register(access.transfer(), access.extend(value)))
    };
    if done.is_none() {
        return external_abort(vcpu, abort, address);
    }
    finish::instruction(vcpu);
    Next::Resume
}

/// An access to such a device of which the syndrome tells no more than its address.
fn undescribed(processor: &mut Processor, vcpu: &mut Vcpu, abort: &Abort, address: u64, ipa: Ipa) -> Next {
    if abort.is_maintenance() {
        // No cache holds anything of a device.
        finish::instruction(vcpu);
        return Next::Resume;
    }
    match emulate::access(processor, vcpu, address, ipa) {
        Ok(()) | Err(Refusal::Changed) => Next::Resume,
        Err(Refusal::External) => external_abort(vcpu, abort, address),
        Err(Refusal::Fault { address, status, is_write }) => {
            let syndrome = inject::data_fault_syndrome(vcpu.pstate(), is_write, status);
            synchronous_exception(vcpu, syndrome, Some(address))
        }
    }
}

/// What a real bus says where nothing is.
fn external_abort(vcpu: &mut Vcpu, abort: &Abort, address: u64) -> Next {
    vcpu.vm.counters.unclaimed_access();
    let syndrome = match abort.on_table_walk() {
        false => inject::data_abort_syndrome(vcpu.pstate(), abort.is_write(), abort.is_maintenance()),
        true => inject::walk_abort_syndrome(vcpu.pstate(), true, traps::syndrome()),
    };
    synchronous_exception(vcpu, syndrome, Some(address))
}

/// Whether the access succeeds when it is repeated: the page was shared and has its own frame now, or it was only absent for
/// the moment in which another core of the VM gave it one (break before make).
fn is_resolved(vcpu: &Vcpu, abort: &Abort, ipa: Ipa) -> bool {
    match abort.reason() {
        Reason::Permission => vcpu.vm.copy_on_write(ipa),
        Reason::Translation => vcpu.vm.is_mapped(ipa),
        Reason::Other => false,
    }
}

/// The guest physical address of the abort: HPFAR_EL2 where it is valid (translation faults and those on walks, Arm ARM
/// D24.2.62), else by asking the processor for the guest's own translation.
fn fault_address(vcpu: &Vcpu, abort: &Abort, address: u64) -> Option<Ipa> {
    if abort.reason() == Reason::Translation || abort.on_table_walk() {
        return Some(Ipa::new(traps::fault_page() | address & 0xfff));
    }
    let access = Stage1Access { from_user: inject::from_user(vcpu.pstate()), is_write: false };
    traps::stage1_translate(address, access).ok().map(Ipa::new)
}

/// Handles an instruction abort: there is nothing to execute there.
pub fn fetch(vcpu: &mut Vcpu, abort: Abort) -> Next {
    if abort.reason() == Reason::Translation && vcpu.vm.is_mapped(Ipa::new(traps::fault_page())) {
        return Next::Resume;
    }
    vcpu.vm.counters.unclaimed_access();
    let address = traps::fault_virtual_address();
    let pc = vcpu.pc();
    let syndrome = match abort.on_table_walk() {
        false => inject::instruction_abort_syndrome(vcpu.pstate()),
        true => inject::walk_abort_syndrome(vcpu.pstate(), false, traps::syndrome()),
    };
    let next = synchronous_exception(vcpu, syndrome, Some(address));
    // The handler's own address is what could not be fetched: it never will be.
    if vcpu.pc() == pc {
        return Next::Stop(StopReason::Crashed(CrashReason::NoVector { address: pc }));
    }
    next
}
