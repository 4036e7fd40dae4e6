//! ESR_EL2 decoded: why a guest came back (Arm ARM D24.2.40). Pure: no register is read here.

use tessera_memory::FaultKind;

/// A synchronous exit, with what its syndrome says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// WFI or WFE.
    WaitFor(Wait),
    /// HVC with this immediate; the return address is past it already.
    Hypervisor(u16),
    /// SMC with this immediate; the return address is the SMC itself.
    Monitor(u16),
    /// MRS, MSR or a system instruction.
    SystemRegister(SystemRegisterAccess),
    /// An instruction fetch that Stage 2 refused.
    InstructionAbort(Abort),
    /// A data access that Stage 2 refused.
    DataAbort(Abort),
    /// Anything else: an instruction this machine does not have, as far as the guest is to know.
    Undefined,
}

/// Which wait instruction trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// WFI.
    Interrupt,
    /// WFE.
    Event,
}

/// A trapped MRS, MSR or system instruction: its syndrome, read field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemRegisterAccess(u64);

/// The encoding of a system register in the order of ESR_EL2.ISS, transfer register and direction zero.
pub const fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1
}

/// Why Stage 2 refused an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is mapped there.
    Translation,
    /// It is mapped, but not for this kind of access.
    Permission,
    /// An access flag, address size, external abort or other fault.
    Other,
}

/// A Stage-2 abort: its syndrome, read field by field, since the frequent ones need only few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort(u64);

/// A single general-purpose load or store, likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u64);

/// How long the instruction was that an exception was taken from (ESR_EL2.IL), in bytes: 2 or 4.
pub const fn instruction_bytes(esr: u64) -> u64 {
    if bit(esr, 25) { 4 } else { 2 }
}

const fn bit(value: u64, index: u32) -> bool {
    value >> index & 1 != 0
}

impl Exit {
    /// Decodes a syndrome; every value of it.
    #[inline(always)]
    pub fn decode(esr: u64) -> Self {
        match esr >> 26 & 0x3f {
            0x16 => Self::Hypervisor(esr as u16),
            0x18 => Self::SystemRegister(SystemRegisterAccess(esr)),
            0x24 => Self::DataAbort(Abort(esr)),
            0x01 if esr & 1 == 0 => Self::WaitFor(Wait::Interrupt),
            0x01 => Self::WaitFor(Wait::Event),
            0x17 => Self::Monitor(esr as u16),
            0x20 => Self::InstructionAbort(Abort(esr)),
            _ => Self::Undefined,
        }
    }
}

impl SystemRegisterAccess {
    /// An access to `register`, from or to the general register that `esr` names.
    pub const fn of(register: u32, esr: u64) -> Self {
        Self(register as u64 | esr & 0x3e1)
    }

    /// Which register, as `encoding` makes it.
    #[inline(always)]
    pub const fn register(self) -> u32 {
        self.0 as u32 & encoding(3, 7, 15, 15, 7)
    }

    /// The general register it goes to or comes from; 31 is XZR.
    #[inline(always)]
    pub const fn transfer(self) -> usize {
        (self.0 >> 5 & 0x1f) as usize
    }

    /// MRS rather than MSR.
    #[inline(always)]
    pub const fn is_read(self) -> bool {
        bit(self.0, 0)
    }
}

