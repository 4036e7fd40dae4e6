//! Repeating a measurement and what is kept of it: the least, the middle, the most.

use core::cell::UnsafeCell;

use crate::clock;

/// Measurements that count.
pub const SAMPLES: usize = 1024;
/// Measurements before them that do not.
pub const WARM_UP: usize = 64;

/// What is kept of [`SAMPLES`] measurements, in instructions.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The least.
    pub min: u64,
    /// The middle one.
    pub median: u64,
    /// The most.
    pub max: u64,
}

struct Buffer(UnsafeCell<[u64; SAMPLES]>);

// SAFETY: only the boot core measures.
unsafe impl Sync for Buffer {}

static BUFFER: Buffer = Buffer(UnsafeCell::new([0; SAMPLES]));

/// Repeats `sample`, which gives ticks, and subtracts what the least of `empty` takes. `None` ends it: no result.
pub fn measure(mut sample: impl FnMut() -> Option<u64>, mut empty: impl FnMut() -> u64) -> Option<Figures> {
    let mut overhead = u64::MAX;
    for _ in 0..WARM_UP {
        overhead = overhead.min(empty());
    }
    for _ in 0..WARM_UP {
        sample()?;
    }
    // SAFETY: the boot core alone measures, one operation at a time.
    let samples = unsafe { &mut *BUFFER.0.get() };
    for place in &mut *samples {
        *place = clock::instructions(sample()?.saturating_sub(overhead));
    }
    samples.sort_unstable();
    Some(Figures { min: samples[0], median: samples[SAMPLES / 2], max: samples[SAMPLES - 1] })
}
