//! The virtual CPU interface of the core we run on, as the virtual GIC drives it: system registers with a GICv3, memory
//! with a GICv2. The version, and whether a GICv2 forgets, is asked at each access: a load and a branch each, as the machine
//! has one for good.

use tessera_platform::IntId;
use tessera_platform::gic::{Controller, Gic};
use tessera_platform::gicv2;
use tessera_platform::gicv3::virtual_interface as v3;

use super::registers::{read_register, write_register};
use crate::interrupts::{Book, CpuInterface, Forgetful, HardwareEnd, ListRegister, ListRegisters, Maintenance, Nudge};

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
    book: &'a Book,
}

impl<'a> VirtualInterface<'a> {
    /// Those of the calling core, which `book` is on; `gic` is the board's.
    #[inline(always)]
    pub fn new(gic: &'a Gic, book: &'a Book) -> Self {
        Self { gic, book }
    }

    /// The maintenance interrupt was taken. Returns whether the virtual GIC has to look.
    #[inline]
    pub fn maintain(&mut self) -> bool {
        match self.gic {
            Gic::V2(gic) if !self.book.is_plain() => Forgetful::new(&mut Bare(gic), self.book).maintain(),
            _ => true,
        }
    }
}

/// Puts the calling core's interface into a known state: on, with nothing in it.
pub fn initialize(gic: &Gic, end: HardwareEnd) {
    match gic {
        Gic::V3(_) => {
            v3::IchHcr.write(u64::from(ENABLE));
            (0..gic.list_register_count()).for_each(|index| v3::set_list_register(index, 0));
        }
        Gic::V2(driver) => {
            close_system_registers();
            let interface = driver.virtual_interface();
            interface.set_control(ENABLE);
            (0..gic.list_register_count()).for_each(|index| interface.set_list_register(index, 0));
            if end == HardwareEnd::Nudged {
                interface.anchor();
            }
        }
    }
    CpuInterface::RESET.restore(gic);
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

/// List registers of a GICv2 as they are.
struct Bare<'a>(&'a gicv2::Driver);

impl ListRegisters for Bare<'_> {
    #[inline(always)]
    fn read(&mut self, index: usize) -> ListRegister {
        ListRegister::from_gich_lr(self.0.virtual_interface().list_register(index))
    }

    #[inline(always)]
    fn write(&mut self, index: usize, value: ListRegister) {
        self.0.virtual_interface().set_list_register(index, value.to_gich_lr());
    }

    #[inline(always)]
    fn clear(&mut self, index: usize) {
        self.0.virtual_interface().set_list_register(index, 0);
    }

    #[inline(always)]
    fn empty(&mut self) -> u32 {
        self.0.virtual_interface().empty()
    }

    #[inline(always)]
    fn ended(&mut self) -> u32 {
        self.0.virtual_interface().ended()
    }

    fn set_maintenance(&mut self, maintenance: Maintenance) {
        self.0.virtual_interface().set_control(ENABLE | maintenance.ich_hcr() & V2_MAINTENANCE);
    }

    fn take_unlisted_deactivations(&mut self) -> u32 {
        let interface = self.0.virtual_interface();
        let control = interface.control();
        interface.set_control(control & !(0x1f << EOI_COUNT_SHIFT));
        unlisted_deactivations(control, interface.guest_control())
    }

    #[inline]
    fn deactivate(&mut self, physical: u32) {
        deactivate(self.0, physical);
    }

    fn activate(&mut self, physical: u32) {
        activate(self.0, physical);
    }
}

impl Nudge for Bare<'_> {
    fn hold_maintenance(&mut self) {
        self.0.hold_maintenance();
    }

    fn release_maintenance(&mut self) {
        self.0.release_maintenance();
    }
}

/// How many deactivations ICH_HCR_EL2 or GICH_HCR counted. Where the guest drops priorities and deactivates in two steps,
/// the second traps (ICH_HCR_EL2.TDIR; the page of GICV_DIR is never mapped), and an end that was counted deactivated
/// nothing.
fn unlisted_deactivations(control: u32, guest_control: u32) -> u32 {
    if guest_control & TWO_STEPS != 0 { 0 } else { control >> EOI_COUNT_SHIFT & 0x1f }
}

/// Deactivates a physical interrupt that was taken on this core, or an SPI.
#[inline]
pub fn deactivate(gic: &impl Controller, physical: u32) {
    if let Some(id) = IntId::new(physical) {
        gic.deactivate(id.into());
    }
}

fn activate(gic: &impl Controller, physical: u32) {
    if let Some(id) = IntId::new(physical) {
        gic.set_active(id);
    }
}

