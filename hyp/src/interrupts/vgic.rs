//! The virtual GIC of one virtual machine: what it consists of, and the ways by which interrupts get into it.
//!
//! Here belong construction, input lines, SGIs and the life of virtual CPUs. Registers are in `v3`, the way into list
//! registers in `delivery`.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::lock::{Mutex, MutexGuard};

use super::affinity::Affinity;
use super::bank::{Bank, Change};
use super::distributor::{Distributor, MASK, resolve};
use super::list_register::{ListRegisters, MAXIMUM_LIST_REGISTERS};
use super::listing::{deliver_edge, repeat};
use super::senders::Senders;
use super::slots::Slots;
use super::v2::MAXIMUM_TARGETS;
use super::vcpu_set::{Bits, MAXIMUM_VCPUS, VcpuSet};

/// Attention: something private wants a list register. Bits 15:0 name list registers to be looked at.
pub(super) const PRIVATE: u32 = 1 << 16;
/// Attention: an SPI wants a list register.
pub(super) const SHARED: u32 = 1 << 17;
/// Attention: list registers have come to their end.
pub(super) const ENDED: u32 = 1 << 18;
/// Attention: the core has something else to look at before it enters the guest.
pub(super) const AROUND: u32 = 1 << 19;
/// Attention: look at all there is.
pub(super) const EVERYTHING: u32 = PRIVATE | SHARED | ENDED | 0xffff;

/// SGIs are edge-triggered, PPIs level-sensitive out of reset.
pub(super) const PRIVATE_EDGE: u32 = 0x0000_ffff;
/// `GICR_WAKER.ProcessorSleep` and `ChildrenAsleep`: the state out of reset.
const ASLEEP: u32 = 0b110;
/// The most banks of 32 SPIs: interrupts 32 to 1019.
const MAXIMUM_BANKS: usize = 31;

/// What a virtual GIC is built from.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The affinity of each virtual CPU, as its `VMPIDR_EL2` has it. Redistributors follow in this order.
    pub affinities: &'a [Affinity],
    /// How many SPIs there are; rounded up to a multiple of 32, at most 988.
    pub spis: usize,
    /// How many list registers each core has: 1 to 16.
    pub list_registers: usize,
}

/// Why a virtual GIC cannot be built or changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// There must be 1 to 64 virtual CPUs.
    Vcpus,
    /// Two virtual CPUs have the same affinity.
    Affinity,
    /// There may be at most 988 SPIs.
    Spis,
    /// There must be 1 to 16 list registers.
    ListRegisters,
    /// There is no such interrupt, or it is an SGI.
    Interrupt,
}

/// Why a virtual CPU shall look at its interrupts before it next enters the guest.
#[derive(Debug, Default)]
pub struct Attention(AtomicU32);

impl Attention {
    /// Whether there is a reason.
    #[inline(always)]
    pub fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

/// One virtual CPU's share of the virtual GIC. A cache line of its own: cores should not disturb each other.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Vcpu {
    attention: Attention,
    pub affinity: Affinity,
    pub private: Mutex<Private>,
}

/// What the lock of one virtual CPU guards.
#[derive(Debug)]
pub(super) struct Private {
    /// SGIs and PPIs.
    pub bank: Bank,
    pub slots: Slots,
    /// `GICR_WAKER`.
    pub waker: u32,
    /// GICv2 only.
    pub senders: Senders,
    /// The list registers of its core are its own: see `parking`.
    pub is_loaded: bool,
    /// What called for attention while it is parked, and does not wake it.
    pub deferred: u32,
}

/// The virtual GIC of one virtual machine, shared by its virtual CPUs.
#[derive(Debug)]
pub struct Vgic {
    pub(super) vcpus: Box<[Vcpu]>,
    pub(super) distributor: Mutex<Distributor>,
    /// `GICD_CTLR` bits 1:0: the groups that are enabled.
    control: AtomicU32,
    /// The routing of an SPI with a physical one behind it has changed: see `routing`.
    pub(super) rerouted: AtomicBool,
    /// `GICD_TYPER`.
    pub(super) typer: u32,
    /// GICv2: SGIs know their senders and are always enabled, SPIs have masks of targets.
    pub(super) version_two: bool,
}

