//! Devices of the board in parts of pages: which of a guest's accesses are passed on to them. Carrying them out on the
//! hardware belongs to the caller.

use super::{Bus, BusError, Span};

/// The registers that a guest has in pages that are not mapped, since others have registers there too.
#[derive(Debug, Clone)]
pub struct SubPages(Bus<Registers>);

/// Registers next to each other.
#[derive(Debug, Clone, Copy)]
struct Registers {
    machine: u64,
    bytes: u64,
}

impl SubPages {
    /// No registers.
    #[expect(clippy::new_without_default, reason = "nobody wants one")]
    pub const fn new() -> Self {
        Self(Bus::new())
    }

    /// Adds registers that the guest finds at `span`, and the machine at `machine`.
    ///
    /// # Errors
    /// They are malformed, or overlap others; all is as before then.
    pub fn insert(&mut self, span: Span, machine: u64) -> Result<(), BusError> {
        machine.checked_add(span.size).ok_or(BusError::Malformed(span))?;
        self.0.insert(span, Registers { machine, bytes: span.size })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().next().is_none()
    }

    /// Whether there is a register at guest physical `address`.
    pub fn contains(&self, address: u64) -> bool {
        self.0.find(address).is_some()
    }

    /// Where in the machine an access of `bytes` at guest physical `address` is to be carried out: only if it is 1, 2, 4 or
    /// 8 bytes wide, aligned to that, and to nothing but these registers.
    pub fn target(&self, address: u64, bytes: u64) -> Option<u64> {
        let (registers, offset) = self.0.find(address)?;
        let target = registers.machine.checked_add(offset)?;
        let is_within = offset.checked_add(bytes)? <= registers.bytes;
        (is_within && matches!(bytes, 1 | 2 | 4 | 8) && target.is_multiple_of(bytes)).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers of 0x1c bytes at another place than in the machine, and of 3 bytes at the end of a page.
    fn sub_pages() -> SubPages {
        let mut sub_pages = SubPages::new();
        sub_pages.insert(Span { start: 0xa000_0200, size: 0x1c }, 0xb00_0200).expect("the first");
        sub_pages.insert(Span { start: 0xa000_0ffd, size: 3 }, 0xb00_0ffd).expect("disjoint");
        sub_pages
    }

    #[test]
    fn whole_aligned_accesses_are_passed_on() {
        let sub_pages = sub_pages();
        for bytes in [1, 2, 4, 8] {
            assert_eq!(sub_pages.target(0xa000_0200, bytes), Some(0xb00_0200));
            assert_eq!(sub_pages.target(0xa000_0210, bytes), Some(0xb00_0210));
        }
        assert_eq!(sub_pages.target(0xa000_0218, 4), Some(0xb00_0218));
        assert_eq!(sub_pages.target(0xa000_0ffd, 1), Some(0xb00_0ffd));
        assert_eq!(sub_pages.target(0xa000_0ffe, 2), Some(0xb00_0ffe));
    }

    #[test]
    fn everything_else_is_not() {
        let sub_pages = sub_pages();
        let beside = [(0xa000_01f8, 8), (0xa000_01ff, 1), (0xa000_0218, 8), (0xa000_021c, 1), (0xa000_0ffc, 4)];
        let odd = [(0xa000_0201, 2), (0xa000_0202, 4), (0xa000_0204, 8), (0xa000_0ffd, 2)];
        let widths = [(0xa000_0200, 0), (0xa000_0200, 3), (0xa000_0200, 16), (0xa000_0200, u64::MAX)];
        let far = [(0xa000_1000, 1), (0xb00_0200, 4), (0, 8), (u64::MAX, 1)];
        for (address, bytes) in [&beside[..], &odd, &widths, &far].concat() {
            assert_eq!(sub_pages.target(address, bytes), None, "{bytes} at {address:#x}");
        }
        assert_eq!(SubPages::new().target(0, 1), None);
        assert!(sub_pages.contains(0xa000_021b) && !sub_pages.contains(0xa000_021c));
        assert!(SubPages::new().is_empty() && !sub_pages.is_empty());
    }

    /// Against a plain count of bytes.
    #[test]
    fn no_byte_of_anothers_is_reached() {
        let sub_pages = sub_pages();
        let is_own = |byte: u64| (0xb00_0200..0xb00_021c).contains(&byte) || (0xb00_0ffd..0xb00_1000).contains(&byte);
        for address in 0xa000_0000..0xa000_1010 {
            for bytes in 1..=16 {
                if let Some(target) = sub_pages.target(address, bytes) {
                    assert!((target..target + bytes).all(is_own) && target % bytes == 0, "{bytes} at {address:#x}");
                    assert_eq!(target % 0x1000, address % 0x1000);
                }
            }
        }
    }

    #[test]
    fn overlaps_are_refused() {
        let mut sub_pages = sub_pages();
        assert!(sub_pages.insert(Span { start: 0xa000_021b, size: 1 }, 0).is_err());
        assert!(sub_pages.insert(Span { start: 0xa000_021c, size: 4 }, u64::MAX).is_err());
        assert!(sub_pages.insert(Span { start: 0xa000_021c, size: 4 }, 0xb00_021c).is_ok());
        assert!(sub_pages.target(0xa000_0218, 8).is_none(), "two devices' registers");
    }
}
