//! What each exit means. Handlers are free functions on the vCPU and its core; they say what to do next.
//!
//! No guest action may reach a panic, an endless loop or a log line per event here: the worst is a fault injected, or
//! this VM stopped with the reason kept.

pub mod aarch32;
pub mod byte_order;
pub mod fate;
pub mod finish;
pub mod identification;
pub mod inject;
pub mod instruction;
pub mod psci;
pub mod syndrome;

#[cfg(target_os = "none")]
mod abort;
#[cfg(target_os = "none")]
mod emulate;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
mod gate;
#[cfg(target_os = "none")]
mod hypercall;
#[cfg(target_os = "none")]
mod system_register;

#[cfg(target_os = "none")]
pub use handlers::*;

#[cfg(target_os = "none")]
mod handlers {
    use super::aarch32::{self, TimerAccess};
    use super::syndrome::{Exit, Wait};
    use super::{abort, finish, hypercall, inject, system_register};
    use crate::arch::aarch64::registers::{read_register, write_register};
    use crate::arch::aarch64::traps;
    use crate::life::StopReason;
    use crate::processor::Processor;
    use crate::vcpu::Vcpu;

    /// What the core does after an exit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Next {
        /// Go on with the guest.
        Resume,
        /// The vCPU waits for an interrupt.
        Wait,
        /// The vCPU is off (CPU_OFF).
        Off,
        /// The whole VM stops.
        Stop(StopReason),
        /// Look for power changes and other vCPUs of this core.
        Reschedule,
    }

    /// Handles a synchronous exit of `vcpu`, which is loaded on `core`.
    #[inline(always)]
    pub fn synchronous(processor: &mut Processor, vcpu: &mut Vcpu) -> Next {
        match Exit::decode(traps::syndrome()) {
            Exit::Hypervisor(immediate) => hypercall::handle(processor, vcpu, immediate),
            Exit::DataAbort(abort) => abort::data(processor, vcpu, abort),
            Exit::SystemRegister(access) => system_register::handle(processor, vcpu, access),
            _ => rarer(processor, vcpu),
        }
    }

    /// Decodes again, so that the others need not keep what they do not use.
    #[inline(never)]
    fn rarer(processor: &mut Processor, vcpu: &mut Vcpu) -> Next {
        let esr = traps::syndrome();
        if !aarch32::is_executed(esr, vcpu.pstate()) {
            finish::instruction(vcpu);
            return Next::Resume;
        }
        match Exit::decode(esr) {
            Exit::WaitFor(wait) => {
                finish::instruction(vcpu);
                if wait == Wait::Interrupt { Next::Wait } else { Next::Resume }
            }
            Exit::Monitor(immediate) => {
                finish::instruction(vcpu);
                hypercall::handle(processor, vcpu, immediate)
            }
            Exit::InstructionAbort(abort) => abort::refused(processor, vcpu, abort),
            _ => match TimerAccess::decode(esr) {
                Some(access) => system_register::timer(processor, vcpu, access),
                None => {
                    vcpu.vm.counters.undefined_instruction();
                    undefined(vcpu)
                }
            },
        }
    }

    /// Handles an SError that came while the guest ran: it is the guest's to know of.
    pub fn system_error(vcpu: &mut Vcpu) -> Next {
        vcpu.vm.counters.system_error();
        write_register!("hcr_el2", read_register!("hcr_el2") | traps::hcr::VSE);
        Next::Resume
    }

    /// The same for a vCPU that has just been taken out of the processor.
    pub fn pend_system_error(vcpu: &mut Vcpu) {
        vcpu.vm.counters.system_error();
        vcpu.system.hcr |= traps::hcr::VSE;
    }

    /// Gives the guest an UNDEFINED instruction exception.
    pub fn undefined(vcpu: &mut Vcpu) -> Next {
        synchronous_exception(vcpu, inject::UNDEFINED_SYNDROME, None)
    }

    /// Has the guest take a synchronous exception at EL1, with `address` in FAR_EL1 if there is one.
    ///
    /// A guest whose handler itself cannot be fetched would take exceptions forever: it is stopped.
    pub fn synchronous_exception(vcpu: &mut Vcpu, syndrome: u64, address: Option<u64>) -> Next {
        write_register!("esr_el1", syndrome);
        if let Some(address) = address {
            write_register!("far_el1", address);
        }
        let pstate = vcpu.pstate();
        write_register!("elr_el1", vcpu.pc());
        write_register!("spsr_el1", pstate);
        let (vbar, sctlr) = (read_register!("vbar_el1"), read_register!("sctlr_el1"));
        let entry = inject::synchronous_entry(pstate, vbar, sctlr);
        vcpu.set_pc(entry.pc);
        vcpu.set_pstate(entry.pstate);
        Next::Resume
    }
}
