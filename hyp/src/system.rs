//! The machine with all its guests, as every core sees it once boot is done.

use alloc::vec::Vec;

use spin::Once;
use tessera_platform::IntId;

use crate::console::Input;
use crate::leave;
use crate::machine::Machine;
use crate::processor::Processor;
use crate::supply::Supply;
use crate::terminal;
use crate::vm::Vm;

/// The guests and what they share.
pub struct System {
    /// The machine below them.
    pub machine: &'static Machine,
    /// The guests.
    pub vms: Vec<Vm>,
    /// What they take from.
    pub supply: &'static Supply,
    /// SPIs passed through: physical number, and index of the VM.
    pub passthrough: Vec<(IntId, usize)>,
}

static SYSTEM: Once<System> = Once::new();

impl System {
    /// Makes the machine known to all cores; once.
    pub fn install(self) -> &'static Self {
        SYSTEM.call_once(|| self)
    }

    /// The machine, if boot is done.
    pub fn get() -> Option<&'static Self> {
        SYSTEM.get()
    }

    /// The VM that a physical interrupt is passed through to.
    pub fn owner_of(&self, id: IntId) -> Option<&Vm> {
        let (_, vm) = self.passthrough.iter().find(|(passed, _)| *passed == id)?;
        self.vms.get(*vm)
    }

    /// The console's UART wants something: takes the input, and lets guests send on whose output waited.
    pub fn serve_uart(&self, processor: &Processor) {
        while let Some(input) = terminal::receive() {
            match input {
                Input::Nothing => {}
                Input::ToGuest { channel, byte } => {
                    if let Some(vm) = channel.checked_sub(1).and_then(|index| self.vms.get(index)) {
                        vm.receive(processor, byte);
                    }
                }
                Input::Quit => end("quit", || leave::stop_machine(true)),
                Input::Reboot => end("reboot", || leave::restart_machine(true)),
            }
        }
        self.resume_output(processor);
    }

    /// The console may have room again: lets guests send on whose output waited.
    pub fn resume_output(&self, processor: &Processor) {
        self.vms.iter().for_each(|vm| vm.resume_output(processor));
    }

    /// A VM has stopped for good: when it was the last, so does the machine.
    pub fn vm_stopped(&self) {
        if !self.vms.iter().all(Vm::has_ended) {
            return;
        }
        let crashed = self.vms.iter().filter(|vm| vm.has_crashed()).count();
        log::info!("all guests are off, {crashed} crashed");
        leave::stop_machine(crashed == 0);
    }
}

/// The user leaves the machine.
fn end(how: &str, leave: fn() -> !) -> ! {
    log::info!("{how} at the console");
    leave()
}
