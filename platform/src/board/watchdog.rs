//! The watchdog that resets boards without firmware to call (Linux binding watchdog/brcm,bcm2835-pm-wdog.yaml).

use super::first_of;
use crate::span::Span;
use crate::tree::DeviceNode;

/// `compatible` of the watchdog.
pub(super) const MODELS: &[&str] = &["brcm,bcm2835-pm-wdt"];

/// The registers of the tree's watchdog, if it has one that is known and switched on.
pub(super) fn find(parts: &[DeviceNode]) -> Option<Span> {
    let node = first_of(parts, MODELS)?;
    node.registers().ok()?.first().copied()
}
