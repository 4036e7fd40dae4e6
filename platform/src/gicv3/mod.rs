//! The GICv3 (GIC Architecture Specification IHI 0069H): distributor, redistributors and the cores' interface.
//!
//! LPIs and the ITS do not belong here: nobody uses them. Nor does what a guest sees of interrupts, except for the
//! registers in [`virtual_interface`].

mod cpu_interface;
mod distributor;
mod redistributor;
#[cfg(test)]
mod tests;
pub mod virtual_interface;

pub use distributor::DistributorRegisters;
pub use redistributor::RedistributorRegisters;

use crate::affinity::Affinity;
use crate::board::GicV3;
use crate::gic::{Acknowledged, Controller, GicError};
use crate::interrupt_id::{IntId, Trigger};
use crate::mmio::Registers;
use alloc::vec::Vec;
use redistributor::Redistributor;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::ReadWrite;

/// The driver of a GICv3.
#[derive(Debug)]
pub struct Driver {
    distributor: Registers<DistributorRegisters>,
    redistributors: Vec<Redistributor>,
}

/// GICD_PIDR2 and GICR_PIDR2, ArchRev: is it a GICv3 or GICv4 (8.9.29)?
const fn is_gicv3(pidr2: u32) -> bool {
    matches!(pidr2 >> 4 & 0xf, 3 | 4)
}

impl Driver {
    /// Looks at the controller and lists its redistributors, without changing anything.
    ///
    /// # Safety
    ///
    /// Its regions must be mapped at their machine addresses (or the MMU off), for good.
    pub unsafe fn new(layout: &GicV3) -> Result<Self, GicError> {
        let address = layout.distributor.start() as usize;
        // SAFETY: as promised by the caller.
        let distributor = unsafe { Registers::<DistributorRegisters>::new(address) };
        if !address.is_multiple_of(8) || !is_gicv3(distributor.pidr2.get()) {
            let address = layout.distributor.start();
            return Err(GicError::NotThere { part: "distributor (GICD)", version: 3, address });
        }
        // SAFETY: as promised by the caller.
        let redistributors = unsafe { redistributor::find(layout) };
        Ok(Self { distributor, redistributors })
    }

    /// The calling core's redistributor.
    #[inline]
    fn own(&self) -> Option<&RedistributorRegisters> {
        self.redistributor(Affinity::of_this_core()).map(|found| &*found.registers)
    }

    fn redistributor(&self, core: Affinity) -> Option<&Redistributor> {
        self.redistributors.iter().find(|each| each.core == core.packed())
    }

    /// The register that holds the bit of `id`: `private` of the calling core's redistributor, or one of `shared`.
    #[inline]
    fn bit_register(
        &self,
        id: IntId,
        private: impl Fn(&RedistributorRegisters) -> &ReadWrite<u32>,
        shared: impl Fn(&DistributorRegisters) -> &[ReadWrite<u32>; 32],
    ) -> Option<&ReadWrite<u32>> {
        if id.is_private() { self.own().map(private) } else { shared(&self.distributor).get(id.number() as usize / 32) }
    }
}

/// The bit of `id` in a register that has one for each interrupt.
const fn bit(id: IntId) -> u32 {
    1 << (id.number() % 32)
}

/// Writes the bit of `id` alone: in registers where writing 0 to a bit does nothing.
fn write_bit(register: Option<&ReadWrite<u32>>, id: IntId) {
    if let Some(register) = register {
        register.set(bit(id));
    }
}

fn read_bit(register: Option<&ReadWrite<u32>>, id: IntId) -> bool {
    register.is_some_and(|register| register.get() & bit(id) != 0)
}

impl Controller for Driver {
    fn initialize(&self) -> Result<(), GicError> {
        distributor::initialize(&self.distributor, Affinity::of_this_core())
    }

    fn initialize_core(&self) -> Result<(), GicError> {
        let core = Affinity::of_this_core();
        self.redistributor(core).ok_or(GicError::NoRedistributor(core))?.initialize()?;
        cpu_interface::initialize()
    }

    fn interrupt_count(&self) -> u32 {
        distributor::interrupt_count(&self.distributor)
    }

    fn enable(&self, id: IntId) {
        write_bit(self.bit_register(id, |own| &own.isenabler0, |shared| &shared.isenabler), id);
    }

    fn disable(&self, id: IntId) {
        write_bit(self.bit_register(id, |own| &own.icenabler0, |shared| &shared.icenabler), id);
        if id.is_private() {
            self.own().map(redistributor::wait_for_writes);
        } else {
            distributor::wait_for_writes(&self.distributor);
        }
    }

    fn is_enabled(&self, id: IntId) -> bool {
        read_bit(self.bit_register(id, |own| &own.isenabler0, |shared| &shared.isenabler), id)
    }

    fn set_priority(&self, id: IntId, priority: u8) {
        let index = id.number() as usize;
        let register = if id.is_private() {
            self.own().and_then(|own| own.ipriorityr.get(index))
        } else {
            self.distributor.ipriorityr.get(index)
        };
        if let Some(register) = register {
            register.set(priority);
        }
    }

    fn set_trigger(&self, id: IntId, trigger: Trigger) {
        let index = id.number() as usize / 16;
        let register = if id.is_private() {
            self.own().and_then(|own| own.icfgr.get(index))
        } else {
            self.distributor.icfgr.get(index)
        };
        // Two bits each, of which the upper one says edge (12.9.9).
        let edge = 2 << (id.number() % 16 * 2);
        if let Some(register) = register {
            register.set(if trigger == Trigger::Edge { register.get() | edge } else { register.get() & !edge });
        }
    }

    fn route(&self, id: IntId, core: Affinity) {
        let register = self.distributor.irouter.get(id.number() as usize);
        if let (Some(register), false) = (register, id.is_private()) {
            register.set(core.value());
        }
    }

    fn set_pending(&self, id: IntId) {
        write_bit(self.bit_register(id, |own| &own.ispendr0, |shared| &shared.ispendr), id);
    }

    fn clear_pending(&self, id: IntId) {
        write_bit(self.bit_register(id, |own| &own.icpendr0, |shared| &shared.icpendr), id);
    }

    fn is_pending(&self, id: IntId) -> bool {
        read_bit(self.bit_register(id, |own| &own.ispendr0, |shared| &shared.ispendr), id)
    }

    fn set_active(&self, id: IntId) {
        write_bit(self.bit_register(id, |own| &own.isactiver0, |shared| &shared.isactiver), id);
    }

    fn clear_active(&self, id: IntId) {
        write_bit(self.bit_register(id, |own| &own.icactiver0, |shared| &shared.icactiver), id);
    }

    fn is_active(&self, id: IntId) -> bool {
        read_bit(self.bit_register(id, |own| &own.isactiver0, |shared| &shared.isactiver), id)
    }

    #[inline]
    fn acknowledge(&self) -> Option<Acknowledged> {
        cpu_interface::acknowledge()
    }

    #[inline]
    fn end(&self, interrupt: Acknowledged) {
        cpu_interface::end(interrupt);
    }

    #[inline]
    fn deactivate(&self, interrupt: Acknowledged) {
        cpu_interface::deactivate(interrupt);
    }

    #[inline]
    fn send_sgi(&self, id: IntId, core: Affinity) {
        cpu_interface::send_sgi(id, core);
    }
}
