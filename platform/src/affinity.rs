//! Names of cores.

use core::fmt;

/// The affinity of a core: Aff3..Aff0 of its MPIDR_EL1, every other bit zero (Arm ARM D19.2.101).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Affinity(u64);

impl Affinity {
    /// The bits of MPIDR_EL1 that name the core.
    const MASK: u64 = 0xff_00ff_ffff;

    /// The affinity in an MPIDR_EL1 value; its other bits (U, MT, RES1) are ignored.
    pub const fn from_mpidr(mpidr: u64) -> Self {
        Self(mpidr & Self::MASK)
    }

    /// The affinity of the core that runs this; on the host, where there is no such thing, 0.0.0.0.
    #[inline]
    pub fn of_this_core() -> Self {
        #[cfg(target_arch = "aarch64")]
        return Self::from_mpidr(tock_registers::interfaces::Readable::get(&aarch64_cpu::registers::MPIDR_EL1));
        #[cfg(not(target_arch = "aarch64"))]
        Self(0)
    }

    /// The affinity that `value` is; `None` if a bit is set that names no core.
    pub const fn new(value: u64) -> Option<Self> {
        if value & !Self::MASK == 0 { Some(Self(value)) } else { None }
    }

    /// As in MPIDR_EL1, in PSCI calls and in GICD_IROUTER: Aff3 in bits 39..32, Aff2..Aff0 in bits 23..0.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// As in GICR_TYPER bits 63..32: Aff3.Aff2.Aff1.Aff0 from the highest byte.
    pub const fn packed(self) -> u32 {
        (self.0 >> 8) as u32 & 0xff00_0000 | self.0 as u32 & 0x00ff_ffff
    }

    /// Affinity level `level` (0 to 3; other levels are 0).
    pub const fn level(self, level: u32) -> u8 {
        match level {
            0..=2 => (self.0 >> (level * 8)) as u8,
            3 => (self.0 >> 32) as u8,
            _ => 0,
        }
    }
}

/// As `aff3.aff2.aff1.aff0`.
impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.level(3), self.level(2), self.level(1), self.level(0))
    }
}

impl fmt::Debug for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Affinity;

    #[test]
    fn only_the_affinity_bits_of_mpidr_count() {
        assert_eq!(Affinity::from_mpidr(0x81_c104_0302).value(), 0x81_0004_0302);
        assert_eq!(Affinity::new(0x8000_0000), None);
        assert_eq!(Affinity::new(0x1_0203).map(Affinity::value), Some(0x1_0203));
    }

    #[test]
    fn packs_as_the_redistributor_names_cores() {
        assert_eq!(Affinity::from_mpidr(0x04_8003_0201).packed(), 0x0403_0201);
        assert_eq!(Affinity::from_mpidr(0x04_8003_0201).to_string(), "4.3.2.1");
    }
}
