//! The PL011 UART (Arm DDI 0183), revision r1p1 with FIFOs of 16 bytes, as QEMU's `virt` machine has it.
//!
//! Where the manual leaves timing open, or where software relies on QEMU's choice, this is what is done:
//! * Sending takes no time while the sink has room. When it has none, the transmit FIFO fills up, and
//!   [`Pl011::drain`] empties it.
//! * The receive interrupt is raised by every byte that comes, whatever the trigger level, as QEMU does: guests built
//!   for it enable only this interrupt. The receive timeout is taken as zero: RT is raised while there is a byte to
//!   read, and cannot be cleared otherwise.
//! * The transmit interrupt is raised when the FIFO falls to its trigger level or becomes empty, never by the level
//!   itself: before the first byte it is not raised (DDI 0183 3.4.2).
//! * UARTEN and TXE are not asked when sending, as in QEMU: much small software never sets them, and Linux's early
//!   console waits for its bytes to leave while its driver has the UART off. UARTEN and RXE hold for receiving once the
//!   guest has set UARTEN.
//! * FIFOs keep their bytes when FEN changes.
//!
//! Baud rates, parity, modem interrupts and DMA are registers without effect. Which interrupt the level is wired to, and
//! where bytes go, does not belong here.

mod fifo;
#[cfg(test)]
mod tests;

use super::{identification, meets_register, truncate};
use fifo::Fifo;

const DATA: u64 = 0x00;
const RECEIVE_STATUS: u64 = 0x04;
const FLAGS: u64 = 0x18;
const LOW_POWER: u64 = 0x20;
const INTEGER_BAUD: u64 = 0x24;
const FRACTIONAL_BAUD: u64 = 0x28;
const LINE_CONTROL: u64 = 0x2c;
const CONTROL: u64 = 0x30;
const FIFO_LEVEL: u64 = 0x34;
const INTERRUPT_MASK: u64 = 0x38;
const RAW_INTERRUPT: u64 = 0x3c;
const MASKED_INTERRUPT: u64 = 0x40;
const INTERRUPT_CLEAR: u64 = 0x44;
const DMA_CONTROL: u64 = 0x48;
/// PeriphID0-3 and PCellID0-3 (DDI 0183 3.3.14, 3.3.15): r1p1, so that software takes the FIFOs as 16 deep.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// UARTFR bits (DDI 0183 3.3.3).
mod flag {
    pub const CTS: u32 = 1 << 0;
    pub const DSR: u32 = 1 << 1;
    pub const DCD: u32 = 1 << 2;
    pub const BUSY: u32 = 1 << 3;
    pub const RECEIVE_EMPTY: u32 = 1 << 4;
    pub const TRANSMIT_FULL: u32 = 1 << 5;
    pub const RECEIVE_FULL: u32 = 1 << 6;
    pub const TRANSMIT_EMPTY: u32 = 1 << 7;
    pub const RI: u32 = 1 << 8;
}

/// Interrupt bits (DDI 0183 3.3.10).
mod interrupt {
    pub const RECEIVE: u32 = 1 << 4;
    pub const TRANSMIT: u32 = 1 << 5;
    pub const RECEIVE_TIMEOUT: u32 = 1 << 6;
    pub const OVERRUN: u32 = 1 << 10;
    pub const ALL: u32 = 0x7ff;
}

/// UARTCR bits (DDI 0183 3.3.8).
mod control {
    pub const ENABLE: u32 = 1 << 0;
    pub const LOOPBACK: u32 = 1 << 7;
    pub const TRANSMIT: u32 = 1 << 8;
    pub const RECEIVE: u32 = 1 << 9;
    pub const DTR: u32 = 1 << 10;
    pub const RTS: u32 = 1 << 11;
    pub const OUT1: u32 = 1 << 12;
    pub const OUT2: u32 = 1 << 13;
}

/// FEN in UARTLCR_H (DDI 0183 3.3.7).
const FIFO_ENABLE: u32 = 1 << 4;
/// The overrun bit in UARTRSR.
const STATUS_OVERRUN: u32 = 1 << 3;
/// The overrun bit in UARTDR.
const DATA_OVERRUN: u32 = 1 << 11;

/// One guest's UART.
#[derive(Debug, Clone)]
pub struct Pl011 {
    /// UARTFR, kept up to date: guests poll it more often than anything else.
    flags: u32,
    raw_interrupts: u32,
    interrupt_mask: u32,
    control: u32,
    line_control: u32,
    fifo_level: u32,
    receive_status: u32,
    transmit: Fifo,
    receive: Fifo,
    /// The guest has set UARTEN at least once, so it knows of the enable bits.
    enables_hold: bool,
    /// A byte was lost, which the next byte read is to tell.
    overrun: bool,
    low_power: u32,
    integer_baud: u32,
    fractional_baud: u32,
    dma_control: u32,
}

