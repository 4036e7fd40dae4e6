//! Virtual, physical and machine addresses as types that cannot be mixed up.
//!
//! A guest translates a [`Va`] to an [`Ipa`], its "physical" address; Stage 2 translates that to a [`Pa`], the
//! machine's. None of them has `+`: arithmetic on what a guest says is checked. Translation does not belong here.

use core::fmt;

/// Bytes in a page, and in a frame: the 4 KiB granule.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// Base-2 logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// What the three kinds of addresses have in common, so that [`Span`] works for each.
pub trait Address: Copy + Ord + fmt::Debug + fmt::Display + fmt::LowerHex {
    /// The address with this value.
    fn from_value(value: u64) -> Self;

    /// The address as a bare number.
    fn value(self) -> u64;
}

macro_rules! address {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The address with this value. Any value is accepted; whether it means something is checked on use.
            #[must_use]
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The address as a bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The address `bytes` further on; `None` past the end of the 64-bit space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// The address `bytes` before; `None` below zero.
            #[must_use]
            pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
                match self.0.checked_sub(bytes) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// How many bytes this address lies above `base`; `None` if it lies below.
            #[must_use]
            pub const fn offset_from(self, base: Self) -> Option<u64> {
                self.0.checked_sub(base.0)
            }

            /// How many bytes this address lies inside `span`; `None` if it lies outside.
            #[must_use]
            pub fn offset_in(self, span: Span<Self>) -> Option<u64> {
                span.offset_of(self)
            }

            /// Whether the address is a multiple of `alignment`, a power of two.
            #[must_use]
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & alignment.wrapping_sub(1) == 0
            }

            /// Whether the address starts a page.
            #[must_use]
            pub const fn is_page_aligned(self) -> bool {
                self.is_aligned(PAGE_SIZE)
            }

            /// The start of the page that the address lies in.
            #[must_use]
            pub const fn page(self) -> Self {
                Self(self.0 & !(PAGE_SIZE - 1))
            }

            /// The first start of a page at or above the address; `None` past the end of the 64-bit space.
            #[must_use]
            pub const fn next_page(self) -> Option<Self> {
                match self.0.checked_next_multiple_of(PAGE_SIZE) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// The offset of the address in its page, 0..4096.
            #[must_use]
            pub const fn page_offset(self) -> u64 {
                self.0 & (PAGE_SIZE - 1)
            }

            /// The number of the page: the address divided by [`PAGE_SIZE`].
            #[must_use]
            pub const fn page_number(self) -> u64 {
                self.0 >> PAGE_SHIFT
            }
        }

        impl Address for $name {
            fn from_value(value: u64) -> Self {
                Self(value)
            }

            fn value(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, out)
            }
        }
    };
}

address! {
    /// A guest's virtual address: what its instructions use while its MMU is on.
    Va
}
address! {
    /// A guest's physical address, Arm's *intermediate physical address*: what the guest takes for the machine's.
    Ipa
}
address! {
    /// A machine address: what the bus sees.
    Pa
}

/// A stretch of addresses of one kind: never empty, and its end never wraps around.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span<A> {
    start: A,
    bytes: u64,
}

impl<A: Address> Span<A> {
    /// The span of `bytes` from `start`; `None` if it is empty or its end is not below 2^64.
    #[must_use]
    pub fn new(start: A, bytes: u64) -> Option<Self> {
        start.value().checked_add(bytes)?;
        (bytes > 0).then_some(Self { start, bytes })
    }

    /// The span from `start` up to, not including, `end`; `None` if that is empty.
    #[must_use]
    pub fn between(start: A, end: A) -> Option<Self> {
        Self::new(start, end.value().checked_sub(start.value())?)
    }

    /// The whole of the page at `page`; `None` unless it is page-aligned and not the last of the 64-bit space.
    #[must_use]
    pub fn page(page: A) -> Option<Self> {
        page.value().is_multiple_of(PAGE_SIZE).then(|| Self::new(page, PAGE_SIZE))?
    }

    /// The first address.
    #[must_use]
    pub fn start(self) -> A {
        self.start
    }

    /// The size in bytes, at least 1.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// The first address after the span.
    #[must_use]
    pub fn end(self) -> A {
        // Cannot wrap: the constructor has added the same two numbers.
        A::from_value(self.start.value().wrapping_add(self.bytes))
    }

    /// The last address of the span.
    #[must_use]
    pub fn last(self) -> A {
        A::from_value(self.start.value().wrapping_add(self.bytes - 1))
    }

    /// Whether `address` lies in the span.
    #[must_use]
    pub fn contains(self, address: A) -> bool {
        self.start <= address && address <= self.last()
    }

