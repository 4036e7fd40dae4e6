//! What tells a core that there is something to do for one of its vCPUs.
//!
//! A core's vCPUs have slots: their positions among its own, 0 to 63. Each reason for a call has one bit for each slot, so
//! that the core looks at those vCPUs alone, and for that reason. It is interrupted once for many rings of one bit.
//!
//! A vCPU that could run and does not, as its neighbour does, has nothing to gain from news: it sees them when its turn comes.
//! So its bit stays, and whoever rings again costs the neighbour nothing. The core says at each look who listens.

#[cfg(test)]
mod tests;

#[cfg(not(test))]
use core::sync::atomic::{AtomicU64, Ordering};
// Which a host test can use within `loom::model` only.
#[cfg(test)]
use loom::sync::atomic::{AtomicU64, Ordering};

/// One core's doorbell.
///
/// No ring is lost: all changes of a word are in one order. A ring that finds its bit clear has its caller interrupt the
/// core, which takes the bit afterwards. One that finds it set comes before the take that clears it, and is taken with what
/// was there, whose ringer interrupts the core, or has. A bit that the core leaves, as nobody listens, it clears before it
/// enters that vCPU, and looks at its virtual GIC afterwards.
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

    /// Whether anybody has rung since, with news for those that are `listening` or with orders for whomever.
    #[must_use]
    #[inline(always)]
    pub fn is_rung(&self, listening: u64) -> bool {
        self.news.load(Ordering::Relaxed) & listening | self.orders.load(Ordering::Relaxed) != 0
    }

    /// Takes what was rung, on the core itself: after each of its interrupts for a ring, and whenever it likes. News for those
    /// who are not `listening` stay.
    #[inline(always)]
    pub fn take(&self, listening: u64) -> Rung {
        Rung { news: take(&self.news, listening), orders: take(&self.orders, u64::MAX) }
    }
}

impl Doorbell {
    /// The vCPU in `slot` is about to be entered, and looks then: its news are no news.
    #[inline(always)]
    pub fn take_news(&self, slot: usize) {
        take(&self.news, 1 << (slot & 63));
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
    word.fetch_or(bits, Ordering::Release) & bits != bits
}

#[inline(always)]
fn take(word: &AtomicU64, wanted: u64) -> u64 {
    // A look costs less than a change. Who rings now sees its bit clear, and interrupts.
    if word.load(Ordering::Relaxed) & wanted == 0 { 0 } else { word.fetch_and(!wanted, Ordering::Acquire) & wanted }
}
