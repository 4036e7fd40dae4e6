//! The system registers that generate SGIs (IHI 0069, 12.2.19 and following); writes of them trap.

use super::super::affinity::Affinity;
use super::super::distributor::find;
use super::super::list_register::ListRegisters;
use super::super::vcpu_set::{Bits, MAXIMUM_VCPUS, VcpuSet};
use super::super::vgic::{Vcpu, Vgic};

/// Which register was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiRegister {
    /// `ICC_SGI0R_EL1`: for Group 0.
    Group0,
    /// `ICC_SGI1R_EL1`: for Group 1.
    Group1,
    /// `ICC_ASGI1R_EL1`: for Group 1 of the other security state, of which there is none.
    Other,
}

impl Vgic {
    /// `vcpu` writes a register that generates an SGI. Targets that do not exist, or have the SGI in another group, are left
    /// out. Returns other virtual CPUs that have to look.
    #[inline]
    pub fn send_sgi(&self, vcpu: usize, register: SgiRegister, value: u64) -> VcpuSet {
        let Some((intid, group, targets)) = self.decode_sgi(vcpu, register, value) else { return VcpuSet::EMPTY };
        self.post_sgis(targets, intid, group).without(vcpu)
    }

    /// The same, with the list registers of the core that runs `vcpu`: what it sends itself goes straight into one.
    #[inline]
    pub fn send_sgi_here<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        register: SgiRegister,
        value: u64,
    ) -> VcpuSet {
        match self.only_target(value).filter(|_| register == SgiRegister::Group1) {
            Some((index, own)) if index == vcpu => self.post_own_sgi(own, registers, intid_of(value), u32::MAX),
            Some((index, target)) if self.post_sgi(target, intid_of(value), u32::MAX) => return VcpuSet::of(index),
            Some(_) => {}
            None => return self.send_sgi_anywhere(vcpu, registers, register, value),
        }
        VcpuSet::EMPTY
    }

    /// The same for any targets.
    #[inline(never)]
    fn send_sgi_anywhere<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        register: SgiRegister,
        value: u64,
    ) -> VcpuSet {
        let Some((intid, group, targets)) = self.decode_sgi(vcpu, register, value) else { return VcpuSet::EMPTY };
        if let Some(own) = self.vcpus.get(vcpu).filter(|_| targets.contains(vcpu)) {
            self.post_own_sgi(own, registers, intid, group);
        }
        self.post_sgis(targets.without(vcpu), intid, group)
    }

    /// The one target of most SGIs: one of the first 16 virtual CPUs, numbered through.
    #[inline(always)]
    fn only_target(&self, value: u64) -> Option<(usize, &Vcpu)> {
        const LIST: u64 = 0xffff;
        const INTID: u64 = 0xf << 24;
        let list = value & LIST;
        if value & !(LIST | INTID) != 0 || !list.is_power_of_two() {
            return None;
        }
        let index = list.trailing_zeros();
        let target = self.vcpus.get(index as usize)?;
        (target.affinity.packed() == index).then_some((index as usize, target))
    }

    /// The SGI, its group (all bits or none), and its targets.
    #[inline]
    fn decode_sgi(&self, vcpu: usize, register: SgiRegister, value: u64) -> Option<(u32, u32, VcpuSet)> {
        let group = match register {
            SgiRegister::Group0 => 0,
            SgiRegister::Group1 => u32::MAX,
            SgiRegister::Other => return None,
        };
        let targets = if value >> 40 & 1 != 0 { self.all().without(vcpu) } else { self.sgi_targets(value) };
        Some((intid_of(value), group, targets))
    }

    #[inline]
    fn post_sgis(&self, targets: VcpuSet, intid: u32, group: u32) -> VcpuSet {
        let mut told = VcpuSet::EMPTY;
        for index in targets {
            if self.vcpus.get(index).is_some_and(|target| self.post_sgi(target, intid, group)) {
                told.insert(index);
            }
        }
        told
    }

    fn all(&self) -> VcpuSet {
        VcpuSet::from_bits(u64::MAX >> (MAXIMUM_VCPUS - self.vcpus.len().clamp(1, MAXIMUM_VCPUS)))
    }

    /// Those that affinity 3.2.1, range selector and target list name.
    #[inline]
    fn sgi_targets(&self, value: u64) -> VcpuSet {
        let field = |shift: u32| (value >> shift & 0xff) as u32;
        let cluster = field(48) << 16 | field(32) << 8 | field(16);
        let first = (value >> 44 & 0xf) as u32 * 16;
        let mut targets = VcpuSet::EMPTY;
        for place in Bits(value as u32 & 0xffff) {
            let affinity = Affinity::from_packed((cluster << 8) | (first + place as u32));
            if let Some(vcpu) = find(affinity, &self.vcpus) {
                targets.insert(vcpu);
            }
        }
        targets
    }
}

/// `ICC_SGI1R_EL1.INTID`.
#[inline(always)]
const fn intid_of(value: u64) -> u32 {
    (value >> 24 & 0xf) as u32
}
