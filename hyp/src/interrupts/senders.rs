//! Who sent the SGIs of one virtual CPU: GICv2 keeps the SGIs of different senders apart.

/// The senders of pending SGIs, one bit for each virtual CPU. The pending latch of an SGI stays set while there are any.
#[derive(Debug, Default)]
pub(super) struct Senders {
    waiting: [u8; 16],
    /// The sender of the one that was put into a list register last.
    listed: [u8; 16],
}

impl Senders {
    /// The SGI has come from the senders in `mask`.
    pub fn add(&mut self, intid: u32, mask: u8) {
        self.waiting[intid as usize & 15] |= mask;
    }

    /// The SGI of the senders in `mask` is withdrawn. Returns whether that of the last listed is among them.
    pub fn remove(&mut self, intid: u32, mask: u8) -> bool {
        self.waiting[intid as usize & 15] &= !mask;
        mask >> self.listed(intid) & 1 != 0
    }

    /// Takes the SGI of the lowest sender to put it into a list register.
    pub fn take(&mut self, intid: u32) {
        let waiting = &mut self.waiting[intid as usize & 15];
        self.listed[intid as usize & 15] = waiting.trailing_zeros() as u8 & 7;
        *waiting &= waiting.wrapping_sub(1);
    }

    /// The sender of the SGI, if it waits from one.
    #[inline]
    pub fn only(&self, intid: u32) -> Option<u8> {
        let waiting = self.waiting(intid);
        waiting.is_power_of_two().then(|| waiting.trailing_zeros() as u8)
    }

    /// The SGI of `source`, which did not wait, is put into a list register.
    pub fn list(&mut self, intid: u32, source: u8) {
        self.listed[intid as usize & 15] = source;
    }

    /// Undoes [`Senders::take`] or [`Senders::list`].
    pub fn put_back(&mut self, intid: u32) {
        self.waiting[intid as usize & 15] |= 1 << self.listed(intid);
    }

    /// The sender of the SGI that was put into a list register last.
    pub fn listed(&self, intid: u32) -> u8 {
        self.listed[intid as usize & 15]
    }

    /// The senders whose SGI is in no list register.
    pub fn waiting(&self, intid: u32) -> u8 {
        self.waiting[intid as usize & 15]
    }
}
