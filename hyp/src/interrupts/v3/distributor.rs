//! The distributor of GICv3 (IHI 0069, 12.9), 64 KiB.

use super::super::affinity::Affinity;
use super::super::distributor::{ANY, ROUTING_MODE, resolve};
use super::super::list_register::ListRegisters;
use super::super::registers::{Register, decode, is_aligned};
use super::super::vcpu_set::VcpuSet;
use super::super::vgic::Vgic;
use super::{IMPLEMENTER, identification};

const CTLR: u64 = 0x0000;
const TYPER: u64 = 0x0004;
const IIDR: u64 = 0x0008;
const IROUTER: core::ops::Range<u64> = 0x6100..0x8000;
/// `GICD_CTLR`: affinity routing on, one security state.
const CTLR_FIXED: u32 = 1 << 4 | 1 << 6;
/// `GICD_TYPER`: interrupt numbers of ten bits; Aff3 may be other than zero.
const TYPER_FIXED: u32 = 9 << 19 | 1 << 24;
/// `GICD_TYPER.RSS`: SGIs reach Aff0 of 16 and more.
const TYPER_RANGE_SELECTOR: u32 = 1 << 26;
/// `GICD_PIDR0`.
const PART: u8 = 0x92;

impl Vgic {
    /// `vcpu`, which this core runs, reads `size` bytes at `offset` of the distributor. Returns the value, and other virtual
    /// CPUs that have to look, so that a later read tells the truth about interrupts they hold.
    #[inline]
    pub fn read_distributor<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        offset: u64,
        size: usize,
    ) -> (u64, VcpuSet) {
        if !is_aligned(offset, size) {
            return (0, VcpuSet::EMPTY);
        }
        let value = match decode(offset, size) {
            Register::Other if size == 4 && !IROUTER.contains(&offset) => {
                u64::from(self.read_distributor_identity(offset))
            }
            Register::Other if IROUTER.contains(&offset) => self.read_route(offset, size),
            Register::Other => 0,
            register => return self.read_shared(vcpu, registers, register, size),
        };
        (value, VcpuSet::EMPTY)
    }

    /// `vcpu`, which this core runs, writes `size` bytes at `offset` of the distributor. Returns other virtual CPUs that have
    /// to look.
    #[inline]
    pub fn write_distributor<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        offset: u64,
        size: usize,
        value: u64,
    ) -> VcpuSet {
        if !is_aligned(offset, size) {
            return VcpuSet::EMPTY;
        }
        let told = match decode(offset, size) {
            Register::Other if IROUTER.contains(&offset) => self.write_route(vcpu, offset, size, value),
            Register::Other if offset == CTLR && size == 4 => self.set_control(value as u32),
            register => self.write_shared(vcpu, registers, register, size, value),
        };
        told.without(vcpu)
    }

    fn read_distributor_identity(&self, offset: u64) -> u32 {
        match offset {
            CTLR => self.control() | CTLR_FIXED,
            TYPER => self.typer,
            IIDR => IMPLEMENTER,
            _ => identification(offset, PART),
        }
    }

    /// What `GICD_TYPER` reads as for so many banks of SPIs and these affinities.
    pub(in super::super) fn distributor_type(banks: usize, affinities: &[Affinity]) -> u32 {
        let range_selector = affinities.iter().any(|affinity| affinity.aff0() >= 16);
        TYPER_FIXED | banks as u32 & 31 | if range_selector { TYPER_RANGE_SELECTOR } else { 0 }
    }

    /// Reads `GICD_IROUTER<n>`, or half of it.
    fn read_route(&self, offset: u64, size: usize) -> u64 {
        let intid = (offset as usize & 0x1fff) / 8;
        let mut distributor = self.distributor.lock();
        let Some((shared, index)) = distributor.bank(intid as u32) else {
            return 0;
        };
        let value = route_register(shared.route[index], shared.target[index]);
        match size {
            8 => value,
            4 => value >> (8 * (offset & 4)) & 0xffff_ffff,
            _ => 0,
        }
    }

    /// Writes `GICD_IROUTER<n>`, or half of it.
    fn write_route(&self, by: usize, offset: u64, size: usize, value: u64) -> VcpuSet {
        let intid = (offset as usize & 0x1fff) / 8;
        let mut distributor = self.distributor.lock();
        let Some((shared, index)) = distributor.bank(intid as u32) else {
            return VcpuSet::EMPTY;
        };
        if shared.bank.exists >> index & 1 == 0 {
            return VcpuSet::EMPTY;
        }
        let old = route_register(shared.route[index], shared.target[index]);
        let new = match (size, offset & 4) {
            (8, _) => value,
            (4, 0) => old & !0xffff_ffff | value & 0xffff_ffff,
            (4, _) => old & 0xffff_ffff | value << 32,
            _ => return VcpuSet::EMPTY,
        };
        let affinity = Affinity::from_register(new);
        shared.route[index] = affinity.packed();
        let target = if new & ROUTING_MODE != 0 { ANY } else { resolve(affinity, &self.vcpus) };
        self.set_target(&mut distributor, (intid / 32 - 1, index), target, by)
    }
}

/// `GICD_IROUTER<n>` as it reads.
fn route_register(route: u32, target: u8) -> u64 {
    Affinity::from_packed(route).to_register() | if target == ANY { ROUTING_MODE } else { 0 }
}
