//! What software knows of the list registers of one virtual CPU without reading them.

use super::list_register::{ListRegister, MAXIMUM_LIST_REGISTERS, Maintenance, Origin};

/// The book on the list registers. What it calls used may have become empty since: the hardware does not tell.
#[derive(Debug)]
pub(super) struct Slots {
    /// The interrupt that each used list register holds.
    pub intid: [u16; MAXIMUM_LIST_REGISTERS],
    /// List registers that hold nothing.
    pub free: u32,
    /// All there are.
    pub all: u32,
    /// Used ones that stand for a physical interrupt.
    pub hardware: u32,
    /// Used ones that ask for maintenance at their end.
    pub notified: u32,
    /// What the hardware was last told.
    pub maintenance: Maintenance,
}

impl Slots {
    /// `count` empty list registers.
    pub fn new(count: usize) -> Self {
        let count = count.clamp(1, MAXIMUM_LIST_REGISTERS);
        let all = (1 << count) - 1;
        Self {
            intid: [0; MAXIMUM_LIST_REGISTERS],
            free: all,
            all,
            hardware: 0,
            notified: 0,
            maintenance: Maintenance::NONE,
        }
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.all.count_ones() as usize
    }

    /// List registers that hold, or held, an interrupt.
    #[inline]
    pub fn used(&self) -> u32 {
        self.all & !self.free
    }

    /// Used ones without a physical interrupt that ask for no maintenance.
    #[inline]
    pub fn plain(&self) -> u32 {
        self.all & !(self.free | self.hardware | self.notified)
    }

    /// An empty list register.
    #[inline]
    pub fn vacant(&self) -> Option<usize> {
        if self.free == 0 { None } else { Some(self.free.trailing_zeros() as usize) }
    }

    /// Records what list register `slot` holds.
    #[inline]
    pub fn occupy(&mut self, slot: usize, entry: ListRegister) {
        let bit = 1 << (slot & 15);
        self.vacate(slot);
        self.free &= !bit;
        self.intid[slot & 15] = entry.intid as u16;
        match entry.origin {
            Origin::Hardware(_) => self.hardware |= bit,
            Origin::Software { notify_end: true, .. } => self.notified |= bit,
            Origin::Software { .. } => {}
        }
    }

    /// Records that list register `slot` is empty.
    #[inline]
    pub fn vacate(&mut self, slot: usize) {
        self.vacate_all(1 << (slot & 15));
    }

    /// The same for a set of them.
    #[inline(always)]
    pub fn vacate_all(&mut self, slots: u32) {
        self.free |= slots;
        self.hardware &= !slots;
        self.notified &= !slots;
    }
}
