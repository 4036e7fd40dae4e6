//! The registers that GICv2 and GICv3 have in common, and how they act on banks.
//!
//! Here belong decoding and the operations of bit, priority and configuration registers, for private and for shared
//! interrupts. What only one version has is in `v2` and `v3`.

use super::bank::{Bank, BitRegister, Change};
use super::delivery::Loaded;
use super::list_register::ListRegisters;
use super::listing::repeat;
use super::vcpu_set::VcpuSet;
use super::vgic::{Vcpu, Vgic};

/// The bit registers occupy seven blocks of 0x80 bytes from here, in this order.
const BIT_REGISTERS: [BitRegister; 7] = [
    BitRegister::Group,
    BitRegister::SetEnable,
    BitRegister::ClearEnable,
    BitRegister::SetPending,
    BitRegister::ClearPending,
    BitRegister::SetActive,
    BitRegister::ClearActive,
];

/// A register that `GICD` of both versions and the second frame of `GICR` have at the same offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// 32 interrupts, one bit each: which register, which word.
    Bits(BitRegister, usize),
    /// Priorities, one byte each: of the first interrupt accessed.
    Priority(usize),
    /// Configurations, two bits each: of the first interrupt of the word.
    Trigger(usize),
    /// Another, or none.
    Other,
}

/// Finds the register at `offset` for an aligned access of `size` bytes.
#[inline]
pub(super) fn decode(offset: u64, size: usize) -> Register {
    let offset = offset as usize;
    match offset >> 7 {
        block @ 1..=7 if size == 4 => Register::Bits(BIT_REGISTERS[block - 1], offset >> 2 & 31),
        8..=15 if size <= 4 => Register::Priority(offset & 0x3ff),
        24..=25 if size == 4 => Register::Trigger((offset & 0xff) << 2),
        _ => Register::Other,
    }
}

/// Whether an access is one that a bus can carry to a register. Its size is a power of two; which ones a register takes,
/// each says.
#[inline(always)]
pub(super) fn is_aligned(offset: u64, size: usize) -> bool {
    offset & (size as u64).wrapping_sub(1) == 0
}

/// Reads `size` priorities from interrupt `index` of the bank on.
pub(super) fn read_priorities(bank: &Bank, index: usize, size: usize) -> u64 {
    (0..size).fold(0, |value, byte| value | u64::from(bank.priority[(index + byte) & 31]) << (8 * byte))
}

/// Writes `size` priorities from interrupt `index` of the bank on.
pub(super) fn write_priorities(bank: &mut Bank, index: usize, size: usize, value: u64) -> Change {
    (0..size).fold(Change::default(), |change, byte| {
        change.and(bank.set_priority((index + byte) & 31, (value >> (8 * byte)) as u8))
    })
}

/// Reads `ICFGR`: the upper of each two bits says whether one of 16 interrupts from `index` on is edge-triggered.
pub(super) fn read_triggers(bank: &Bank, index: usize) -> u64 {
    let edge = bank.edge >> (index & 16);
    (0..16).fold(0, |value, interrupt| value | u64::from(edge >> interrupt & 1) << (2 * interrupt + 1))
}

/// Writes `ICFGR`.
pub(super) fn write_triggers(bank: &mut Bank, index: usize, value: u64) -> Change {
    let edge = (0..16).fold(0, |edge, interrupt| edge | (value as u32 >> (2 * interrupt + 1) & 1) << interrupt);
    bank.set_edge(0xffff << (index & 16), edge << (index & 16))
}

impl Register {
    /// Whether it is about SGIs and PPIs.
    #[inline]
    pub fn is_private(self) -> bool {
        matches!(self, Self::Bits(_, 0) | Self::Priority(0..32) | Self::Trigger(0..32))
    }
}

