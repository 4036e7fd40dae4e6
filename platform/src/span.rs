//! Spans of machine addresses, and the arithmetic of lists of them. No policy: nobody here knows what a span is for.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::fmt;

/// First byte that no Armv8 machine address reaches: 52 bits are the most (Arm ARM D8.1.6, FEAT_LPA).
pub const ADDRESS_LIMIT: u64 = 1 << 52;

/// A run of machine addresses: `size` bytes from `start`, all of them below [`ADDRESS_LIMIT`]. It may be empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    start: u64,
    size: u64,
}

impl Span {
    /// The span of `size` bytes from `start`; `None` if it does not end within the 52-bit address space.
    pub const fn new(start: u64, size: u64) -> Option<Self> {
        match start.checked_add(size) {
            Some(end) if end <= ADDRESS_LIMIT => Some(Self { start, size }),
            _ => None,
        }
    }

    /// The span from `start` up to, not including, `end`; `None` if that is backwards or too high.
    pub const fn between(start: u64, end: u64) -> Option<Self> {
        match end.checked_sub(start) {
            Some(size) => Self::new(start, size),
            None => None,
        }
    }

    /// Machine address of the first byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// Size in bytes.
    pub const fn size(self) -> u64 {
        self.size
    }

    /// Machine address one past the last byte.
    pub const fn end(self) -> u64 {
        // Cannot overflow: the constructors checked it.
        self.start + self.size
    }

    /// Whether there is no byte in it.
    pub const fn is_empty(self) -> bool {
        self.size == 0
    }

    /// Whether the byte at `address` is in it.
    pub const fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end()
    }

    /// Whether all of `other` is in it.
    pub const fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// Whether the two have a byte in common.
    pub const fn overlaps(self, other: Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.start < other.end() && other.start < self.end()
    }
}

/// As `0x40000000..0x80000000`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sorts `spans`, drops the empty ones and joins those that touch or overlap.
pub fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| !span.is_empty());
    let mut spans = BinaryHeap::from(spans).into_sorted_vec();
    spans.dedup_by(|next, kept| {
        let joins = next.start <= kept.end();
        if joins {
            kept.size = next.end().max(kept.end()) - kept.start;
        }
        joins
    });
    spans
}

/// What is left of `spans` (in any order) without the bytes of `holes` (in any order): merged and sorted.
pub fn subtract(spans: Vec<Span>, holes: Vec<Span>) -> Vec<Span> {
    let holes = merge(holes);
    let mut left = Vec::new();
    for span in merge(spans) {
        let mut start = span.start;
        for hole in holes.iter().filter(|hole| hole.overlaps(span)) {
            left.extend(Span::between(start, hole.start).filter(|piece| !piece.is_empty()));
            start = hole.end();
        }
        left.extend(Span::between(start, span.end()).filter(|piece| !piece.is_empty()));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span::between(start, end).unwrap()
    }

    #[test]
    fn a_span_cannot_leave_the_address_space() {
        assert_eq!(Span::new(u64::MAX, 2), None);
        assert_eq!(Span::new(ADDRESS_LIMIT, 1), None);
        assert_eq!(Span::new(ADDRESS_LIMIT - 1, 1).unwrap().end(), ADDRESS_LIMIT);
        assert_eq!(Span::between(2, 1), None);
    }

    #[test]
    fn touching_spans_do_not_overlap() {
        assert!(!span(0, 4).overlaps(span(4, 8)));
        assert!(span(0, 5).overlaps(span(4, 8)));
        assert!(span(0, 8).overlaps(span(3, 4)));
        assert!(!span(0, 8).overlaps(span(3, 3)));
        assert!(span(0, 8).covers(span(3, 8)));
        assert!(!span(0, 8).covers(span(3, 9)));
        assert!(span(0, 8).contains(7) && !span(0, 8).contains(8));
    }

    #[test]
    fn merge_sorts_joins_and_drops() {
        let spans = vec![span(20, 30), span(5, 5), span(0, 4), span(25, 28), span(4, 6), span(29, 40)];
        assert_eq!(merge(spans), [span(0, 6), span(20, 40)]);
    }

    #[test]
    fn subtract_leaves_only_what_no_hole_has() {
        let spans = vec![span(0, 100), span(200, 300)];
        let holes = vec![span(250, 400), span(0, 1), span(20, 30), span(25, 40), span(99, 201), span(150, 160)];
        assert_eq!(subtract(spans, holes), [span(1, 20), span(40, 99), span(201, 250)]);
    }

    #[test]
    fn subtract_agrees_with_a_byte_by_byte_count() {
        let mut seed = 1_u64;
        let mut random = |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % limit
        };
        for _ in 0..500 {
            let mut some = || (0..random(5)).map(|_| Span::new(random(50), random(20)).unwrap()).collect::<Vec<_>>();
            let (spans, holes) = (some(), some());
            let left = subtract(spans.clone(), holes.clone());
            for byte in 0..80 {
                let inside = |list: &[Span]| list.iter().any(|span| span.contains(byte));
                assert_eq!(inside(&left), inside(&spans) && !inside(&holes));
            }
            assert!(left.windows(2).all(|pair| pair[0].end() < pair[1].start()));
        }
    }
}
