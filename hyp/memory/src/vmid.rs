//! VMIDs, the tags by which TLBs keep guests apart: which are in use.
//!
//! A VMID may only be used again when nothing is cached under it: [`crate::PhysMap::teardown`] sees to that before it
//! lets go of one.

use crate::error::Error;
use alloc::vec::Vec;

/// A VMID, never 0: that is EL2's, or nobody's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vmid(u16);

impl Vmid {
    /// The VMID with this number; `None` for 0.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number, 1 or more.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// How many bits a VMID has (ID_AA64MMFR1_EL1.VMIDBits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmidBits {
    /// 255 VMIDs besides 0.
    Eight,
    /// 65535 VMIDs besides 0; needs VTCR_EL2.VS.
    Sixteen,
}

impl VmidBits {
    /// What a value of ID_AA64MMFR1_EL1 says: bits 7 to 4 are 2 for sixteen bits.
    #[must_use]
    pub const fn from_id_register(mmfr1: u64) -> Self {
        if mmfr1 >> 4 & 0b1111 == 2 { Self::Sixteen } else { Self::Eight }
    }

    const fn highest(self) -> u16 {
        match self {
            Self::Eight => u8::MAX as u16,
            Self::Sixteen => u16::MAX,
        }
    }
}

/// Hands out VMIDs, the lowest free one first.
#[derive(Debug)]
pub struct VmidAllocator {
    highest: u16,
    /// One bit for each VMID, the bit for 0 set; grows as VMIDs are needed.
    used: Vec<u64>,
}

impl VmidAllocator {
    /// An allocator with everything but 0 free.
    #[must_use]
    pub const fn new(bits: VmidBits) -> Self {
        Self { highest: bits.highest(), used: Vec::new() }
    }

    /// Takes a VMID.
    ///
    /// # Errors
    /// [`Error::OutOfVmids`] or [`Error::OutOfHeap`].
    pub fn allocate(&mut self) -> Result<Vmid, Error> {
        let number = self.lowest_free();
        let vmid = u16::try_from(number).ok().filter(|number| *number <= self.highest).and_then(Vmid::new);
        let vmid = vmid.ok_or(Error::OutOfVmids)?;
        self.grow_to(number / 64)?;
        self.set(vmid, true);
        Ok(vmid)
    }

    /// Gives a VMID back, of which no TLB holds anything any more.
    ///
    /// # Errors
    /// [`Error::VmidNotInUse`] if it was not taken.
    pub fn release(&mut self, vmid: Vmid) -> Result<(), Error> {
        let word = self.used.get(usize::from(vmid.0 / 64)).copied().unwrap_or(0);
        if word >> (vmid.0 % 64) & 1 == 0 {
            return Err(Error::VmidNotInUse(vmid.0));
        }
        self.set(vmid, false);
        Ok(())
    }

    fn lowest_free(&self) -> usize {
        if self.used.is_empty() {
            return 1;
        }
        let full = self.used.iter().take_while(|word| **word == u64::MAX).count();
        let word = self.used.get(full).copied().unwrap_or(0);
        full * 64 + word.trailing_ones() as usize
    }

    fn grow_to(&mut self, word: usize) -> Result<(), Error> {
        while self.used.len() <= word {
            self.used.try_reserve(1).map_err(|_| Error::OutOfHeap)?;
            // Number 0 counts as used.
            self.used.push(u64::from(self.used.is_empty()));
        }
        Ok(())
    }

    fn set(&mut self, vmid: Vmid, used: bool) {
        if let Some(word) = self.used.get_mut(usize::from(vmid.0 / 64)) {
            let bit = 1 << (vmid.0 % 64);
            *word = if used { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_zero_are_handed_out_once() {
        for (bits, count) in [(VmidBits::Eight, 255), (VmidBits::Sixteen, 65535)] {
            let mut allocator = VmidAllocator::new(bits);
            for number in 1..=count {
                assert_eq!(u32::from(allocator.allocate().unwrap().get()), number);
            }
            assert_eq!(allocator.allocate(), Err(Error::OutOfVmids));
        }
    }

    #[test]
    fn a_vmid_comes_back_once() {
        let mut allocator = VmidAllocator::new(VmidBits::Eight);
        let first = allocator.allocate().unwrap();
        let second = allocator.allocate().unwrap();
        allocator.release(first).unwrap();
        assert_eq!(allocator.release(first), Err(Error::VmidNotInUse(1)));
        assert_eq!(allocator.release(Vmid::new(200).unwrap()), Err(Error::VmidNotInUse(200)));
        assert_eq!(allocator.allocate(), Ok(first));
        assert_ne!(allocator.allocate(), Ok(second));
    }

    #[test]
    fn the_id_register_says_how_many_bits() {
        assert_eq!(VmidBits::from_id_register(0x20), VmidBits::Sixteen);
        assert_eq!(VmidBits::from_id_register(0xf0f), VmidBits::Eight);
    }
}
