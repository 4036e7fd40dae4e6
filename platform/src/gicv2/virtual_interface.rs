//! The hardware that shows interrupts to a guest (IHI 0048B, 5.3): the calling core's GICH registers, bare.
//!
//! What to write into them is decided by the virtual interrupt controller above. They are memory, and slow: each access
//! of these functions is one of the device.

use crate::mmio::Registers;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_structs;
use tock_registers::registers::{ReadOnly, ReadWrite};

register_structs! {
    /// Registers of the virtual interface control, IHI 0048B table 5-3.
    pub VirtualControlRegisters {
        (0x000 => pub(super) hcr: ReadWrite<u32>),
        (0x004 => pub(super) vtr: ReadOnly<u32>),
        (0x008 => pub(super) vmcr: ReadWrite<u32>),
        (0x00c => _reserved0),
        (0x010 => pub(super) misr: ReadOnly<u32>),
        (0x014 => _reserved1),
        (0x020 => pub(super) eisr0: ReadOnly<u32>),
        (0x024 => _eisr1),
        (0x030 => pub(super) elrsr0: ReadOnly<u32>),
        (0x034 => _elrsr1),
        (0x0f0 => pub(super) apr: ReadWrite<u32>),
        (0x0f4 => _reserved2),
        (0x100 => pub(super) lr: [ReadWrite<u32>; 64]),
        (0x200 => @END),
    }
}

/// The most list registers that are used: as many as [`EISR0`](VirtualInterface::ended) tells of, halved.
const MAXIMUM_LIST_REGISTERS: usize = 16;

/// What holds a list register for ever: active, so no guest can take it, with a number that no guest can end.
const ANCHOR: u32 = 1 << 29 | 1023;

/// GICH_VTR (5.3.3): five bits of priority, as list registers have, of which no more preempt, and zeros where it has any.
pub(super) const fn is_gicv2(vtr: u32) -> bool {
    let (priorities, preemption) = (vtr >> 29, vtr >> 26 & 7);
    priorities == 4 && preemption <= priorities && vtr >> 6 & 0xf_ffff == 0
}

/// The virtual interface control of every core: each sees its own at the same address.
#[derive(Debug)]
pub struct VirtualInterface {
    pub(super) registers: Registers<VirtualControlRegisters>,
    /// GICH_VTR.ListRegs + 1. Kept: to read it would be an access more.
    list_registers: usize,
}

impl VirtualInterface {
    pub(super) fn new(registers: Registers<VirtualControlRegisters>) -> Self {
        let list_registers = (registers.vtr.get() as usize & 0x3f) + 1;
        Self { registers, list_registers: list_registers.min(MAXIMUM_LIST_REGISTERS) }
    }

    /// How many list registers there are, 1 to 16.
    pub fn list_register_count(&self) -> usize {
        self.list_registers
    }

    /// Reads a list register (GICH_LR, 5.3.11); 0 if there is none of that index.
    #[inline]
    pub fn list_register(&self, index: usize) -> u32 {
        self.registers.lr.get(index).map_or(0, Readable::get)
    }

    /// Writes a list register; nothing happens if there is none of that index.
    #[inline]
    pub fn set_list_register(&self, index: usize, value: u32) {
        if let Some(register) = self.registers.lr.get(index) {
            register.set(value);
        }
    }

    /// Keeps the last list register in use for ever.
    pub fn anchor(&self) {
        self.set_list_register(self.list_registers - 1, ANCHOR);
    }

    /// One bit for each list register that is empty and asked for no maintenance (GICH_ELRSR, 5.3.8).
    #[inline]
    pub fn empty(&self) -> u32 {
        self.registers.elrsr0.get()
    }

    /// One bit for each list register that ended an interrupt that asked for maintenance (GICH_EISR, 5.3.7).
    #[inline]
    pub fn ended(&self) -> u32 {
        self.registers.eisr0.get()
    }

    /// Control of the virtual interface (GICH_HCR, 5.3.2).
    pub fn control(&self) -> u32 {
        self.registers.hcr.get()
    }

    /// Sets the control of the virtual interface.
    pub fn set_control(&self, value: u32) {
        self.registers.hcr.set(value);
    }

    /// The guest's priority mask, group enables and control (GICH_VMCR, 5.3.4).
    pub fn guest_control(&self) -> u32 {
        self.registers.vmcr.get()
    }

    /// Sets what [`Self::guest_control`] reads.
    pub fn set_guest_control(&self, value: u32) {
        self.registers.vmcr.set(value);
    }

    /// The guest's active priorities (GICH_APR, 5.3.10).
    pub fn active_priorities(&self) -> u32 {
        self.registers.apr.get()
    }

    /// Sets the guest's active priorities.
    pub fn set_active_priorities(&self, value: u32) {
        self.registers.apr.set(value);
    }
}