impl Vcpu {
    fn new(affinity: Affinity, list_registers: usize) -> Self {
        let private = Private {
            bank: Bank::new(PRIVATE_EDGE, u32::MAX),
            slots: Slots::new(list_registers),
            waker: ASLEEP,
            senders: Senders::default(),
            is_loaded: false,
            deferred: 0,
        };
        Self { attention: Attention::default(), affinity, private: Mutex::new(private) }
    }

    /// Makes the virtual CPU look before it next enters the guest. Call after the change, before the kick.
    #[inline]
    pub fn attend(&self, reason: u32) {
        self.attention.0.fetch_or(reason, Ordering::Release);
    }

    /// Takes the reasons.
    #[inline]
    pub fn take_attention(&self) -> u32 {
        self.attention.0.swap(0, Ordering::Acquire)
    }

    /// The reasons, which stay.
    #[inline(always)]
    pub fn peek_attention(&self) -> u32 {
        self.attention.0.load(Ordering::Relaxed)
    }

    /// Drops all reasons but `kept`.
    pub fn keep_attention(&self, kept: u32) {
        self.attention.0.fetch_and(kept, Ordering::Acquire);
    }

    /// Whether there is a reason to look.
    #[inline(always)]
    pub fn is_asked_for(&self) -> bool {
        self.attention.is_asked_for()
    }

    /// Makes the virtual CPU look at what a change of its private interrupts asks for; false if at nothing.
    #[inline]
    pub fn announce(&self, bank: &Bank, change: Change) -> bool {
        let mut reason = if change.place & bank.work() != 0 { PRIVATE } else { 0 };
        for index in Bits(change.recall) {
            reason |= 1 << (bank.slot[index] & 15);
        }
        if reason != 0 {
            self.attend(reason);
        }
        reason != 0
    }
}

