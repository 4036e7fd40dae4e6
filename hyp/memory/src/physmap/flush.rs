//! The TLB sequence after a change of Stage 2 (Arm ARM, D8.16; the reasons are with each step).

use crate::address::{Ipa, PAGE_SIZE, Span};
use crate::machine::{Context, Machine};

/// So many single invalidations at most; more are cheaper, and shorter for everybody, as one of the whole VMID.
const THRESHOLD: usize = 32;

/// What a change has made stale, collected while descriptors are written and dropped from the TLBs all at once.
pub(super) struct Flush {
    context: Context,
    stale: [Ipa; THRESHOLD],
    count: usize,
}

impl Flush {
    pub fn new(context: Context) -> Self {
        Self { context, stale: [Ipa::new(0); THRESHOLD], count: 0 }
    }

    /// The descriptor that translates `ipa`, of any level, was valid and is not, or is another. One address in what
    /// it covers is enough, whatever the hardware made of it.
    pub fn add(&mut self, ipa: Ipa) {
        if let Some(place) = self.stale.get_mut(self.count) {
            *place = ipa;
        }
        self.count = self.count.saturating_add(1);
    }

    /// All pages of `span` were or may have been translated by descriptors of their own.
    pub fn add_pages(&mut self, span: Span<Ipa>) {
        if span.bytes() / PAGE_SIZE > THRESHOLD as u64 {
            self.count = usize::MAX;
        } else {
            span.pages().for_each(|page| self.add(page));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns when no core can use what was there before.
    pub fn run(self, machine: &mut impl Machine) {
        if self.is_empty() {
            return;
        }
        match self.stale.get(..self.count) {
            Some(stale) => flush_each(self.context, stale, machine),
            None => flush_all(self.context, machine),
        }
    }
}

/// The sequence for one page, without the collecting.
pub(super) fn flush_page(context: Context, ipa: Ipa, machine: &mut impl Machine) {
    flush_each(context, &[ipa], machine);
}

/// The sequence for single addresses.
fn flush_each(context: Context, stale: &[Ipa], machine: &mut impl Machine) {
    // No walker reads the old descriptors again...
    machine.publish();
    for ipa in stale {
        // ... and what was cached of them for Stage 2 alone goes.
        machine.invalidate_ipa(context, *ipa);
    }
    // Were this left out, a combined entry could be made from a Stage-2 entry that is still there, after...
    machine.complete();
    // ... combined entries are dropped, which the one above does not touch.
    machine.invalidate_stage_1(context);
    machine.complete();
    machine.synchronize();
}

/// The sequence for everything of a context: both kinds of entries go at once.
pub(super) fn flush_all(context: Context, machine: &mut impl Machine) {
    machine.publish();
    machine.invalidate_all(context);
    machine.complete();
    machine.synchronize();
}
