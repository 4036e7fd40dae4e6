//! Names of interrupts, for the device tree, the drivers and the virtual interrupt controllers alike.

use core::fmt;

/// An interrupt of a GIC: INTID 0 to 1019. The constructors cannot make a wrong number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntId(u16);

impl IntId {
    /// How many software-generated interrupts each core has.
    pub const SGI_COUNT: u32 = 16;
    /// How many private peripheral interrupts each core has (the extended range of GICv3.1 left out).
    pub const PPI_COUNT: u32 = 16;
    /// How many shared peripheral interrupts a GIC can have (the extended range of GICv3.1 left out).
    pub const SPI_COUNT: u32 = 988;
    /// One more than the highest INTID.
    pub const LIMIT: u32 = Self::SGI_COUNT + Self::PPI_COUNT + Self::SPI_COUNT;

    /// Software-generated interrupt `number` (0 to 15).
    pub const fn sgi(number: u32) -> Option<Self> {
        if number < Self::SGI_COUNT { Some(Self(number as u16)) } else { None }
    }

    /// Private peripheral interrupt `number` (0 to 15: INTID 16 to 31).
    pub const fn ppi(number: u32) -> Option<Self> {
        if number < Self::PPI_COUNT { Some(Self((Self::SGI_COUNT + number) as u16)) } else { None }
    }

    /// Shared peripheral interrupt `number` (0 to 987: INTID 32 to 1019).
    pub const fn spi(number: u32) -> Option<Self> {
        if number < Self::SPI_COUNT { Some(Self((Self::SGI_COUNT + Self::PPI_COUNT + number) as u16)) } else { None }
    }

    /// The interrupt with this INTID; `None` for 1020 and up, the special numbers among them.
    pub const fn new(intid: u32) -> Option<Self> {
        if intid < Self::LIMIT { Some(Self(intid as u16)) } else { None }
    }

    /// The INTID, 0 to 1019.
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// Whether it is one of the software-generated interrupts.
    pub const fn is_sgi(self) -> bool {
        self.number() < Self::SGI_COUNT
    }

    /// Whether each core has one of its own: SGIs and PPIs.
    pub const fn is_private(self) -> bool {
        self.number() < Self::SGI_COUNT + Self::PPI_COUNT
    }
}

/// As `SGI 3`, `PPI 11 (INTID 27)`, `SPI 1 (INTID 33)`.
impl fmt::Display for IntId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            number @ 0..=15 => write!(f, "SGI {number}"),
            number @ 16..=31 => write!(f, "PPI {} (INTID {number})", number - 16),
            number => write!(f, "SPI {} (INTID {number})", number - 32),
        }
    }
}

impl fmt::Debug for IntId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a device signals an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trigger {
    /// By an edge: it stays pending until taken.
    Edge,
    /// By a level: it is pending for as long as the device asserts it.
    Level,
}

/// An interrupt as a device is wired to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Interrupt {
    /// Which one.
    pub id: IntId,
    /// How the device signals it.
    pub trigger: Trigger,
}

#[cfg(test)]
mod tests {
    use super::IntId;

    #[test]
    fn each_kind_has_its_range() {
        assert_eq!(IntId::sgi(15).map(IntId::number), Some(15));
        assert_eq!(IntId::sgi(16), None);
        assert_eq!(IntId::ppi(0).map(IntId::number), Some(16));
        assert_eq!(IntId::ppi(15).map(IntId::number), Some(31));
        assert_eq!(IntId::ppi(16), None);
        assert_eq!(IntId::spi(0).map(IntId::number), Some(32));
        assert_eq!(IntId::spi(987).map(IntId::number), Some(1019));
        assert_eq!(IntId::spi(988), None);
        assert_eq!(IntId::new(1019).map(IntId::number), Some(1019));
        assert_eq!(IntId::new(1020), None);
    }

    #[test]
    fn knows_what_is_private() {
        assert!(IntId::new(15).unwrap().is_sgi() && !IntId::new(16).unwrap().is_sgi());
        assert!(IntId::new(31).unwrap().is_private() && !IntId::new(32).unwrap().is_private());
        assert_eq!(IntId::ppi(11).unwrap().to_string(), "PPI 11 (INTID 27)");
    }
}
