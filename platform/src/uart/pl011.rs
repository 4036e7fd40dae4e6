//! Arm PrimeCell UART PL011 (TRM DDI 0183G, chapter 3) and its subset in the Server Base System Architecture
//! (DEN0029, appendix "Generic UART").

use crate::mmio::{Registers, wait_until};
use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

register_bitfields![u32,
    /// UARTDR, 3.3.1.
    Data [
        /// A character.
        DATA OFFSET(0) NUMBITS(8) []
    ],
    /// UARTFR, 3.3.3.
    Flags [
        /// The UART is sending.
        BUSY 3,
        /// Nothing was received.
        RXFE 4,
        /// There is no room to send.
        TXFF 5,
        /// Nothing waits to be sent.
        TXFE 7
    ],
    /// UARTLCR_H, 3.3.7.
    LineControl [
        /// FIFOs are on.
        FEN OFFSET(4) NUMBITS(1) [],
        /// Data bits; 3 is eight.
        WLEN OFFSET(5) NUMBITS(2) [
            /// 8 data bits.
            Eight = 3
        ]
    ],
    /// UARTCR, 3.3.8.
    Control [
        /// The UART is on.
        UARTEN 0,
        /// Sending is on.
        TXE 8,
        /// Receiving is on.
        RXE 9,
        /// Data terminal ready.
        DTR 10,
        /// Request to send.
        RTS 11
    ],
    /// UARTIMSC and UARTICR, 3.3.10 and 3.3.13.
    Interrupts [
        /// Bytes have been received up to the FIFO's level.
        RX OFFSET(4) NUMBITS(1) [],
        /// The FIFO has room again.
        TX OFFSET(5) NUMBITS(1) [],
        /// Bytes have been received and then none for 32 bit times.
        RT OFFSET(6) NUMBITS(1) [],
        /// All that there are.
        ALL OFFSET(0) NUMBITS(11) []
    ]
];

register_structs! {
    /// Registers of a PL011, TRM table 3-1.
    pub Pl011Registers {
        (0x000 => dr: ReadWrite<u32, Data::Register>),
        (0x004 => _rsr),
        (0x018 => fr: ReadOnly<u32, Flags::Register>),
        (0x01c => _ilpr),
        (0x024 => ibrd: ReadWrite<u32>),
        (0x028 => fbrd: ReadWrite<u32>),
        (0x02c => lcr_h: ReadWrite<u32, LineControl::Register>),
        (0x030 => cr: ReadWrite<u32, Control::Register>),
        (0x034 => ifls: ReadWrite<u32>),
        (0x038 => imsc: ReadWrite<u32, Interrupts::Register>),
        (0x03c => _ris),
        (0x044 => icr: WriteOnly<u32, Interrupts::Register>),
        (0x048 => @END),
    }
}

/// How much of a PL011 there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// All of it.
    Full,
    /// No baud rate, line control or control register: the firmware has set it up.
    Sbsa,
}

/// A PL011.
#[derive(Debug)]
pub struct Pl011 {
    registers: Registers<Pl011Registers>,
    variant: Variant,
}

/// UARTIBRD and UARTFBRD (TRM 3.3.6): the clock divided by 16 times the rate, in 64ths, rounded.
fn divisors(clock: u32, baud: u32) -> Option<(u32, u32)> {
    let sixty_fourths = (u64::from(clock) * 8 / u64::from(baud).max(1)).div_ceil(2);
    let whole = u32::try_from(sixty_fourths / 64).ok()?;
    (1..=0xffff).contains(&whole).then_some((whole, (sixty_fourths % 64) as u32))
}

impl Pl011 {
    /// The PL011 whose registers are at `address`.
    ///
    /// # Safety
    ///
    /// As for [`Registers::new`].
    pub const unsafe fn new(address: usize, variant: Variant) -> Self {
        // SAFETY: as promised by the caller.
        let registers = unsafe { Registers::new(address) };
        Self { registers, variant }
    }

