//! A short list of the most urgent interrupts seen.

use super::list_register::MAXIMUM_LIST_REGISTERS;

/// The most urgent interrupts of those offered, sorted: by priority, then by number. No more than there are list registers.
pub(super) struct Best {
    /// Priority in bits 23:16, interrupt number in bits 15:0.
    keys: [u32; MAXIMUM_LIST_REGISTERS],
    length: usize,
    capacity: usize,
    /// Some that were offered found no room.
    pub overflowed: bool,
}

impl Best {
    #[inline]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(MAXIMUM_LIST_REGISTERS);
        Self { keys: [0; MAXIMUM_LIST_REGISTERS], length: 0, capacity, overflowed: false }
    }

    #[inline]
    pub fn count(&self) -> usize {
        self.length
    }

    /// The interrupt numbers, the most urgent first.
    #[inline]
    pub fn intids(&self) -> impl Iterator<Item = u32> {
        self.keys.iter().take(self.length).map(|key| key & 0xffff)
    }

    #[inline]
    pub fn offer(&mut self, priority: u8, intid: u32) {
        let key = u32::from(priority) << 16 | intid;
        let mut place = self.length;
        if place == self.capacity {
            self.overflowed = true;
            if self.keys.get(place.wrapping_sub(1)).is_none_or(|&last| last <= key) {
                return;
            }
            place -= 1;
        } else {
            self.length += 1;
        }
        while place > 0 && self.keys[place - 1] > key {
            self.keys[place] = self.keys[place - 1];
            place -= 1;
        }
        self.keys[place] = key;
    }
}
