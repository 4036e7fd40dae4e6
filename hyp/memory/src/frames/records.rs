//! Who owns which frames: one record for each stretch of the same owner's.

use super::{FrameRun, Owner};
use crate::error::Error;
use alloc::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Record {
    count: u64,
    owner: Owner,
}

/// The records by their first frame. They never overlap; neighbours of one owner may be in one record or in two.
#[derive(Default, Debug)]
pub(super) struct Records {
    by_first: BTreeMap<u64, Record>,
}

impl Records {
    /// Records `run` for `owner`, in the record before it if that is the same owner's and adjoins.
    ///
    /// On the way of every copy on write: a single search.
    pub(super) fn insert(&mut self, run: FrameRun, owner: Owner) -> Result<(), Error> {
        if let Some((first, record)) = self.by_first.range_mut(..run.end()).next_back() {
            let end = first + record.count;
            if end > run.first {
                return Err(Error::FrameKnown(run.start()));
            }
            if end == run.first && record.owner == owner {
                record.count += run.count;
                return Ok(());
            }
        }
        let record = Record { count: run.count, owner };
        self.by_first.insert(run.first, record);
        Ok(())
    }

    pub(super) fn check_absent(&self, run: FrameRun) -> Result<(), Error> {
        match self.by_first.range(..run.end()).next_back() {
            Some((first, record)) if first + record.count > run.first => Err(Error::FrameKnown(run.start())),
            _ => Ok(()),
        }
    }

    /// Whether all of `run` is recorded for `owner`.
    pub(super) fn check_owner(&self, run: FrameRun, owner: Owner) -> Result<(), Error> {
        let mut next = run.first;
        while next < run.end() {
            let rest = FrameRun { first: next, count: 1 };
            match self.record_with(next) {
                Some((record, found)) if found == owner => next = record.end(),
                _ => return Err(Error::NotOwner(rest.start())),
            }
        }
        Ok(())
    }

    /// Forgets `run`, of which the caller has checked that it is `owner`'s.
    pub(super) fn remove(&mut self, run: FrameRun, owner: Owner) {
        let mut next = run.first;
        while let Some((record, _)) = self.record_with(next).filter(|_| next < run.end()) {
            self.cut(record, run, owner);
            next = record.end();
        }
    }

    /// Takes what `run` has in common with `record` out of it.
    fn cut(&mut self, record: FrameRun, run: FrameRun, owner: Owner) {
        self.by_first.remove(&record.first);
        if record.first < run.first {
            self.by_first.insert(record.first, Record { count: run.first - record.first, owner });
        }
        if run.end() < record.end() {
            self.by_first.insert(run.end(), Record { count: record.end() - run.end(), owner });
        }
    }

    fn record_with(&self, frame: u64) -> Option<(FrameRun, Owner)> {
        let (first, record) = self.by_first.range(..=frame).next_back()?;
        let run = FrameRun { first: *first, count: record.count };
        (frame < run.end()).then_some((run, record.owner))
    }

    pub(super) fn owner_of(&self, frame: u64) -> Option<Owner> {
        Some(self.record_with(frame)?.1)
    }

    pub(super) fn runs_of(&self, owner: Owner) -> impl Iterator<Item = FrameRun> {
        let own = move |(_, record): &(&u64, &Record)| record.owner == owner;
        self.by_first.iter().filter(own).map(|(first, record)| FrameRun { first: *first, count: record.count })
    }

    /// How many records there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_first.len()
    }
}
