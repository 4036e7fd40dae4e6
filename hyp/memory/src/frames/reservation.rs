//! A promise of frames, so that copy on write never finds memory empty.

use super::VmId;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

/// So many frames are kept back for this VM. What is not used returns when the reservation is dropped.
#[derive(Debug)]
pub struct Reservation {
    vm: VmId,
    left: u64,
    promised: Arc<AtomicU64>,
}

impl Reservation {
    /// `count` is already part of `promised`.
    pub(super) fn new(vm: VmId, count: u64, promised: Arc<AtomicU64>) -> Self {
        Self { vm, left: count, promised }
    }

    /// Whose frames they will be.
    #[must_use]
    pub fn vm(&self) -> VmId {
        self.vm
    }

    /// How many frames can still be taken.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes all that `other` has left; nothing happens if it is another VM's.
    pub fn join(&mut self, other: &mut Self) {
        if self.vm == other.vm {
            self.left += core::mem::take(&mut other.left);
        }
    }

    /// Gives up to `count` frames back to everybody.
    pub fn give_back(&mut self, count: u64) {
        let count = count.min(self.left);
        self.left -= count;
        self.promised.fetch_sub(count, Ordering::Relaxed);
    }

    /// One promise has been kept.
    pub(super) fn spend(&mut self) {
        self.give_back(1);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back(self.left);
    }
}
