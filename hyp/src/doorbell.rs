//! What tells a core that there is something to do for one of its vCPUs.
//!
//! A core's vCPUs have slots: their positions among its own, 0 to 63. Each reason for a call has one bit for each slot, so
//! that the core looks at those vCPUs alone, and for that reason. It is interrupted once for many rings.

#[cfg(test)]
mod tests;

#[cfg(not(test))]
use core::sync::atomic::{AtomicU64, Ordering};
// Which a host test can use within `loom::model` only.
#[cfg(test)]
use loom::sync::atomic::{AtomicU64, Ordering};

/// One core's doorbell.
///
/// No ring is lost: all changes of a word are in one order. A ring that finds the word empty has its caller interrupt the
/// core, which takes the word afterwards. One that finds it not empty comes before the take that empties it, and is taken with
/// what was there, whose ringer interrupts the core, or has.
///
/// What was done before a ring is seen after the take that takes it: a ring releases, a take acquires, and rings between
/// the two, being changes of the same word, continue the release. The caller's interrupt must not overtake the ring: a DSB
/// goes before an SGI.
#[derive(Debug)]
pub struct Doorbell {
    news: AtomicU64,
    orders: AtomicU64,
}

/// Who rang: one bit for each slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rung {
    /// The virtual GIC has something to be looked at.
    pub news: u64,
    /// The VM's life has an order.
    pub orders: u64,
}

impl Rung {
    /// Whether nobody rang.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.news | self.orders == 0
    }
}

impl Doorbell {
    /// Nobody has rung.
    #[must_use]
    pub fn new() -> Self {
        Self { news: AtomicU64::new(0), orders: AtomicU64::new(0) }
    }

    /// There is something for the vCPU in `slot` in its virtual GIC. Returns whether the core has to be interrupted.
    #[must_use = "the core may sleep"]
    #[inline(always)]
    pub fn ring_news(&self, slot: usize) -> bool {
        ring(&self.news, slot)
    }

    /// There is an order for the vCPU in `slot`. Returns whether the core has to be interrupted.
    #[must_use = "the core may sleep"]
    pub fn ring_orders(&self, slot: usize) -> bool {
        ring(&self.orders, slot)
    }

    /// Whether anybody has rung since.
    #[must_use]
    #[inline(always)]
    pub fn is_rung(&self) -> bool {
        self.news.load(Ordering::Relaxed) | self.orders.load(Ordering::Relaxed) != 0
    }

    /// Takes what was rung, on the core itself: after each of its interrupts for a ring, and whenever it likes.
    #[inline(always)]
    pub fn take(&self) -> Rung {
        Rung { news: take(&self.news), orders: take(&self.orders) }
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}

/// A slot of 64 or more rings all of them: looking once too often does no harm.
#[inline(always)]
fn ring(word: &AtomicU64, slot: usize) -> bool {
    let bits = if slot < 64 { 1 << slot } else { u64::MAX };
    word.fetch_or(bits, Ordering::Release) == 0
}

#[inline(always)]
fn take(word: &AtomicU64) -> u64 {
    // A look costs less than a change. Who rings now sees an empty word, and interrupts.
    if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::Acquire) }
}