impl Vgic {
    /// A virtual GIC out of reset, all virtual CPUs off.
    ///
    /// # Errors
    /// If `config` asks for what no GIC has.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Self::with_version(config, false)
    }

    /// The same for guests that see a GICv2: at most eight virtual CPUs, in the order of their CPU interface numbers.
    ///
    /// # Errors
    /// If `config` asks for what no GICv2 has.
    pub fn new_v2(config: &Config) -> Result<Self, ConfigError> {
        if config.affinities.len() > MAXIMUM_TARGETS {
            return Err(ConfigError::Vcpus);
        }
        Self::with_version(config, true)
    }

    /// Says when [`Vgic::flush`] is to be called for `vcpu`.
    pub fn attention(&self, vcpu: usize) -> &Attention {
        static NEVER: Attention = Attention(AtomicU32::new(0));
        self.vcpus.get(vcpu).map_or(&NEVER, |vcpu| &vcpu.attention)
    }

    fn with_version(config: &Config, version_two: bool) -> Result<Self, ConfigError> {
        check(config)?;
        let vcpus = config.affinities.iter().map(|&affinity| Vcpu::new(affinity, config.list_registers)).collect();
        let vgic = Self {
            vcpus,
            distributor: Mutex::new(Distributor::new(config.spis.div_ceil(32))),
            control: AtomicU32::new(0),
            rerouted: AtomicBool::new(false),
            typer: Self::distributor_type(config.spis.div_ceil(32), config.affinities),
            version_two,
        };
        vgic.reset_private();
        vgic.reset_routes();
        Ok(vgic)
    }

    /// Makes virtual interrupt `intid` stand for the physical interrupt `physical`: an SPI for an SPI, or a PPI, that of
    /// every virtual CPU, for a PPI. Before the guest runs.
    ///
    /// # Errors
    /// If there is no such interrupt, or it is an SGI.
    pub fn map_hardware(&self, intid: u32, physical: u32) -> Result<(), ConfigError> {
        if !(16..1020).contains(&physical) || intid < 16 || (intid < 32) != (physical < 32) {
            return Err(ConfigError::Interrupt);
        }
        if intid < 32 {
            let map = |vcpu: &Vcpu| vcpu.private.lock().bank.map(intid, physical);
            self.vcpus.iter().for_each(map);
            return Ok(());
        }
        let mut distributor = self.distributor.lock();
        let (shared, _) = distributor.bank(intid).ok_or(ConfigError::Interrupt)?;
        shared.bank.map(intid, physical);
        self.note_route(shared, 1 << (intid & 31));
        Ok(())
    }

    /// How many virtual CPUs there are.
    #[must_use]
    pub fn vcpu_count(&self) -> usize {
        self.vcpus.len()
    }

    /// Sets the input line of an emulated device: SPI `intid`, or PPI `intid` of `vcpu`. Returns who has to look.
    #[inline]
    pub fn set_line(&self, vcpu: usize, intid: u32, high: bool) -> VcpuSet {
        self.signal(vcpu, intid, |bank, mask| bank.set_line(mask, high))
    }

    /// An edge from an emulated device: SPI `intid`, or PPI `intid` of `vcpu`. Returns who has to look.
    #[inline]
    pub fn pulse(&self, vcpu: usize, intid: u32) -> VcpuSet {
        self.signal(vcpu, intid, Bank::pulse)
    }

    /// Makes SGI `intid` pending at one virtual CPU, if it is in `group` there. True if it has to look.
    #[inline]
    pub(super) fn post_sgi(&self, target: &Vcpu, intid: u32, group: u32) -> bool {
        let bit = 1 << (intid & 15);
        let mut private = target.private.lock();
        if (private.bank.group ^ group) & bit != 0 {
            return false;
        }
        let bank = &mut private.bank;
        bank.latch |= bit;
        let reason = if bank.listed & bit != 0 {
            1 << (bank.slot[intid as usize & 15] & 15)
        } else if bank.enabled & bit != 0 {
            PRIVATE
        } else {
            return false;
        };
        target.attend(reason);
        true
    }

    /// The same at the virtual CPU whose list registers are at hand.
    #[inline(always)]
    pub(super) fn post_own_sgi<R: ListRegisters>(&self, target: &Vcpu, registers: &mut R, intid: u32, group: u32) {
        let mut private = target.private.lock();
        let Private { bank, slots, .. } = &mut *private;
        if (bank.group ^ group) >> (intid & 15) & 1 != 0 {
            return;
        }
        let groups = self.enabled_groups(bank.group);
        if !repeat(bank, slots, registers, intid & 15, groups, 0) {
            self.post_first_sgi(target, private, registers, intid);
        }
    }

    /// The same if it did not come just so before.
    #[inline(never)]
    fn post_first_sgi<R: ListRegisters>(
        &self,
        target: &Vcpu,
        mut private: MutexGuard<Private>,
        registers: &mut R,
        intid: u32,
    ) {
        let Private { bank, slots, .. } = &mut *private;
        let change = bank.pulse(1 << (intid & 15));
        let groups = self.enabled_groups(bank.group);
        if !deliver_edge(bank, slots, registers, intid & 15, groups) {
            target.announce(bank, change);
        }
    }

    #[inline]
    pub(super) fn signal(&self, vcpu: usize, intid: u32, change: impl FnOnce(&mut Bank, u32) -> Change) -> VcpuSet {
        if intid < 32 {
            let Some(target) = self.vcpus.get(vcpu) else {
                return VcpuSet::EMPTY;
            };
            return self.change_private(target, vcpu, |bank| change(bank, 1 << intid));
        }
        self.change_shared(vcpu, intid as usize / 32 - 1, |bank| change(bank, 1 << (intid % 32)))
    }

    /// Changes the private interrupts of `target`, which is number `vcpu`. Returns it if it has to look.
    #[inline]
    pub(super) fn change_private(
        &self,
        target: &Vcpu,
        vcpu: usize,
        change: impl FnOnce(&mut Bank) -> Change,
    ) -> VcpuSet {
        let mut told = VcpuSet::EMPTY;
        let mut private = target.private.lock();
        let change = change(&mut private.bank);
        if target.announce(&private.bank, change) {
            told.insert(vcpu);
        }
        told
    }

    /// Virtual CPU `by` changes bank `word` of the SPIs. Returns who has to look.
    #[inline]
    pub(super) fn change_shared(&self, by: usize, word: usize, change: impl FnOnce(&mut Bank) -> Change) -> VcpuSet {
        let mut distributor = self.distributor.lock();
        let Some(shared) = distributor.banks.get_mut(word) else {
            return VcpuSet::EMPTY;
        };
        let change = change(&mut shared.bank);
        if change.place & shared.bank.work() | change.recall == 0 {
            return VcpuSet::EMPTY;
        }
        distributor.announce(word, change, by, &self.vcpus)
    }

    /// Makes SPIs of bank `word` active. Returns who has to look.
    pub(super) fn activate_shared(&self, by: usize, word: usize, mask: u32) -> VcpuSet {
        let mut distributor = self.distributor.lock();
        let online = distributor.online;
        let Some(shared) = distributor.banks.get_mut(word) else {
            return VcpuSet::EMPTY;
        };
        let change = shared.set_active(mask, online);
        distributor.announce(word, change, by, &self.vcpus)
    }

    /// The groups that are enabled (bit 0: Group 0, bit 1: Group 1).
    #[inline]
    pub(super) fn control(&self) -> u32 {
        self.control.load(Ordering::Relaxed)
    }

    /// The mask of interrupts whose group is enabled.
    #[inline]
    pub(super) fn enabled_groups(&self, group: u32) -> u32 {
        let control = self.control();
        let zero = 0u32.wrapping_sub(control & 1);
        let one = 0u32.wrapping_sub(control >> 1 & 1);
        group & one | !group & zero
    }

    /// Enables groups (bit 0: Group 0, bit 1: Group 1). Returns who has to look.
    pub(super) fn set_control(&self, groups: u32) -> VcpuSet {
        let mut told = VcpuSet::EMPTY;
        if self.control.swap(groups & 3, Ordering::Relaxed) != groups & 3 {
            for (index, vcpu) in self.vcpus.iter().enumerate() {
                vcpu.attend(EVERYTHING);
                told.insert(index);
            }
        }
        told
    }

    /// Routes all SPIs as out of reset: to affinity 0.0.0.0; with GICv2 to nobody, unless there is one virtual CPU only.
    fn reset_routes(&self) {
        let target = match (self.version_two, self.vcpus.len()) {
            (false, _) => resolve(Affinity::default(), &self.vcpus),
            (true, 1) => 0,
            (true, _) => MASK,
        };
        for shared in &mut self.distributor.lock().banks {
            shared.aim_all(target);
            self.note_route(shared, u32::MAX);
        }
    }

    fn reset_private(&self) {
        for vcpu in &self.vcpus {
            let mut private = vcpu.private.lock();
            private.bank.reset(PRIVATE_EDGE);
            private.bank.enabled = if self.version_two { PRIVATE_EDGE } else { 0 };
            private.senders = Senders::default();
            private.waker = ASLEEP;
            private.deferred = 0;
            vcpu.take_attention();
        }
    }

    /// Back to the state out of reset, with all virtual CPUs off. Take them off first, each on its own core, so that no
    /// list register and no private physical interrupt is left behind. `deactivate` is called for each physical SPI that is.
    pub fn reset(&self, mut deactivate: impl FnMut(u32)) {
        self.control.store(0, Ordering::Relaxed);
        self.reset_private();
        let mut distributor = self.distributor.lock();
        distributor.online = VcpuSet::EMPTY;
        for shared in &mut distributor.banks {
            let owed = core::mem::take(&mut shared.bank.owed);
            Bits(owed).for_each(|index| deactivate(u32::from(shared.bank.physical[index & 31])));
            shared.bank.reset(0);
        }
        drop(distributor);
        self.reset_routes();
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let affinities = config.affinities;
    if affinities.is_empty() || affinities.len() > MAXIMUM_VCPUS {
        return Err(ConfigError::Vcpus);
    }
    if affinities.iter().enumerate().any(|(index, affinity)| affinities[..index].contains(affinity)) {
        return Err(ConfigError::Affinity);
    }
    if config.spis > MAXIMUM_BANKS * 32 - 4 {
        return Err(ConfigError::Spis);
    }
    if !(1..=MAXIMUM_LIST_REGISTERS).contains(&config.list_registers) {
        return Err(ConfigError::ListRegisters);
    }
    Ok(())
}
