//! Whose turn it is: windows and budgets say who may run, urgency and turns who does.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::cmp::Reverse;

use super::entity::Entity;
use super::{NEVER, Scheduler, bit, first, slots};

/// So many begin new slices at one decision.
const NEW_SLICES: usize = 8;

/// Sets of equals, the most urgent first.
pub(super) fn ranks(entities: &[Entity]) -> Box<[u64]> {
    let mut ranks = BTreeMap::new();
    for (slot, entity) in entities.iter().enumerate() {
        *ranks.entry(Reverse(entity.claims.priority)).or_insert(0) |= bit(slot);
    }
    ranks.into_values().collect()
}

impl Scheduler {
    /// Who may run at `now` by windows and budgets, and when the window ends.
    #[inline(never)]
    pub(super) fn allowed(&mut self, now: u64) -> (u64, u64) {
        self.renew(now);
        let funded = self.ready & !self.spent();
        let Some(frame) = &self.frame else { return (funded, NEVER) };
        let stretch = frame.stretch(now - self.start);
        let owned =
            |slot: &usize| self.entities.get(*slot).is_some_and(|entity| stretch.owner == Some(entity.claims.vm));
        let owners = slots(funded).filter(owned).fold(0, |set, slot| set | bit(slot));
        let allowed = if owners != 0 || !stretch.lends { owners } else { funded };
        (allowed, if self.ready == 0 { NEVER } else { now.saturating_add(stretch.left) })
    }

    /// New periods for those whose period is over.
    fn renew(&mut self, now: u64) {
        for slot in slots(self.budgeted) {
            if let Some(entity) = self.entities.get_mut(slot) {
                entity.renew_budget(self.start, now);
            }
        }
    }

    /// Those that are ready and have no budget left.
    fn spent(&self) -> u64 {
        let is_spent = |slot: &usize| self.entities.get(*slot).is_some_and(|entity| entity.budget_left == 0);
        slots(self.budgeted & self.ready).filter(is_spent).fold(0, |set, slot| set | bit(slot))
    }

    /// When somebody has a budget again who is no less urgent than who runs, or may have its window back.
    #[inline(always)]
    pub(super) fn next_budget(&self, run: Option<usize>) -> u64 {
        if self.budgeted & self.ready == 0 { NEVER } else { self.next_budget_of_some(run) }
    }

    #[inline(never)]
    fn next_budget_of_some(&self, run: Option<usize>) -> u64 {
        let own = run.filter(|_| self.frame.is_none()).and_then(|slot| self.entities.get(slot));
        let priority = own.map_or(0, |own| own.claims.priority);
        let spent = slots(self.spent()).filter_map(|slot| self.entities.get(slot));
        let urgent = spent.filter(|entity| entity.claims.priority >= priority);
        urgent.map(|entity| entity.period_end).min().unwrap_or(NEVER)
    }

    /// The best of `allowed`, when each whose slice is spent has let its equals have their turn; and for how long it may run,
    /// or [`NEVER`] if nothing bounds that.
    #[inline(always)]
    pub(super) fn next_turn(&mut self, allowed: u64) -> (Option<usize>, u64) {
        let Some(equals) = self.ranks.iter().map(|rank| rank & allowed).find(|equals| *equals != 0) else {
            return (None, NEVER);
        };
        let mut slot = first(equals);
        let has_equal = equals != bit(slot);
        if has_equal {
            slot = self.first_in_turn(equals);
        }
        (Some(slot), self.entities.get(slot).map_or(NEVER, |entity| entity.turn_left(has_equal)))
    }

    /// The first of several equals that has a slice left; those before it begin new ones, behind all others.
    fn first_in_turn(&mut self, equals: u64) -> usize {
        let mut first = 0;
        // If more had no slice left, the one that runs is asked again at the next tick.
        for _ in 0..NEW_SLICES {
            first = self.first_of(equals);
            let Some(entity) = self.entities.get_mut(first).filter(|entity| entity.slice_left == 0) else { break };
            entity.slice_left = entity.claims.slice.max(1);
            entity.turn = self.turns;
            self.turns += 1;
        }
        first
    }

    /// The one whose turn comes first.
    #[inline(always)]
    fn first_of(&self, equals: u64) -> usize {
        let (mut first, mut first_turn) = (0, NEVER);
        for slot in slots(equals) {
            match self.entities.get(slot) {
                Some(entity) if entity.turn < first_turn => (first, first_turn) = (slot, entity.turn),
                _ => {}
            }
        }
        first
    }
}
