//! Everything that can be given away, except what must not be.

use super::closure::{is_plain_bus, not_for_guests};
use super::{Assignment, Kept, between, with_kept};
use crate::interrupt_id::IntId;
use crate::tree::{DeviceNode, Tree};
use alloc::vec::Vec;

/// The devices that one guest can have without those of `except`, those of `others`, and what is kept (as for
/// [`with_kept`]). A device that needs something of these, or shares a page or an interrupt with them, is left out too.
///
/// Takes time in proportion to the square of the number of devices.
pub fn everything_except<'tree>(
    tree: &'tree Tree<'tree>,
    except: &[DeviceNode<'tree>],
    others: &[&Assignment<'tree>],
    kept: &[Kept],
    kept_ids: &[IntId],
) -> Vec<DeviceNode<'tree>> {
    // What is exceptional is given to somebody who does not exist.
    let nobody: Vec<Assignment> = except.iter().filter_map(|node| Assignment::new(tree, &[*node], &[]).ok()).collect();
    let is_free = |wanted: &Assignment<'tree>| {
        let taken = others.iter().copied().chain(&nobody);
        let excepted = wanted.given.iter().any(|given| except.iter().any(|node| given.node.is_within(*node)));
        !excepted
            && with_kept(("", wanted), kept, kept_ids).is_none()
            && taken.into_iter().all(|other| between(("", wanted), ("", other)).is_none())
    };
    let candidates = tree.nodes().filter(|node| is_candidate(*node));
    candidates.filter(|node| Assignment::new(tree, &[*node], &[]).is_ok_and(|wanted| is_free(&wanted))).collect()
}

/// An enabled device directly on the board or on a bus that does nothing but translate.
fn is_candidate(node: DeviceNode) -> bool {
    let on_bus = node.parent().is_some_and(|parent| parent.ancestors().all(is_plain_bus));
    on_bus
        && !is_plain_bus(node)
        && node.property("compatible").is_some()
        && not_for_guests(node).is_none()
        && node.is_enabled()
}