    /// See [`super::Uart::initialize`].
    pub(super) fn initialize(&mut self, clock: Option<u32>, baud: Option<u32>) {
        let registers = &self.registers;
        registers.imsc.set(0);
        registers.icr.write(Interrupts::ALL.val(0x7ff));
        if self.variant == Variant::Sbsa {
            return;
        }
        let was_on = registers.cr.is_set(Control::UARTEN);
        // The TRM (3.3.8) wants the UART idle and off while line control changes. A UART that stays busy is broken,
        // and is tried all the same.
        let _ = wait_until(|| !registers.fr.is_set(Flags::BUSY));
        registers.cr.set(0);
        let divisors = clock.zip(baud).and_then(|(clock, baud)| divisors(clock, baud));
        if let (Some((whole, fraction)), false) = (divisors, was_on) {
            registers.ibrd.set(whole);
            registers.fbrd.set(fraction);
        }
        // Written last: it takes the divisors over (3.3.7).
        registers.lcr_h.write(LineControl::FEN::SET + LineControl::WLEN::Eight);
        // Interrupt as soon as the receive FIFO is 1/8 full, or the transmit FIFO 7/8 empty.
        registers.ifls.set(0);
        registers.cr.write(
            Control::UARTEN::SET + Control::TXE::SET + Control::RXE::SET + Control::DTR::SET + Control::RTS::SET,
        );
    }

    pub(super) fn transmit_full(&self) -> bool {
        self.registers.fr.is_set(Flags::TXFF)
    }

    pub(super) fn transmit_idle(&self) -> bool {
        self.registers.fr.is_set(Flags::TXFE) && !self.registers.fr.is_set(Flags::BUSY)
    }

    pub(super) fn write_data(&mut self, byte: u8) {
        self.registers.dr.write(Data::DATA.val(u32::from(byte)));
    }

    pub(super) fn get(&mut self) -> Option<u8> {
        let empty = self.registers.fr.is_set(Flags::RXFE);
        (!empty).then(|| self.registers.dr.read(Data::DATA) as u8)
    }

    pub(super) fn enable_receive_interrupt(&mut self) {
        self.registers.imsc.modify(Interrupts::RX::SET + Interrupts::RT::SET);
    }

    pub(super) fn disable_receive_interrupt(&mut self) {
        self.registers.imsc.modify(Interrupts::RX::CLEAR + Interrupts::RT::CLEAR);
    }

    pub(super) fn enable_transmit_interrupt(&mut self) {
        self.registers.imsc.modify(Interrupts::TX::SET);
    }

    pub(super) fn disable_transmit_interrupt(&mut self) {
        self.registers.imsc.modify(Interrupts::TX::CLEAR);
    }

