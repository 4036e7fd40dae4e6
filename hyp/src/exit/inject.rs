//! Exceptions that EL2 takes on a guest's behalf: where they lead and what the guest finds (Arm ARM D1.3). Pure.

/// SPSR/PSTATE bits.
mod pstate {
    pub const MODE: u64 = 0xf;
    pub const AARCH32: u64 = 1 << 4;
    pub const EL1T: u64 = 4;
    pub const EL1H: u64 = 5;
    pub const DAIF: u64 = 0xf << 6;
    pub const UAO: u64 = 1 << 23;
    pub const SSBS: u64 = 1 << 12;
    pub const PAN: u64 = 1 << 22;
    pub const DIT: u64 = 1 << 24;
    pub const NZCV: u64 = 0xf << 28;
}
/// SCTLR_EL1.SPAN: 0 sets PAN on an exception.
const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: the SSBS of an exception handler.
const SCTLR_DSSBS: u64 = 1 << 44;

/// ESR.IL: a 32-bit instruction. Also set, whatever the instruction was, for the exceptions that are injected here:
/// instruction aborts, data aborts that are not described (ISV = 0), and the unknown reason (Arm ARM D24.2.40).
const LENGTH_32: u64 = 1 << 25;
/// ISS.FSC: synchronous external abort, not on a table walk.
const SYNCHRONOUS_EXTERNAL: u64 = 0x10;

/// Where an exception to EL1 goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The handler's address.
    pub pc: u64,
    /// The handler's PSTATE.
    pub pstate: u64,
}

/// Whether the guest was at EL0.
pub fn from_user(pstate: u64) -> bool {
    pstate & pstate::MODE == 0 || pstate & pstate::AARCH32 != 0
}

/// Whether an access has EL0's rights: at EL0, and LDTR, STTR (`is_unprivileged`) unless PSTATE.UAO overrides them.
pub fn has_user_rights(pstate: u64, is_unprivileged: bool) -> bool {
    from_user(pstate) || is_unprivileged && pstate & pstate::UAO == 0
}

/// Whether the guest was in AArch32 (which is EL0 only).
pub fn from_aarch32(pstate: u64) -> bool {
    pstate & pstate::AARCH32 != 0
}

/// A synchronous exception from `pstate` to EL1 with its VBAR_EL1 and SCTLR_EL1.
pub fn synchronous_entry(pstate: u64, vbar: u64, sctlr: u64) -> Entry {
    let offset = match (from_aarch32(pstate), pstate & pstate::MODE) {
        (true, _) => 0x600,
        (false, 0) => 0x400,
        (false, pstate::EL1T) => 0x000,
        _ => 0x200,
    };
    let mut kept = pstate & (pstate::NZCV | pstate::PAN | pstate::DIT);
    if sctlr & SCTLR_SPAN == 0 {
        kept |= pstate::PAN;
    }
    if sctlr & SCTLR_DSSBS != 0 {
        kept |= pstate::SSBS;
    }
    Entry { pc: (vbar & !0x7ff) + offset, pstate: kept | pstate::DAIF | pstate::EL1H }
}

/// ESR_EL1 of an external abort on a data access.
pub fn data_abort_syndrome(pstate: u64, is_write: bool, is_maintenance: bool) -> u64 {
    let class = if from_user(pstate) { 0x24 } else { 0x25 };
    class << 26 | LENGTH_32 | u64::from(is_maintenance) << 8 | u64::from(is_write) << 6 | SYNCHRONOUS_EXTERNAL
}

/// ESR_EL1 of a data access that the guest's own translation forbids, or the architecture; `status` is its DFSC.
pub fn data_fault_syndrome(pstate: u64, is_write: bool, status: u64) -> u64 {
    let class = if from_user(pstate) { 0x24 } else { 0x25 };
    class << 26 | LENGTH_32 | u64::from(is_write) << 6 | status
}

/// ESR_EL1 of an external abort on an instruction fetch.
pub fn instruction_abort_syndrome(pstate: u64) -> u64 {
    let class = if from_user(pstate) { 0x20 } else { 0x21 };
    class << 26 | LENGTH_32 | SYNCHRONOUS_EXTERNAL
}

/// ESR_EL1 of an external abort on the walk of the guest's own tables; `esr` is the Stage-2 fault's, whose level it was.
pub fn walk_abort_syndrome(pstate: u64, is_data: bool, esr: u64) -> u64 {
    let class = if is_data { 0x24 } else { 0x20 };
    let same_level = u64::from(!from_user(pstate));
    let write = if is_data { esr & 1 << 6 } else { 0 };
    (class | same_level) << 26 | LENGTH_32 | write | 0x14 | esr & 3
}

/// ESR_EL1 of an instruction that does not exist: EC "unknown reason".
pub const UNDEFINED_SYNDROME: u64 = LENGTH_32;

#[cfg(test)]
mod tests {
    use super::*;

    const VBAR: u64 = 0xffff_8000_1000_0800;

    #[test]
    fn each_origin_has_its_vector() {
        for (pstate, offset) in [(0x4, 0x000), (0x5, 0x200), (0x0, 0x400), (0x10, 0x600), (0x1f, 0x600)] {
            assert_eq!(synchronous_entry(pstate, VBAR, SCTLR_SPAN).pc, VBAR + offset, "{pstate:#x}");
        }
    }

    #[test]
    fn unprivileged_accesses_have_the_rights_of_el0_unless_overridden() {
        for (pstate, plain, unprivileged) in
            [(0x5, false, true), (0x0080_0005, false, false), (0x0080_0000, true, true), (0x10, true, true)]
        {
            assert_eq!(has_user_rights(pstate, false), plain, "{pstate:#x}");
            assert_eq!(has_user_rights(pstate, true), unprivileged, "{pstate:#x}");
        }
    }

    #[test]
    fn the_handler_runs_masked_on_its_own_stack_with_the_flags() {
        let entry = synchronous_entry(0x6000_0000, VBAR, SCTLR_SPAN);
        assert_eq!(entry.pstate, 0x6000_03c5);
        // SS, IL and UAO do not survive.
        assert_eq!(synchronous_entry(0x00b0_0005, VBAR, SCTLR_SPAN).pstate, 0x3c5);
    }

    #[test]
    fn pan_and_ssbs_follow_the_control_register() {
        assert_eq!(synchronous_entry(0, VBAR, 0).pstate & 1 << 22, 1 << 22);
        assert_eq!(synchronous_entry(0, VBAR, SCTLR_SPAN).pstate & 1 << 22, 0);
        assert_eq!(synchronous_entry(0, VBAR, SCTLR_SPAN | 1 << 44).pstate & 1 << 12, 1 << 12);
    }

    #[test]
    fn syndromes_tell_the_level_and_the_direction() {
        assert_eq!(data_abort_syndrome(5, true, false), 0x9600_0050);
        assert_eq!(data_abort_syndrome(0, false, false), 0x9200_0010);
        assert_eq!(instruction_abort_syndrome(5), 0x8600_0010);
        assert_eq!(instruction_abort_syndrome(0x10), 0x8200_0010);
        assert_eq!(UNDEFINED_SYNDROME, 0x0200_0000);
        // A permission fault at level 3 on a write, and an unsupported exclusive access at EL0.
        assert_eq!(data_fault_syndrome(5, true, 0x0f), 0x9600_004f);
        assert_eq!(data_fault_syndrome(0, false, 0x35), 0x9200_0035);
        // S1PTW translation fault at level 2 on a write from EL1: external abort on the walk at level 2.
        assert_eq!(walk_abort_syndrome(5, true, 0x9200_00c6), 0x9600_0056);
    }
}
