//! What VMs take from while they run: frames, and seeds for each start. Each VM is handed it.

use crate::lock::Mutex;
use tessera_memory::Frames;

use crate::seed::{Seed, SeedSource};

/// What all VMs share of the machine's memory and chance.
pub struct Supply {
    /// Memory that guests and their tables may have. Locked after a VM's map.
    pub frames: Mutex<Frames>,
    /// For guests that start again; none if the board has no random numbers.
    pub seeds: Option<Mutex<SeedSource>>,
}

impl Supply {
    /// A seed for one start of one guest.
    pub fn seed(&self) -> Option<Seed> {
        self.seeds.as_ref().map(|seeds| seeds.lock().draw())
    }
}
