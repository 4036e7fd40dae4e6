//! A virtual machine: what its vCPUs share. How it lives is in `life`, what its devices do in `devices`.
//!
//! Lock order: `refill`, then `life`; `memory`; a UART, then the terminal
//! or the virtual GIC's own locks. Nobody holds one of these while a guest runs.

mod claims;
mod counters;
mod devices;
mod faults;
mod life;
mod memory;
mod refill;
mod stolen_time;
mod uart;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::lock::Mutex;
use alloc::string::String;
use alloc::vec::Vec;
use tessera_memory::{Frames, Geometry, Vmid};
use tessera_platform::assignment::Assignment;

pub use claims::Claim;
pub use counters::Counters;
pub use faults::Resolution;
pub use memory::{GuestMemory, MemoryError};
use refill::Refill;
pub use stolen_time::StolenTime;
pub use uart::ConsoleUart;

use crate::arch::aarch64::registers::{SystemRegisters, read_register};
use crate::arch::aarch64::traps::HCR_GUEST;
use crate::devices::{Bus, DeviceSlot, Pl031, SubPages};
use crate::guest_tree::vcpu_affinity;
use crate::interrupts::{HardwareEnd, VcpuSet, Vgic};
use crate::life::Life;
use crate::machine::{Machine, Place};
use crate::manifest::{Placement, VmConfig};
use crate::processor::Processor;
use crate::supply::Supply;

/// Interrupt numbers that the guests' machine fixes, as QEMU's `virt` has them.
pub mod interrupt {
    /// The virtual timer's PPI.
    pub const GUEST_VIRTUAL_TIMER: u32 = 27;
    /// The non-secure physical timer's PPI.
    pub const GUEST_PHYSICAL_TIMER: u32 = 30;
}

/// VMPIDR_EL2 bit 31, RES1.
const VMPIDR_RES1: u64 = 1 << 31;

/// A virtual machine.
pub struct Vm {
    /// Its number, from 0; its console channel is one more.
    pub index: usize,
    /// What the manifest says of it.
    pub config: VmConfig,
    /// Its interrupt controller.
    pub vgic: Vgic,
    /// Its emulated devices.
    pub bus: Bus<DeviceSlot>,
    /// Devices of the board to which EL2 passes its accesses on.
    pub sub_pages: SubPages,
    /// Its vCPUs, as all cores see them.
    pub vcpus: Vec<VcpuControl>,
    /// What it did.
    pub counters: Counters,
    /// Held for an atomic instruction on its devices; taken before `memory` and devices.
    pub atomics: Mutex<()>,
    /// The machine below.
    machine: &'static Machine,
    supply: &'static Supply,
    /// VTTBR_EL2 for its vCPUs.
    vttbr: u64,
    memory: Mutex<GuestMemory>,
    /// What its vCPUs are told of stolen time; none if it shares no core.
    pub stolen_time: Option<StolenTime>,
    /// How far the work for a restart is; only its first vCPU's core does it.
    refill: Mutex<Refill>,
    uarts: Vec<ConsoleUart>,
    clock: Mutex<Pl031>,
    /// CNTVOFF_EL2: its virtual counter starts near zero.
    counter_offset: AtomicU64,
    life: Mutex<Life>,
}

/// What all cores see of a vCPU.
pub struct VcpuControl {
    /// Its affinity: what the guest reads in MPIDR_EL1, without bit 31.
    pub affinity: u64,
    /// Where it runs.
    pub place: Place,
}

/// What all VMs are built from.
pub struct Parts<'a> {
    /// The machine's free memory.
    pub frames: &'a mut Frames,
    /// What they take from later.
    pub supply: &'static Supply,
    /// The machine below.
    pub machine: &'static Machine,
    /// The shape of all guests' physical address spaces.
    pub geometry: Geometry,
    /// What the machine has for their interrupt controllers.
    pub gic: GicParts,
    /// The machine address and contents of the system archive.
    pub archive: &'static [u8],
    /// `compatible` of the board's cores.
    pub cpu_compatible: &'a str,
    /// What each is given of the board's devices.
    pub board_devices: &'static [Option<Assignment<'static>>],
    /// What each has of the machine's memory by its address.
    pub claims: Vec<Vec<Claim>>,
}

/// What of the machine's interrupt controller the guests' are made of.
#[derive(Clone, Copy, Debug)]
pub struct GicParts {
    /// How many list registers each core has.
    pub list_registers: usize,
    /// What becomes of hardware interrupts that guests end.
    pub hardware_end: HardwareEnd,
    /// GICv2: the machine address of the virtual CPU interface (GICV).
    pub cpu_interface: Option<u64>,
}

