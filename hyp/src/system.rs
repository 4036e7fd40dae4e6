//! The machine with all its guests, as every core sees it once boot is done.

use alloc::vec::Vec;

use spin::Once;
use tessera_platform::IntId;

use crate::console::Input;
use crate::leave;
use crate::machine::Machine;
use crate::manifest::CoreFrame;
use crate::processor::Processor;
use crate::supply::Supply;
use crate::terminal::Work;
use crate::vm::Vm;

/// So much is done for the console before guests go on.
const CONSOLE_STEPS: usize = 8;

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
    /// Cores that run their VMs in windows.
    pub frames: Vec<CoreFrame>,
    /// The core that has the console's input, and sends others' output; else the one that booted, and each its own.
    pub housekeeping: Option<usize>,
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

    /// The console wants something: does what `next` says, which is [`serve`](crate::terminal::serve) or
    /// [`send_on`](crate::terminal::send_on), a few steps of it. If more is left, the UART interrupts again, or the console's
    /// deadline has come.
    pub fn serve_console(&self, processor: &Processor, next: fn() -> Option<Work>) {
        for work in (0..CONSOLE_STEPS).map_while(|_| next()) {
            match work {
                Work::Input(Input::Nothing) => {}
                Work::Input(Input::Quit) => end("quit", || leave::stop_machine(true)),
                Work::Input(Input::Reboot) => end("reboot", || leave::restart_machine(true)),
                Work::Input(Input::ToGuest { channel, byte }) => {
                    if let Some(vm) = self.vm_of_channel(channel) {
                        vm.receive(processor, byte);
                    }
                }
                Work::Resume(channel) => {
                    if let Some(vm) = self.vm_of_channel(channel) {
                        vm.resume_output(processor);
                    }
                }
            }
        }
    }

    fn vm_of_channel(&self, channel: usize) -> Option<&Vm> {
        channel.checked_sub(1).and_then(|index| self.vms.get(index))
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
