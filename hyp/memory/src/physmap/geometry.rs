//! The shape of a Stage-2 table: how many address bits, at which level the walk starts, how many tables the root has.

use crate::address::{Ipa, PAGE_SHIFT, PAGE_SIZE, Pa, Span};
use crate::descriptor::{ENTRY_BITS, Level};
use crate::error::Error;
use crate::vmid::VmidBits;

/// Up to 2^4 tables side by side may stand in for a level above them (Arm ARM, D8.2.2, concatenated tables).
const CONCATENATION_BITS: u8 = 4;

/// The IPA bits a guest gets unless it needs more: 1 TiB, what a Raspberry Pi 4 needs for its high peripherals too.
pub const DEFAULT_IPA_BITS: u8 = 40;

/// The size of a guest's physical address space and what follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    ipa_bits: u8,
    pa_bits: u8,
    pa_range: u8,
    start: Level,
}

impl Geometry {
    /// A space of `ipa_bits`, 32 to 48, on a machine with this ID_AA64MMFR0_EL1.PARange (bits 3 to 0 of the
    /// register).
    ///
    /// # Errors
    /// [`Error::IpaBits`] if that is out of range, or more than the machine's own addresses have: such a VTCR_EL2
    /// would not do what it says.
    pub fn new(ipa_bits: u8, pa_range: u8) -> Result<Self, Error> {
        // 52 bits would need FEAT_LPA2 descriptors: such a machine is used with 48.
        let (pa_range, pa_bits) = match pa_range & 0b1111 {
            0 => (0, 32),
            1 => (1, 36),
            2 => (2, 40),
            3 => (3, 42),
            4 => (4, 44),
            _ => (5, 48),
        };
        if !(32..=48).contains(&ipa_bits) || ipa_bits > pa_bits {
            return Err(Error::IpaBits(ipa_bits));
        }
        Ok(Self { ipa_bits, pa_bits, pa_range, start: start_level(ipa_bits) })
    }

    /// [`DEFAULT_IPA_BITS`], or as many as the machine has.
    ///
    /// # Errors
    /// None in fact: every machine has at least 32 bits.
    pub fn default_for(pa_range: u8) -> Result<Self, Error> {
        Self::new(DEFAULT_IPA_BITS, pa_range).or_else(|_| Self::new(36, pa_range)).or_else(|_| Self::new(32, pa_range))
    }

    /// How many bits a guest's physical address has.
    #[must_use]
    pub const fn ipa_bits(self) -> u8 {
        self.ipa_bits
    }

    /// The level at which the walk starts.
    #[must_use]
    pub const fn start_level(self) -> Level {
        self.start
    }

    /// How many entries the root has, over all its tables.
    #[must_use]
    pub const fn root_entries(self) -> u64 {
        1 << (self.ipa_bits as u32 - self.start.shift())
    }

    /// Base-2 logarithm of the frames that the root takes, 0 to 4. The root is aligned to its size.
    #[must_use]
    pub const fn root_order(self) -> u32 {
        (self.ipa_bits as u32).saturating_sub(self.start.shift() + ENTRY_BITS)
    }

    /// The value of VTCR_EL2 for maps of this geometry (Arm ARM, D24.2.210): 4 KiB granule, walks that are
    /// inner-shareable and write-back cacheable, no hardware access flag.
    #[must_use]
    pub const fn vtcr(self, vmids: VmidBits) -> u64 {
        const RESERVED_ONE: u64 = 1 << 31;
        const WALKS_WRITE_BACK: u64 = 0b01 << 10 | 0b01 << 8;
        const WALKS_INNER_SHAREABLE: u64 = 0b11 << 12;
        let sixteen_bit_vmid = matches!(vmids, VmidBits::Sixteen) as u64;
        RESERVED_ONE
            | sixteen_bit_vmid << 19
            | (self.pa_range as u64) << 16
            | WALKS_INNER_SHAREABLE
            | WALKS_WRITE_BACK
            | self.sl0() << 6
            | self.t0sz()
    }

    /// VTCR_EL2.T0SZ.
    #[must_use]
    pub const fn t0sz(self) -> u64 {
        64 - self.ipa_bits as u64
    }

    /// VTCR_EL2.SL0: 2, 1, 0 for a start at level 0, 1, 2.
    #[must_use]
    pub const fn sl0(self) -> u64 {
        2 - self.start.number() as u64
    }

    /// VTCR_EL2.PS.
    #[must_use]
    pub const fn ps(self) -> u64 {
        self.pa_range as u64
    }