impl Abort {
    /// Why.
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        match self.0 & 0x3c {
            0x04 => Reason::Translation,
            0x0c => Reason::Permission,
            _ => Reason::Other,
        }
    }

    /// The fetch of an instruction rather than a data access.
    #[inline(always)]
    pub const fn is_fetch(self) -> bool {
        // EC is 0x20 or 0x24.
        !bit(self.0, 28)
    }

    /// Nothing is mapped, or not for this kind of access: not [`Reason::Other`].
    #[inline(always)]
    pub const fn is_refusal(self) -> bool {
        self.0 & 0x34 == 0x04
    }

    /// What kind of access it was, of a refusal.
    ///
    /// A walk that was refused by a permission was about to update a descriptor: whatever a guest has can be read, and what
    /// WnR says of a walk differs between versions of the architecture.
    #[inline(always)]
    pub const fn kind(self) -> FaultKind {
        match (self.on_table_walk(), self.reason()) {
            (true, Reason::Permission) => FaultKind::WalkUpdate,
            (true, _) => FaultKind::WalkRead,
            (false, _) if self.is_fetch() => FaultKind::Fetch,
            (false, _) if self.is_write() => FaultKind::Write,
            (false, _) => FaultKind::Read,
        }
    }

    /// Whether HPFAR_EL2 holds the page (Arm ARM D24.2.62): not of a permission fault, unless it is a walk's.
    pub const fn has_page(self) -> bool {
        self.on_table_walk() || matches!(self.reason(), Reason::Translation)
    }

    /// The access was the walk of the guest's own tables (S1PTW).
    #[inline(always)]
    pub const fn on_table_walk(self) -> bool {
        bit(self.0, 7)
    }

    /// A write (or cache maintenance, which counts as one); of a data abort.
    #[inline(always)]
    pub const fn is_write(self) -> bool {
        bit(self.0, 6)
    }

    /// Cache maintenance rather than a load or store; of a data abort.
    #[inline(always)]
    pub const fn is_maintenance(self) -> bool {
        bit(self.0, 8)
    }

    /// FAR_EL2 does not hold the address (FnV).
    #[inline(always)]
    pub const fn address_unknown(self) -> bool {
        bit(self.0, 10)
    }

    /// The load or store, where the processor describes it (ISV); of a data abort.
    #[inline(always)]
    pub fn access(self) -> Option<Access> {
        bit(self.0, 24).then_some(Access(self.0))
    }
}

impl Access {
    /// Its width in bytes: 1, 2, 4 or 8.
    #[inline(always)]
    pub const fn bytes(self) -> u64 {
        1 << (self.0 >> 22 & 3)
    }

    /// The register loaded or stored; 31 is XZR.
    #[inline(always)]
    pub const fn transfer(self) -> usize {
        (self.0 >> 16 & 0x1f) as usize
    }

    /// A load that sign-extends.
    #[inline(always)]
    pub const fn sign_extend(self) -> bool {
        bit(self.0, 21)
    }

    /// The register is 64 bits wide (else the upper half of a load is zero).
    #[inline(always)]
    pub const fn wide(self) -> bool {
        bit(self.0, 15)
    }

    /// The bits of 64 that the access does not carry.
    #[inline(always)]
    const fn unused_bits(self) -> u32 {
        // 64 less eight times the width, of which a shift takes six bits.
        (self.bytes() as u32 * 8).wrapping_neg() & 63
    }

    /// What a load leaves in its register when `value` was read.
    #[inline(always)]
    pub fn extend(self, value: u64) -> u64 {
        if self.sign_extend() { self.extend_sign(value) } else { self.truncate(value) }
    }

    // In line, each load would compute both.
    #[inline(never)]
    fn extend_sign(self, value: u64) -> u64 {
        let extended = ((value << self.unused_bits()) as i64 >> self.unused_bits()) as u64;
        if self.wide() { extended } else { extended & 0xffff_ffff }
    }

    /// `value`, of the access's width, with its bytes the other way round.
    #[inline(always)]
    pub const fn reverse(self, value: u64) -> u64 {
        value.swap_bytes() >> self.unused_bits()
    }

