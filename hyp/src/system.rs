//! The machine with all its guests, as every core sees it once boot is done.

use alloc::vec::Vec;

use spin::{Mutex, Once};
use tessera_memory::Frames;
use tessera_platform::board::Core as BoardCore;
use tessera_platform::gic::{Controller, Gic};
use tessera_platform::smccc::Architecture;
use tessera_platform::timer::Clock;
use tessera_platform::{Affinity, IntId};

use crate::console::Input;
use crate::interrupts::HardwareEnd;
use crate::leave;
use crate::seed::SeedSource;
use crate::terminal;
use crate::vm::Vm;

/// Interrupt numbers that the guests' machine fixes, as QEMU's `virt` has them.
pub mod interrupt {
    /// The virtual timer's PPI.
    pub const GUEST_VIRTUAL_TIMER: u32 = 27;
    /// The non-secure physical timer's PPI.
    pub const GUEST_PHYSICAL_TIMER: u32 = 30;
}

/// The physical interrupts that EL2 takes for itself.
#[derive(Clone, Copy, Debug)]
pub struct Interrupts {
    /// Wakes another core's attention.
    pub kick: IntId,
    /// The EL1 virtual timer, which is the loaded guest's.
    pub virtual_timer: IntId,
    /// EL2's own timer.
    pub hypervisor_timer: IntId,
    /// The virtual CPU interface's calls for maintenance.
    pub maintenance: IntId,
    /// The console's UART.
    pub uart: Option<IntId>,
}

/// The machine.
pub struct System {
    /// Its interrupt controller.
    pub gic: Gic,
    /// What EL2 uses of it.
    pub interrupts: Interrupts,
    /// What becomes of interrupts that guests end.
    pub hardware_end: HardwareEnd,
    /// The counter.
    pub clock: Clock,
    /// Firmware that works around faults of the cores, if there is such.
    pub firmware: Option<Architecture>,
    /// Firmware is called at each exit of a guest, where it can keep EL2 from following branches that guests taught.
    pub hardens_exits: bool,
    /// The cores, in the order of the board's device tree.
    pub cores: Vec<BoardCore>,
    /// The guests.
    pub vms: Vec<Vm>,
    /// Memory that guests and their tables may have. Locked after a VM's map.
    pub frames: Mutex<Frames>,
    /// For guests that start again; none if the board has no random numbers.
    pub seeds: Option<Mutex<SeedSource>>,
    /// VTCR_EL2, on all cores.
    pub vtcr: u64,
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

    /// The affinity of core `index`.
    pub fn core_affinity(&self, index: usize) -> Option<Affinity> {
        self.cores.get(index).map(|core| core.affinity)
    }

    /// Makes core `index` look for what was asked of it.
    pub fn kick_core(&self, index: usize) {
        if let Some(affinity) = self.core_affinity(index) {
            self.gic.send_sgi(self.interrupts.kick, affinity);
        }
    }

    /// The console's UART wants something: takes the input, and lets guests send on whose output waited.
    pub fn serve_uart(&self) {
        while let Some(input) = terminal::receive() {
            match input {
                Input::Nothing => {}
                Input::ToGuest { channel, byte } => {
                    if let Some(vm) = channel.checked_sub(1).and_then(|index| self.vms.get(index)) {
                        vm.receive(byte);
                    }
                }
                Input::Quit => end("quit", || leave::stop_machine(true)),
                Input::Reboot => end("reboot", leave::restart_machine),
            }
        }
        self.resume_output();
    }

    /// The console may have room again: lets guests send on whose output waited.
    pub fn resume_output(&self) {
        self.vms.iter().for_each(Vm::resume_output);
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
