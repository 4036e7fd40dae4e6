//! A virtual CPU: what of it lives on its core, and what other cores see of it.

use spin::Mutex;

use crate::arch::aarch64::float::FloatRegisters;
use crate::arch::aarch64::registers::{SystemRegisters, read_register, write_register};
use crate::arch::aarch64::vectors::GeneralRegisters;
use crate::interrupts::{Attention, CpuInterface};
use crate::vm::{Vm, interrupt};

/// A virtual CPU, owned by the core that runs it.
pub struct Vcpu {
    /// X0 to X30: in the processor only between entry and exit.
    pub general: GeneralRegisters,
    /// PC, PSTATE and EL1's registers: in the processor while this vCPU is the one loaded.
    pub system: SystemRegisters,
    /// SIMD and floating point: likewise.
    pub float: FloatRegisters,
    /// The virtual CPU interface beside its list registers: likewise.
    pub gic: CpuInterface,
    /// The emulated physical timer.
    pub physical_timer: PhysicalTimer,
    /// The guest waits for an interrupt by a call that EL2 carries out (CPU_SUSPEND, a trapped WFI).
    pub is_waiting: bool,
    /// It runs: CPU_ON has been carried out, CPU_OFF has not.
    pub is_on: bool,
    /// Its VM.
    pub vm: &'static Vm,
    /// Its number in the VM.
    pub index: usize,
    /// Whether its virtual GIC is to be looked at before it is entered.
    pub attention: &'static Attention,
}

/// CNTP of a guest, whose accesses trap.
#[derive(Clone, Copy, Debug, Default)]
pub struct PhysicalTimer {
    /// CNTP_CTL_EL0: ENABLE and IMASK.
    pub control: u64,
    /// CNTP_CVAL_EL0, in ticks of the physical counter.
    pub compare: u64,
    /// Its line, as the virtual GIC was last told.
    pub is_high: bool,
}

impl PhysicalTimer {
    /// Whether the condition is met (CNTP_CTL_EL0.ISTATUS).
    pub fn is_due(&self, now: u64) -> bool {
        self.control & 1 != 0 && now >= self.compare
    }

    /// Whether its interrupt is asserted.
    pub fn line(&self, now: u64) -> bool {
        self.is_due(now) && self.control & 2 == 0
    }

    /// When the virtual GIC has to be told that the line has risen, in ticks: perhaps it has, and nobody has noticed yet.
    pub fn deadline(&self) -> Option<u64> {
        (self.control & 3 == 1 && !self.is_high).then_some(self.compare)
    }
}

impl Vcpu {
    /// A vCPU that is off.
    pub fn new(vm: &'static Vm, index: usize) -> Self {
        Self {
            general: GeneralRegisters::RESET,
            system: vm.vcpu_registers(index),
            float: FloatRegisters::reset(),
            gic: CpuInterface::RESET,
            physical_timer: PhysicalTimer::default(),
            is_waiting: false,
            is_on: false,
            vm,
            index,
            attention: vm.vgic.attention(index),
        }
    }

    /// Out of reset, to start at `entry` with `context` in X0.
    pub fn start(&mut self, entry: u64, context: u64) {
        *self = Self::new(self.vm, self.index);
        self.system.pc = entry;
        self.general.x[0] = context;
        self.is_on = true;
    }

    /// Tells the virtual GIC the state of its physical timer at `now`, in ticks.
    pub fn update_physical_timer(&mut self, now: u64) {
        let high = self.physical_timer.line(now);
        self.physical_timer.is_high = high;
        // Who has to look is this vCPU alone, on its own core: it does before it enters, or is picked to.
        let _ = self.vm.vgic.set_line(self.index, interrupt::GUEST_PHYSICAL_TIMER, high);
    }

    /// Its general register `index`; 31 is XZR.
    #[inline(always)]
    pub fn register(&self, index: usize) -> u64 {
        self.general.x.get(index).copied().unwrap_or(0)
    }

    /// Sets its general register `index`; 31 is XZR.
    #[inline(always)]
    pub fn set_register(&mut self, index: usize, value: u64) {
        if let Some(register) = self.general.x.get_mut(index) {
            *register = value;
        }
    }

    /// The address of its next instruction, or of the one that trapped; only while it is loaded.
    #[inline(always)]
    pub fn pc(&self) -> u64 {
        read_register!("elr_el2")
    }

    /// Has it go on at `address`; only while it is loaded.
    #[inline(always)]
    pub fn set_pc(&mut self, address: u64) {
        write_register!("elr_el2", address);
    }

    /// Its PSTATE, as SPSR_EL2 has it; only while it is loaded.
    pub fn pstate(&self) -> u64 {
        read_register!("spsr_el2")
    }

    /// Sets its PSTATE; only while it is loaded.
    pub fn set_pstate(&mut self, pstate: u64) {
        write_register!("spsr_el2", pstate);
    }

    /// Goes on after the instruction that trapped.
    #[inline(always)]
    pub fn skip_instruction(&mut self) {
        self.set_pc(self.pc().wrapping_add(4));
    }

    /// What other cores see of it.
    pub fn control(&self) -> &'static VcpuControl {
        &self.vm.vcpus[self.index]
    }
}

/// What all cores see of a vCPU.
pub struct VcpuControl {
    /// Its affinity: what the guest reads in MPIDR_EL1, without bit 31.
    pub affinity: u64,
    /// The core it runs on, counted as in the board's device tree.
    pub core: usize,
    /// Whether it is on. Changed by any core; carried out by its own.
    pub power: Mutex<Power>,
}

/// PSCI's states of a core (DEN0022 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Off,
    /// To be started by its core.
    OnPending {
        /// The first instruction's guest physical address.
        entry: u64,
        /// What it finds in X0.
        context: u64,
    },
    /// On.
    On,
}