impl Vgic {
    /// `vcpu`, which this core runs, reads a register of SPIs. Those of SGIs and PPIs are zero here.
    #[inline]
    pub(super) fn read_shared<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        register: Register,
        size: usize,
    ) -> (u64, VcpuSet) {
        let value = match register {
            Register::Bits(register, word) => return self.read_shared_bits(vcpu, registers, register, word),
            Register::Priority(first) => self.view_shared(first, |bank| read_priorities(bank, first & 31, size)),
            Register::Trigger(first) => self.view_shared(first, |bank| read_triggers(bank, first & 31)),
            Register::Other => 0,
        };
        (value, VcpuSet::EMPTY)
    }

    /// `vcpu`, which this core runs, writes a register of SPIs. Returns who has to look.
    #[inline]
    pub(super) fn write_shared<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        register: Register,
        size: usize,
        value: u64,
    ) -> VcpuSet {
        let (word, index) = match register {
            Register::Bits(_, word) => (word, 0),
            Register::Priority(first) | Register::Trigger(first) => (first / 32, first & 31),
            Register::Other => return VcpuSet::EMPTY,
        };
        let Some(word) = word.checked_sub(1) else { return VcpuSet::EMPTY };
        match register {
            Register::Bits(BitRegister::SetPending, _) => self.pend_shared(vcpu, registers, word, value as u32),
            Register::Bits(BitRegister::SetActive, _) => self.activate_shared(vcpu, word, value as u32),
            Register::Bits(register, _) => self.change_shared(vcpu, word, |bank| bank.write(register, value as u32)),
            Register::Priority(_) => self.change_shared(vcpu, word, |bank| write_priorities(bank, index, size, value)),
            _ => self.change_shared(vcpu, word, |bank| write_triggers(bank, index, value)),
        }
    }

    /// `vcpu`, which this core runs, reads a register of the SGIs and PPIs of `target`, which is number `owner`.
    #[inline]
    pub(super) fn read_private<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        (target, owner): (&Vcpu, usize),
        register: Register,
        size: usize,
    ) -> (u64, VcpuSet) {
        let value = match register {
            Register::Bits(register, 0) if register.is_volatile() => {
                return self.read_private_state(vcpu, registers, (target, owner), register);
            }
            Register::Bits(register, 0) => u64::from(target.private.lock().bank.read(register)),
            Register::Priority(first @ 0..32) => read_priorities(&target.private.lock().bank, first, size),
            Register::Trigger(first @ 0..32) => read_triggers(&target.private.lock().bank, first),
            _ => 0,
        };
        (value, VcpuSet::EMPTY)
    }

    /// Writes a register of the SGIs and PPIs of `target`, which is number `owner`. Returns it if it has to look.
    #[inline]
    pub(super) fn write_private(
        &self,
        (target, owner): (&Vcpu, usize),
        register: Register,
        size: usize,
        value: u64,
    ) -> VcpuSet {
        match register {
            Register::Bits(register, 0) => {
                self.change_private(target, owner, |bank| bank.write(register, value as u32))
            }
            Register::Priority(first @ 0..32) => {
                self.change_private(target, owner, |bank| write_priorities(bank, first, size, value))
            }
            // SGIs are always edge-triggered.
            Register::Trigger(16) => self.change_private(target, owner, |bank| write_triggers(bank, 16, value)),
            _ => VcpuSet::EMPTY,
        }
    }

    /// Makes SPIs of bank `word` pending. One that came to `vcpu` the last time, and is over, comes again at once.
    fn pend_shared<R: ListRegisters>(&self, vcpu: usize, registers: &mut R, word: usize, mask: u32) -> VcpuSet {
        let Some(target) = self.vcpus.get(vcpu) else { return VcpuSet::EMPTY };
        let private = target.private.lock();
        let mut distributor = self.distributor.lock();
        let online = distributor.online;
        let Some(shared) = distributor.banks.get_mut(word) else { return VcpuSet::EMPTY };
        let index = mask.trailing_zeros() as usize;
        if mask.is_power_of_two() && shared.is_with(index, vcpu, online) {
            let intid = (word * 32 + 32 + index) as u32;
            let groups = self.enabled_groups(shared.bank.group);
            if repeat(&mut shared.bank, &private.slots, registers, intid, groups, 0) {
                return VcpuSet::EMPTY;
            }
        }
        let change = shared.bank.write(BitRegister::SetPending, mask);
        distributor.announce(word, change, vcpu, &self.vcpus)
    }

    #[inline]
    fn read_shared_bits<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        register: BitRegister,
        word: usize,
    ) -> (u64, VcpuSet) {
        let Some(word) = word.checked_sub(1) else {
            return (0, VcpuSet::EMPTY);
        };
        let distributor = self.distributor.lock();
        let Some(shared) = distributor.banks.get(word) else {
            return (0, VcpuSet::EMPTY);
        };
        if !register.is_volatile() || shared.bank.listed == 0 {
            return (u64::from(shared.bank.read(register)), VcpuSet::EMPTY);
        }
        drop(distributor);
        Loaded::new(self, vcpu, registers)
            .map_or((0, VcpuSet::EMPTY), |mut loaded| loaded.read_shared_exactly(register, word))
    }

    #[inline]
    fn view_shared(&self, intid: usize, view: impl FnOnce(&Bank) -> u64) -> u64 {
        let Some(word) = (intid / 32).checked_sub(1) else { return 0 };
        self.distributor.lock().banks.get(word).map_or(0, |shared| view(&shared.bank))
    }

    /// Reads a register of private interrupts that list registers know better.
    fn read_private_state<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        (target, owner): (&Vcpu, usize),
        register: BitRegister,
    ) -> (u64, VcpuSet) {
        if vcpu == owner {
            let read = |mut loaded: Loaded<R>| loaded.read_private_exactly(register);
            return (Loaded::new(self, vcpu, registers).map_or(0, read), VcpuSet::EMPTY);
        }
        let mut told = VcpuSet::EMPTY;
        let private = target.private.lock();
        if target.announce(&private.bank, Change { place: 0, recall: private.bank.listed }) {
            told.insert(owner);
        }
        (u64::from(private.bank.read(register)), told)
    }
}
