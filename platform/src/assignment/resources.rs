//! What one node has: registers, and the ability to access memory by itself.

use super::Region;
use crate::span::Span;
use crate::tree::interrupts::{GIC_V2, GIC_V3};
use crate::tree::{BoardError, Cells, DeviceNode};
use alloc::vec::Vec;

/// Generic names (Devicetree Specification 0.4, 2.2.2), and some that boards use instead, of devices that never access
/// memory by themselves. Whatever is not known is taken to do so.
const NEVER_MASTERS: &[&str] = &[
    "serial",
    "uart",
    "pl011",
    "gpio",
    "pl061",
    "pinctrl",
    "rtc",
    "pl031",
    "timer",
    "watchdog",
    "pwm",
    "i2c",
    "spi",
    "interrupt-controller",
    "intc",
    "clock-controller",
    "clock",
    "cprman",
    "reset-controller",
    "rng",
    "thermal",
    "syscon",
    "power-controller",
    "keypad",
    "adc",
    "aux",
    "avs-monitor",
    "flash",
];

/// Whether it is the GIC, or part of it (an ITS, a frame for MSIs).
pub(super) fn is_interrupt_controller_of_board(node: DeviceNode) -> bool {
    node.ancestors().any(is_gic)
}

pub(super) fn is_gic(node: DeviceNode) -> bool {
    node.is_compatible(GIC_V2) || node.is_compatible(GIC_V3)
}

/// Whether addresses of what is on the buses above it are machine addresses somewhere.
fn is_mapped(node: DeviceNode) -> bool {
    node.ancestors().skip(1).all(|above| above.parent().is_none() || above.property("ranges").is_some())
}

/// Its registers in machine addresses, and the windows of a PCI host bridge.
pub(super) fn regions<'tree>(node: DeviceNode<'tree>) -> Result<Vec<Region<'tree>>, BoardError> {
    if !is_mapped(node) {
        return Ok(Vec::new());
    }
    let mut spans = node.registers()?;
    if node.is_pci_host() {
        spans.extend(windows(node)?);
    }
    Ok(spans
        .into_iter()
        .filter(|span| !span.is_empty())
        .map(|span| Region { node, span, by_sub_page: false })
        .collect())
}

/// Where the host bridge's bus appears: `ranges` of (3-cell PCI address, machine address, size).
fn windows(bridge: DeviceNode) -> Result<Vec<Span>, BoardError> {
    let broken = || bridge.error("ranges", "it is no list of PCI windows", "correct the board's tree");
    let outer = bridge.parent().map_or(Some(2), |bus| bus.u32("#address-cells")).unwrap_or(2) as usize;
    let mut cells = bridge.property("ranges").map_or(Some(Cells::default()), Cells::new).ok_or_else(broken)?;
    let mut windows = Vec::new();
    while !cells.is_empty() {
        cells.take_run(3).ok_or_else(broken)?;
        let (start, size) = (cells.take_number(outer), cells.take_number(2));
        let span = start.zip(size).and_then(|(start, size)| Span::new(start, size)).ok_or_else(broken)?;
        windows.push(match bridge.parent() {
            Some(bus) => bus.translated(span)?,
            None => span,
        });
    }
    Ok(windows)
}

/// Whether the device (may) read and write memory by itself, wherever it wants.
pub(super) fn masters_dma(node: DeviceNode) -> bool {
    let says_so = ["dma-coherent", "iommus", "#dma-cells"].iter().any(|name| node.property(name).is_some());
    if says_so || node.is_pci_host() {
        return true;
    }
    let base = node.name().split('@').next().unwrap_or("");
    let has_registers = is_mapped(node) && node.property("reg").is_some();
    has_registers && !NEVER_MASTERS.contains(&base)
}
