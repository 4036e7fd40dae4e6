//! Free pages by number, as runs: pure bookkeeping, which touches no memory.

use arrayvec::ArrayVec;

/// So many runs are known at most. Boot's are few; where there are more, the pages of the last ones are lost.
const MOST_RUNS: usize = 64;

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of the first one.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

/// Free pages, as runs in rising order that do not touch.
#[derive(Clone)]
pub struct Pages {
    runs: ArrayVec<Run, MOST_RUNS>,
}

impl Pages {
    /// None.
    pub const fn none() -> Self {
        Self { runs: ArrayVec::new_const() }
    }

    /// All of them.
    pub fn into_runs(self) -> impl Iterator<Item = Run> {
        self.runs.into_iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// Takes so many in one piece, from the end of the first run that has them; the number of the first one.
    pub fn take(&mut self, count: usize) -> Option<usize> {
        let place = self.runs.iter().position(|run| run.count >= count)?;
        let run = self.runs.get_mut(place)?;
        run.count -= count;
        let first = run.first + run.count;
        if run.count == 0 {
            self.runs.remove(place);
        }
        Some(first)
    }

    /// Takes some back, or in.
    pub fn give(&mut self, mut run: Run) {
        let place = self.runs.partition_point(|other| other.first < run.first);
        if let Some(behind) = self.runs.get(place).copied().filter(|behind| run.first + run.count == behind.first) {
            run.count += behind.count;
            self.runs.remove(place);
        }
        match self.runs.get_mut(..place).and_then(<[Run]>::last_mut) {
            Some(before) if before.first + before.count == run.first => before.count += run.count,
            _ => _ = self.runs.try_insert(place, run),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The runs are what a set of single pages says, whatever is taken and given.
        #[test]
        fn runs_are_those_of_a_set_of_pages(steps in prop::collection::vec((0usize..64, 1usize..8, any::<bool>()), 1..200)) {
            let (mut pages, mut set) = (Pages::none(), BTreeSet::new());
            for (first, count, takes) in steps {
                let wanted: Vec<_> = (first..first + count).collect();
                if takes {
                    let is_there = set.iter().any(|&page| (page..page + count).all(|page| set.contains(&page)));
                    let taken = pages.take(count);
                    prop_assert_eq!(taken.is_some(), is_there);
                    for page in taken.map_or(0..0, |first| first..first + count) {
                        prop_assert!(set.remove(&page));
                    }
                } else if wanted.iter().all(|page| !set.contains(page)) {
                    pages.give(Run { first, count });
                    set.extend(wanted);
                }
                let listed: Vec<_> = pages.runs.iter().flat_map(|run| run.first..run.first + run.count).collect();
                prop_assert_eq!(&listed, &set.iter().copied().collect::<Vec<_>>());
                let touch = pages.runs.windows(2).any(|two| two[0].first + two[0].count == two[1].first);
                prop_assert!(!touch, "{:?}", pages.runs);
                prop_assert_eq!(pages.count(), set.len());
            }
        }
    }

    #[test]
    fn pages_of_too_many_runs_are_lost_not_mixed_up() {
        let mut pages = Pages::none();
        for number in 0..MOST_RUNS + 5 {
            pages.give(Run { first: number * 2, count: 1 });
        }
        assert_eq!(pages.count(), MOST_RUNS);
        pages.give(Run { first: 1, count: 1 });
        assert_eq!(pages.runs[0], Run { first: 0, count: 3 });
    }
}
