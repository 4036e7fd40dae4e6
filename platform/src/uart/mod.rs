//! The board's UART. Registers only: who may speak, and colours, tags and focus, are the console's business above.

mod bcm_mini;
mod pl011;

pub use bcm_mini::{AuxRegisters, BcmMiniUart};
pub use pl011::{Pl011, Pl011Registers, Variant};

use crate::board::{Console, UartKind};
use crate::span::Span;

/// Whether these can be the registers of one of the UARTs here.
pub(crate) fn fits(registers: Span) -> bool {
    registers.start().is_multiple_of(4) && registers.size() >= 0x40
}

/// A UART that there is a driver for. Works before the MMU is on.
#[derive(Debug)]
pub enum Uart {
    /// A PL011, or its SBSA subset.
    Pl011(Pl011),
    /// The mini UART of the Raspberry Pi.
    BcmMini(BcmMiniUart),
}

impl Uart {
    /// The driver for `console`; `None` if there is none for its kind, or its registers are cut short.
    ///
    /// # Safety
    ///
    /// The console's registers must be mapped at their machine addresses (or the MMU off), for good; a mini UART's
    /// together with the page they are in.
    pub unsafe fn new(console: &Console) -> Option<Self> {
        let address = usize::try_from(console.registers.start()).ok().filter(|_| fits(console.registers))?;
        match console.kind {
            // SAFETY: as promised by the caller.
            UartKind::Pl011 => Some(Self::Pl011(unsafe { Pl011::new(address, Variant::Full) })),
            // SAFETY: as promised by the caller.
            UartKind::SbsaUart => Some(Self::Pl011(unsafe { Pl011::new(address, Variant::Sbsa) })),
            // SAFETY: as promised by the caller.
            UartKind::BcmMiniUart => Some(Self::BcmMini(unsafe { BcmMiniUart::new(address)? })),
            UartKind::Unsupported(_) => None,
        }
    }

    /// Sets it to 8 data bits, no parity, FIFOs on, interrupts off.
    ///
    /// The baud rate stays as the firmware set it, unless the UART was off and `clock` (Hz) and `baud` are known.
    pub fn initialize(&mut self, clock: Option<u32>, baud: Option<u32>) {
        match self {
            Self::Pl011(uart) => uart.initialize(clock, baud),
            Self::BcmMini(uart) => uart.initialize(clock, baud),
        }
    }

    /// Whether there is no room for another byte to send.
    pub fn transmit_full(&self) -> bool {
        match self {
            Self::Pl011(uart) => uart.transmit_full(),
            Self::BcmMini(uart) => uart.transmit_full(),
        }
    }

    /// Whether everything put has left the line.
    pub fn transmit_idle(&self) -> bool {
        match self {
            Self::Pl011(uart) => uart.transmit_idle(),
            Self::BcmMini(uart) => uart.transmit_idle(),
        }
    }

    /// Sends `byte` if there is room; whether there was.
    pub fn put(&mut self, byte: u8) -> bool {
        let has_room = !self.transmit_full();
        if has_room {
            self.put_now(byte);
        }
        has_room
    }

    /// Sends `byte`. [`transmit_full`](Self::transmit_full) has just said that there is room: else it is lost.
    pub fn put_now(&mut self, byte: u8) {
        match self {
            Self::Pl011(uart) => uart.write_data(byte),
            Self::BcmMini(uart) => uart.write_data(byte),
        }
    }

    /// Sends `byte`, waiting for room as long as a UART that works takes; whether it was sent.
    pub fn put_waiting(&mut self, byte: u8) -> bool {
        let has_room = !self.transmit_full() || crate::mmio::wait_until(|| !self.transmit_full());
        if has_room {
            self.put_now(byte);
        }
        has_room
    }

    /// The next byte received, if there is one. Bytes received in error count as bytes.
    pub fn get(&mut self) -> Option<u8> {
        match self {
            Self::Pl011(uart) => uart.get(),
            Self::BcmMini(uart) => uart.get(),
        }
    }

    /// Raises the interrupt while bytes wait to be got.
    pub fn enable_receive_interrupt(&mut self) {
        match self {
            Self::Pl011(uart) => uart.enable_receive_interrupt(),
            Self::BcmMini(uart) => uart.enable_receive_interrupt(),
        }
    }

    /// No longer raises the interrupt for bytes received.
    pub fn disable_receive_interrupt(&mut self) {
        match self {
            Self::Pl011(uart) => uart.disable_receive_interrupt(),
            Self::BcmMini(uart) => uart.disable_receive_interrupt(),
        }
    }

    /// Raises the interrupt when there is room again: put bytes until it is full first, a PL011 signals the change.
    pub fn enable_transmit_interrupt(&mut self) {
        match self {
            Self::Pl011(uart) => uart.enable_transmit_interrupt(),
            Self::BcmMini(uart) => uart.enable_transmit_interrupt(),
        }
    }

    /// No longer raises the interrupt for room to send.
    pub fn disable_transmit_interrupt(&mut self) {
        match self {
            Self::Pl011(uart) => uart.disable_transmit_interrupt(),
            Self::BcmMini(uart) => uart.disable_transmit_interrupt(),
        }
    }

    /// Forgets interrupts that are signalled: call it in the handler before taking bytes. What still holds, or comes
    /// after, is signalled again.
    pub fn clear_interrupts(&mut self) {
        match self {
            Self::Pl011(uart) => uart.clear_interrupts(),
            // Its interrupts are levels: getting and putting bytes clears them.
            Self::BcmMini(_) => {}
        }
    }
}
