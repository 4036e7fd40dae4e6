//! The GICv2 with virtualization extensions (GIC Architecture Specification IHI 0048B), as the GIC-400: distributor,
//! the cores' interface, and what shows interrupts to guests.
//!
//! Right with and without Security Extensions: see `distributor`. What a guest sees of interrupts does not belong here,
//! except for the registers in [`virtual_interface`].

mod cpu_interface;
mod distributor;
mod probe;
#[cfg(test)]
mod tests;
pub mod virtual_interface;

pub use cpu_interface::CpuInterfaceRegisters;
pub use distributor::DistributorRegisters;
pub use virtual_interface::{VirtualControlRegisters, VirtualInterface};

use crate::affinity::Affinity;
use crate::board::GicV2;
use crate::gic::{Acknowledged, Controller, GicError};
use crate::interrupt_id::{IntId, Trigger};
use crate::mmio::{Registers, set};
use crate::system_registers::wait_for_accesses;
use core::sync::atomic::{AtomicU64, Ordering};
use distributor::Generate;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::ReadWrite;

/// GICH_HCR.En (5.3.2).
const ENABLE: u32 = 1;
/// GICH_HCR.UIE.
const UNDERFLOW: u32 = 1 << 1;
/// How many cores a GICv2 serves.
const MAXIMUM_CORES: usize = 8;

/// The driver of a GICv2.
#[derive(Debug)]
pub struct Driver {
    distributor: Registers<DistributorRegisters>,
    cpu_interface: Registers<CpuInterfaceRegisters>,
    virtual_interface: VirtualInterface,
    /// GICV: what a guest has in place of `cpu_interface`.
    virtual_cpu_interface: Registers<CpuInterfaceRegisters>,
    /// The virtual interface's own interrupt.
    maintenance: IntId,
    cores: Cores,
}

/// Which core is behind each CPU interface: known once the core has set itself up.
#[derive(Debug, Default)]
struct Cores([AtomicU64; MAXIMUM_CORES]);

impl Cores {
    /// Set in an entry that tells of a core; no affinity has it.
    const KNOWN: u64 = 1 << 63;

    fn note(&self, mask: u8, core: Affinity) {
        if let Some(entry) = self.0.get(mask.trailing_zeros() as usize) {
            entry.store(core.value() | Self::KNOWN, Ordering::Relaxed);
        }
    }

    /// The mask of targets that names `core`; 0 before it has set itself up.
    #[inline]
    fn mask(&self, core: Affinity) -> u8 {
        let wanted = core.value() | Self::KNOWN;
        let found = self.0.iter().position(|entry| entry.load(Ordering::Relaxed) == wanted);
        found.map_or(0, |index| 1 << index)
    }
}

impl Driver {
    /// Looks at the controller, without changing anything.
    ///
    /// # Errors
    /// A part of it is not there.
    ///
    /// # Safety
    ///
    /// Its regions must be whole pages, mapped at their machine addresses (or the MMU off), for good.
    pub unsafe fn new(layout: &GicV2) -> Result<Self, GicError> {
        // SAFETY: as promised by the caller.
        let (distributor, cpu_interface, virtual_control, virtual_cpu_interface) = unsafe {
            (
                Registers::<DistributorRegisters>::new(layout.distributor.start() as usize),
                Registers::<CpuInterfaceRegisters>::new(layout.cpu_interface.start() as usize),
                Registers::<VirtualControlRegisters>::new(layout.virtual_control.start() as usize),
                Registers::<CpuInterfaceRegisters>::new(layout.virtual_cpu_interface.start() as usize),
            )
        };
        let is_there = [
            distributor::is_gicv2(distributor.icpidr2.get()),
            cpu_interface::is_gicv2(cpu_interface.iidr.get()),
            virtual_interface::is_gicv2(virtual_control.vtr.get()),
            cpu_interface::is_gicv2(virtual_cpu_interface.iidr.get()),
        ];
        if let Some(part) = is_there.iter().position(|is_there| !is_there) {
            return Err(not_there(layout, part));
        }
        let virtual_interface = VirtualInterface::new(virtual_control);
        let (maintenance, cores) = (layout.maintenance.id, Cores::default());
        Ok(Self { distributor, cpu_interface, virtual_interface, virtual_cpu_interface, maintenance, cores })
    }

    /// Holds the calling core's maintenance interrupt back, as if it had been taken, and has its line rise when no more
    /// than one list register is in use (GICH_HCR.UIE); nothing else makes it rise.
    pub fn hold_maintenance(&self) {
        self.set_active(self.maintenance);
        self.virtual_interface.set_control(ENABLE | UNDERFLOW);
    }

    /// Lets it through again; its line is low until [`VirtualInterface::set_control`] or a list register asks for it.
    pub fn release_maintenance(&self) {
        // First the line, or it would come at once.
        self.virtual_interface.set_control(ENABLE);
        self.deactivate(self.maintenance.into());
    }

