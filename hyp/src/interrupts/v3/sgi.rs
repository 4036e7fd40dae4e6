//! The system registers that generate SGIs (IHI 0069, 12.2.19 and following); writes of them trap.

use super::super::vcpu_set::{MAXIMUM_VCPUS, VcpuSet};
use super::super::vgic::Vgic;

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
        let group = match register {
            SgiRegister::Group0 => 0,
            SgiRegister::Group1 => u32::MAX,
            SgiRegister::Other => return VcpuSet::EMPTY,
        };
        let intid = (value >> 24 & 0xf) as u32;
        let targets = if value >> 40 & 1 != 0 {
            self.all().without(vcpu)
        } else {
            self.sgi_targets(value)
        };
        let mut told = VcpuSet::EMPTY;
        for index in targets {
            if self
                .vcpus
                .get(index)
                .is_some_and(|target| self.post_sgi(target, intid, group))
            {
                told.insert(index);
            }
        }
        told.without(vcpu)
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
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            let place = u32::from(vcpu.affinity.aff0()).wrapping_sub(first);
            if vcpu.affinity.cluster() == cluster && place < 16 && value >> place & 1 != 0 {
                targets.insert(index);
            }
        }
        targets
    }
}
