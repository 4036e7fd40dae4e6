//! A VM's emulated devices: which there are, and a guest's loads and stores to them.

use alloc::vec::Vec;

use super::interrupt;
use super::{GicParts, Vm};
use crate::arch::aarch64::guarded;
use crate::arch::aarch64::registers::read_register;
use crate::devices::{Bus, BusError, DeviceSlot, Span, SubPages};
use crate::guest_tree::vcpu_affinity;
use crate::interrupts::{Affinity, Config, ConfigError, V2_DISTRIBUTOR_SIZE, VcpuSet, Vgic};
use crate::manifest::{DeviceKind, VmConfig};
use crate::processor::Processor;
use tessera_abi::manifest as abi;
use tessera_memory::PAGE_SIZE;
use tessera_platform::IntId;
use tessera_platform::gic::Controller;

/// How many SPIs a guest's GIC has: as QEMU's `virt`.
const GUEST_SPIS: usize = 256;
/// INTID of SPI 0.
const FIRST_SPI: u32 = 32;
/// GICR_ISPENDR0 and GICR_ICPENDR0 in a redistributor's two frames.
const PENDING_REGISTERS: core::ops::Range<u64> = 0x1_0200..0x1_0300;
/// GICD_ISPENDR and GICD_ICPENDR of a GICv2, whose first words are about private interrupts.
const PENDING_REGISTERS_V2: core::ops::Range<u64> = 0x200..0x300;
/// The size of each of these sets of registers.
const PENDING_BYTES: u64 = 0x80;

impl Vm {
    /// Ties virtual interrupts to the physical ones behind them.
    pub fn map_hardware(&self) {
        let timer = self.machine.interrupts.virtual_timer.number();
        let spis = self.config.hardware_interrupts().map(|(_, interrupt)| FIRST_SPI + interrupt.spi);
        for (virtual_id, physical) in spis.map(|id| (id, id)).chain([(interrupt::GUEST_VIRTUAL_TIMER, timer)]) {
            // The manifest was checked: the numbers exist.
            let _ = self.vgic.map_hardware(virtual_id, physical);
        }
    }

    /// Physical interrupts that are passed through go to the cores of the vCPUs to which the guest routes them.
    pub fn route_interrupts(&self) {
        if self.vgic.is_rerouted() {
            self.vgic.take_rerouted(|physical, target| self.route(physical, target));
        }
    }

    fn route(&self, physical: u32, target: Option<usize>) {
        let core = target.and_then(|vcpu| self.vcpus.get(vcpu)).map(|vcpu| vcpu.place.core);
        let affinity = core.and_then(|core| self.machine.core_affinity(core));
        if let (Some(id), Some(affinity)) = (IntId::new(physical), affinity) {
            self.machine.gic.route(id, affinity);
        }
    }

    /// A guest's load from an emulated device.
    #[inline(always)]
    pub fn device_read(&self, processor: &Processor, vcpu: usize, device: DeviceSlot, offset: u64, bytes: u64) -> u64 {
        let size = bytes as usize;
        match device {
            DeviceSlot::Distributor => {
                let registers = &mut processor.list_registers();
                self.with_kick(processor, self.vgic.read_distributor(vcpu, registers, offset, size), vcpu)
            }
            DeviceSlot::DistributorV2 => self.distributor_v2_read(processor, vcpu, offset, size),
            // GICC_DIR is write-only.
            DeviceSlot::Deactivation => 0,
            DeviceSlot::Redistributors => {
                let (owner, place) = (offset / abi::GIC_REDISTRIBUTOR_BYTES, offset % abi::GIC_REDISTRIBUTOR_BYTES);
                let is_sampled = PENDING_REGISTERS.contains(&place) && owner == vcpu as u64;
                let line = if is_sampled { self.sample_virtual_timer(processor, vcpu, place, size) } else { 0 };
                let registers = &mut processor.list_registers();
                line | self.with_kick(processor, self.vgic.read_redistributor(vcpu, registers, offset, size), vcpu)
            }
            DeviceSlot::Uart(index) => {
                self.uarts.get(usize::from(index)).map_or(0, |uart| uart.read(self, processor, offset, size))
            }
            DeviceSlot::Clock => self.clock.lock().read(
                offset,
                size as u8,
                processor.machine.clock.now() / processor.machine.clock.frequency(),
            ),
        }
    }

