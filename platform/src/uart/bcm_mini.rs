//! The mini UART of BCM2835 to BCM2711 (BCM2711 ARM Peripherals, 2.2 "Mini UART"; an 8250 but for its baud rate).

use crate::mmio::Registers;
use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite};
use tock_registers::{register_bitfields, register_structs};

register_bitfields![u32,
    /// AUX_ENABLES, 2.2.
    Enables [
        /// The mini UART is on; off, its registers do not answer.
        UART 0
    ],
    /// AUX_MU_IER_REG, 2.2.2.
    InterruptEnable [
        /// While a byte waits to be got.
        RECEIVE 0,
        /// While there is room to send.
        TRANSMIT 1,
        /// Called "don't care", but without it the receive interrupt does not come (erratum; Linux sets it too).
        LINE_STATUS 2
    ],
    /// AUX_MU_LSR_REG, 2.2.2.
    LineStatus [
        /// A byte waits to be got.
        DATA_READY 0,
        /// There is room for a byte.
        TRANSMIT_EMPTY 5,
        /// Nothing waits or is being sent.
        TRANSMIT_IDLE 6
    ],
    /// AUX_MU_CNTL_REG, 2.2.2.
    Control [
        /// Receiving is on.
        RECEIVE 0,
        /// Sending is on.
        TRANSMIT 1
    ]
];

register_structs! {
    /// Registers of the AUX block as far as the mini UART: BCM2711 ARM Peripherals, table 2.1.
    pub AuxRegisters {
        (0x000 => _irq),
        (0x004 => enables: ReadWrite<u32, Enables::Register>),
        (0x008 => _reserved),
        (0x040 => io: ReadWrite<u32>),
        (0x044 => ier: ReadWrite<u32, InterruptEnable::Register>),
        (0x048 => iir: ReadWrite<u32>),
        (0x04c => lcr: ReadWrite<u32>),
        (0x050 => mcr: ReadWrite<u32>),
        (0x054 => lsr: ReadOnly<u32, LineStatus::Register>),
        (0x058 => _msr),
        (0x060 => cntl: ReadWrite<u32, Control::Register>),
        (0x064 => _stat),
        (0x068 => baud: ReadWrite<u32>),
        (0x06c => @END),
    }
}

/// Where in the AUX block the device tree's node for the mini UART begins.
const NODE_OFFSET: usize = 0x40;
/// LCR: 8 data bits. Bit 1 is missing in the manual.
const EIGHT_BITS: u32 = 3;
/// IIR: empty both FIFOs.
const CLEAR_FIFOS: u32 = 0b110;

/// A mini UART.
#[derive(Debug)]
pub struct BcmMiniUart {
    registers: Registers<AuxRegisters>,
}

/// AUX_MU_BAUD_REG: the clock divided by 8 times the rate, less one, rounded.
fn divisor(clock: u32, baud: u32) -> Option<u32> {
    let eighths = u64::from(clock) / 4 / u64::from(baud).max(1);
    let divisor = eighths.div_ceil(2).checked_sub(1)?;
    u32::try_from(divisor).ok().filter(|&divisor| divisor <= 0xffff)
}

impl BcmMiniUart {
    /// The mini UART whose node's registers are at `address`, behind the AUX block's own; `None` if nothing can be
    /// before it.
    ///
    /// # Safety
    ///
    /// As for [`Registers::new`], from 0x40 bytes before `address`.
    pub const unsafe fn new(address: usize) -> Option<Self> {
        let Some(start) = address.checked_sub(NODE_OFFSET) else {
            return None;
        };
        // SAFETY: as promised by the caller.
        let registers = unsafe { Registers::new(start) };
        Some(Self { registers })
    }

    /// See [`super::Uart::initialize`].
    pub(super) fn initialize(&mut self, clock: Option<u32>, baud: Option<u32>) {
        let registers = &self.registers;
        let was_on = registers.enables.is_set(Enables::UART);
        registers.enables.modify(Enables::UART::SET);
        registers.ier.set(0);
        registers.lcr.set(EIGHT_BITS);
        let divisor = clock.zip(baud).and_then(|(clock, baud)| divisor(clock, baud));
        if let (Some(divisor), false) = (divisor, was_on) {
            registers.iir.set(CLEAR_FIFOS);
            registers.baud.set(divisor);
        }
        registers.cntl.write(Control::RECEIVE::SET + Control::TRANSMIT::SET);
    }

    pub(super) fn transmit_full(&self) -> bool {
        !self.registers.lsr.is_set(LineStatus::TRANSMIT_EMPTY)
    }

