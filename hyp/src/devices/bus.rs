//! Which device an address belongs to.
//!
//! The bus knows spans and what stands for a device, not devices: what is done with an access is the caller's business.

use alloc::vec::Vec;
use core::fmt;

/// A range of guest physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first address.
    pub start: u64,
    /// How many bytes.
    pub size: u64,
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let last = self.start.wrapping_add(self.size).wrapping_sub(1);
        write!(formatter, "{:#x}..={last:#x}", self.start)
    }
}

/// Why a span cannot be on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusError {
    /// It is empty or reaches beyond the 64-bit addresses.
    Malformed(Span),
    /// It has addresses in common with one that is there already.
    Overlap {
        /// The span that was to be added.
        new: Span,
        /// The span that is there.
        present: Span,
    },
}

impl fmt::Display for BusError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Malformed(span) => write!(
                formatter,
                "a device of {:#x} bytes at {:#x} does not fit the address space",
                span.size, span.start
            ),
            Self::Overlap { new, present } => write!(formatter, "the device at {new} overlaps the one at {present}"),
        }
    }
}

impl core::error::Error for BusError {}

/// Spans in order of address, each with what stands for its device.
#[derive(Debug, Clone, Default)]
pub struct Bus<T> {
    slots: Vec<Slot<T>>,
}

#[derive(Debug, Clone, Copy)]
struct Slot<T> {
    span: Span,
    device: T,
}

impl<T: Copy> Bus<T> {
    /// A bus without devices.
    pub const fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// Puts a device at `span`.
    ///
    /// # Errors
    /// When the span is malformed or overlaps another; the bus is as before then.
    pub fn insert(&mut self, span: Span, device: T) -> Result<(), BusError> {
        let last = span.size.checked_sub(1).and_then(|rest| span.start.checked_add(rest));
        let last = last.ok_or(BusError::Malformed(span))?;
        // Spans do not overlap, so of those that start at or before our last address the highest reaches furthest.
        let index = self.slots.partition_point(|slot| slot.span.start <= last);
        let below = index.checked_sub(1).and_then(|below| self.slots.get(below));
        if let Some(slot) =
            below.filter(|slot| slot.span.start >= span.start || span.start - slot.span.start < slot.span.size)
        {
            return Err(BusError::Overlap { new: span, present: slot.span });
        }
        self.slots.insert(index, Slot { span, device });
        Ok(())
    }

    /// The device at `address` and the offset in its span. One after the other: a guest has few, and those it uses most,
    /// its interrupt controller's, lie low.
    #[inline(always)]
    pub fn find(&self, address: u64) -> Option<(T, u64)> {
        let slot = self.slots.iter().find(|slot| address.wrapping_sub(slot.span.start) < slot.span.size)?;
        Some((slot.device, address - slot.span.start))
    }

    /// The same, and how many bytes the span goes on for from `address`.
    pub fn find_stretch(&self, address: u64) -> Option<(T, u64, u64)> {
        let slot = self.slots.iter().find(|slot| address.wrapping_sub(slot.span.start) < slot.span.size)?;
        let offset = address - slot.span.start;
        Some((slot.device, offset, slot.span.size - offset))
    }

    /// All spans and their devices, by address.
    pub fn iter(&self) -> impl Iterator<Item = (Span, T)> + '_ {
        self.slots.iter().map(|slot| (slot.span, slot.device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, size: u64) -> Span {
        Span { start, size }
    }

    fn virt() -> Bus<char> {
        let mut bus = Bus::new();
        // Not in order of address.
        for (start, size, device) in
            [(0x900_0000, 0x1000, 'u'), (0x800_0000, 0x1_0000, 'd'), (0x80a_0000, 0xf6_0000, 'r')]
        {
            bus.insert(span(start, size), device).expect("they do not overlap");
        }
        bus
    }

    #[test]
    fn finds_the_device_and_the_offset() {
        let bus = virt();
        assert_eq!(bus.find(0x800_0000), Some(('d', 0)));
        assert_eq!(bus.find(0x800_ffff), Some(('d', 0xffff)));
        assert_eq!(bus.find(0x80a_0010), Some(('r', 0x10)));
        assert_eq!(bus.find(0x8ff_ffff), Some(('r', 0xf5_ffff)));
        assert_eq!(bus.find(0x900_0018), Some(('u', 0x18)));
        assert_eq!(bus.find_stretch(0x900_0018), Some(('u', 0x18, 0xfe8)));
        assert_eq!(bus.find_stretch(0x8ff_ffff), Some(('r', 0xf5_ffff, 1)));
        assert_eq!(bus.find_stretch(0x900_1000), None);
    }

    #[test]
    fn finds_nothing_beside_them() {
        let bus = virt();
        for address in [0, 0x7ff_ffff, 0x801_0000, 0x809_ffff, 0x900_1000, u64::MAX] {
            assert_eq!(bus.find(address), None, "{address:#x}");
        }
        assert_eq!(Bus::<u8>::new().find(0), None);
    }

    #[test]
    fn refuses_overlaps_and_stays_as_it_was() {
        let mut bus = virt();
        let present = span(0x900_0000, 0x1000);
        let overlapping = [
            (0x900_0000, 0x1000),
            (0x900_0fff, 1),
            (0x7ff_ffff, 2),
            (0x900_0800, 0x10),
            (0x8ff_0000, 0x1_0001),
            (0x8ff_ffff, 0x2000),
            (0, u64::MAX),
        ];
        for (start, size) in overlapping {
            assert!(
                matches!(bus.insert(span(start, size), 'x'), Err(BusError::Overlap { .. })),
                "{start:#x} {size:#x}"
            );
        }
        let new = span(0x900_0fff, 1);
        assert_eq!(bus.insert(new, 'x'), Err(BusError::Overlap { new, present }));
        assert_eq!(bus.iter().map(|(_, device)| device).collect::<alloc::string::String>(), "dru");
    }

    #[test]
    fn takes_neighbours_and_the_last_address() {
        let mut bus = virt();
        bus.insert(span(0x900_1000, 0x1000), 'n').expect("adjacent");
        bus.insert(span(u64::MAX, 1), 'l').expect("the last byte");
        assert_eq!(bus.find(0x900_1000), Some(('n', 0)));
        assert_eq!(bus.find(u64::MAX), Some(('l', 0)));
        for malformed in [span(0, 0), span(u64::MAX, 2)] {
            assert_eq!(bus.insert(malformed, 'x'), Err(BusError::Malformed(malformed)));
        }
    }

    #[test]
    fn errors_say_where() {
        let error = BusError::Overlap { new: span(0x1000, 0x10), present: span(0x1008, 1) };
        assert_eq!(alloc::format!("{error}"), "the device at 0x1000..=0x100f overlaps the one at 0x1008..=0x1008");
    }
}