    #[inline(never)]
    fn distributor_v2_write(&self, processor: &Processor, vcpu: usize, offset: u64, size: usize, value: u64) {
        let registers = &mut processor.list_registers();
        // What comes often is not asked whether it has changed a route.
        if let Some(told) = self.vgic.generate_sgi_v2(vcpu, registers, (offset, size), value) {
            return self.kick(told, vcpu, processor);
        }
        let told = self.vgic.configure_distributor_v2(vcpu, registers, (offset, size), value);
        self.kick(told, vcpu, processor);
        self.route_interrupts();
    }

    #[inline(never)]
    fn deactivation_write(&self, processor: &Processor, vcpu: usize, offset: u64, size: usize, value: u64) {
        if (offset, size) == (0, 4) {
            let told = self.vgic.deactivate_here(vcpu, &mut processor.list_registers(), value as u32 & 0x3ff);
            self.kick(told, vcpu, processor);
        }
    }

    #[inline(never)]
    fn distributor_v2_read(&self, processor: &Processor, vcpu: usize, offset: u64, size: usize) -> u64 {
        let is_sampled = PENDING_REGISTERS_V2.contains(&offset);
        let line = if is_sampled { self.sample_virtual_timer(processor, vcpu, offset, size) } else { 0 };
        let registers = &mut processor.list_registers();
        line | self.with_kick(processor, self.vgic.read_distributor_v2(vcpu, registers, offset, size), vcpu)
    }

    /// The timer's line is a level: while it is high the interrupt is pending, active or not; if the guest has masked or
    /// moved the timer since it fired, it is pending no more. Returns what of that a read of `size` bytes at `offset` of a
    /// register of pending states shows.
    #[inline(never)]
    fn sample_virtual_timer(&self, processor: &Processor, vcpu: usize, offset: u64, size: usize) -> u64 {
        /// CNTV_CTL_EL0: enabled, not masked, condition met.
        const ASSERTED: u64 = 0b101;
        const TIMER: u64 = 1 << interrupt::GUEST_VIRTUAL_TIMER;
        if read_register!("cntv_ctl_el0") & 0b111 != ASSERTED {
            self.vgic.withdraw(vcpu, &mut processor.list_registers(), interrupt::GUEST_VIRTUAL_TIMER);
            return 0;
        }
        let first_byte = offset % PENDING_BYTES;
        let shown = if size >= 8 { u64::MAX } else { (1 << (8 * size)) - 1 };
        if first_byte < 4 { TIMER >> (8 * first_byte) & shown } else { 0 }
    }

    /// A guest's store to an emulated device.
    #[inline(always)]
    pub fn device_write(
        &self,
        processor: &mut Processor,
        vcpu: usize,
        device: DeviceSlot,
        offset: u64,
        bytes: u64,
        value: u64,
    ) {
        let size = bytes as usize;
        match device {
            DeviceSlot::Distributor => {
                let registers = &mut processor.list_registers();
                let told = self.vgic.write_distributor(vcpu, registers, offset, size, value);
                self.kick(told, vcpu, processor);
                self.route_interrupts();
            }
            DeviceSlot::DistributorV2 => self.distributor_v2_write(processor, vcpu, offset, size, value),
            DeviceSlot::Deactivation => self.deactivation_write(processor, vcpu, offset, size, value),
            DeviceSlot::Redistributors => {
                let told = self.vgic.write_redistributor(vcpu, offset, size, value);
                self.kick(told, vcpu, processor);
            }
            DeviceSlot::Uart(index) => {
                let uart = self.uarts.get(usize::from(index));
                if uart.is_some_and(|uart| uart.write(self, processor, offset, size, value)) {
                    processor.watch_console();
                }
            }
            DeviceSlot::Clock => {
                let now = processor.machine.clock.now() / processor.machine.clock.frequency();
                self.clock.lock().write(offset, size as u8, value, now);
            }
        }
    }

