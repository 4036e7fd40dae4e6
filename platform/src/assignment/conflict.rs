//! What two owners cannot both have: nodes, pages of registers, interrupts. The other owner may be EL2 itself.

use super::{Assignment, Region};
use crate::interrupt_id::IntId;
use crate::span::Span;
use crate::tree::DeviceNode;
use alloc::format;
use alloc::string::String;

/// Something of the board that two want.
#[derive(Clone)]
pub struct Conflict<'tree> {
    /// What is wanted twice, and why each wants it.
    pub problem: String,
    /// What to change.
    pub remedy: String,
    /// The named device that leads to it: of the first of two assignments.
    pub cause: DeviceNode<'tree>,
}

/// Machine addresses that somebody other than a guest keeps.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// Whose they are: `EL2's own devices`.
    pub owner: &'a str,
    /// Which.
    pub span: Span,
}

const ONE_OWNER: &str = "give both devices to one VM, or leave one out";

/// The first thing that `first` and `second`, each with its owner's name, cannot both have.
pub fn between<'tree>(
    first: (&str, &Assignment<'tree>),
    second: (&str, &Assignment<'tree>),
) -> Option<Conflict<'tree>> {
    nodes(first, second).or_else(|| shared_pages(first, second)).or_else(|| interrupts(first, second))
}

/// `VM linux needs it for ... (clocks)`.
pub(super) fn wants<'tree>((owner, assignment): (&str, &Assignment<'tree>), node: DeviceNode<'tree>) -> String {
    match assignment.explain(node) {
        why if why.is_empty() => format!("VM `{owner}` names it"),
        why => format!("VM `{owner}` needs it {why}"),
    }
}

fn nodes<'tree>(first: (&str, &Assignment<'tree>), second: (&str, &Assignment<'tree>)) -> Option<Conflict<'tree>> {
    let alone = |assignment: &Assignment<'tree>, node| assignment.find(node).is_some_and(|given| given.exclusive);
    let node = first.1.given.iter().map(|given| given.node).find(|node| {
        alone(second.1, *node) && first.1.gives(*node) || alone(first.1, *node) && second.1.gives(*node)
    })?;
    let problem = format!("two VMs need {}: {}; {}", node.path(), wants(first, node), wants(second, node));
    Some(Conflict { problem, remedy: ONE_OWNER.into(), cause: first.1.cause(node) })
}

fn shared_pages<'tree>(
    first: (&str, &Assignment<'tree>),
    second: (&str, &Assignment<'tree>),
) -> Option<Conflict<'tree>> {
    let pairs = first.1.regions.iter().flat_map(|one| second.1.regions.iter().map(move |other| (one, other)));
    let (one, other) = pairs.into_iter().find(|(one, other)| one.excludes(other))?;
    let is_same = one.span.overlaps(other.span);
    let problem = format!(
        "{} ({}) of VM `{}` shares {} with {} ({}) of VM `{}`: {}; {}",
        one.node.path(),
        one.span,
        first.0,
        if is_same { "registers" } else { "a page of 4 KiB" },
        other.node.path(),
        other.span,
        second.0,
        wants(first, one.node),
        wants(second, other.node),
    );
    let remedy = if is_same { ONE_OWNER } else { SHARE };
    Some(Conflict { problem, remedy: remedy.into(), cause: first.1.cause(one.node) })
}

const SHARE: &str = "memory protection tells only pages of 4 KiB apart: give both devices to one VM, or name each as \
    `{ device = \"PATH\", sub-page = true }`; EL2 then passes on single accesses, which is slower";

fn interrupts<'tree>(first: (&str, &Assignment<'tree>), second: (&str, &Assignment<'tree>)) -> Option<Conflict<'tree>> {
    let of_second = |id: IntId| second.1.interrupts.iter().find(|(_, interrupt)| interrupt.id == id);
    let mut pairs = first.1.interrupts.iter().filter_map(|one| Some((one, of_second(one.1.id)?)));
    let ((one, interrupt), (other, _)) = pairs.next()?;
    let problem = format!(
        "{} of VM `{}` and {} of VM `{}` share {}: {}; {}",
        one.path(),
        first.0,
        other.path(),
        second.0,
        interrupt.id,
        wants(first, *one),
        wants(second, *other),
    );
    Some(Conflict { problem, remedy: ONE_OWNER.into(), cause: first.1.cause(*one) })
}

const SHARE_WITH_EL2: &str = "leave the device out, or name it as `{ device = \"PATH\", sub-page = true }`; EL2 then passes on \
    single accesses, which is slower";
const LEAVE_OUT: &str = "leave the device out; if it is a UART: EL2's own is the one that the tree's stdout-path names";

/// The first thing of `wanted` that is kept: registers in a page of `kept`, or one of the interrupts `kept_ids`.
pub fn with_kept<'tree>(
    wanted: (&str, &Assignment<'tree>),
    kept: &[Kept],
    kept_ids: &[IntId],
) -> Option<Conflict<'tree>> {
    let in_the_way = |region: &Region| kept.iter().find(|kept| region.excludes_kept(kept.span));
    let mut regions = wanted.1.regions.iter().filter_map(|region| Some((region, in_the_way(region)?)));
    if let Some((region, kept)) = regions.next() {
        let (path, span) = (region.node.path(), region.span);
        let is_same = kept.span.overlaps(span);
        let how = if is_same { "belongs to" } else { "shares a page of 4 KiB with what belongs to" };
        let problem = format!("{path} ({span}) {how} {} ({}); {}", kept.owner, kept.span, wants(wanted, region.node));
        let remedy = if is_same { LEAVE_OUT } else { SHARE_WITH_EL2 };
        return Some(Conflict { problem, remedy: remedy.into(), cause: wanted.1.cause(region.node) });
    }
    let (node, interrupt) = wanted.1.interrupts.iter().find(|(_, interrupt)| kept_ids.contains(&interrupt.id))?;
    let problem = format!("{} raises {}, which EL2 uses; {}", node.path(), interrupt.id, wants(wanted, *node));
    Some(Conflict { problem, remedy: "leave the device out".into(), cause: wanted.1.cause(*node) })
}
