//! The UART as drivers use it.

use super::*;
use std::{collections::VecDeque, vec::Vec};

/// A UART and a sink with so much room.
struct Bench {
    uart: Pl011,
    sent: Vec<u8>,
    room: usize,
}

impl Bench {
    fn new(room: usize) -> Self {
        Self { uart: Pl011::new(), sent: Vec::new(), room }
    }

    /// Set up as Linux' amba-pl011 does: FIFOs on, all enabled, triggers at half.
    fn linux(room: usize) -> Self {
        let mut bench = Self::new(room);
        bench.write(LINE_CONTROL, 0x70);
        bench.write(FIFO_LEVEL, 0x12);
        bench.write(CONTROL, 0x301);
        bench
    }

    fn read(&mut self, offset: u64) -> u32 {
        self.uart.read(offset, 4) as u32
    }

    fn write(&mut self, offset: u64, value: u32) {
        let Self { uart, sent, room } = self;
        uart.write(offset, 4, value.into(), |byte| take(sent, room, byte));
    }

    fn drain(&mut self, more: usize) {
        let Self { uart, sent, room } = self;
        *room += more;
        uart.drain(|byte| take(sent, room, byte));
    }

    fn flags(&mut self, mask: u32) -> u32 {
        let flags = self.read(FLAGS);
        assert_eq!(self.uart.read_flags(FLAGS, 2), Some(flags.into()));
        flags & mask
    }
}

fn take(sent: &mut Vec<u8>, room: &mut usize, byte: u8) -> bool {
    let Some(left) = room.checked_sub(1) else {
        return false;
    };
    *room = left;
    sent.push(byte);
    true
}

#[test]
fn has_the_registers_of_a_pl011_after_reset() {
    let mut bench = Bench::new(0);
    let expected = [
        (FLAGS, 0x90),
        (CONTROL, 0x300),
        (FIFO_LEVEL, 0x12),
        (LINE_CONTROL, 0),
        (INTERRUPT_MASK, 0),
        (RAW_INTERRUPT, 0),
    ];
    for (offset, value) in expected {
        assert_eq!(bench.read(offset), value, "{offset:#x}");
    }
    let word = |bench: &mut Bench, start: u64| {
        (0..4).fold(0, |word, index| word | bench.read(start + 4 * index) << (8 * index))
    };
    assert_eq!((word(&mut bench, 0xfe0), word(&mut bench, 0xff0)), (0x0014_1011, 0xb105_f00d));
}

#[test]
fn registers_keep_their_implemented_bits() {
    let mut bench = Bench::new(0);
    let registers = [
        (LOW_POWER, 0xff),
        (INTEGER_BAUD, 0xffff),
        (FRACTIONAL_BAUD, 0x3f),
        (LINE_CONTROL, 0xff),
        (CONTROL, 0xffff),
        (FIFO_LEVEL, 0x3f),
        (INTERRUPT_MASK, 0x7ff),
        (DMA_CONTROL, 7),
    ];
    for (offset, mask) in registers {
        bench.write(offset, u32::MAX);
        assert_eq!(bench.read(offset), mask, "{offset:#x}");
        bench.write(offset, 0);
        assert_eq!(bench.read(offset), 0, "{offset:#x}");
    }
    let read_only = [FLAGS, RAW_INTERRUPT, MASKED_INTERRUPT, 0xfe0];
    let before = read_only.map(|offset| bench.read(offset));
    read_only.iter().for_each(|offset| bench.write(*offset, u32::MAX));
    assert_eq!(read_only.map(|offset| bench.read(offset)), before);
}

