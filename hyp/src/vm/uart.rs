//! A guest's emulated PL011 with its place on the shared console and its interrupt.

use crate::lock::Mutex;

use super::Vm;
use crate::console::InputQueue;
use crate::devices::Pl011;
use crate::manifest::{Device, DeviceKind};
use crate::processor::Processor;
use crate::terminal::{self, Written};

/// One UART of a guest.
pub struct ConsoleUart {
    state: Mutex<State>,
    /// The channel of the shared console, if it is on it.
    channel: Option<usize>,
    spi: Option<u32>,
}

struct State {
    device: Pl011,
    /// Input that the device has no room for yet.
    input: InputQueue,
}

impl State {
    fn reset() -> Self {
        Self { device: Pl011::new(), input: InputQueue::new() }
    }

    fn feed(&mut self) {
        let Self { device, input } = self;
        input.deliver(|byte| device.receive(byte));
    }
}

impl ConsoleUart {
    /// If `device` is a UART: what makes it, given the console channel of its guest.
    pub fn of_device(device: &Device) -> Option<impl FnOnce(usize) -> Self + use<>> {
        let DeviceKind::Uart { console } = device.kind else { return None };
        let spi = device.interrupts.first().map(|interrupt| interrupt.spi);
        Some(move |channel| Self { state: Mutex::new(State::reset()), channel: console.then_some(channel), spi })
    }

    /// Whether it is the guest's end of the shared console.
    pub fn is_console(&self) -> bool {
        self.channel.is_some()
    }

    /// Back to the state out of reset.
    pub fn reset(&self) {
        *self.state.lock() = State::reset();
    }

    /// A guest's load.
    #[inline(always)]
    pub fn read(&self, vm: &Vm, processor: &Processor, offset: u64, size: usize) -> u64 {
        let mut state = self.state.lock();
        if let Some(flags) = state.device.read_flags(offset, size as u8) {
            return flags;
        }
        let before = state.device.interrupt_level();
        let value = state.device.read(offset, size as u8);
        if !state.input.is_empty() {
            state.feed();
        }
        let after = state.device.interrupt_level();
        if before != after {
            self.signal(vm, processor, after);
        }
        value
    }

    /// A guest's store. Returns whether something of the console waits for its time since.
    #[inline]
    pub fn write(&self, vm: &Vm, processor: &Processor, offset: u64, size: usize, value: u64) -> bool {
        let mut waits = false;
        let mut state = self.state.lock();
        let before = state.device.interrupt_level();
        state.device.write(offset, size as u8, value, |byte| {
            let written = self.send(byte);
            waits |= written != Written::Shown;
            written != Written::Refused
        });
        if !state.input.is_empty() {
            state.feed();
        }
        let after = state.device.interrupt_level();
        if before != after {
            self.signal(vm, processor, after);
        }
        waits
    }

    /// Input from the console.
    pub fn receive(&self, vm: &Vm, processor: &Processor, byte: u8) {
        let mut state = self.state.lock();
        // A guest that reads nothing loses what is typed at it after the first KiB.
        let _ = state.input.push(byte);
        state.feed();
        self.signal(vm, processor, state.device.interrupt_level());
    }

    /// The console may have room for what waits here.
    pub fn resume(&self, vm: &Vm, processor: &Processor) {
        let mut state = self.state.lock();
        if state.device.has_output() {
            state.device.drain(|byte| self.send(byte) != Written::Refused);
            self.signal(vm, processor, state.device.interrupt_level());
        }
    }

    #[inline]
    fn send(&self, byte: u8) -> Written {
        self.channel.map_or(Written::Shown, |channel| terminal::write(channel, byte))
    }

    /// Called with the UART locked, so that levels arrive in order.
    fn signal(&self, vm: &Vm, processor: &Processor, high: bool) {
        if let Some(spi) = self.spi {
            vm.set_spi(processor, spi, high);
        }
    }
}