    /// Everything a guest can address.
    ///
    /// # Errors
    /// None in fact: at most 2^48 bytes from 0.
    pub fn space(self) -> Result<Span<Ipa>, Error> {
        Span::new(Ipa::new(0), 1 << self.ipa_bits).ok_or(Error::IpaBits(self.ipa_bits))
    }

    /// Whole pages, inside the guest's space.
    pub(super) fn check_ipa(self, span: Span<Ipa>) -> Result<(), Error> {
        if !span.is_page_aligned() {
            return Err(Error::Unaligned);
        }
        if span.last().get() >> self.ipa_bits != 0 {
            return Err(Error::OutsideIpaSpace(span.last()));
        }
        Ok(())
    }

    /// Whole pages, inside the machine's space.
    pub(super) fn check_pa(self, start: Pa, bytes: u64) -> Result<(), Error> {
        let span = Span::new(start, bytes).ok_or(Error::OutsidePaSpace(start))?;
        if !start.is_aligned(PAGE_SIZE) {
            return Err(Error::Unaligned);
        }
        if span.last().get() >> self.pa_bits != 0 {
            return Err(Error::OutsidePaSpace(span.last()));
        }
        Ok(())
    }
}

/// As few levels as concatenation allows: 32 to 34 bits start at level 2, up to 43 at level 1, above at level 0.
const fn start_level(ipa_bits: u8) -> Level {
    let resolved = ipa_bits - CONCATENATION_BITS - PAGE_SHIFT as u8;
    match resolved.div_ceil(ENTRY_BITS as u8) {
        0..=2 => Level::TWO,
        3 => Level::ONE,
        _ => Level::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the Arm ARM's tables for the 4 KiB granule: IPA bits, start level, tables in the root.
    const SHAPES: [(u8, u8, u32); 11] = [
        (32, 2, 4),
        (33, 2, 8),
        (34, 2, 16),
        (35, 1, 1),
        (36, 1, 1),
        (39, 1, 1),
        (40, 1, 2),
        (42, 1, 8),
        (43, 1, 16),
        (44, 0, 1),
        (48, 0, 1),
    ];

    #[test]
    fn shapes_are_those_of_the_architecture() {
        for (bits, level, tables) in SHAPES {
            let geometry = Geometry::new(bits, 5).unwrap();
            assert_eq!(geometry.start_level().number(), level, "{bits} bits");
            assert_eq!(1 << geometry.root_order(), tables, "{bits} bits");
        }
    }

    #[test]
    fn the_control_register_of_forty_bits() {
        // T0SZ 24, SL0 1, write-back, inner-shareable, PS 40 bits, as Linux programs a Cortex-A72 with PARange 44.
        let geometry = Geometry::new(40, 4).unwrap();
        assert_eq!(geometry.vtcr(VmidBits::Eight), 0x8004_3558);
        assert_eq!(geometry.vtcr(VmidBits::Sixteen), 0x800c_3558);
    }

    #[test]
    fn no_more_bits_than_the_machine_has() {
        assert_eq!(Geometry::new(40, 1), Err(Error::IpaBits(40)));
        assert_eq!(Geometry::new(31, 5), Err(Error::IpaBits(31)));
        assert_eq!(Geometry::new(52, 6), Err(Error::IpaBits(52)));
        let bits = |range| Geometry::default_for(range).map(Geometry::ipa_bits);
        assert_eq!((bits(0), bits(1), bits(2), bits(6)), (Ok(32), Ok(36), Ok(40), Ok(40)));
    }

    #[test]
    fn spans_are_checked_at_the_last_byte() {
        let geometry = Geometry::new(32, 1).unwrap();
        let span = |start, bytes| Span::new(Ipa::new(start), bytes).unwrap();
        assert_eq!(geometry.check_ipa(span(0xffff_f000, 0x1000)), Ok(()));
        assert!(geometry.check_ipa(span(0xffff_f000, 0x2000)).is_err());
        assert_eq!(geometry.check_ipa(span(0x800, 0x1000)), Err(Error::Unaligned));
        assert_eq!(geometry.check_pa(Pa::new(0xf_ffff_f000), 0x1000), Ok(()));
        assert!(geometry.check_pa(Pa::new(0xf_ffff_f000), 0x2000).is_err());
        assert!(geometry.check_pa(Pa::new(u64::MAX - 0xfff), 0x1000).is_err());
    }
}
