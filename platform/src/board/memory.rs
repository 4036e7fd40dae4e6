//! Memory, and what of it is taken (Devicetree Specification 0.4, 3.4, 3.5 and 5.3).

use super::Board;
use crate::span::{self, Span};
use crate::tree::{BoardError, DeviceNode, Tree};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Addresses that firmware or a device uses: not to be given to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Where.
    pub span: Span,
    /// Whether it must not even be mapped, since the mapping lets the core fetch from it ahead of use (`no-map`).
    pub no_map: bool,
    /// Name of its node; empty for the memory reservation block.
    pub name: String,
}

/// How many reservations there may be: the largest boards have some dozens.
pub const MAX_RESERVATIONS: usize = 1024;

/// All memory, merged and sorted.
pub(super) fn find(tree: &Tree) -> Result<Vec<Span>, BoardError> {
    let is_memory = |node: &DeviceNode| node.string("device_type") == Some("memory") && node.is_enabled();
    let mut spans = Vec::new();
    for node in tree.nodes().filter(is_memory) {
        spans.extend(node.registers()?);
    }
    let spans = span::merge(spans);
    if spans.is_empty() {
        return Err(BoardError::new(
            "/memory",
            "reg",
            "there is no memory",
            "the loader fills it in: load this tree through the board's firmware, or write the size into it",
        ));
    }
    Ok(spans)
}

/// The memory reservation block, then the children of `/reserved-memory` that have a place (those with only a `size`
/// are wishes to an operating system).
pub(super) fn find_reserved(tree: &Tree) -> Result<Vec<Reservation>, BoardError> {
    // One more than there may be shows that there are too many.
    let listed = tree.reservations().take(MAX_RESERVATIONS + 1).map(|span| Reservation {
        span,
        no_map: false,
        name: String::new(),
    });
    let mut reserved: Vec<_> = listed.collect();
    let parent = tree.by_path("/reserved-memory");
    for node in parent.into_iter().flat_map(DeviceNode::children).filter(|node| node.is_enabled()) {
        let no_map = node.property("no-map").is_some();
        let regions = node.registers()?.into_iter();
        reserved.extend(regions.map(|span| Reservation { span, no_map, name: node.name().into() }));
    }
    reserved.retain(|reservation| !reservation.span.is_empty());
    if reserved.len() > MAX_RESERVATIONS {
        let problem = format!("there are more than {MAX_RESERVATIONS} reservations");
        return Err(BoardError::new("/reserved-memory", "", problem, "make one of those that touch"));
    }
    Ok(reserved)
}

impl Board {
    /// Whether EL2 may access `span`, which holds `what`, as memory.
    ///
    /// A plain reservation is no hindrance: it protects what the loader put there (Devicetree Specification 0.4, 5.3.1).
    /// Where one says `no-map` (3.5), not even a speculative access is allowed.
    ///
    /// # Errors
    /// Not all of it is memory, or some of it must not be mapped.
    pub fn check_in_memory(&self, what: &str, span: Span) -> Result<(), BoardError> {
        let hides = |reservation: &&Reservation| reservation.no_map && reservation.span.overlaps(span);
        let (path, property, relation) = match self.reserved.iter().find(hides) {
            Some(hidden) => (format!("/reserved-memory/{}", hidden.name), "no-map", "overlaps it"),
            None if self.memory.iter().any(|ram| ram.covers(span)) => return Ok(()),
            None => (String::from("/memory"), "reg", "is not in it"),
        };
        let problem = format!("{what} at {span} {relation}");
        Err(BoardError::new(path, property, problem, "load it elsewhere, or correct the node"))
    }
}
