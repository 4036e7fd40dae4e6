//! What EL2 drives of the board itself, as every core sees it once boot is done. It knows no VM.

use alloc::vec::Vec;

use tessera_platform::board::Core as BoardCore;
use tessera_platform::gic::{Controller, Gic};
use tessera_platform::smccc::Architecture;
use tessera_platform::timer::Clock;
use tessera_platform::{Affinity, IntId};

use crate::doorbell::Doorbell;
use crate::interrupts::HardwareEnd;

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

/// Where a vCPU runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The core, counted as in the board's device tree.
    pub core: usize,
    /// Its number among the vCPUs of that core.
    pub slot: usize,
}

/// The machine below the guests.
pub struct Machine {
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
    /// The doorbell of each core.
    pub doorbells: Vec<Doorbell>,
    /// For a core that there is not.
    pub nobodys_doorbell: Doorbell,
    /// The core that serves the console for all, if one does.
    pub attendant: Option<usize>,
    /// VTCR_EL2, on all cores.
    pub vtcr: u64,
}

impl Machine {
    /// The affinity of core `index`.
    pub fn core_affinity(&self, index: usize) -> Option<Affinity> {
        self.cores.get(index).map(|core| core.affinity)
    }

    /// What others ring for on core `index`.
    pub fn doorbell(&self, index: usize) -> &Doorbell {
        self.doorbells.get(index).unwrap_or(&self.nobodys_doorbell)
    }

    /// Says that the vCPU at `place` has news in its virtual GIC.
    pub fn ring_news(&self, place: Place) {
        if self.doorbell(place.core).ring_news(place.slot) {
            self.kick_core(place.core);
        }
    }

    /// Says that its VM's life wants something of the vCPU at `place`.
    pub fn ring_orders(&self, place: Place) {
        if self.doorbell(place.core).ring_orders(place.slot) {
            self.kick_core(place.core);
        }
    }

    /// Has the console looked at by the core that the UART interrupts.
    pub fn call_attendant(&self) {
        if let Some(uart) = self.interrupts.uart {
            self.gic.set_pending(uart);
        }
    }

    /// Makes core `index` look at its doorbell.
    fn kick_core(&self, index: usize) {
        if let Some(affinity) = self.core_affinity(index) {
            self.gic.send_sgi(self.interrupts.kick, affinity);
        }
    }
}
