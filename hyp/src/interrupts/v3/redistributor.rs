//! The redistributors of GICv3 (IHI 0069, 12.11): two frames of 64 KiB for each virtual CPU, one after the other.

use super::super::list_register::ListRegisters;
use super::super::registers::{decode, is_aligned};
use super::super::vcpu_set::VcpuSet;
use super::super::vgic::{Vcpu, Vgic};
use super::{IMPLEMENTER, identification};

/// The size of one redistributor in bytes: the control frame and the frame of SGIs and PPIs.
pub const REDISTRIBUTOR_SIZE: u64 = 2 * FRAME;
const FRAME: u64 = 0x1_0000;

const IIDR: u64 = 0x0004;
const TYPER: u64 = 0x0008;
const TYPER_HIGH: u64 = 0x000c;
const WAKER: u64 = 0x0014;
/// `GICR_TYPER.Last`.
const LAST: u64 = 1 << 4;
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
/// `GICR_PIDR0`.
const PART: u8 = 0x93;

impl Vgic {
    /// `vcpu`, which this core runs, reads `size` bytes at `offset` of the region of all redistributors. Returns the value,
    /// and other virtual CPUs that have to look, so that a later read tells the truth about interrupts they hold.
    #[inline]
    pub fn read_redistributor<R: ListRegisters>(
        &self,
        vcpu: usize,
        registers: &mut R,
        offset: u64,
        size: usize,
    ) -> (u64, VcpuSet) {
        let Some((owner, frame, offset)) = self.find_redistributor(offset, size) else {
            return (0, VcpuSet::EMPTY);
        };
        let Some(target) = self.vcpus.get(owner) else {
            return (0, VcpuSet::EMPTY);
        };
        if frame == 0 {
            return (self.read_control_frame(target, owner, offset, size), VcpuSet::EMPTY);
        }
        self.read_private(vcpu, registers, (target, owner), decode(offset, size), size)
    }

    /// `vcpu` writes `size` bytes at `offset` of the region of all redistributors. Returns other virtual CPUs that have to
    /// look.
    #[inline]
    pub fn write_redistributor(&self, vcpu: usize, offset: u64, size: usize, value: u64) -> VcpuSet {
        let Some((owner, frame, offset)) = self.find_redistributor(offset, size) else {
            return VcpuSet::EMPTY;
        };
        let Some(target) = self.vcpus.get(owner) else {
            return VcpuSet::EMPTY;
        };
        if frame == 0 {
            write_control_frame(target, offset, size, value);
            return VcpuSet::EMPTY;
        }
        self.write_private((target, owner), decode(offset, size), size, value).without(vcpu)
    }

    /// The virtual CPU, the frame and the offset in it that an access is for.
    #[inline]
    fn find_redistributor(&self, offset: u64, size: usize) -> Option<(usize, u64, u64)> {
        let owner = usize::try_from(offset / REDISTRIBUTOR_SIZE).ok()?;
        is_aligned(offset, size).then_some((owner, offset / FRAME % 2, offset % FRAME))
    }

    fn read_control_frame(&self, target: &Vcpu, owner: usize, offset: u64, size: usize) -> u64 {
        let last = if owner + 1 == self.vcpus.len() { LAST } else { 0 };
        let typer = u64::from(target.affinity.packed()) << 32 | (owner as u64) << 8 | last;
        match (offset, size) {
            (TYPER, 8) => typer,
            (TYPER, 4) => typer & 0xffff_ffff,
            (TYPER_HIGH, 4) => typer >> 32,
            (IIDR, 4) => u64::from(IMPLEMENTER),
            (WAKER, 4) => u64::from(target.private.lock().waker),
            (_, 4) => u64::from(identification(offset, PART)),
            _ => 0,
        }
    }
}

/// `GICR_WAKER`: the interface falls asleep and wakes at once. All else is read-only.
fn write_control_frame(target: &Vcpu, offset: u64, size: usize, value: u64) {
    if (offset, size) == (WAKER, 4) {
        let asleep = value as u32 & PROCESSOR_SLEEP != 0;
        target.private.lock().waker = if asleep { PROCESSOR_SLEEP | CHILDREN_ASLEEP } else { 0 };
    }
}
