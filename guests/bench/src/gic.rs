//! The interrupt controller where the device tree says it is, with no more than the measurements need.

use guest_runtime::machine::{Gic, GicVersion};
use guest_runtime::mmio::{read32, write8, write32, write64};
use guest_runtime::{read_register, register, write_register};

/// Registers of the distributor, and of a redistributor's SGI frame, as offsets.
pub const TYPER: usize = 0x4;
/// Set-enable, one bit each.
pub const ISENABLER: usize = 0x100;
const IGROUPR: usize = 0x80;
const ICENABLER: usize = 0x180;
const ISPENDR: usize = 0x200;
const ICPENDR: usize = 0x280;
const ICACTIVER: usize = 0x380;
const IPRIORITYR: usize = 0x400;
const ITARGETSR: usize = 0x800;
const ICFGR: usize = 0xc00;
const SGIR: usize = 0xf00;
const IROUTER: usize = 0x6000;
/// A redistributor: its SGI frame, its size, its wake register.
const SGI_FRAME: usize = 0x1_0000;
const STRIDE: usize = 0x2_0000;
const WAKER: usize = 0x14;
/// The CPU interface of GICv2.
const PMR: usize = 0x4;
const IAR: usize = 0xc;
const EOIR: usize = 0x10;
const DIR: usize = 0x1000;

/// The SGI that is measured.
pub const SGI: u32 = 3;
/// SGIs that there are.
pub const SGIS: u32 = 16;
/// Interrupt of the virtual timer.
pub const TIMER: u32 = 27;
const PRIORITY: u32 = 0xa0a0_a0a0;

/// What makes an interrupt pending.
#[derive(Clone, Copy)]
pub enum Trigger {
    /// That its line rises.
    Edge,
    /// That its line is high.
    Level,
}

/// This core's view of the controller.
#[derive(Clone, Copy)]
pub struct Controller {
    gic: Gic,
    core: usize,
}

impl Controller {
    /// The controller as the calling core sees it.
    pub fn new(gic: Gic) -> Self {
        Self { gic, core: register::core_index() }
    }

    /// Where it is.
    pub fn frames(&self) -> Gic {
        self.gic
    }

    /// The registers of this core's own interrupts.
    pub fn private(&self) -> usize {
        match self.gic.version {
            GicVersion::V2 => self.gic.distributor,
            GicVersion::V3 => self.gic.second + self.core * STRIDE + SGI_FRAME,
        }
    }

    /// The highest interrupt number, if there are shared ones; nothing else is supposed to use it.
    pub fn spare_shared(&self) -> Option<u32> {
        let lines = (read32(self.gic.distributor + TYPER) & 0x1f) + 1;
        (lines > 1).then(|| (32 * lines - 1).min(1019))
    }

    /// Brings the distributor and this core to a known state: nothing pending, active or enabled but SGI and timer.
    pub fn reset(&self) {
        let control = if self.gic.version == GicVersion::V3 { 1 << 4 | 1 << 1 } else { 1 };
        write32(self.gic.distributor, control);
        self.reset_core();
    }

    /// Brings this core's own interrupts and its CPU interface to a known state.
    pub fn reset_core(&self) {
        if self.gic.version == GicVersion::V3 {
            let waker = self.private() - SGI_FRAME + WAKER;
            write32(waker, read32(waker) & !(1 << 1));
            while read32(waker) & 1 << 2 != 0 {}
            write32(self.private() + IGROUPR, u32::MAX);
        }
        for (offset, value) in [(ICENABLER, u32::MAX), (ICACTIVER, u32::MAX), (ICPENDR, 0xffff_0000)] {
            write32(self.private() + offset, value);
        }
        for offset in (0..32).step_by(4) {
            write32(self.private() + IPRIORITYR + offset, PRIORITY);
        }
        write32(self.private() + ISENABLER, 1 << SGI | 1 << TIMER);
        self.set_split(false);
        match self.gic.version {
            GicVersion::V2 => write32(self.gic.second + PMR, 0xff),
            GicVersion::V3 => {
                write_register!("icc_sre_el1", read_register!("icc_sre_el1") | 1);
                write_register!("icc_pmr_el1", 0xff);
                write_register!("icc_igrpen1_el1", 1);
            }
        }
    }

