//! How many share a frame: 16 bits a frame, kept only for regions of 512 frames in which one is shared.

use super::FrameRun;
use crate::error::Error;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

const REGION_SHIFT: u32 = 9;
const REGION_FRAMES: usize = 1 << REGION_SHIFT;

/// The counts of one region, and how many of them are not 0.
#[derive(Debug)]
struct Region {
    shared: u16,
    counts: Vec<u16>,
}

/// For each frame the number of maps it is in; 0 for a frame that is not shared.
#[derive(Default, Debug)]
pub(super) struct Counts {
    regions: BTreeMap<u64, Region>,
}

impl Counts {
    pub(super) fn get(&self, frame: u64) -> u16 {
        let region = self.regions.get(&(frame >> REGION_SHIFT));
        region.and_then(|region| region.counts.get(index(frame))).copied().unwrap_or(0)
    }

    /// Sets a frame's count. The region comes with its first sharer, which can fail, and goes with the last.
    pub(super) fn set(&mut self, frame: u64, count: u16) -> Result<(), Error> {
        let key = frame >> REGION_SHIFT;
        if count > 0 && !self.regions.contains_key(&key) {
            self.regions.insert(key, Region::new()?);
        }
        let Some(region) = self.regions.get_mut(&key) else {
            return Ok(());
        };
        region.set(index(frame), count);
        if region.shared == 0 {
            self.regions.remove(&key);
        }
        Ok(())
    }

    /// Counts one less for a frame that more than one map has; `None`, and nothing done, for any other.
    pub(super) fn decrement_shared(&mut self, frame: u64) -> Option<()> {
        let region = self.regions.get_mut(&(frame >> REGION_SHIFT))?;
        let count = region.counts.get_mut(index(frame)).filter(|count| **count > 1)?;
        *count -= 1;
        Some(())
    }

    pub(super) fn check_unshared(&self, run: FrameRun) -> Result<(), Error> {
        match self.shared(run).next() {
            Some(first) => Err(Error::Shared(FrameRun { first, count: 1 }.start())),
            None => Ok(()),
        }
    }

    pub(super) fn shared_in(&self, run: FrameRun) -> u64 {
        self.shared(run).count() as u64
    }

    /// The shared frames in `run`.
    fn shared(&self, run: FrameRun) -> impl Iterator<Item = u64> {
        let regions = run.first >> REGION_SHIFT..=(run.end() - 1) >> REGION_SHIFT;
        let frames = self.regions.range(regions).flat_map(|(key, region)| {
            let first = key << REGION_SHIFT;
            region.counts.iter().zip(first..).filter(|(count, _)| **count > 0).map(|(_, frame)| frame)
        });
        frames.filter(move |frame| run.first <= *frame && *frame < run.end())
    }
}

#[cfg(test)]
impl Counts {
    /// For how many regions there are counts.
    pub(super) fn regions(&self) -> usize {
        self.regions.len()
    }
}

impl Region {
    fn new() -> Result<Self, Error> {
        let mut counts = Vec::new();
        counts.try_reserve_exact(REGION_FRAMES).map_err(|_| Error::OutOfHeap)?;
        counts.resize(REGION_FRAMES, 0);
        Ok(Self { shared: 0, counts })
    }

    fn set(&mut self, index: usize, count: u16) {
        let Some(old) = self.counts.get_mut(index) else {
            return;
        };
        self.shared += u16::from(*old == 0 && count > 0);
        self.shared -= u16::from(*old > 0 && count == 0);
        *old = count;
    }
}

fn index(frame: u64) -> usize {
    frame as usize & (REGION_FRAMES - 1)
}