    pub(super) fn transmit_idle(&self) -> bool {
        self.registers.lsr.is_set(LineStatus::TRANSMIT_IDLE)
    }

    pub(super) fn write_data(&mut self, byte: u8) {
        self.registers.io.set(u32::from(byte));
    }

    pub(super) fn get(&mut self) -> Option<u8> {
        let ready = self.registers.lsr.is_set(LineStatus::DATA_READY);
        ready.then(|| self.registers.io.get() as u8)
    }

    pub(super) fn enable_receive_interrupt(&mut self) {
        self.registers.ier.modify(InterruptEnable::RECEIVE::SET + InterruptEnable::LINE_STATUS::SET);
    }

    pub(super) fn disable_receive_interrupt(&mut self) {
        self.registers.ier.modify(InterruptEnable::RECEIVE::CLEAR + InterruptEnable::LINE_STATUS::CLEAR);
    }

    pub(super) fn enable_transmit_interrupt(&mut self) {
        self.registers.ier.modify(InterruptEnable::TRANSMIT::SET);
    }

    pub(super) fn disable_transmit_interrupt(&mut self) {
        self.registers.ier.modify(InterruptEnable::TRANSMIT::CLEAR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uart::Uart;

    /// Memory laid out as the AUX block.
    struct Fake([u32; 27]);

    impl Fake {
        fn uart(&mut self) -> Uart {
            let node = (&raw mut self.0).expose_provenance() + 0x40;
            // SAFETY: the array outlives the driver in these tests.
            Uart::BcmMini(unsafe { BcmMiniUart::new(node) }.unwrap())
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
            ($($field:ident: $offset:literal),*) => { [$((core::mem::offset_of!(AuxRegisters, $field), $offset)),*] };
        }
        for (found, manual) in offsets![
            enables: 0x4, io: 0x40, ier: 0x44, iir: 0x48, lcr: 0x4c, mcr: 0x50, lsr: 0x54, cntl: 0x60, baud: 0x68
        ] {
            assert_eq!(found, manual);
        }
    }

    #[test]
    fn divisors_are_those_of_the_manual() {
        // A 500 MHz clock and 115200 baud: 500e6 / (8 * 115200) - 1 = 541.5; 250 MHz: 270.3.
        assert_eq!(divisor(500_000_000, 115_200), Some(542));
        assert_eq!(divisor(250_000_000, 115_200), Some(270));
        assert_eq!(divisor(1, 115_200), None);
        assert_eq!(divisor(u32::MAX, 1), None);
    }

    #[test]
    fn one_that_is_off_is_turned_on_and_set() {
        let mut fake = Fake([0; 27]);
        fake.set(0x4, 0b110);
        fake.set(0x44, 0b111);
        fake.uart().initialize(Some(250_000_000), Some(115_200));
        assert_eq!(fake.get(0x4), 0b111, "the SPI controllers stay as they are");
        assert_eq!((fake.get(0x44), fake.get(0x4c), fake.get(0x60), fake.get(0x68)), (0, 3, 3, 270));
    }

    #[test]
    fn one_that_is_on_keeps_its_baud_rate() {
        let mut fake = Fake([0; 27]);
        fake.set(0x4, 1);
        fake.set(0x68, 541);
        fake.uart().initialize(Some(250_000_000), Some(115_200));
        assert_eq!((fake.get(0x68), fake.get(0x48)), (541, 0));
    }

    #[test]
    fn bytes_come_and_go_as_the_line_status_says() {
        let mut fake = Fake([0; 27]);
        let mut uart = fake.uart();
        assert!(!uart.put(b'x') && !uart.put_waiting(b'x') && uart.get().is_none());
        fake.set(0x54, 1 << 5);
        assert!(uart.put(b'x') && !uart.transmit_idle());
        assert_eq!(fake.get(0x40), u32::from(b'x'));
        fake.set(0x54, 1 | 1 << 6);
        assert!(uart.transmit_idle());
        assert_eq!(uart.get(), Some(b'x'));
    }

    #[test]
    fn interrupts_are_switched_one_by_one() {
        let mut fake = Fake([0; 27]);
        let mut uart = fake.uart();
        uart.enable_receive_interrupt();
        assert_eq!(fake.get(0x44), 0b101);
        uart.enable_transmit_interrupt();
        assert_eq!(fake.get(0x44), 0b111);
        uart.disable_receive_interrupt();
        assert_eq!(fake.get(0x44), 0b010);
        uart.disable_transmit_interrupt();
        assert_eq!(fake.get(0x44), 0);
    }
}
