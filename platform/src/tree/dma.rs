//! What memory a device reaches by itself: `dma-ranges` of the buses above it (Devicetree Specification 0.4, 2.3.9).
//!
//! The specification does not say what a bus without this property does. As in Linux (drivers/of/address.c) it passes
//! addresses on as they are, like one whose `dma-ranges` is empty: most trees only have the property where there is
//! something to say. A PCI host bridge says it of itself: what is behind it is no node.

use super::registers::Layout;
use super::{BoardError, Cells, DeviceNode};
use crate::span::{self, ADDRESS_LIMIT, Span};
use alloc::vec;
use alloc::vec::Vec;

/// Addresses on one bus, `first` to `last`; a bus may have all 64 bits of them.
#[derive(Clone, Copy)]
struct Window {
    first: u64,
    last: u64,
}

impl Window {
    const ALL: Self = Self { first: 0, last: u64::MAX };

    fn new(first: u64, size: u64) -> Option<Self> {
        Some(Self { first, last: first.saturating_add(size.checked_sub(1)?) })
    }

    fn common(self, other: Self) -> Option<Self> {
        let common = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        (common.first <= common.last).then_some(common)
    }

    /// In machine addresses; `None` if there are no such ones.
    fn span(self) -> Option<Span> {
        Span::between(self.first, self.last.min(ADDRESS_LIMIT - 1).checked_add(1)?)
    }
}

/// An entry of `dma-ranges`: `inner`, if it is not empty, begins at `outer` on the bus above.
struct Range {
    inner: Option<Window>,
    outer: u64,
}

impl Range {
    /// The next entry; `None` if it is cut short.
    fn take(cells: &mut Cells, flags: usize, inner: Layout, outer: Layout) -> Option<Self> {
        cells.take_run(flags)?;
        let (from, to) = (cells.take_number(inner.address)?, cells.take_number(outer.address)?);
        Some(Self { inner: Window::new(from, cells.take_number(inner.size)?), outer: to })
    }

    /// Where those of `reach` that it passes on arrive.
    fn pass(&self, reach: Window) -> Option<Window> {
        let inner = self.inner?;
        let passed = inner.common(reach)?;
        let first = self.outer.checked_add(passed.first - inner.first)?;
        Window::new(first, (passed.last - passed.first).saturating_add(1))
    }
}

/// No board has as many; it bounds the work on a damaged tree.
const MOST_WINDOWS: usize = 64;

impl<'tree> DeviceNode<'tree> {
    /// The machine addresses that its DMA reaches: sorted, not touching each other; all that there are, if no bus says
    /// otherwise.
    ///
    /// # Errors
    /// A `dma-ranges` that cannot be read.
    pub fn dma_reach(self) -> Result<Vec<Span>, BoardError> {
        let mut reach = vec![Window::ALL];
        let mut next = if self.is_pci_host() { Some(self) } else { self.parent() };
        while let Some(bus) = next {
            next = bus.parent();
            if let (Some(outer), Some(ranges @ [_, ..])) = (next, bus.property("dma-ranges")) {
                reach = bus.pass_dma(outer, ranges, &reach)?;
            }
        }
        let mut spans = Vec::new();
        reach.iter().for_each(|window| spans.extend(window.span()));
        Ok(span::merge(spans))
    }

    /// Whether it is a PCI host bridge.
    pub(crate) fn is_pci_host(self) -> bool {
        self.string("device_type") == Some("pci")
    }

    /// Where on the bus `outer` those addresses of this bus arrive that are in `reach`.
    fn pass_dma(self, outer: Self, ranges: &'tree [u8], reach: &[Window]) -> Result<Vec<Window>, BoardError> {
        let broken = || self.error("dma-ranges", "an entry is cut short, or there are too many", AGREE);
        // PCI addresses have a cell of flags before the address itself (IEEE 1275 PCI binding, 2.2.1.1).
        let (flags, inner) = match self.is_pci_host() {
            true => (1, Layout { address: 2, size: 2 }),
            false => (0, self.layout()?),
        };
        let outer = outer.layout()?;
        let mut cells = Cells::new(ranges).ok_or_else(broken)?;
        let mut passed = Vec::new();
        while !cells.is_empty() {
            let range = Range::take(&mut cells, flags, inner, outer).ok_or_else(broken)?;
            reach.iter().for_each(|window| passed.extend(range.pass(*window)));
            if inner.address + inner.size == 0 || passed.len() > MOST_WINDOWS {
                return Err(broken());
            }
        }
        Ok(passed)
    }
}

const AGREE: &str = "make it agree with the #address-cells and #size-cells here and above";
