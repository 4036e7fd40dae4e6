//! A virtual machine: what its vCPUs share, how it starts, restarts and ends.
//!
//! Lock order: `life`, `power` of one vCPU (never both of two), `memory`, the system's frames; a UART, then the terminal
//! or the virtual GIC's own locks. Nobody holds one of these while a guest runs.

mod memory;
mod uart;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use alloc::string::String;
use alloc::vec::Vec;
use spin::Mutex;
use tessera_memory::{Frames, Geometry, Ipa, Vmid};

pub use memory::{GuestMemory, MemoryError};
pub use uart::ConsoleUart;

use crate::arch::aarch64::registers::{SystemRegisters, read_register};
use crate::arch::aarch64::traps::HCR_GUEST;
use crate::devices::{Bus, DeviceSlot, Pl031, Span};
use crate::guest_tree::vcpu_affinity;
use crate::interrupts::{Affinity, Config, VcpuSet, Vgic};
use crate::manifest::{DeviceKind, Placement, Policy, VmConfig};
use crate::scheduler::Core;
use crate::system::{System, interrupt};
use crate::vcpu::{Power, VcpuControl};
use tessera_abi::manifest as abi;

/// How many SPIs a guest's GIC has: as QEMU's `virt`.
const GUEST_SPIS: usize = 256;
/// INTID of SPI 0.
const FIRST_SPI: u32 = 32;
/// VMPIDR_EL2 bit 31, RES1.
const VMPIDR_RES1: u64 = 1 << 31;

/// GICR_ISPENDR0 and GICR_ICPENDR0 in a redistributor's two frames.
const PENDING_REGISTERS: core::ops::Range<u64> = 0x1_0200..0x1_0300;

/// Why a VM stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It asked for it (SYSTEM_OFF), or all its vCPUs are off.
    Off,
    /// It asked to start again (SYSTEM_RESET).
    Reset,
    /// It cannot go on.
    Crashed(CrashReason),
}

/// Why a VM cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashReason {
    /// Its exception vector is not in its memory: it would take exceptions for ever.
    NoVector {
        /// The vector's virtual address.
        address: u64,
    },
    /// There is no memory for a page it wrote.
    OutOfMemory {
        /// The page's guest physical address.
        address: u64,
    },
    /// It could not be started again.
    NotRestarted,
}

impl fmt::Display for CrashReason {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NoVector { address } => write!(out, "no code at its exception vector {address:#x}"),
            Self::OutOfMemory { address } => write!(out, "no memory left for a copy of its page {address:#x}"),
            Self::NotRestarted => write!(out, "it could not be started again"),
        }
    }
}

/// Where a VM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Stopping(StopReason),
    Ended,
}

/// What a VM did that is worth counting; told once, when it stops, rather than line by line.
#[derive(Debug, Default)]
pub struct Counters {
    undefined_registers: AtomicU32,
    undefined_instructions: AtomicU32,
    unclaimed_accesses: AtomicU32,
    system_errors: AtomicU32,
    shared_pages: AtomicU64,
    copied_pages: AtomicU64,
}

impl Counters {
    /// An access to a system register that is not there.
    pub fn undefined_register(&self) {
        self.undefined_registers.fetch_add(1, Ordering::Relaxed);
    }

    /// An instruction that is not there.
    pub fn undefined_instruction(&self) {
        self.undefined_instructions.fetch_add(1, Ordering::Relaxed);
    }

    /// An access to an address where nothing is.
    pub fn unclaimed_access(&self) {
        self.unclaimed_accesses.fetch_add(1, Ordering::Relaxed);
    }

    /// An SError.
    pub fn system_error(&self) {
        self.system_errors.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let counts = [
            ("accesses to nothing", u64::from(self.unclaimed_accesses.load(Ordering::Relaxed))),
            ("undefined registers", u64::from(self.undefined_registers.load(Ordering::Relaxed))),
            ("undefined instructions", u64::from(self.undefined_instructions.load(Ordering::Relaxed))),
            ("SErrors", u64::from(self.system_errors.load(Ordering::Relaxed))),
            ("pages shared at first", self.shared_pages.load(Ordering::Relaxed)),
            ("pages copied", self.copied_pages.load(Ordering::Relaxed)),
        ];
        for (name, count) in counts.iter().filter(|(_, count)| *count != 0) {
            write!(out, ", {name}: {count}")?;
        }
        Ok(())
    }
}

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
    /// Its vCPUs, as all cores see them.
    pub vcpus: Vec<VcpuControl>,
    /// What it did.
    pub counters: Counters,
    /// Held for an atomic instruction on its devices; taken before `memory` and devices.
    pub atomics: Mutex<()>,
    /// VTTBR_EL2 for its vCPUs.
    vttbr: u64,
    memory: Mutex<GuestMemory>,
    uarts: Vec<ConsoleUart>,
    clock: Mutex<Pl031>,
    /// CNTVOFF_EL2: its virtual counter starts near zero.
    counter_offset: AtomicU64,
    life: Mutex<Life>,
    is_stopping: AtomicBool,
    has_crashed: AtomicBool,
}