    /// What a store of the register's `value` writes.
    #[inline(always)]
    pub fn truncate(self, value: u64) -> u64 {
        value << self.unused_bits() >> self.unused_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The syndrome's access of SAS `size` (log2 of bytes) to or from register `transfer`.
    fn access(size: u64, transfer: u64, sign_extend: bool, wide: bool) -> Access {
        let esr = 1 << 24 | size << 22 | u64::from(sign_extend) << 21 | transfer << 16 | u64::from(wide) << 15;
        Abort(esr).access().expect("ISV is set")
    }

    #[test]
    fn a_store_of_a_word_is_described() {
        // EC 0x24, IL, ISV, SAS = 2, SRT = 3, SF = 0, WnR, DFSC = translation fault level 3.
        let exit = Exit::decode(0x9383_0047);
        let Exit::DataAbort(abort) = exit else { panic!("{exit:?}") };
        assert_eq!((abort.reason(), abort.is_write(), abort.is_maintenance()), (Reason::Translation, true, false));
        assert!(!abort.on_table_walk() && !abort.address_unknown());
        let access = abort.access().expect("ISV is set");
        assert_eq!((access.bytes(), access.transfer(), access.sign_extend(), access.wide()), (4, 3, false, false));
    }

    #[test]
    fn a_fetch_never_has_an_access() {
        let Exit::InstructionAbort(abort) = Exit::decode(0x8200_008f) else { panic!() };
        assert_eq!((abort.access(), abort.reason()), (None, Reason::Permission));
        assert!(abort.on_table_walk());
    }

    #[test]
    fn each_kind_of_access_is_told_apart() {
        // EC, WnR, S1PTW and status, by the manual's figures; whether HPFAR_EL2 is valid.
        let kinds = [
            (0x9200_0007, FaultKind::Read, true),
            (0x9200_0047, FaultKind::Write, true),
            (0x9200_000f, FaultKind::Read, false),
            (0x9200_004e, FaultKind::Write, false),
            (0x8200_0007, FaultKind::Fetch, true),
            (0x8200_000f, FaultKind::Fetch, false),
            (0x9200_0087, FaultKind::WalkRead, true),
            (0x9200_00c6, FaultKind::WalkRead, true),
            (0x9200_008f, FaultKind::WalkUpdate, true),
            (0x8200_0087, FaultKind::WalkRead, true),
            (0x8200_008f, FaultKind::WalkUpdate, true),
        ];
        for (esr, kind, has_page) in kinds {
            let (Exit::DataAbort(abort) | Exit::InstructionAbort(abort)) = Exit::decode(esr) else { panic!() };
            assert_eq!((abort.kind(), abort.has_page()), (kind, has_page), "{esr:#x}");
            assert!(abort.is_refusal(), "{esr:#x}");
        }
        // Address size, access flag, external, TLB conflict, unsupported exclusive.
        for status in [0x00, 0x03, 0x08, 0x0b, 0x10, 0x14, 0x17, 0x30, 0x35] {
            assert!(!Abort(0x9200_0000 | status).is_refusal(), "{status:#x}");
        }
    }

    #[test]
    fn an_atomic_has_no_description() {
        let Exit::DataAbort(abort) = Exit::decode(0x9200_004f) else { panic!() };
        assert_eq!((abort.access(), abort.is_write(), abort.reason()), (None, true, Reason::Permission));
    }

    #[test]
    fn a_register_read_names_register_and_target() {
        // MRS X5, ID_AA64PFR0_EL1: op0 3, op1 0, CRn 0, CRm 4, op2 0.
        let Exit::SystemRegister(access) = Exit::decode(0x6230_00a9) else { panic!() };
        assert_eq!((access.register(), access.transfer(), access.is_read()), (encoding(3, 0, 0, 4, 0), 5, true));
    }

    #[test]
    fn loads_extend_as_the_instruction_says() {
        let ldrsb_w = access(0, 0, true, false);
        let ldrsh_x = access(1, 0, true, true);
        let ldr_x = access(3, 0, false, true);
        let ldr_w = access(2, 0, false, false);
        assert_eq!(ldr_w.extend(0xffff_ffff_8000_0000), 0x8000_0000);
        assert_eq!(ldrsb_w.extend(0x1280), 0xffff_ff80);
        assert_eq!(ldrsh_x.extend(0x8000), 0xffff_ffff_ffff_8000);
        assert_eq!(ldr_x.extend(u64::MAX), u64::MAX);
        assert_eq!(ldrsb_w.truncate(0x1ff), 0xff);
        assert_eq!(
            [ldrsb_w, ldrsh_x, ldr_w].map(|access| access.reverse(access.truncate(0x1234_5678))),
            [0x78, 0x7856, 0x7856_3412]
        );
        assert_eq!(ldr_x.reverse(0x0102_0304_0506_0708), 0x0807_0605_0403_0201);
    }

    #[test]
    fn waits_and_calls_are_told_apart() {
        assert_eq!(Exit::decode(0x07e0_0000 & !1), Exit::WaitFor(Wait::Interrupt));
        assert_eq!(Exit::decode(0x07e0_0001), Exit::WaitFor(Wait::Event));
        assert_eq!(Exit::decode(0x5a00_0007), Exit::Hypervisor(7));
        assert_eq!(Exit::decode(0x5e00_0000), Exit::Monitor(0));
        assert_eq!(Exit::decode(0x1fe0_0000), Exit::Undefined);
    }
}
