//! The PL031 real-time clock (Arm DDI 0224), as firmware built for QEMU's `virt` machine looks for it.
//!
//! Where the time comes from, and who is interrupted, does not belong here.

use super::{identification, meets_register, truncate};

const DATA: u64 = 0x00;
const MATCH: u64 = 0x04;
const LOAD: u64 = 0x08;
const CONTROL: u64 = 0x0c;
const INTERRUPT_MASK: u64 = 0x10;
const RAW_INTERRUPT: u64 = 0x14;
const MASKED_INTERRUPT: u64 = 0x18;
const INTERRUPT_CLEAR: u64 = 0x1c;
/// PeriphID0-3 and PCellID0-3 of revision r1p0 (DDI 0224 3.3.9, 3.3.10), as QEMU has them.
const IDENTIFICATION: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// A clock that counts seconds. Every access brings the time: seconds since 1970, or since EL2 started.
///
/// The alarm is noticed at the next access only: nobody is waked by it.
#[derive(Debug, Clone, Default)]
pub struct Pl031 {
    /// What the guest sees is the given time plus this, modulo 2^32.
    offset: u32,
    alarm: u32,
    mask: bool,
    raised: bool,
    /// The guest's time at the last access.
    seen: u32,
}

impl Pl031 {
    /// A clock that shows the time as it is given.
    pub const fn new() -> Self {
        Self { offset: 0, alarm: 0, mask: false, raised: false, seen: 0 }
    }

    /// What a guest reads, `size` bytes at `offset`, at time `now` in seconds.
    pub fn read(&mut self, offset: u64, size: u8, now: u64) -> u64 {
        if !meets_register(offset, size) {
            return 0;
        }
        let time = self.advance(now);
        let value = match offset {
            DATA => time,
            MATCH => self.alarm,
            LOAD => self.offset,
            CONTROL => 1, // Always on.
            INTERRUPT_MASK => self.mask.into(),
            RAW_INTERRUPT => self.raised.into(),
            MASKED_INTERRUPT => self.interrupt_level().into(),
            _ => identification(&IDENTIFICATION, offset),
        };
        truncate(value.into(), size).into()
    }

    /// A guest's write of `size` bytes at `offset`, at time `now` in seconds. Setting the clock changes this guest's
    /// time alone.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, now: u64) {
        if !meets_register(offset, size) {
            return;
        }
        let time = self.advance(now);
        let value = truncate(value, size);
        match offset {
            MATCH => self.alarm = value,
            LOAD => {
                self.offset = self.offset.wrapping_add(value.wrapping_sub(time));
                self.seen = value;
            }
            INTERRUPT_MASK => self.mask = value & 1 != 0,
            INTERRUPT_CLEAR if value & 1 != 0 => self.raised = false,
            _ => return,
        }
        self.raised |= matches!(offset, MATCH | LOAD) && self.alarm == self.seen;
    }

    /// Whether the interrupt is asserted.
    pub fn interrupt_level(&self) -> bool {
        self.raised && self.mask
    }

    /// The guest's time; raises the alarm if that was reached since the last access.
    fn advance(&mut self, now: u64) -> u32 {
        let time = truncate(now, 4).wrapping_add(self.offset);
        let passed = time.wrapping_sub(self.seen);
        let until_alarm = self.alarm.wrapping_sub(self.seen);
        self.raised |= until_alarm != 0 && until_alarm <= passed;
        self.seen = time;
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn shows_the_time() {
        let mut clock = Pl031::new();
        assert_eq!(clock.read(DATA, 4, NOW), NOW);
        assert_eq!(clock.read(DATA, 4, NOW + 5), NOW + 5);
        assert_eq!(clock.read(DATA, 2, NOW), NOW & 0xffff);
        assert_eq!(clock.read(CONTROL, 4, NOW), 1);
    }

    #[test]
    fn can_be_set() {
        let mut clock = Pl031::new();
        clock.write(LOAD, 4, 1000, NOW);
        assert_eq!(clock.read(DATA, 4, NOW + 7), 1007);
        clock.write(LOAD, 4, 500, NOW + 7);
        assert_eq!(clock.read(DATA, 4, NOW + 8), 501);
        clock.write(DATA, 4, 3, NOW + 8);
        clock.write(CONTROL, 4, 0, NOW + 8);
        assert_eq!((clock.read(DATA, 4, NOW + 8), clock.read(CONTROL, 4, NOW + 8)), (501, 1));
    }

    #[test]
    fn raises_the_alarm_once() {
        let mut clock = Pl031::new();
        clock.read(DATA, 4, NOW);
        clock.write(MATCH, 4, NOW + 10, NOW);
        clock.write(INTERRUPT_CLEAR, 4, 1, NOW);
        assert_eq!(clock.read(RAW_INTERRUPT, 4, NOW + 9), 0);
        assert_eq!(clock.read(RAW_INTERRUPT, 4, NOW + 12), 1);
        assert_eq!((clock.read(MASKED_INTERRUPT, 4, NOW + 12), clock.interrupt_level()), (0, false));
        clock.write(INTERRUPT_MASK, 4, 1, NOW + 12);
        assert_eq!((clock.read(MASKED_INTERRUPT, 4, NOW + 12), clock.interrupt_level()), (1, true));
        clock.write(INTERRUPT_CLEAR, 4, 1, NOW + 12);
        assert_eq!((clock.read(RAW_INTERRUPT, 4, NOW + 20), clock.interrupt_level()), (0, false));
    }

    #[test]
    fn an_alarm_for_now_is_due() {
        let mut clock = Pl031::new();
        clock.write(MATCH, 4, NOW, NOW);
        assert_eq!(clock.read(RAW_INTERRUPT, 4, NOW), 1);
    }

    #[test]
    fn is_a_pl031() {
        let mut clock = Pl031::new();
        let bytes: [u64; 8] = core::array::from_fn(|index| clock.read(0xfe0 + 4 * index as u64, 4, NOW));
        assert_eq!(bytes, [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
    }

    #[test]
    fn the_rest_reads_as_zero() {
        let mut clock = Pl031::new();
        for (offset, size) in [(0x20, 4), (0xfdc, 4), (0x1000, 4), (DATA, 8), (DATA + 1, 1), (u64::MAX, 1), (DATA, 0)] {
            assert_eq!(clock.read(offset, size, NOW), 0, "{offset:#x}");
            clock.write(offset, size, u64::MAX, NOW);
        }
        assert_eq!(clock.read(DATA, 4, NOW), NOW);
    }
}
