//! Devices in parts of pages. What a device does not fill of a page, memory protection cannot keep apart; EL2 then keeps the
//! page, and passes each access on by itself if it is to this device.

use super::{Assignment, PAGE_BYTES, Region};
use crate::span::{self, Span};
use crate::tree::{BoardError, DeviceNode};
use alloc::format;
use alloc::vec::Vec;

impl Region<'_> {
    /// The pages that its owner has mapped, if any: all that it touches, or only those that it fills.
    pub(super) fn mapped(&self) -> Option<Span> {
        if !self.by_sub_page {
            return Some(self.pages());
        }
        let start = self.span.start().next_multiple_of(PAGE_BYTES);
        Span::between(start, self.span.end() & !(PAGE_BYTES - 1)).filter(|pages| !pages.is_empty())
    }

    /// Whether its owner can access any of `span` with it.
    pub(super) fn gives_access_to(&self, span: Span) -> bool {
        self.span.overlaps(span) || self.mapped().is_some_and(|pages| pages.overlaps(span))
    }

    /// Whether a page that it does not fill, and that is not mapped for it, is one of `pages`.
    fn has_part_in(&self, pages: Span) -> bool {
        let filled = self.mapped();
        let is_filled = |page: Span| filled.is_some_and(|filled| filled.covers(page));
        let edges = [self.span.start(), self.span.end() - 1].map(|edge| edge & !(PAGE_BYTES - 1));
        let edges = edges.into_iter().filter_map(|page| Span::new(page, PAGE_BYTES));
        edges.into_iter().any(|page| !is_filled(page) && page.overlaps(pages))
    }

    /// Whether two owners cannot have both: the same registers, or a page that one of them would have mapped.
    pub(super) fn excludes(&self, other: &Region) -> bool {
        match self.by_sub_page && other.by_sub_page {
            true => self.span.overlaps(other.span),
            false => self.pages().overlaps(other.pages()),
        }
    }

    /// Whether its owner cannot have it beside what EL2 keeps. EL2 accesses no more than is its own.
    pub(super) fn excludes_kept(&self, kept: Span) -> bool {
        match self.by_sub_page {
            true => self.span.overlaps(kept),
            false => self.pages().overlaps(super::pages(kept)),
        }
    }
}

impl<'tree> Assignment<'tree> {
    /// The same, with the registers of `nodes`, and of all below them, given by sub-page.
    ///
    /// # Errors
    /// Something else that is given would have one of these pages mapped.
    pub fn by_sub_page(mut self, nodes: &[DeviceNode<'tree>]) -> Result<Self, BoardError> {
        for region in &mut self.regions {
            region.by_sub_page = nodes.iter().any(|node| region.node.is_within(*node));
        }
        let in_the_way = |region: &&Region| {
            !region.by_sub_page && self.regions.iter().any(|other| other.has_part_in(region.pages()))
        };
        match self.regions.iter().find(in_the_way) {
            Some(region) => Err(mixed(self.cause(region.node), region)),
            None => Ok(self),
        }
    }

    /// The registers in pages that are not mapped: byte by byte, sorted, not touching each other.
    pub fn sub_pages(&self) -> Vec<Span> {
        let by_sub_page = self.regions.iter().filter(|region| region.by_sub_page).map(|region| region.span);
        span::subtract(by_sub_page.collect(), self.pages())
    }
}

fn mixed(cause: DeviceNode, region: &Region) -> BoardError {
    let (path, span) = (region.node.path(), region.span);
    let problem = format!("{path} ({span}) lies in a page of which the same VM has another device by sub-page");
    cause.error("reg", problem, format!("name {path} with `sub-page = true` too"))
}
