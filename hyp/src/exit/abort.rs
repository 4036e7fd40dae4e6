//! Stage-2 aborts, of data accesses and fetches alike: emulated devices, devices that share a page, copy on write, and what is
//! not there.

use tessera_memory::{GuestFault, Ipa};

use crate::arch::aarch64::registers::read_register;
use crate::arch::aarch64::traps;
use crate::devices::DeviceSlot;
use crate::exit::byte_order::is_big_endian;
use crate::exit::emulate::{self, Refusal};
use crate::exit::syndrome::{Abort, Access, Reason};
use crate::exit::{Next, fault, finish, inject, synchronous_exception};
use crate::life::{CrashReason, StopReason};
use crate::processor::Processor;
use crate::vcpu::Vcpu;
use crate::vm::Resolution;

/// Handles a data abort.
#[inline(always)]
pub fn data(processor: &mut Processor, vcpu: &mut Vcpu, abort: Abort) -> Next {
    // What is described is no table walk (Arm ARM, AArch64.FaultSyndrome: not where `s2fs1walk`).
    if let Some(access) = abort.access() {
        let ipa = fault::described_address();
        // Asked only now: the compiler would make one test of both, and a longer one.
        if abort.reason() == Reason::Translation
            && let Some((device, offset)) = vcpu.vm.bus.find(ipa)
        {
            return device_access(processor, vcpu, device, offset, access, abort.is_write());
        }
    }
    refused(processor, vcpu, abort)
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
        let value = stored(vcpu, access);
        vm.device_write(processor, vcpu.index, device, offset, access.bytes(), value);
    } else {
        let value = vm.device_read(processor, vcpu.index, device, offset, access.bytes());
        set_loaded(vcpu, access, value);
    }
    finish::instruction(vcpu);
    Next::Resume
}

/// What a store writes, as a little-endian number.
#[inline(always)]
fn stored(vcpu: &Vcpu, access: Access) -> u64 {
    in_order(vcpu, access, access.truncate(vcpu.register(access.transfer())))
}

/// Ends a load that read the little-endian number `value`.
#[inline(always)]
fn set_loaded(vcpu: &mut Vcpu, access: Access, value: u64) {
    let value = in_order(vcpu, access, value);
    vcpu.set_register(access.transfer(), access.extend(value));
}

/// `value` as it is, or reversed if the guest's data is big-endian.
#[inline(always)]
fn in_order(vcpu: &Vcpu, access: Access, value: u64) -> u64 {
    let is_big = is_big_endian(vcpu.pstate(), read_register!("sctlr_el1"));
    if is_big { access.reverse(value) } else { value }
}

/// Handles any other abort: asks the VM's memory and devices what is to become of the access.
#[inline(never)]
pub fn refused(processor: &mut Processor, vcpu: &mut Vcpu, abort: Abort) -> Next {
    if !abort.is_refusal() {
        return external_abort(vcpu, abort);
    }
    let Some(fault) = fault::of(abort) else { return Next::Resume };
    match vcpu.vm.resolve(&fault) {
        Resolution::Retry => Next::Resume,
        Resolution::Emulate => emulated(processor, vcpu, abort, &fault),
        Resolution::Inject => external_abort(vcpu, abort),
        Resolution::Stop(reason) => Next::Stop(reason),
    }
}

/// A load, store or the like met a device that is not mapped.
#[inline(never)]
fn emulated(processor: &mut Processor, vcpu: &mut Vcpu, abort: Abort, fault: &GuestFault) -> Next {
    match abort.access() {
        // Of a device of EL2's the fast path has seen to it.
        Some(access) => passed_on(vcpu, abort, access, fault.ipa()),
        None => undescribed(processor, vcpu, abort, fault),
    }
}

/// A load or store to a device of the board that shares its page.
fn passed_on(vcpu: &mut Vcpu, abort: Abort, access: Access, ipa: Ipa) -> Next {
    let bytes = access.bytes();
    let done = if abort.is_write() {
        let value = stored(vcpu, access);
        vcpu.vm.passed_store(ipa.get(), bytes, value)
    } else {
        let value = vcpu.vm.passed_load(ipa.get(), bytes);
        value.map(|value| set_loaded(vcpu, access, value))
    };
    if done.is_none() {
        return external_abort(vcpu, abort);
    }
    finish::instruction(vcpu);
    Next::Resume
}

/// An access to such a device of which the syndrome tells no more than its address.
fn undescribed(processor: &mut Processor, vcpu: &mut Vcpu, abort: Abort, fault: &GuestFault) -> Next {
    if abort.is_maintenance() {
        // No cache holds anything of a device: there is nothing to write back or to drop. DC ZVA is none of these, but a store
        // (Arm ARM, ESR_ELx, ISS of data aborts: CM).
        finish::instruction(vcpu);
        return Next::Resume;
    }
    match emulate::access(processor, vcpu, fault.va.get(), fault.ipa(), abort.is_write()) {
        Ok(()) | Err(Refusal::Changed) => Next::Resume,
        Err(Refusal::External) => external_abort(vcpu, abort),
        Err(Refusal::Fault { address, status, is_write }) => {
            let syndrome = inject::data_fault_syndrome(vcpu.pstate(), is_write, status);
            synchronous_exception(vcpu, syndrome, Some(address))
        }
    }
}

/// What a real bus says where nothing is.
fn external_abort(vcpu: &mut Vcpu, abort: Abort) -> Next {
    vcpu.vm.counters.unclaimed_access();
    let (pc, pstate) = (vcpu.pc(), vcpu.pstate());
    let syndrome = match (abort.on_table_walk(), abort.is_fetch()) {
        (true, is_fetch) => inject::walk_abort_syndrome(pstate, !is_fetch, traps::syndrome()),
        (false, true) => inject::instruction_abort_syndrome(pstate),
        (false, false) => inject::data_abort_syndrome(pstate, abort.is_write(), abort.is_maintenance()),
    };
    let next = synchronous_exception(vcpu, syndrome, Some(fault::address()));
    // The handler's own address is what could not be fetched: it never will be.
    if abort.is_fetch() && vcpu.pc() == pc {
        return Next::Stop(StopReason::Crashed(CrashReason::NoVector { address: pc }));
    }
    next
}
