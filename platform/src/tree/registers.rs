//! Where a device's registers are: `reg`, translated through the `ranges` of every bus above it to machine addresses
//! (Devicetree Specification 0.4, 2.3.6 and 2.3.8).

use super::{BoardError, Cells, DeviceNode};
use crate::span::Span;
use alloc::format;
use alloc::vec::Vec;

/// How a bus writes the addresses of the nodes on it.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) address: usize,
    pub(super) size: usize,
}

impl<'tree> DeviceNode<'tree> {
    /// Its register regions in machine addresses, in the order of `reg` and as many; empty if it has no `reg`.
    ///
    /// A region may be empty where the loader was to fill it in.
    pub fn registers(self) -> Result<Vec<Span>, BoardError> {
        let (Some(bus), Some(reg)) = (self.parent(), self.property("reg")) else { return Ok(Vec::new()) };
        let layout = bus.layout()?;
        let mut cells = self.reg_cells(Some(reg), layout)?;
        let mut regions = Vec::new();
        // Every round takes at least a cell: reg_cells sees to it.
        while !cells.is_empty() {
            let (address, size) = (cells.take_number(layout.address), cells.take_number(layout.size));
            regions.push(self.translate(bus, address.unwrap_or(0), size.unwrap_or(0))?);
        }
        Ok(regions)
    }

    /// Its one-cell or two-cell addresses without sizes, untranslated: how `cpu` nodes use `reg`.
    pub(crate) fn bare_address(self) -> Result<u64, BoardError> {
        let layout = self.parent().map_or(Ok(Layout { address: 2, size: 0 }), DeviceNode::layout)?;
        let mut cells = self.reg_cells(self.property("reg"), layout)?;
        cells.take_number(layout.address).ok_or_else(|| self.error("reg", "it is empty", "give it the address"))
    }

    fn reg_cells(self, reg: Option<&'tree [u8]>, layout: Layout) -> Result<Cells<'tree>, BoardError> {
        let each = layout.address + layout.size;
        let cells =
            reg.and_then(Cells::new).filter(|cells| each > 0 && !cells.is_empty() && cells.len().is_multiple_of(each));
        cells.ok_or_else(|| {
            let (address, size) = (layout.address, layout.size);
            self.error(
                "reg",
                format!("it does not consist of {address}-cell addresses and {size}-cell sizes"),
                "make it agree with the parent's #address-cells and #size-cells",
            )
        })
    }

    /// How this node, as a bus, writes addresses.
    pub(super) fn layout(self) -> Result<Layout, BoardError> {
        Ok(Layout { address: self.cell_count("#address-cells", 2)?, size: self.cell_count("#size-cells", 1)? })
    }

    fn cell_count(self, property: &'static str, default: usize) -> Result<usize, BoardError> {
        let count = match self.property(property) {
            Some(value) => Cells::one(value).map(|count| count as usize),
            None => Some(default),
        };
        count.filter(|&count| count <= 2).ok_or_else(|| {
            self.error(property, "it is not 0, 1 or 2", "only memory-mapped devices can be used, none behind PCI")
        })
    }

    /// What the machine calls `span` of this bus's addresses.
    pub(crate) fn translated(self, span: Span) -> Result<Span, BoardError> {
        self.translate(self, span.start(), span.size())
    }

    /// Translates an address on `bus` to a machine address.
    fn translate(self, bus: DeviceNode, address: u64, size: u64) -> Result<Span, BoardError> {
        let mut address = address;
        for bus in bus.ancestors() {
            let Some(outer) = bus.parent() else { break };
            address = bus.outer_address(outer, address, size)?;
        }
        Span::new(address, size).ok_or_else(|| {
            let problem = format!("{size:#x} bytes at {address:#x} reach beyond 52-bit addresses");
            self.error("reg", problem, "correct the address or the size")
        })
    }

    /// What the bus `outer`, on which this bus is, calls `size` bytes at `address` of this bus.
    fn outer_address(self, outer: DeviceNode, address: u64, size: u64) -> Result<u64, BoardError> {
        let Some(value) = self.property("ranges") else {
            let problem = format!("it does not say where its address {address:#x} is");
            return Err(self.error("ranges", problem, "add `ranges;` if its addresses are its parent's"));
        };
        if value.is_empty() {
            return Ok(address);
        }
        let (inner, outer) = (self.layout()?, outer.layout()?);
        let mut cells = Cells::new(value).unwrap_or_default();
        let each = inner.address + outer.address + inner.size;
        // An entry without cells would never end.
        while each > 0 && !cells.is_empty() {
            let from = cells.take_number(inner.address);
            let (Some(from), Some(to), Some(length)) =
                (from, cells.take_number(outer.address), cells.take_number(inner.size))
            else {
                break;
            };
            let within =
                address.checked_sub(from).filter(|offset| offset.checked_add(size).is_some_and(|end| end <= length));
            if let Some(found) = within.and_then(|offset| to.checked_add(offset)) {
                return Ok(found);
            }
        }
        let problem = format!("no range holds {size:#x} bytes at {address:#x}");
        Err(self.error("ranges", problem, "add the range, or correct the reg below"))
    }
}