    /// Whether there is a device at guest physical `address`, one of EL2's or of the board.
    pub(super) fn has_device_at(&self, address: u64) -> bool {
        self.bus.find(address).is_some() || self.sub_pages.contains(address)
    }

    /// A guest's load of `bytes` at `address` from a device of the board that is given by sub-page. `None` if it is none, or
    /// refuses.
    pub fn passed_load(&self, address: u64, bytes: u64) -> Option<u64> {
        let machine = self.sub_pages.target(address, bytes)?;
        // SAFETY: boot has mapped the registers for EL2, and they are this guest's: the manifest was checked.
        unsafe { guarded::load(machine, bytes) }
    }

    /// A guest's store, likewise.
    pub fn passed_store(&self, address: u64, bytes: u64, value: u64) -> Option<()> {
        let machine = self.sub_pages.target(address, bytes)?;
        // SAFETY: as for the load.
        unsafe { guarded::store(machine, bytes, value) }
    }

    /// A byte for its console.
    pub fn receive(&self, processor: &Processor, byte: u8) {
        if let Some(uart) = self.uarts.iter().find(|uart| uart.is_console()) {
            uart.receive(self, processor, byte);
        }
    }

    /// The console may have room again for what its UART holds back.
    pub fn resume_output(&self, processor: &Processor) {
        self.uarts.iter().for_each(|uart| uart.resume(self, processor));
    }

    /// Sets the line of one of its SPIs.
    pub fn set_spi(&self, processor: &Processor, spi: u32, high: bool) {
        let told = self.vgic.set_line(0, FIRST_SPI + spi, high);
        self.kick(told, usize::MAX, processor);
    }

    #[inline(always)]
    fn with_kick(&self, processor: &Processor, (value, told): (u64, VcpuSet), own: usize) -> u64 {
        self.kick(told, own, processor);
        value
    }
}

/// The interrupt controller of a VM.
pub fn virtual_gic(config: &VmConfig, version: u8, gic: GicParts) -> Result<Vgic, ConfigError> {
    let affinities: Vec<Affinity> =
        (0..config.vcpus()).map(|index| Affinity::from_register(vcpu_affinity(index))).collect();
    let described = config.devices.iter().flat_map(|device| &device.interrupts);
    let all = described.chain(&config.board_devices.interrupts).map(|interrupt| interrupt.spi as usize + 1);
    let config =
        Config { affinities: &affinities, spis: all.fold(GUEST_SPIS, usize::max), list_registers: gic.list_registers };
    if version == 2 { Vgic::new_v2(&config) } else { Vgic::new(&config) }
}

/// Where its emulated devices are.
pub fn bus(config: &VmConfig, gic_version: u8) -> Result<Bus<DeviceSlot>, BusError> {
    let mut bus = Bus::new();
    let span = |start, size| Span { start, size };
    if gic_version == 2 {
        bus.insert(span(config.gic.distributor, V2_DISTRIBUTOR_SIZE), DeviceSlot::DistributorV2)?;
        bus.insert(span(config.gic.cpu_interface + PAGE_SIZE, PAGE_SIZE), DeviceSlot::Deactivation)?;
    } else {
        bus.insert(span(config.gic.distributor, abi::GIC_DISTRIBUTOR_BYTES), DeviceSlot::Distributor)?;
        let redistributors = abi::GIC_REDISTRIBUTOR_BYTES * config.vcpus() as u64;
        bus.insert(span(config.gic.redistributors, redistributors), DeviceSlot::Redistributors)?;
    }
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

/// Where its devices of the board are to which EL2 passes accesses on.
pub fn sub_pages(config: &VmConfig) -> Result<SubPages, BusError> {
    let mut sub_pages = SubPages::new();
    for device in &config.devices {
        if let Some(machine) = device.sub_page_span() {
            sub_pages.insert(Span { start: device.ipa, size: device.bytes }, machine.start)?;
        }
    }
    Ok(sub_pages)
}