    /// Whether all of `other` lies in the span.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.last() <= self.last()
    }

    /// Whether the two spans have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.last() && other.start <= self.last()
    }

    /// What the two spans have in common.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::between(self.start.max(other.start), self.end().min(other.end()))
    }

    /// How many bytes `address` lies inside the span; `None` if it lies outside.
    #[must_use]
    pub fn offset_of(self, address: A) -> Option<u64> {
        self.contains(address).then(|| address.value().wrapping_sub(self.start.value()))
    }

    /// The span in two: the first `bytes` and the rest; `None` if either would be empty.
    #[must_use]
    pub fn split_at(self, bytes: u64) -> Option<(Self, Self)> {
        let rest = self.bytes.checked_sub(bytes)?;
        let middle = A::from_value(self.start.value().checked_add(bytes)?);
        Some((Self::new(self.start, bytes)?, Self::new(middle, rest)?))
    }

    /// Whether start and size are multiples of a page.
    #[must_use]
    pub fn is_page_aligned(self) -> bool {
        (self.start.value() | self.bytes) & (PAGE_SIZE - 1) == 0
    }

    /// How many pages the span has, a part of one counting as none.
    #[must_use]
    pub fn page_count(self) -> u64 {
        self.bytes >> PAGE_SHIFT
    }

    /// The address of each whole page, counted from the start.
    pub fn pages(self) -> impl DoubleEndedIterator<Item = A> + use<A> {
        let first = self.start.value();
        // Cannot wrap: every page lies below the end.
        (0..self.page_count()).map(move |page| A::from_value(first.wrapping_add(page << PAGE_SHIFT)))
    }
}

impl<A: Address> fmt::Debug for Span<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}..{:#x}", self.start, self.end())
    }
}

impl<A: Address> fmt::Display for Span<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#x}..{:#x}", self.start, self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec, vec::Vec};

    fn span(start: u64, bytes: u64) -> Span<Ipa> {
        Span::new(Ipa::new(start), bytes).unwrap()
    }

    #[test]
    fn arithmetic_is_checked() {
        assert_eq!(Ipa::new(u64::MAX).checked_add(1), None);
        assert_eq!(Pa::new(4).checked_add(4), Some(Pa::new(8)));
        assert_eq!(Va::new(3).checked_sub(4), None);
        assert_eq!(Va::new(u64::MAX - 5).next_page(), None);
        assert_eq!(Va::new(0x1001).next_page(), Some(Va::new(0x2000)));
        assert_eq!(Pa::new(0x1fff).page(), Pa::new(0x1000));
        assert_eq!(Pa::new(0x1234).page_offset(), 0x234);
    }

    #[test]
    fn spans_are_never_empty_and_never_wrap() {
        assert_eq!(Span::new(Ipa::new(0x1000), 0), None);
        assert_eq!(Span::new(Ipa::new(u64::MAX), 1), None);
        assert_eq!(Span::new(Ipa::new(u64::MAX - 1), 1).map(Span::end), Some(Ipa::new(u64::MAX)));
        assert_eq!(Span::between(Ipa::new(2), Ipa::new(1)), None);
        assert_eq!(Span::page(Ipa::new(0x1001)), None);
        assert_eq!(span(0x1000, 0x10).split_at(0x10), None);
        assert_eq!(span(0x1000, 0x10).split_at(0), None);
    }

    #[test]
    fn spans_relate_at_their_edges() {
        let middle = span(0x2000, 0x2000);
        assert!(middle.contains(Ipa::new(0x3fff)) && !middle.contains(Ipa::new(0x4000)));
        assert!(!middle.overlaps(span(0x1000, 0x1000)) && !middle.overlaps(span(0x4000, 1)));
        assert!(middle.overlaps(span(0x3fff, 1)) && middle.covers(middle));
        assert_eq!(middle.intersection(span(0x3000, 0x9000)), Some(span(0x3000, 0x1000)));
        assert_eq!(Ipa::new(0x2010).offset_in(middle), Some(0x10));
        assert_eq!(Ipa::new(0x1fff).offset_in(middle), None);
        assert_eq!(middle.pages().collect::<Vec<_>>(), vec![Ipa::new(0x2000), Ipa::new(0x3000)]);
        assert_eq!(middle.split_at(0x1000), Some((span(0x2000, 0x1000), span(0x3000, 0x1000))));
    }

    #[test]
    fn addresses_print_in_hexadecimal() {
        assert_eq!(format!("{:?} {} {:x}", Ipa::new(0x40), Pa::new(0x50), Va::new(0x60)), "Ipa(0x40) 0x50 60");
        assert_eq!(format!("{}", span(0x1000, 0x10)), "0x1000..0x1010");
    }
}