#[test]
fn odd_accesses_read_zero_and_write_nothing() {
    let mut bench = Bench::new(100);
    for (offset, size) in [
        (DATA, 8),
        (FLAGS, 8),
        (DATA + 1, 1),
        (FLAGS + 2, 2),
        (0x4c, 4),
        (0xfdc, 4),
        (0x1000, 4),
        (0x1018, 4),
        (u64::MAX, 1),
        (FLAGS, 0),
        (FLAGS, 3),
    ] {
        assert_eq!(bench.uart.read(offset, size), 0, "{offset:#x} {size}");
        bench.uart.write(offset, size, u64::MAX, |_| panic!("{offset:#x} {size} sends"));
    }
    assert_eq!((bench.read(CONTROL), bench.read(INTERRUPT_MASK)), (0x300, 0));
}

#[test]
fn narrow_accesses_meet_the_lower_bits() {
    let mut bench = Bench::new(100);
    assert_eq!((bench.uart.read(FLAGS, 1), bench.uart.read(CONTROL, 1), bench.uart.read(CONTROL, 2)), (0x90, 0, 0x300));
    bench.uart.write(INTEGER_BAUD, 1, 0x1234, |_| true);
    assert_eq!(bench.read(INTEGER_BAUD), 0x34);
    let mut sent = Vec::new();
    bench.uart.write(DATA, 1, 0x141, |byte| {
        sent.push(byte);
        true
    });
    assert_eq!(sent, b"A");
}

#[test]
fn sends_without_set_up_and_by_polling() {
    let mut bench = Bench::new(100);
    for byte in b"hello" {
        assert_eq!(bench.flags(flag::TRANSMIT_FULL | flag::BUSY), 0);
        bench.write(DATA, (*byte).into());
    }
    assert_eq!(bench.sent, b"hello");
    assert_eq!(bench.read(FLAGS), 0x90);
}

#[test]
fn receives_without_set_up_one_byte_at_a_time() {
    let mut bench = Bench::new(0);
    assert!(bench.uart.receive(b'a') && !bench.uart.receive(b'b'));
    assert_eq!(bench.flags(flag::RECEIVE_EMPTY | flag::RECEIVE_FULL), flag::RECEIVE_FULL);
    assert_eq!(bench.read(DATA), b'a'.into());
    assert_eq!(bench.flags(flag::RECEIVE_EMPTY | flag::RECEIVE_FULL), flag::RECEIVE_EMPTY);
    assert_eq!(bench.read(DATA), 0);
}