impl ListRegisters for VirtualInterface<'_> {
    #[inline(always)]
    fn read(&mut self, index: usize) -> ListRegister {
        match self.gic {
            Gic::V3(_) => ListRegister::from_ich_lr(v3::list_register(index)),
            Gic::V2(gic) if self.book.has_stand_in(index) => Forgetful::new(&mut Bare(gic), self.book).read(index),
            Gic::V2(gic) => Bare(gic).read(index),
        }
    }

    #[inline(always)]
    fn write(&mut self, index: usize, value: ListRegister) {
        match self.gic {
            Gic::V3(_) => v3::set_list_register(index, value.to_ich_lr()),
            Gic::V2(gic) if self.book.writes_through(index, value.origin) => Bare(gic).write(index, value),
            Gic::V2(gic) => Forgetful::new(&mut Bare(gic), self.book).write(index, value),
        }
    }

    #[inline(always)]
    fn write_directly(&mut self, index: usize, value: ListRegister) -> bool {
        match self.gic {
            Gic::V3(_) => v3::set_list_register(index, value.to_ich_lr()),
            Gic::V2(gic) if self.book.writes_through(index, value.origin) => Bare(gic).write(index, value),
            Gic::V2(_) => return false,
        }
        true
    }

    #[inline(always)]
    fn clear(&mut self, index: usize) {
        match self.gic {
            Gic::V3(_) => v3::set_list_register(index, 0),
            Gic::V2(gic) if self.book.is_plain() => Bare(gic).clear(index),
            Gic::V2(gic) => Forgetful::new(&mut Bare(gic), self.book).clear(index),
        }
    }

    #[inline(always)]
    fn empty(&mut self) -> u32 {
        match self.gic {
            Gic::V3(_) => v3::IchElrsr.read() as u32,
            Gic::V2(gic) if self.book.is_plain() => Bare(gic).empty(),
            Gic::V2(gic) => Forgetful::new(&mut Bare(gic), self.book).empty(),
        }
    }

    #[inline(always)]
    fn ended(&mut self) -> u32 {
        match self.gic {
            Gic::V3(_) => v3::IchEisr.read() as u32,
            Gic::V2(gic) if self.book.is_plain() => Bare(gic).ended(),
            Gic::V2(gic) => Forgetful::new(&mut Bare(gic), self.book).ended(),
        }
    }

    fn set_maintenance(&mut self, maintenance: Maintenance) {
        match self.gic {
            Gic::V3(_) => v3::IchHcr.write(u64::from(ENABLE | maintenance.ich_hcr())),
            Gic::V2(gic) if self.book.is_plain() => Bare(gic).set_maintenance(maintenance),
            Gic::V2(gic) => Forgetful::new(&mut Bare(gic), self.book).set_maintenance(maintenance),
        }
    }

    fn take_unlisted_deactivations(&mut self) -> u32 {
        match self.gic {
            Gic::V3(_) => {
                let control = v3::IchHcr.read() as u32;
                v3::IchHcr.write(u64::from(control & !(0x1f << EOI_COUNT_SHIFT)));
                unlisted_deactivations(control, v3::IchVmcr.read() as u32)
            }
            Gic::V2(gic) => Bare(gic).take_unlisted_deactivations(),
        }
    }

    #[inline]
    fn deactivate(&mut self, physical: u32) {
        deactivate(self.gic, physical);
    }

    fn activate(&mut self, physical: u32) {
        activate(self.gic, physical);
    }
}

impl CpuInterface {
    /// Takes the registers out of the processor.
    pub fn save(&mut self, gic: &Gic) {
        match gic {
            Gic::V3(_) => {
                self.vmcr = v3::IchVmcr.read();
                self.save_active_priorities(0);
                if v3::has_many_active_priorities() {
                    self.save_more_active_priorities();
                }
            }
            Gic::V2(gic) => {
                self.vmcr = u64::from(gic.virtual_interface().guest_control());
                self.active_one[0] = gic.virtual_interface().active_priorities();
            }
        }
    }

    /// Puts the registers into the processor.
    #[inline(always)]
    pub fn restore(&self, gic: &Gic) {
        match gic {
            Gic::V3(_) => {
                v3::IchVmcr.write(self.vmcr);
                self.restore_active_priorities(0);
                if v3::has_many_active_priorities() {
                    self.restore_more_active_priorities();
                }
            }
            Gic::V2(gic) => {
                gic.virtual_interface().set_guest_control(self.vmcr as u32);
                gic.virtual_interface().set_active_priorities(self.active_one[0]);
            }
        }
    }

    #[inline(always)]
    fn save_active_priorities(&mut self, index: usize) {
        self.active_zero[index] = v3::group0_active_priorities(index) as u32;
        self.active_one[index] = v3::group1_active_priorities(index) as u32;
    }

    #[inline(always)]
    fn restore_active_priorities(&self, index: usize) {
        v3::set_group0_active_priorities(index, u64::from(self.active_zero[index]));
        v3::set_group1_active_priorities(index, u64::from(self.active_one[index]));
    }

    /// Where more than five bits of a priority preempt.
    #[inline(never)]
    fn save_more_active_priorities(&mut self) {
        (1..v3::active_priority_count()).for_each(|index| self.save_active_priorities(index));
    }

    /// The same the other way.
    #[inline(never)]
    fn restore_more_active_priorities(&self) {
        (1..v3::active_priority_count()).for_each(|index| self.restore_active_priorities(index));
    }
}
