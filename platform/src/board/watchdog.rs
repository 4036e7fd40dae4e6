//! The watchdog that resets boards without firmware to call (Linux binding watchdog/brcm,bcm2835-pm-wdog.yaml).

use crate::span::Span;
use crate::tree::Tree;

/// The registers of the tree's watchdog, if it has one that is known and switched on.
pub(super) fn find(tree: &Tree) -> Option<Span> {
    let node = tree.compatible_with(&["brcm,bcm2835-pm-wdt"]).next()?;
    node.registers().ok()?.first().copied()
}
