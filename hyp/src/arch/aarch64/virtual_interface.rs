//! The GICv3 virtual CPU interface of the core we run on, as the virtual GIC drives it.

use tessera_platform::IntId;
use tessera_platform::gic::{Controller, Gic};
use tessera_platform::gicv3::virtual_interface as hardware;

use crate::interrupts::{CpuInterface, ListRegister, ListRegisters, Maintenance};

/// ICH_HCR_EL2.En.
const ENABLE: u64 = 1;
/// ICH_HCR_EL2.EOIcount.
const EOI_COUNT_SHIFT: u32 = 27;
/// ICH_VMCR_EL2.VEOIM.
const TWO_STEPS: u64 = 1 << 9;

/// This core's list registers.
pub struct VirtualInterface<'a> {
    gic: &'a Gic,
}

impl<'a> VirtualInterface<'a> {
    /// Those of the calling core; `gic` is the board's.
    #[inline(always)]
    pub fn new(gic: &'a Gic) -> Self {
        Self { gic }
    }

    /// Puts them into a known state: on, with nothing in them.
    pub fn initialize() {
        hardware::IchHcr.write(ENABLE);
        for index in 0..hardware::list_register_count() {
            hardware::set_list_register(index, 0);
        }
        CpuInterface::RESET.restore();
    }
}

impl ListRegisters for VirtualInterface<'_> {
    #[inline(always)]
    fn read(&mut self, index: usize) -> ListRegister {
        ListRegister::from_ich_lr(hardware::list_register(index))
    }

    #[inline(always)]
    fn write(&mut self, index: usize, value: ListRegister) {
        hardware::set_list_register(index, value.to_ich_lr());
    }

    #[inline(always)]
    fn clear(&mut self, index: usize) {
        hardware::set_list_register(index, 0);
    }

    #[inline(always)]
    fn empty(&mut self) -> u32 {
        hardware::IchElrsr.read() as u32
    }

    #[inline(always)]
    fn ended(&mut self) -> u32 {
        hardware::IchEisr.read() as u32
    }

    fn set_maintenance(&mut self, maintenance: Maintenance) {
        hardware::IchHcr.write(ENABLE | u64::from(maintenance.ich_hcr()));
    }

    fn take_unlisted_deactivations(&mut self) -> u32 {
        let control = hardware::IchHcr.read();
        hardware::IchHcr.write(control & !(0x1f << EOI_COUNT_SHIFT));
        // Where the guest drops priorities and deactivates in two steps, the second traps (TDIR), and an end that was
        // counted here deactivated nothing.
        if hardware::IchVmcr.read() & TWO_STEPS != 0 {
            return 0;
        }
        (control >> EOI_COUNT_SHIFT & 0x1f) as u32
    }

    fn deactivate(&mut self, physical: u32) {
        if let Some(id) = IntId::new(physical) {
            self.gic.deactivate(id.into());
        }
    }

    fn activate(&mut self, physical: u32) {
        if let Some(id) = IntId::new(physical) {
            self.gic.set_active(id);
        }
    }
}

impl CpuInterface {
    /// Takes the registers out of the processor.
    pub fn save(&mut self) {
        self.vmcr = hardware::IchVmcr.read();
        for index in 0..hardware::active_priority_count() {
            self.active_zero[index] = hardware::group0_active_priorities(index) as u32;
            self.active_one[index] = hardware::group1_active_priorities(index) as u32;
        }
    }

    /// Puts the registers into the processor.
    pub fn restore(&self) {
        hardware::IchVmcr.write(self.vmcr);
        for index in 0..hardware::active_priority_count() {
            hardware::set_group0_active_priorities(index, u64::from(self.active_zero[index]));
            hardware::set_group1_active_priorities(index, u64::from(self.active_one[index]));
        }
    }
}