    /// The calling core's virtual interface.
    #[inline(always)]
    pub fn virtual_interface(&self) -> &VirtualInterface {
        &self.virtual_interface
    }

    /// The machine address of GICV: the registers that guests get in place of the CPU interface.
    pub fn virtual_cpu_interface_address(&self) -> u64 {
        self.virtual_cpu_interface.address() as u64
    }
}

/// Part number `part` is none of a GICv2.
#[cold]
fn not_there(layout: &GicV2, part: usize) -> GicError {
    let (part, region) = match part {
        0 => ("distributor (GICD)", layout.distributor),
        1 => ("CPU interface (GICC)", layout.cpu_interface),
        2 => ("virtual interface control (GICH)", layout.virtual_control),
        _ => ("virtual CPU interface (GICV)", layout.virtual_cpu_interface),
    };
    GicError::NotThere { part, version: 2, address: region.start() }
}

/// The bit of `id` in a register that has one for each interrupt.
const fn bit(id: IntId) -> u32 {
    1 << (id.number() % 32)
}

/// Writes the bit of `id` alone: in registers where writing 0 to a bit does nothing.
fn write_bit(registers: &[ReadWrite<u32>; 32], id: IntId) {
    set(registers, id.number() as usize / 32, bit(id));
}

fn read_bit(registers: &[ReadWrite<u32>; 32], id: IntId) -> bool {
    registers.get(id.number() as usize / 32).is_some_and(|register| register.get() & bit(id) != 0)
}

/// Private interrupts are the calling core's by themselves: the distributor shows each core its own.
impl Controller for Driver {
    fn initialize(&self) -> Result<(), GicError> {
        distributor::initialize(&self.distributor);
        Ok(())
    }

    fn initialize_core(&self) -> Result<(), GicError> {
        self.cores.note(distributor::own_mask(&self.distributor), Affinity::of_this_core());
        distributor::initialize_core(&self.distributor);
        // Nothing virtual is signalled until somebody sets it up.
        self.virtual_interface.set_control(0);
        cpu_interface::initialize(&self.cpu_interface)
    }

    fn interrupt_count(&self) -> u32 {
        distributor::interrupt_count(&self.distributor)
    }

    fn enable(&self, id: IntId) {
        write_bit(&self.distributor.isenabler, id);
    }

    fn disable(&self, id: IntId) {
        write_bit(&self.distributor.icenabler, id);
        // To read it back is to wait for the write.
        self.is_enabled(id);
        wait_for_accesses();
    }

    fn is_enabled(&self, id: IntId) -> bool {
        read_bit(&self.distributor.isenabler, id)
    }

    fn set_priority(&self, id: IntId, priority: u8) {
        set(&self.distributor.ipriorityr, id.number() as usize, priority);
    }

    fn set_trigger(&self, id: IntId, trigger: Trigger) {
        // Two bits each, of which the upper one says edge (4.3.13).
        let edge = 2 << (id.number() % 16 * 2);
        if let Some(register) = self.distributor.icfgr.get(id.number() as usize / 16) {
            register.set(if trigger == Trigger::Edge { register.get() | edge } else { register.get() & !edge });
        }
    }

    fn route(&self, id: IntId, core: Affinity) {
        let mask = self.cores.mask(core);
        if !id.is_private() && mask != 0 {
            set(&self.distributor.itargetsr, id.number() as usize, mask);
        }
    }

    fn set_pending(&self, id: IntId) {
        write_bit(&self.distributor.ispendr, id);
    }

    fn clear_pending(&self, id: IntId) {
        write_bit(&self.distributor.icpendr, id);
    }

    fn is_pending(&self, id: IntId) -> bool {
        read_bit(&self.distributor.ispendr, id)
    }

    fn set_active(&self, id: IntId) {
        write_bit(&self.distributor.isactiver, id);
    }

    fn clear_active(&self, id: IntId) {
        write_bit(&self.distributor.icactiver, id);
    }

    fn is_active(&self, id: IntId) -> bool {
        read_bit(&self.distributor.isactiver, id)
    }

    #[inline]
    fn acknowledge(&self) -> Option<Acknowledged> {
        cpu_interface::acknowledge(&self.cpu_interface)
    }

    #[inline]
    fn end(&self, interrupt: Acknowledged) {
        cpu_interface::end(&self.cpu_interface, interrupt);
    }

    #[inline]
    fn deactivate(&self, interrupt: Acknowledged) {
        cpu_interface::deactivate(&self.cpu_interface, interrupt);
    }

    fn send_sgi(&self, id: IntId, core: Affinity) {
        let mask = self.cores.mask(core);
        if !id.is_sgi() || mask == 0 {
            return;
        }
        // The receiver must see what was written before it was called.
        wait_for_accesses();
        let targets = Generate::FILTER::List + Generate::TARGETS.val(u32::from(mask));
        self.distributor.sgir.write(targets + Generate::ID.val(id.number()));
    }
}
