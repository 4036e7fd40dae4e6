//! Where a virtual CPU sits in the affinity hierarchy that GICv3 routes by.

/// The four affinity levels of one processing element, packed as Aff3.Aff2.Aff1.Aff0 from the top byte down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity(u32);

impl Affinity {
    /// From Aff3, Aff2, Aff1, Aff0.
    #[must_use]
    pub const fn new(aff3: u8, aff2: u8, aff1: u8, aff0: u8) -> Self {
        Self(u32::from_be_bytes([aff3, aff2, aff1, aff0]))
    }

    /// From a value laid out as `MPIDR_EL1` or `GICD_IROUTER<n>` are: Aff3 in bits 39:32, the others in 23:0.
    #[must_use]
    pub const fn from_register(value: u64) -> Self {
        Self((value >> 8) as u32 & 0xff00_0000 | value as u32 & 0x00ff_ffff)
    }

    /// Laid out as in `MPIDR_EL1` and `GICD_IROUTER<n>`.
    #[must_use]
    pub const fn to_register(self) -> u64 {
        (self.0 as u64 & 0xff00_0000) << 8 | self.0 as u64 & 0x00ff_ffff
    }

    /// From the form that [`Affinity::packed`] gives.
    #[must_use]
    pub const fn from_packed(packed: u32) -> Self {
        Self(packed)
    }

    /// Packed as in bits 63:32 of `GICR_TYPER`: Aff3.Aff2.Aff1.Aff0.
    #[must_use]
    pub const fn packed(self) -> u32 {
        self.0
    }

    /// The lowest level.
    #[must_use]
    pub const fn aff0(self) -> u8 {
        self.0 as u8
    }

    /// Aff3.Aff2.Aff1: equal for all processing elements that one write of an SGI register can name.
    #[must_use]
    pub const fn cluster(self) -> u32 {
        self.0 >> 8
    }
}
