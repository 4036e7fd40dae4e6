//! The virtual CPU interface of the core we run on, as the virtual GIC drives it: system registers with a GICv3, memory
//! with a GICv2. The version is asked at each access: a load and a branch, as the machine has one for good.

use tessera_platform::IntId;
use tessera_platform::gic::{Controller, Gic};
use tessera_platform::gicv3::virtual_interface as v3;

use super::registers::{read_register, write_register};
use crate::interrupts::{CpuInterface, ListRegister, ListRegisters, Maintenance};

/// ICH_HCR_EL2.En and GICH_HCR.En.
const ENABLE: u32 = 1;
/// ICH_HCR_EL2.EOIcount and GICH_HCR.EOICount: bits 31 to 27.
const EOI_COUNT_SHIFT: u32 = 27;
/// ICH_VMCR_EL2.VEOIM and GICH_VMCR.VEM.
const TWO_STEPS: u32 = 1 << 9;
/// What of [`Maintenance::ich_hcr`] a GICH_HCR has: no TDIR.
const V2_MAINTENANCE: u32 = 0xff;

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
    pub fn initialize(&mut self) {
        if matches!(self.gic, Gic::V2(_)) {
            close_system_registers();
        }
        self.set_control(ENABLE);
        for index in 0..self.gic.list_register_count() {
            self.clear(index);
        }
        CpuInterface::RESET.restore(self.gic);
    }

    fn control(&self) -> u32 {
        match self.gic {
            Gic::V3(_) => v3::IchHcr.read() as u32,
            Gic::V2(gic) => gic.virtual_interface().control(),
        }
    }

    fn set_control(&self, value: u32) {
        match self.gic {
            Gic::V3(_) => v3::IchHcr.write(u64::from(value)),
            Gic::V2(gic) => gic.virtual_interface().set_control(value),
        }
    }

    fn ends_in_two_steps(&self) -> bool {
        let control = match self.gic {
            Gic::V3(_) => v3::IchVmcr.read() as u32,
            Gic::V2(gic) => gic.virtual_interface().guest_control(),
        };
        control & TWO_STEPS != 0
    }
}

/// The processor may have a GICv3's interface though the board has a GICv2: guests shall not find it (ICC_SRE_ELx.SRE
/// and ICC_SRE_EL2.Enable off; the registers are there if ID_AA64PFR0_EL1.GIC says so).
fn close_system_registers() {
    if read_register!("id_aa64pfr0_el1") >> 24 & 0xf != 0 {
        write_register!("icc_sre_el1", 0);
        write_register!("icc_sre_el2", 0);
        super::instruction_barrier();
    }
}

impl ListRegisters for VirtualInterface<'_> {
    #[inline(always)]
    fn read(&mut self, index: usize) -> ListRegister {
        match self.gic {
            Gic::V3(_) => ListRegister::from_ich_lr(v3::list_register(index)),
            Gic::V2(gic) => ListRegister::from_gich_lr(gic.virtual_interface().list_register(index)),
        }
    }

    #[inline(always)]
    fn write(&mut self, index: usize, value: ListRegister) {
        match self.gic {
            Gic::V3(_) => v3::set_list_register(index, value.to_ich_lr()),
            Gic::V2(gic) => gic.virtual_interface().set_list_register(index, value.to_gich_lr()),
        }
    }

    #[inline(always)]
    fn clear(&mut self, index: usize) {
        match self.gic {
            Gic::V3(_) => v3::set_list_register(index, 0),
            Gic::V2(gic) => gic.virtual_interface().set_list_register(index, 0),
        }
    }

    #[inline(always)]
    fn empty(&mut self) -> u32 {
        match self.gic {
            Gic::V3(_) => v3::IchElrsr.read() as u32,
            Gic::V2(gic) => gic.virtual_interface().empty(),
        }
    }

    #[inline(always)]
    fn ended(&mut self) -> u32 {
        match self.gic {
            Gic::V3(_) => v3::IchEisr.read() as u32,
            Gic::V2(gic) => gic.virtual_interface().ended(),
        }
    }

    fn set_maintenance(&mut self, maintenance: Maintenance) {
        let bits = match self.gic {
            Gic::V3(_) => maintenance.ich_hcr(),
            Gic::V2(_) => maintenance.ich_hcr() & V2_MAINTENANCE,
        };
        self.set_control(ENABLE | bits);
    }

    fn take_unlisted_deactivations(&mut self) -> u32 {
        let control = self.control();
        self.set_control(control & !(0x1f << EOI_COUNT_SHIFT));
        // Where the guest drops priorities and deactivates in two steps, the second traps (ICH_HCR_EL2.TDIR; the page of
        // GICV_DIR is never mapped), and an end that was counted here deactivated nothing.
        if self.ends_in_two_steps() { 0 } else { control >> EOI_COUNT_SHIFT & 0x1f }
    }

    #[inline]
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
    pub fn save(&mut self, gic: &Gic) {
        match gic {
            Gic::V3(_) => {
                self.vmcr = v3::IchVmcr.read();
                for index in 0..v3::active_priority_count() {
                    self.active_zero[index] = v3::group0_active_priorities(index) as u32;
                    self.active_one[index] = v3::group1_active_priorities(index) as u32;
                }
            }
            Gic::V2(gic) => {
                self.vmcr = u64::from(gic.virtual_interface().guest_control());
                self.active_one[0] = gic.virtual_interface().active_priorities();
            }
        }
    }

    /// Puts the registers into the processor.
    pub fn restore(&self, gic: &Gic) {
        match gic {
            Gic::V3(_) => {
                v3::IchVmcr.write(self.vmcr);
                for index in 0..v3::active_priority_count() {
                    v3::set_group0_active_priorities(index, u64::from(self.active_zero[index]));
                    v3::set_group1_active_priorities(index, u64::from(self.active_one[index]));
                }
            }
            Gic::V2(gic) => {
                gic.virtual_interface().set_guest_control(self.vmcr as u32);
                gic.virtual_interface().set_active_priorities(self.active_one[0]);
            }
        }
    }
}