/// What all VMs are built from.
pub struct Parts<'a> {
    /// The machine's free memory.
    pub frames: &'a mut Frames,
    /// The shape of all guests' physical address spaces.
    pub geometry: Geometry,
    /// How many list registers each core has.
    pub list_registers: usize,
    /// The machine address and contents of the system archive.
    pub archive: &'static [u8],
    /// `compatible` of the board's cores.
    pub cpu_compatible: &'a str,
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
    /// Builds VM `index`: its memory is there, filled and mapped; nothing runs.
    ///
    /// # Errors
    /// Too little memory, or a device tree that does not fit its place.
    pub fn build(
        index: usize,
        config: VmConfig,
        placement: &Placement,
        vmid: Vmid,
        parts: &mut Parts,
    ) -> Result<Self, BuildError> {
        let error =
            |problem: &dyn fmt::Display| BuildError { vm: config.name.clone(), problem: alloc::format!("{problem}") };
        let memory = GuestMemory::new(index, &config, placement, vmid, parts).map_err(|problem| error(&problem))?;
        let counters =
            Counters { shared_pages: AtomicU64::new(GuestMemory::shared_pages(&config)), ..Counters::default() };
        let vgic = virtual_gic(&config, parts.list_registers).map_err(|problem| error(&format_args!("{problem:?}")))?;
        let bus = bus(&config).map_err(|problem| error(&problem))?;
        let vcpu = |(index, core): (usize, &usize)| VcpuControl {
            affinity: vcpu_affinity(index),
            core: *core,
            power: Mutex::new(Power::Off),
        };
        let consoles = config.devices.iter().filter_map(ConsoleUart::of_device);
        Ok(Self {
            vttbr: memory.context().vttbr(),
            vcpus: placement.cores.iter().enumerate().map(vcpu).collect(),
            uarts: consoles.map(|make| make(index + 1)).collect(),
            index,
            vgic,
            bus,
            counters,
            atomics: Mutex::new(()),
            memory: Mutex::new(memory),
            clock: Mutex::new(Pl031::new()),
            counter_offset: AtomicU64::new(0),
            life: Mutex::new(Life::Ended),
            is_stopping: AtomicBool::new(false),
            has_crashed: AtomicBool::new(false),
            config,
        })
    }

    /// A line for the log: what it is and what it has.
    pub fn summary(&self) -> String {
        let memory: u64 = self.config.memory.iter().map(|region| region.bytes).sum();
        let cores: Vec<usize> = self.vcpus.iter().map(|vcpu| vcpu.core).collect();
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

    /// Starts its first vCPU; the core of that finds it.
    pub fn start(&self) {
        let now = System::get().map_or(0, |system| system.clock.now());
        self.counter_offset.store(now, Ordering::Relaxed);
        self.is_stopping.store(false, Ordering::Relaxed);
        *self.life.lock() = Life::Running;
        if let Some(first) = self.vcpus.first() {
            let (entry, context) = (self.config.entry, self.config.device_tree.ipa);
            *first.power.lock() = Power::OnPending { entry, context };
            self.kick_core(first.core);
        }
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

    /// Makes the cores of these vCPUs look at what is new. `own` is the caller's vCPU, which looks anyway.
    pub fn kick(&self, told: VcpuSet, own: usize) {
        for index in told.without(own) {
            if let Some(vcpu) = self.vcpus.get(index) {
                self.kick_core(vcpu.core);
            }
        }
    }

    #[inline(always)]
    fn with_kick(&self, (value, told): (u64, VcpuSet), own: usize) -> u64 {
        if !told.is_empty() {
            self.kick(told, own);
        }
        value
    }

    /// Makes a core look for what is asked of it.
    pub fn kick_core(&self, core: usize) {
        if let Some(system) = System::get() {
            system.kick_core(core);
        }
    }

    /// A guest's load from an emulated device.
    #[inline(always)]
    pub fn device_read(&self, core: &Core, vcpu: usize, device: DeviceSlot, offset: u64, bytes: u64) -> u64 {
        let size = bytes as usize;
        match device {
            DeviceSlot::Distributor => {
                let registers = &mut core.system.list_registers();
                self.with_kick(self.vgic.read_distributor(vcpu, registers, offset, size), vcpu)
            }
            DeviceSlot::Redistributors => {
                if PENDING_REGISTERS.contains(&(offset % abi::GIC_REDISTRIBUTOR_BYTES)) {
                    self.sample_virtual_timer(core, vcpu);
                }
                let registers = &mut core.system.list_registers();
                self.with_kick(self.vgic.read_redistributor(vcpu, registers, offset, size), vcpu)
            }
            DeviceSlot::Uart(index) => {
                self.uarts.get(usize::from(index)).map_or(0, |uart| uart.read(self, offset, size))
            }
            DeviceSlot::Clock => {
                self.clock.lock().read(offset, size as u8, core.system.clock.now() / core.system.clock.frequency())
            }
        }
    }

    /// The timer's line is a level: if the guest has masked or moved the timer since it fired, it is pending no more.
    #[inline(never)]
    fn sample_virtual_timer(&self, core: &Core, vcpu: usize) {
        /// CNTV_CTL_EL0: enabled, not masked, condition met.
        const ASSERTED: u64 = 0b101;
        if read_register!("cntv_ctl_el0") & 0b111 != ASSERTED {
            self.vgic.withdraw(vcpu, &mut core.system.list_registers(), interrupt::GUEST_VIRTUAL_TIMER);
        }
    }

    /// A guest's store to an emulated device.
    #[inline(always)]
    pub fn device_write(&self, core: &mut Core, vcpu: usize, device: DeviceSlot, offset: u64, bytes: u64, value: u64) {
        let size = bytes as usize;
        match device {
            DeviceSlot::Distributor => {
                let told = self.vgic.write_distributor(vcpu, offset, size, value);
                self.kick(told, vcpu);
            }
            DeviceSlot::Redistributors => {
                let told = self.vgic.write_redistributor(vcpu, offset, size, value);
                self.kick(told, vcpu);
            }
            DeviceSlot::Uart(index) => {
                if let Some(uart) = self.uarts.get(usize::from(index)) {
                    uart.write(self, offset, size, value);
                    core.watch_console();
                }
            }
            DeviceSlot::Clock => {
                let now = core.system.clock.now() / core.system.clock.frequency();
                self.clock.lock().write(offset, size as u8, value, now);
            }
        }
    }

    /// A byte for its console.
    pub fn receive(&self, byte: u8) {
        if let Some(uart) = self.uarts.iter().find(|uart| uart.is_console()) {
            uart.receive(self, byte);
        }
    }

    /// The console may have room again for what its UART holds back.
    pub fn resume_output(&self) {
        self.uarts.iter().for_each(|uart| uart.resume(self));
    }

    /// Sets the line of one of its SPIs.
    pub fn set_spi(&self, spi: u32, high: bool) {
        let told = self.vgic.set_line(0, FIRST_SPI + spi, high);
        self.kick(told, usize::MAX);
    }

    /// Lets it write a page it shares. False if that is not why it may not.
    pub fn copy_on_write(&self, ipa: Ipa) -> bool {
        let Some(system) = System::get() else { return false };
        match self.memory.lock().copy_on_write(ipa, system) {
            Ok(copied) => {
                self.counters.copied_pages.fetch_add(u64::from(copied), Ordering::Relaxed);
                true
            }
            Err(MemoryError::Memory(tessera_memory::Error::ReservationEmpty)) => {
                self.request_stop(StopReason::Crashed(CrashReason::OutOfMemory { address: ipa.get() }));
                true
            }
            Err(_) => false,
        }
    }

    /// Whether there is memory or a device at `ipa`, once a change that is under way is done.
    pub fn is_mapped(&self, ipa: Ipa) -> bool {
        self.memory.lock().is_mapped(ipa)
    }

    /// Its memory; the lock is the second of the order above.
    pub fn memory(&self) -> &Mutex<GuestMemory> {
        &self.memory
    }

    /// Whether its vCPUs shall go off.
    #[inline(always)]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Whether it has stopped for good.
    pub fn has_ended(&self) -> bool {
        *self.life.lock() == Life::Ended
    }

    /// Whether it was ever stopped for a fault of its own.
    pub fn has_crashed(&self) -> bool {
        self.has_crashed.load(Ordering::Relaxed)
    }

    /// Makes all its vCPUs go off; the last one to do so carries out the rest. The first reason counts.
    pub fn request_stop(&self, reason: StopReason) {
        let mut life = self.life.lock();
        if *life != Life::Running {
            return;
        }
        *life = Life::Stopping(reason);
        drop(life);
        self.is_stopping.store(true, Ordering::Release);
        self.vcpus.iter().for_each(|vcpu| self.kick_core(vcpu.core));
    }

    /// One of its vCPUs went off: if it was the last, the VM ends or starts again.
    pub fn vcpu_went_off(&self) {
        let mut life = self.life.lock();
        if *life == Life::Ended || self.vcpus.iter().any(|vcpu| *vcpu.power.lock() != Power::Off) {
            return;
        }
        let reason = match *life {
            Life::Stopping(reason) => reason,
            _ => StopReason::Off,
        };
        *life = Life::Ended;
        drop(life);
        self.finish(reason);
    }

    fn finish(&self, reason: StopReason) {
        let (name, counters) = (&self.config.name, &self.counters);
        let policy = match reason {
            StopReason::Off => {
                log::info!("{name}: off{counters}");
                Policy::Stop
            }
            StopReason::Reset => {
                log::info!("{name}: reset{counters}");
                self.config.on_reset
            }
            StopReason::Crashed(why) => {
                self.has_crashed.store(true, Ordering::Relaxed);
                log::error!("{name}: crashed: {why}{counters}");
                self.config.on_crash
            }
        };
        if policy == Policy::Restart && reason != StopReason::Crashed(CrashReason::NotRestarted) {
            return self.restart();
        }
        if let Some(system) = System::get() {
            system.vm_stopped();
        }
    }

    /// Starts it afresh: nothing of its memory or devices remains.
    fn restart(&self) {
        let Some(system) = System::get() else { return };
        self.vgic.reset(&mut system.list_registers());
        self.uarts.iter().for_each(ConsoleUart::reset);
        *self.clock.lock() = Pl031::new();
        let refilled = self.memory.lock().refill(&self.config, system);
        if let Err(problem) = refilled {
            log::error!("{}: {problem}", self.config.name);
            return self.finish(StopReason::Crashed(CrashReason::NotRestarted));
        }
        self.map_hardware();
        self.start();
    }

    /// Ties virtual interrupts to the physical ones behind them.
    pub fn map_hardware(&self) {
        let Some(system) = System::get() else { return };
        let timer = system.interrupts.virtual_timer.number();
        let passed = self.config.devices.iter().filter(|device| matches!(device.kind, DeviceKind::Passthrough { .. }));
        let spis = passed.flat_map(|device| &device.interrupts).map(|interrupt| FIRST_SPI + interrupt.spi);
        for (virtual_id, physical) in spis.map(|id| (id, id)).chain([(interrupt::GUEST_VIRTUAL_TIMER, timer)]) {
            // The manifest was checked: the numbers exist.
            let _ = self.vgic.map_hardware(virtual_id, physical);
        }
    }
}

fn virtual_gic(config: &VmConfig, list_registers: usize) -> Result<Vgic, crate::interrupts::ConfigError> {
    let affinities: Vec<Affinity> =
        (0..config.vcpus()).map(|index| Affinity::from_register(vcpu_affinity(index))).collect();
    let highest =
        config.devices.iter().flat_map(|device| &device.interrupts).map(|interrupt| interrupt.spi as usize + 1).max();
    Vgic::new(&Config {
        affinities: &affinities,
        spis: GUEST_SPIS.max(highest.unwrap_or(0)),
        list_registers,
        hardware_deactivation: true,
    })
}

fn bus(config: &VmConfig) -> Result<Bus<DeviceSlot>, crate::devices::BusError> {
    let mut bus = Bus::new();
    let span = |start, size| Span { start, size };
    bus.insert(span(config.gic.distributor, abi::GIC_DISTRIBUTOR_BYTES), DeviceSlot::Distributor)?;
    let redistributors = abi::GIC_REDISTRIBUTOR_BYTES * config.vcpus() as u64;
    bus.insert(span(config.gic.redistributors, redistributors), DeviceSlot::Redistributors)?;
    let mut uarts = 0;
    for device in &config.devices {
        let slot = match device.kind {
            DeviceKind::Uart { .. } => {
                uarts += 1;
                DeviceSlot::Uart(uarts - 1)
            }
            DeviceKind::RealTimeClock => DeviceSlot::Clock,
            DeviceKind::Passthrough { .. } => continue,
        };
        bus.insert(span(device.ipa, device.bytes), slot)?;
    }
    Ok(bus)
}
