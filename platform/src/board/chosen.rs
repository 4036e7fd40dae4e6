//! What the boot loader hands over in `/chosen` (Devicetree Specification 0.4, 3.6; Linux binding chosen.txt).

use crate::span::Span;
use crate::tree::{BoardError, DeviceNode, Tree};
use alloc::string::String;
use alloc::vec::Vec;

/// What the boot loader hands over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The command line, if there is one.
    pub bootargs: Option<String>,
    /// Where the initrd is, if there is one; not empty.
    pub initrd: Option<Span>,
    /// Random bytes (`rng-seed`, then `kaslr-seed`); empty if it gave none.
    pub seed: Vec<u8>,
}

/// The tree's `/chosen`; empty without one.
pub(super) fn find(tree: &Tree) -> Result<Chosen, BoardError> {
    let Some(node) = tree.by_path("/chosen") else {
        return Ok(Chosen::default());
    };
    let seed = ["rng-seed", "kaslr-seed"].map(|name| node.property(name).unwrap_or_default()).concat();
    Ok(Chosen { bootargs: node.string("bootargs").map(String::from), initrd: initrd(node)?, seed })
}

fn initrd(node: DeviceNode) -> Result<Option<Span>, BoardError> {
    const NAMES: [&str; 2] = ["linux,initrd-start", "linux,initrd-end"];
    if NAMES.iter().all(|name| node.property(name).is_none()) {
        return Ok(None);
    }
    let span = node.u64(NAMES[0]).zip(node.u64(NAMES[1])).and_then(|(start, end)| Span::between(start, end));
    let span = span.ok_or_else(|| {
        node.error(
            NAMES[0],
            "it and linux,initrd-end are no run of addresses",
            "let the loader write both, start first",
        )
    })?;
    Ok(Some(span).filter(|span| !span.is_empty()))
}
