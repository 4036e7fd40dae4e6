//! The end of an instruction that EL2 carried out for its guest: all that the processor would have changed besides the
//! instruction's own results. This is the only way on from an instruction that trapped.
//!
//! An exception taken to EL2 from such an instruction leaves its address in ELR_EL2 and PSTATE as it was before it, so
//! there is to do: the next address, ITSTATE (T32), a software step (Arm ARM D2.12: a stepped instruction that is done
//! clears PSTATE.SS, and the step exception is pending), and BTYPE. HVC is none of them: the processor takes it behind the
//! instruction, with all this done.

/// PSTATE as SPSR_EL2 has it (Arm ARM D24.2, SPSR_EL2).
mod pstate {
    /// A software step is active and not pending.
    pub const SS: u64 = 1 << 21;
    /// How A64 got here: by an indirect branch, if it is not zero.
    pub const BTYPE: u64 = 0b11 << 10;
    /// The guest is in AArch32.
    pub const AARCH32: u64 = 1 << 4;
    /// AArch32: it executes T32.
    pub const THUMB: u64 = 1 << 5;
    /// AArch32: IT[7:2], and IT[1:0], by their lowest bits.
    pub const IT_HIGH: u32 = 10;
    pub const IT_LOW: u32 = 25;
    /// The bits of both.
    pub const IT: u64 = 0x3f << IT_HIGH | 0b11 << IT_LOW;
}

/// Where a guest goes on, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// The address of the next instruction.
    pub pc: u64,
    /// PSTATE before it.
    pub pstate: u64,
}

/// Whether an instruction that was executed with `pstate` has four bytes and changes nothing but its address.
#[inline(always)]
pub const fn is_plain(pstate: u64) -> bool {
    pstate & (pstate::SS | pstate::BTYPE | pstate::AARCH32) == 0
}

/// What follows the instruction of `bytes` (2 or 4) at `pc` that was executed with `pstate`.
pub const fn after(pc: u64, pstate: u64, bytes: u64) -> Successor {
    let next = pc.wrapping_add(bytes);
    let pstate = pstate & !pstate::SS;
    if pstate & pstate::AARCH32 == 0 {
        return Successor { pc: next, pstate: pstate & !pstate::BTYPE };
    }
    Successor { pc: next & 0xffff_ffff, pstate: advance_it(pstate) }
}

/// ITAdvance (Arm ARM, shared pseudocode): the next condition of an IT block moves up; the last one ends it.
const fn advance_it(pstate: u64) -> u64 {
    if pstate & pstate::THUMB == 0 {
        return pstate;
    }
    let it = (pstate >> pstate::IT_HIGH & 0x3f) << 2 | pstate >> pstate::IT_LOW & 0b11;
    let advanced = if it & 0b111 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f };
    pstate & !pstate::IT | (advanced >> 2) << pstate::IT_HIGH | (advanced & 0b11) << pstate::IT_LOW
}

#[cfg(target_os = "none")]
pub use apply::instruction;

#[cfg(target_os = "none")]
mod apply {
    use super::{after, is_plain};
    use crate::arch::aarch64::traps;
    use crate::exit::syndrome;
    use crate::vcpu::Vcpu;

    /// Has the guest go on behind the instruction that brought it here, which is done.
    #[inline(always)]
    pub fn instruction(vcpu: &mut Vcpu) {
        if !is_plain(vcpu.pstate()) {
            return with_state(vcpu);
        }
        vcpu.set_pc(vcpu.pc().wrapping_add(4));
    }

    /// Rare: a stepped instruction, the first after an indirect branch, or one of AArch32's.
    #[cold]
    #[inline(never)]
    fn with_state(vcpu: &mut Vcpu) {
        let next = after(vcpu.pc(), vcpu.pstate(), syndrome::instruction_bytes(traps::syndrome()));
        vcpu.set_pc(next.pc);
        vcpu.set_pstate(next.pstate);
    }
}

#[cfg(test)]
mod tests;