#[test]
fn the_fifo_holds_sixteen_in_order() {
    let mut bench = Bench::linux(0);
    let taken = (0..20).filter(|byte| bench.uart.receive(*byte)).count();
    assert_eq!((taken, bench.flags(flag::RECEIVE_FULL)), (16, flag::RECEIVE_FULL));
    assert_eq!((0..16).map(|_| bench.read(DATA)).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    assert_eq!(bench.flags(flag::RECEIVE_EMPTY), flag::RECEIVE_EMPTY);
}

#[test]
fn a_full_sink_fills_the_fifo_then_the_flag() {
    let mut bench = Bench::linux(2);
    for byte in 0..18 {
        assert_eq!(bench.flags(flag::TRANSMIT_FULL), 0, "{byte}");
        bench.write(DATA, byte);
    }
    assert_eq!(bench.flags(flag::TRANSMIT_FULL | flag::TRANSMIT_EMPTY | flag::BUSY), flag::TRANSMIT_FULL | flag::BUSY);
    assert!(bench.uart.has_output());
    bench.drain(1);
    assert_eq!(bench.flags(flag::TRANSMIT_FULL | flag::BUSY), flag::BUSY);
    bench.drain(100);
    assert_eq!((bench.sent.clone(), bench.read(FLAGS)), ((0..18).collect(), 0x90));
    assert!(!bench.uart.has_output());
}

#[test]
fn bytes_never_overtake_those_in_the_fifo() {
    let mut bench = Bench::linux(0);
    bench.write(DATA, 1);
    bench.write(DATA, 2);
    bench.room = 2;
    bench.write(DATA, 3);
    assert_eq!(bench.sent, [1, 2]);
    bench.room = 9;
    bench.write(DATA, 4);
    assert_eq!(bench.sent, [1, 2, 3, 4]);
    assert_eq!(bench.read(FLAGS), 0x90);
    // Also while the transmitter is off.
    bench.write(CONTROL, control::ENABLE);
    bench.write(DATA, 5);
    bench.write(CONTROL, 0x301);
    assert_eq!(bench.sent, [1, 2, 3, 4, 5]);
}

#[test]
fn the_transmit_interrupt_follows_the_trigger() {
    let mut bench = Bench::linux(0);
    bench.write(INTERRUPT_MASK, interrupt::TRANSMIT);
    assert!(!bench.uart.interrupt_level(), "not before the first byte");
    (0..16).for_each(|byte| bench.write(DATA, byte));
    assert!(!bench.uart.interrupt_level());
    bench.drain(7);
    assert!(!bench.uart.interrupt_level(), "nine are above the trigger");
    bench.drain(1);
    assert!(bench.uart.interrupt_level(), "eight are not");
    bench.write(DATA, 0);
    assert!(!bench.uart.interrupt_level(), "nine again");
    bench.drain(9);
    assert!(bench.uart.interrupt_level());
    bench.write(INTERRUPT_CLEAR, interrupt::TRANSMIT);
    bench.drain(1);
    assert!(!bench.uart.interrupt_level());
}

#[test]
fn the_trigger_is_what_the_guest_set() {
    for (level, trigger) in [(0, 2), (1, 4), (2, 8), (3, 12), (4, 14)] {
        let mut bench = Bench::linux(0);
        bench.write(FIFO_LEVEL, level);
        (0..16).for_each(|byte| bench.write(DATA, byte));
        let drained = (1..=16).find(|_| {
            bench.drain(1);
            bench.read(RAW_INTERRUPT) & interrupt::TRANSMIT != 0
        });
        assert_eq!(drained, Some(16 - trigger));
    }
}

#[test]
fn sending_without_waiting_raises_the_transmit_interrupt() {
    let mut bench = Bench::linux(100);
    bench.write(INTERRUPT_MASK, interrupt::TRANSMIT);
    bench.write(DATA, 0);
    assert!(bench.uart.interrupt_level());
    bench.write(INTERRUPT_CLEAR, interrupt::TRANSMIT);
    assert!(!bench.uart.interrupt_level());
}

/// As amba-pl011 sends: fill up, then eight bytes for each interrupt without a look at the flags.
#[test]
fn a_linux_driver_loses_nothing() {
    let mut bench = Bench::linux(0);
    let mut queue: VecDeque<u8> = (0..200).collect();
    let expected: Vec<u8> = (0..200).collect();
    bench.write(INTERRUPT_MASK, interrupt::TRANSMIT);
    while bench.flags(flag::TRANSMIT_FULL) == 0 {
        let byte = queue.pop_front().expect("more than fits");
        bench.write(DATA, byte.into());
    }
    for step in 0..10_000 {
        bench.drain(step % 3);
        while bench.uart.interrupt_level() {
            (0..8).for_each(|_| {
                if let Some(byte) = queue.pop_front() {
                    bench.write(DATA, byte.into())
                }
            });
            if queue.is_empty() {
                bench.write(INTERRUPT_MASK, 0);
            }
        }
    }
    assert_eq!(bench.sent, expected);
}

#[test]
fn a_receiver_is_interrupted_until_all_is_read() {
    for mask in [interrupt::RECEIVE, interrupt::RECEIVE_TIMEOUT] {
        let mut bench = Bench::linux(0);
        bench.write(INTERRUPT_MASK, mask);
        assert!(!bench.uart.interrupt_level());
        assert!(bench.uart.receive(1) && bench.uart.interrupt_level());
        assert!(bench.uart.receive(2));
        // A handler that clears first and reads one byte.
        bench.write(INTERRUPT_CLEAR, 0x7ff);
        assert_eq!(bench.read(DATA), 1);
        assert!(bench.uart.interrupt_level(), "{mask:#x}");
        assert_eq!((bench.read(DATA), bench.uart.interrupt_level()), (2, false));
    }
}

#[test]
fn clearing_a_timeout_with_bytes_left_does_not_lose_them() {
    let mut bench = Bench::linux(0);
    bench.write(INTERRUPT_MASK, interrupt::RECEIVE_TIMEOUT | interrupt::RECEIVE);
    bench.uart.receive(1);
    bench.write(INTERRUPT_CLEAR, 0x7ff);
    assert_eq!(bench.read(MASKED_INTERRUPT), interrupt::RECEIVE_TIMEOUT);
    assert!(bench.uart.interrupt_level());
}

#[test]
fn masked_interrupts_are_raised_but_not_asserted() {
    let mut bench = Bench::linux(0);
    bench.uart.receive(1);
    assert_eq!((bench.read(RAW_INTERRUPT), bench.read(MASKED_INTERRUPT)), (0x50, 0));
    assert!(!bench.uart.interrupt_level());
    bench.write(INTERRUPT_MASK, interrupt::RECEIVE);
    assert_eq!(bench.read(MASKED_INTERRUPT), interrupt::RECEIVE);
    assert!(bench.uart.interrupt_level());
}

#[test]
fn sending_does_not_ask_for_the_enables() {
    let mut bench = Bench::linux(100);
    bench.write(CONTROL, 0);
    bench.write(DATA, b'a'.into());
    assert_eq!(bench.sent, b"a");
    assert_eq!(bench.flags(flag::BUSY), 0);
}

#[test]
fn receiving_asks_for_the_enables_once_the_guest_knows_them() {
    let mut bench = Bench::linux(100);
    bench.write(CONTROL, control::ENABLE);
    assert!(!bench.uart.receive(b'b'));
    bench.write(CONTROL, control::TRANSMIT | control::RECEIVE);
    assert!(!bench.uart.receive(b'b'));
    bench.write(CONTROL, control::ENABLE | control::RECEIVE);
    assert!(bench.uart.receive(b'b'));
}

#[test]
fn fifos_keep_their_bytes_when_switched() {
    let mut bench = Bench::linux(0);
    (1..4).for_each(|byte| bench.write(DATA, byte));
    assert!((1..4).all(|byte| bench.uart.receive(byte)));
    bench.write(LINE_CONTROL, 0x60);
    assert_eq!(bench.flags(flag::TRANSMIT_FULL | flag::RECEIVE_FULL), flag::TRANSMIT_FULL | flag::RECEIVE_FULL);
    assert_eq!((1..4).map(|_| bench.read(DATA)).collect::<Vec<_>>(), [1, 2, 3]);
    bench.drain(10);
    assert_eq!(bench.sent, [1, 2, 3]);
}

#[test]
fn loopback_returns_data_and_modem_lines_and_tells_of_overruns() {
    let mut bench = Bench::linux(100);
    bench.write(CONTROL, 0x301 | control::LOOPBACK | control::RTS | control::OUT2);
    assert_eq!(bench.flags(0x107), flag::CTS | flag::RI);
    assert!(!bench.uart.receive(0), "the wire is cut");
    (0..17).for_each(|byte| bench.write(DATA, byte));
    assert_eq!(bench.read(RAW_INTERRUPT) & interrupt::OVERRUN, interrupt::OVERRUN);
    assert_eq!((bench.read(DATA), bench.read(RECEIVE_STATUS)), (DATA_OVERRUN, STATUS_OVERRUN));
    assert_eq!((bench.read(DATA), bench.read(RECEIVE_STATUS)), (1, STATUS_OVERRUN));
    bench.write(RECEIVE_STATUS, 0);
    assert_eq!((bench.read(DATA), bench.read(RECEIVE_STATUS)), (2, 0));
    assert!(bench.sent.is_empty());
    bench.write(CONTROL, 0x301);
    assert_eq!(bench.flags(0x107), 0);
}