impl Default for Pl011 {
    fn default() -> Self {
        Self::new()
    }
}

impl Pl011 {
    /// A UART after reset.
    pub const fn new() -> Self {
        Self {
            flags: flag::TRANSMIT_EMPTY | flag::RECEIVE_EMPTY,
            raw_interrupts: 0,
            interrupt_mask: 0,
            control: control::TRANSMIT | control::RECEIVE,
            line_control: 0,
            fifo_level: 0x12,
            receive_status: 0,
            transmit: Fifo::new(),
            receive: Fifo::new(),
            enables_hold: false,
            overrun: false,
            low_power: 0,
            integer_baud: 0,
            fractional_baud: 0,
            dma_control: 0,
        }
    }

    /// UARTFR, if that is what a guest reads, whole: what guests poll, and what changes nothing.
    #[inline(always)]
    pub fn read_flags(&self, offset: u64, size: u8) -> Option<u64> {
        // Linux reads 16 bits, most others 32.
        (offset == FLAGS && matches!(size, 2 | 4)).then(|| self.flags.into())
    }

    /// What a guest reads, `size` bytes at `offset`. Reading UARTDR makes room for [`receive`](Self::receive).
    pub fn read(&mut self, offset: u64, size: u8) -> u64 {
        if !meets_register(offset, size) {
            return 0;
        }
        let value = match offset {
            DATA => self.read_data(),
            RECEIVE_STATUS => self.receive_status,
            FLAGS => self.flags,
            LOW_POWER => self.low_power,
            INTEGER_BAUD => self.integer_baud,
            FRACTIONAL_BAUD => self.fractional_baud,
            LINE_CONTROL => self.line_control,
            CONTROL => self.control,
            FIFO_LEVEL => self.fifo_level,
            INTERRUPT_MASK => self.interrupt_mask,
            RAW_INTERRUPT => self.raw_interrupts,
            MASKED_INTERRUPT => self.raw_interrupts & self.interrupt_mask,
            DMA_CONTROL => self.dma_control,
            _ => identification(&IDENTIFICATION, offset),
        };
        truncate(value.into(), size).into()
    }

    /// A guest's write of `size` bytes at `offset`. Output goes to `sink`, which returns whether it took the byte.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, sink: impl FnMut(u8) -> bool) {
        if !meets_register(offset, size) {
            return;
        }
        let value = truncate(value, size);
        match offset {
            DATA => self.write_data((value & 0xff) as u8, sink),
            RECEIVE_STATUS => self.receive_status = 0,
            LOW_POWER => self.low_power = value & 0xff,
            INTEGER_BAUD => self.integer_baud = value & 0xffff,
            FRACTIONAL_BAUD => self.fractional_baud = value & 0x3f,
            LINE_CONTROL => self.line_control = value & 0xff,
            CONTROL => self.write_control(value & 0xffff, sink),
            FIFO_LEVEL => self.fifo_level = value & 0x3f,
            INTERRUPT_MASK => self.interrupt_mask = value & interrupt::ALL,
            INTERRUPT_CLEAR => self.raw_interrupts &= !value,
            DMA_CONTROL => self.dma_control = value & 7,
            _ => {}
        }
        if matches!(offset, LINE_CONTROL | CONTROL | INTERRUPT_CLEAR) {
            self.update();
        }
    }

    /// Gives the guest a byte; false when it has no room or does not receive: the caller keeps the byte then.
    pub fn receive(&mut self, byte: u8) -> bool {
        let taken = self.receives() && self.control & control::LOOPBACK == 0 && self.receive.push(byte, self.depth());
        if taken {
            self.raw_interrupts |= interrupt::RECEIVE;
            self.update();
        }
        taken
    }

    /// Empties the transmit FIFO into `sink` as far as that takes bytes; to be called when it has room again.
    pub fn drain(&mut self, mut sink: impl FnMut(u8) -> bool) {
        while let Some(byte) = self.transmit.peek() {
            if !sink(byte) {
                return;
            }
            self.transmit.pop();
            self.sent();
        }
    }

    /// Whether bytes wait for [`drain`](Self::drain).
    pub fn has_output(&self) -> bool {
        !self.transmit.is_empty()
    }

    /// Whether UARTINTR, the combined interrupt, is asserted.
    #[inline]
    pub fn interrupt_level(&self) -> bool {
        self.raw_interrupts & self.interrupt_mask != 0
    }
}

