//! Who is where in an address space: claims that must not overlap, and room between them.

use std::ops::Range;

use super::problem::{Problem, Result, size};

/// Addresses that something occupies.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) start: u64,
    pub(super) bytes: u64,
    /// What occupies them, as a message names it: "the image".
    pub(super) what: String,
    /// The place in the file that asks for it.
    pub(super) span: Range<usize>,
}

/// No guest physical address of the architecture is wider, large addresses aside.
const ADDRESS_LIMIT: u64 = 1 << 48;

impl Claim {
    /// The address behind the last one. Only exact once the claim is accepted.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }

    pub(super) fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start < end && start < self.end()
    }

    pub(super) fn contains(&self, other: &Claim) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// "the image (0x40200000 to 0x41c00000)".
    pub(super) fn described(&self) -> String {
        format!("{} ({:#x} to {:#x})", self.what, self.start, self.end())
    }

    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.span.clone(), message)
    }
}

/// Claims without overlaps.
#[derive(Debug, Default)]
pub(super) struct AddressSpace(Vec<Claim>);

impl AddressSpace {
    /// Adds a claim, unless another one is in its way.
    pub(super) fn claim(&mut self, claim: Claim) -> Result<()> {
        if claim.start.checked_add(claim.bytes).is_none_or(|end| end > ADDRESS_LIMIT) {
            let message = format!(
                "{} at {:#x}, {} long, goes beyond {ADDRESS_LIMIT:#x}",
                claim.what,
                claim.start,
                size(claim.bytes)
            );
            return Err(claim.problem(message).help("place it lower"));
        }
        match self.0.iter().find(|other| other.overlaps(claim.start, claim.end())) {
            Some(other) => {
                let message = format!("{} overlaps {}", claim.described(), other.described());
                Err(claim.problem(message).help("give each addresses of its own"))
            }
            None => {
                self.0.push(claim);
                Ok(())
            }
        }
    }

    pub(super) fn is_free(&self, start: u64, bytes: u64) -> bool {
        let end = start.saturating_add(bytes);
        !self.0.iter().any(|claim| claim.overlaps(start, end))
    }

    /// The highest multiple of `alignment` with `bytes` free addresses from it on, all within `range`.
    pub(super) fn highest_free(&self, range: Range<u64>, bytes: u64, alignment: u64) -> Option<u64> {
        let mut top = range.end;
        loop {
            let start = top.checked_sub(bytes)? / alignment * alignment;
            if start < range.start {
                return None;
            }
            let in_the_way = self.0.iter().filter(|claim| claim.overlaps(start, start + bytes));
            match in_the_way.map(|claim| claim.start).min() {
                Some(lower) => top = lower,
                None => return Some(start),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AddressSpace, Claim};

    fn claim(start: u64, bytes: u64) -> Claim {
        Claim { start, bytes, what: format!("thing {start:#x}"), span: 0..0 }
    }

    #[test]
    fn claims_may_touch_but_not_overlap() {
        let mut space = AddressSpace::default();
        space.claim(claim(0x1000, 0x1000)).expect("free");
        space.claim(claim(0x2000, 0x1000)).expect("touches only");
        let problem = space.claim(claim(0x1fff, 1)).expect_err("taken");
        assert_eq!(problem.message, "thing 0x1fff (0x1fff to 0x2000) overlaps thing 0x1000 (0x1000 to 0x2000)");
        assert!(space.claim(claim(u64::MAX, 2)).is_err());
        assert!(space.claim(claim((1 << 48) - 1, 2)).is_err());
    }

    #[test]
    fn room_is_found_from_the_top_around_claims() {
        let mut space = AddressSpace::default();
        space.claim(claim(0x8000, 0x1000)).expect("free");
        space.claim(claim(0x6000, 0x1000)).expect("free");
        assert_eq!(space.highest_free(0..0xa000, 0x1000, 0x1000), Some(0x9000));
        assert_eq!(space.highest_free(0..0x9000, 0x1000, 0x1000), Some(0x7000));
        assert_eq!(space.highest_free(0..0x9000, 0x2000, 0x1000), Some(0x4000));
        assert_eq!(space.highest_free(0..0x9800, 0x1000, 0x1000), Some(0x7000));
        assert_eq!(space.highest_free(0x5000..0x9000, 0x2000, 0x1000), None);
        assert_eq!(space.highest_free(0..0x1000, 0x2000, 0x1000), None);
    }
}