/// Why a VM could not be built.
#[derive(Debug)]
pub struct BuildError {
    /// The VM.
    pub vm: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for BuildError {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "VM `{}`: {}", self.vm, self.problem)
    }
}

impl Vm {
    /// Builds VM `index`, whose vCPUs run at `places`: its memory is there, filled and mapped; nothing runs.
    ///
    /// # Errors
    /// Too little memory, or a device tree that does not fit its place.
    pub fn build(
        index: usize,
        config: VmConfig,
        placement: &Placement,
        places: &[Place],
        is_kept_waiting: bool,
        vmid: Vmid,
        parts: &mut Parts,
    ) -> Result<Self, BuildError> {
        let error =
            |problem: &dyn fmt::Display| BuildError { vm: config.name.clone(), problem: alloc::format!("{problem}") };
        let mut memory = GuestMemory::new(index, &config, placement, vmid, parts).map_err(|problem| error(&problem))?;
        let ipa_bits = parts.geometry.ipa_bits().into();
        let stolen_time = match is_kept_waiting {
            true => StolenTime::new(&mut memory, &config, ipa_bits, parts.frames).map_err(|problem| error(&problem))?,
            false => None,
        };
        let counters = Counters::new(GuestMemory::shared_pages(&config));
        let vgic = devices::virtual_gic(&config, placement.gic_version, parts.gic)
            .map_err(|problem| error(&format_args!("{problem:?}")))?;
        let bus = devices::bus(&config, placement.gic_version).map_err(|problem| error(&problem))?;
        let sub_pages = devices::sub_pages(&config).map_err(|problem| error(&problem))?;
        let vcpu = |(index, place): (usize, &Place)| VcpuControl { affinity: vcpu_affinity(index), place: *place };
        let consoles = config.devices.iter().filter_map(ConsoleUart::of_device);
        Ok(Self {
            machine: parts.machine,
            supply: parts.supply,
            vttbr: memory.context().vttbr(),
            vcpus: places.iter().enumerate().map(vcpu).collect(),
            uarts: consoles.map(|make| make(index + 1)).collect(),
            index,
            vgic,
            bus,
            sub_pages,
            counters,
            atomics: Mutex::new(()),
            memory: Mutex::new(memory),
            stolen_time,
            refill: Mutex::new(Refill::Begin),
            clock: Mutex::new(Pl031::new()),
            counter_offset: AtomicU64::new(0),
            life: Mutex::new(Life::new(places.len(), life::restart_policy(&config, parts.machine.clock))),
            config,
        })
    }

    /// A line for the log: what it is and what it has.
    pub fn summary(&self) -> String {
        let memory: u64 = self.config.memory.iter().map(|region| region.bytes).sum();
        let cores: Vec<usize> = self.vcpus.iter().map(|vcpu| vcpu.place.core).collect();
        let context = self.memory.lock().context();
        alloc::format!(
            "{}: {} KiB, {} vCPUs on cores {cores:?}, VMID {}, Stage 2 at {}",
            self.config.name,
            memory / 1024,
            cores.len(),
            context.vmid().get(),
            context.root()
        )
    }

    /// The system registers of vCPU `index` out of reset.
    pub fn vcpu_registers(&self, index: usize) -> SystemRegisters {
        SystemRegisters {
            vttbr: self.vttbr,
            hcr: HCR_GUEST,
            vmpidr: vcpu_affinity(index) | VMPIDR_RES1,
            vpidr: read_register!("midr_el1"),
            cntvoff: self.counter_offset.load(Ordering::Relaxed),
            ..SystemRegisters::reset()
        }
    }

    /// Whether `address` (guest physical) is in its memory.
    pub fn has_memory_at(&self, address: u64) -> bool {
        self.config
            .memory
            .iter()
            .any(|region| address.checked_sub(region.ipa).is_some_and(|offset| offset < region.bytes))
    }

    /// Makes the cores of these vCPUs look at what is new. `own` is the caller's vCPU, which is loaded on `processor`: it
    /// looks anyway.
    #[inline(always)]
    pub fn kick(&self, told: VcpuSet, own: usize, processor: &Processor) {
        if !told.is_empty() {
            self.kick_others(told, own, processor);
        }
    }

    #[inline(never)]
    fn kick_others(&self, told: VcpuSet, own: usize, processor: &Processor) {
        for index in told.without(own) {
            let Some(vcpu) = self.vcpus.get(index) else { continue };
            if processor.ring_news(vcpu.place) {
                // On this core, which then looks before it enters the guest.
                self.vgic.look_around(own);
            }
        }
    }

    /// Its memory; the lock is the second of the order above.
    pub fn memory(&self) -> &Mutex<GuestMemory> {
        &self.memory
    }
}