    pub(super) fn clear_interrupts(&mut self) {
        self.registers.icr.write(Interrupts::ALL.val(0x7ff));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uart::Uart;

    /// Memory laid out as a PL011.
    struct Fake([u32; 18]);

    impl Fake {
        fn uart(&mut self, variant: Variant) -> Uart {
            // SAFETY: the array outlives the driver in these tests.
            Uart::Pl011(unsafe { Pl011::new((&raw mut self.0).expose_provenance(), variant) })
        }

        fn get(&self, offset: usize) -> u32 {
            // SAFETY: it is an element of the array.
            unsafe { (&raw const self.0[offset / 4]).read_volatile() }
        }

        fn set(&mut self, offset: usize, value: u32) {
            self.0[offset / 4] = value;
        }
    }

    #[test]
    fn registers_are_where_the_manual_has_them() {
        macro_rules! offsets {
            ($($field:ident: $offset:literal),*) => { [$((core::mem::offset_of!(Pl011Registers, $field), $offset)),*] };
        }
        for (found, manual) in offsets![
            dr: 0x0, fr: 0x18, ibrd: 0x24, fbrd: 0x28, lcr_h: 0x2c, cr: 0x30, ifls: 0x34, imsc: 0x38, icr: 0x44
        ] {
            assert_eq!(found, manual);
        }
    }

    #[test]
    fn divisors_are_those_of_the_manual() {
        // TRM 3.3.6, example: 4 MHz and 230400 baud are 1 and 5/64.
        assert_eq!(divisors(4_000_000, 230_400), Some((1, 5)));
        assert_eq!(divisors(24_000_000, 115_200), Some((13, 1)));
        assert_eq!(divisors(48_000_000, 115_200), Some((26, 3)));
        assert_eq!(divisors(100, 115_200), None);
        assert_eq!(divisors(u32::MAX, 1), None);
        assert_eq!(divisors(1, 0), None);
    }

    #[test]
    fn one_that_is_off_is_set_to_the_baud_rate() {
        let mut fake = Fake([0; 18]);
        fake.uart(Variant::Full).initialize(Some(24_000_000), Some(115_200));
        assert_eq!((fake.get(0x24), fake.get(0x28)), (13, 1));
        assert_eq!((fake.get(0x2c), fake.get(0x30)), (0x70, 0xf01));
        assert_eq!((fake.get(0x38), fake.get(0x44)), (0, 0x7ff));
        let mut fake = Fake([9; 18]);
        fake.set(0x30, 0);
        fake.uart(Variant::Full).initialize(None, Some(115_200));
        assert_eq!((fake.get(0x24), fake.get(0x28), fake.get(0x30)), (9, 9, 0xf01));
    }

    #[test]
    fn one_that_is_on_keeps_its_baud_rate() {
        let mut fake = Fake([0; 18]);
        fake.set(0x24, 26);
        fake.set(0x28, 3);
        fake.set(0x30, 0x301);
        fake.uart(Variant::Full).initialize(Some(24_000_000), Some(115_200));
        assert_eq!((fake.get(0x24), fake.get(0x28)), (26, 3));
        assert_eq!((fake.get(0x2c), fake.get(0x30)), (0x70, 0xf01));
    }

    #[test]
    fn an_sbsa_uart_is_left_as_the_firmware_set_it() {
        let mut fake = Fake([0; 18]);
        fake.set(0x38, 0x50);
        fake.uart(Variant::Sbsa).initialize(Some(24_000_000), Some(115_200));
        assert_eq!((fake.get(0x24), fake.get(0x2c), fake.get(0x30)), (0, 0, 0));
        assert_eq!(fake.get(0x38), 0);
    }

    #[test]
    fn bytes_are_sent_while_there_is_room() {
        let mut fake = Fake([0; 18]);
        let mut uart = fake.uart(Variant::Full);
        assert!(uart.put(b'x'));
        assert_eq!(fake.get(0), u32::from(b'x'));
        fake.set(0x18, 1 << 5);
        assert!(uart.transmit_full() && !uart.put(b'y') && !uart.put_waiting(b'z'));
        assert_eq!(fake.get(0), u32::from(b'x'));
        fake.set(0x18, 1 << 7);
        assert!(uart.transmit_idle() && uart.put_waiting(b'z'));
        fake.set(0x18, 1 << 7 | 1 << 3);
        assert!(!uart.transmit_idle());
    }

    #[test]
    fn bytes_are_received_without_their_error_bits() {
        let mut fake = Fake([0; 18]);
        fake.set(0x18, 1 << 4);
        fake.set(0, 0xf41);
        let mut uart = fake.uart(Variant::Full);
        assert_eq!(uart.get(), None);
        fake.set(0x18, 0);
        assert_eq!(uart.get(), Some(0x41));
    }

    #[test]
    fn interrupts_are_switched_one_by_one() {
        let mut fake = Fake([0; 18]);
        let mut uart = fake.uart(Variant::Full);
        uart.enable_receive_interrupt();
        assert_eq!(fake.get(0x38), 0x50);
        uart.enable_transmit_interrupt();
        assert_eq!(fake.get(0x38), 0x70);
        uart.disable_receive_interrupt();
        assert_eq!(fake.get(0x38), 0x20);
        uart.disable_transmit_interrupt();
        uart.clear_interrupts();
        assert_eq!((fake.get(0x38), fake.get(0x44)), (0, 0x7ff));
    }
}