/// What the registers do.
impl Pl011 {
    fn read_data(&mut self) -> u32 {
        let Some(byte) = self.receive.pop() else {
            return 0;
        };
        let lost = core::mem::take(&mut self.overrun);
        if self.receive.is_empty() {
            self.raw_interrupts &= !interrupt::RECEIVE;
        } else {
            // A guest that reads one byte for each interrupt gets the rest as well.
            self.raw_interrupts |= interrupt::RECEIVE;
        }
        self.update();
        u32::from(byte) | if lost { DATA_OVERRUN } else { 0 }
    }

    fn write_data(&mut self, byte: u8, mut sink: impl FnMut(u8) -> bool) {
        if self.control & control::LOOPBACK != 0 {
            return self.loop_back(byte);
        }
        self.drain(&mut sink);
        if self.transmit.is_empty() && sink(byte) {
            // The FIFO is empty as before, and the flags say so.
            self.raw_interrupts |= interrupt::TRANSMIT;
            return;
        }
        // Beyond a full FIFO a byte is lost, as in hardware: the guest did not ask UARTFR.
        self.transmit.push(byte, self.depth());
        if self.transmit.len() > self.transmit_trigger() {
            self.raw_interrupts &= !interrupt::TRANSMIT;
        }
        self.update();
    }

    fn loop_back(&mut self, byte: u8) {
        if !self.receive.push(byte, self.depth()) {
            self.overrun = true;
            self.receive_status = STATUS_OVERRUN;
            self.raw_interrupts |= interrupt::OVERRUN;
        }
        self.raw_interrupts |= interrupt::RECEIVE | interrupt::TRANSMIT;
        self.update();
    }

    fn write_control(&mut self, value: u32, sink: impl FnMut(u8) -> bool) {
        self.control = value;
        self.enables_hold |= value & control::ENABLE != 0;
        self.drain(sink);
    }

    /// A byte has left the transmit FIFO.
    fn sent(&mut self) {
        if self.transmit.len() == self.transmit_trigger() || self.transmit.is_empty() {
            self.raw_interrupts |= interrupt::TRANSMIT;
        }
        self.update();
    }

    /// Whether a byte that arrives is taken: the enables hold once the guest has used them.
    fn receives(&self) -> bool {
        let needed = control::ENABLE | control::RECEIVE;
        !self.enables_hold || self.control & needed == needed
    }

    /// How many bytes a FIFO takes now.
    fn depth(&self) -> usize {
        if self.line_control & FIFO_ENABLE == 0 { 1 } else { fifo::DEPTH }
    }

    /// How full the transmit FIFO is when its interrupt is raised (DDI 0183 3.3.9; reserved values as the highest).
    fn transmit_trigger(&self) -> usize {
        if self.depth() == 1 {
            return 0;
        }
        match self.fifo_level & 7 {
            0 => fifo::DEPTH / 8,
            1 => fifo::DEPTH / 4,
            2 => fifo::DEPTH / 2,
            3 => fifo::DEPTH * 3 / 4,
            _ => fifo::DEPTH * 7 / 8,
        }
    }

    /// Brings the flags, and the interrupt that is a level, up to date.
    fn update(&mut self) {
        let depth = self.depth();
        let bit = |condition: bool, bit: u32| if condition { bit } else { 0 };
        self.flags = bit(self.receive.is_empty(), flag::RECEIVE_EMPTY)
            | bit(self.receive.len() >= depth, flag::RECEIVE_FULL)
            | bit(self.transmit.is_empty(), flag::TRANSMIT_EMPTY)
            | bit(!self.transmit.is_empty(), flag::BUSY)
            | bit(self.transmit.len() >= depth, flag::TRANSMIT_FULL)
            | self.looped_modem_lines();
        self.raw_interrupts &= !interrupt::RECEIVE_TIMEOUT;
        self.raw_interrupts |= bit(!self.receive.is_empty(), interrupt::RECEIVE_TIMEOUT);
    }

    /// In loopback the modem outputs are the inputs (DDI 0183 2.4.4).
    fn looped_modem_lines(&self) -> u32 {
        if self.control & control::LOOPBACK == 0 {
            return 0;
        }
        let pairs = [
            (control::RTS, flag::CTS),
            (control::DTR, flag::DSR),
            (control::OUT1, flag::DCD),
            (control::OUT2, flag::RI),
        ];
        let on = pairs.iter().filter(|(output, _)| self.control & output != 0);
        on.fold(0, |lines, (_, input)| lines | input)
    }
}