    /// Whether ending an interrupt only drops its priority (EOImode = 1).
    pub fn set_split(&self, split: bool) {
        match self.gic.version {
            GicVersion::V2 => write32(self.gic.second, 1 | u32::from(split) << 9),
            GicVersion::V3 => write_register!("icc_ctlr_el1", u64::from(split) << 1),
        }
    }

    /// Says what triggers a shared interrupt, sends it to this core and lets it through.
    pub fn enable_shared(&self, interrupt: u32, trigger: Trigger) {
        let (base, number) = (self.gic.distributor, interrupt as usize);
        let bank = 4 * (number / 32);
        write32(base + ICENABLER + bank, 1 << (interrupt % 32));
        if self.gic.version == GicVersion::V3 {
            let group = base + IGROUPR + bank;
            write32(group, read32(group) | 1 << (interrupt % 32));
            write64(base + IROUTER + 8 * number, register::affinity());
        } else {
            write8(base + ITARGETSR + number, 1 << self.core);
        }
        let configuration = base + ICFGR + 4 * (number / 16);
        let edge = 2 << (2 * (interrupt % 16));
        match trigger {
            Trigger::Edge => write32(configuration, read32(configuration) | edge),
            Trigger::Level => write32(configuration, read32(configuration) & !edge),
        }
        write8(base + IPRIORITYR + number, PRIORITY as u8);
        write32(base + ISENABLER + bank, 1 << (interrupt % 32));
    }

    /// The register and the value that make a shared interrupt pending.
    pub fn pending(&self, interrupt: u32) -> (usize, u32) {
        (self.gic.distributor + ISPENDR + 4 * (interrupt as usize / 32), 1 << (interrupt % 32))
    }

    /// How the SGI is sent to the core of this index: a value for the register that sends it.
    pub fn sgi(&self, core: usize) -> Sgi {
        self.sgi_numbered(core, SGI)
    }

    /// As [`Self::sgi`], with another number below [`SGIS`].
    pub fn sgi_numbered(&self, core: usize, number: u32) -> Sgi {
        match self.gic.version {
            GicVersion::V2 => Sgi::V2(self.gic.distributor + SGIR, 1 << (16 + core) | number),
            GicVersion::V3 => {
                let affinity = register::affinity();
                let cluster = (affinity & 0xff00) << 8 | (affinity & 0xff_0000) << 16 | (affinity >> 32 & 0xff) << 48;
                Sgi::V3(cluster | u64::from(number) << 24 | 1 << core)
            }
        }
    }

    /// Lets all SGIs through.
    pub fn enable_all_sgis(&self) {
        write32(self.private() + ISENABLER, (1 << SGIS) - 1);
    }

    /// Takes the most urgent interrupt.
    #[inline(always)]
    pub fn acknowledge(&self) -> u32 {
        match self.gic.version {
            GicVersion::V2 => read32(self.gic.second + IAR),
            GicVersion::V3 => read_register!("icc_iar1_el1") as u32,
        }
    }

    /// Ends an interrupt.
    #[inline(always)]
    pub fn end(&self, interrupt: u32) {
        match self.gic.version {
            GicVersion::V2 => write32(self.gic.second + EOIR, interrupt),
            GicVersion::V3 => write_register!("icc_eoir1_el1", u64::from(interrupt)),
        }
    }

    /// The ticks that ending an interrupt takes.
    pub fn ticks_of_end(&self, interrupt: u32) -> u64 {
        match self.gic.version {
            GicVersion::V2 => crate::devices::write(self.gic.second + EOIR, interrupt),
            GicVersion::V3 => crate::ticks_of!("msr icc_eoir1_el1, {value}", value = in(reg) u64::from(interrupt)),
        }
    }

    /// The ticks that deactivating an interrupt takes.
    pub fn ticks_of_deactivate(&self, interrupt: u32) -> u64 {
        match self.gic.version {
            GicVersion::V2 => crate::devices::write(self.gic.second + DIR, interrupt),
            GicVersion::V3 => crate::ticks_of!("msr icc_dir_el1, {value}", value = in(reg) u64::from(interrupt)),
        }
    }
}

/// An SGI ready to be sent.
#[derive(Clone, Copy)]
pub enum Sgi {
    /// Register and value.
    V2(usize, u32),
    /// Value of ICC_SGI1R_EL1.
    V3(u64),
}

impl Sgi {
    /// Sends it.
    #[inline(always)]
    pub fn send(self) {
        match self {
            Self::V2(register, value) => write32(register, value),
            Self::V3(value) => write_register!("icc_sgi1r_el1", value),
        }
    }
}
