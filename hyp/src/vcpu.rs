//! A virtual CPU: what of it lives on its core, and what other cores see of it.

use crate::arch::aarch64::float::FloatRegisters;
use crate::arch::aarch64::registers::{SystemRegisters, read_register, write_register};
use crate::arch::aarch64::vectors::GeneralRegisters;
use crate::interrupts::{Attention, CpuInterface};
use crate::scheduler::NEVER;
use crate::vm::{Vm, interrupt};

/// CNTV_CTL_EL0 and CNTP_CTL_EL0.
mod timer {
    /// ENABLE.
    pub const ENABLE: u64 = 1;
    /// ENABLE and IMASK.
    pub const RUNS: u64 = 0b11;
}

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
    /// What its core has of it.
    pub state: State,
    /// Its VM.
    pub vm: &'static Vm,
    /// Its number in the VM.
    pub index: usize,
    /// Whether its virtual GIC is to be looked at before it is entered.
    pub attention: &'static Attention,
}

/// What its core has of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Off,
    /// It is on: it runs, waits, or is parked.
    On,
    /// In its place the core does the work that its VM needs before it starts again.
    Works,
}

/// CNTP of a guest, whose accesses trap.
#[derive(Clone, Copy, Debug)]
pub struct PhysicalTimer {
    /// CNTP_CTL_EL0: ENABLE and IMASK.
    pub control: u64,
    /// CNTP_CVAL_EL0, in ticks of the physical counter.
    pub compare: u64,
    /// Its line, as the virtual GIC was last told.
    is_high: bool,
    /// When the virtual GIC has to be told that the line has risen, in ticks, or [`NEVER`]: perhaps it has, and nobody has
    /// noticed yet.
    pub deadline: u64,
}

impl PhysicalTimer {
    /// Off.
    const RESET: Self = Self { control: 0, compare: 0, is_high: false, deadline: NEVER };

    /// Whether the condition is met (CNTP_CTL_EL0.ISTATUS).
    pub fn is_due(&self, now: u64) -> bool {
        self.control & timer::ENABLE != 0 && now >= self.compare
    }

    /// Whether its interrupt is, or will be, asserted.
    fn runs(&self) -> bool {
        self.control & timer::RUNS == timer::ENABLE
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
            physical_timer: PhysicalTimer::RESET,
            state: State::Off,
            vm,
            index,
            attention: vm.vgic.attention(index),
        }
    }

    /// Out of reset, to start at `entry` with `context` in X0.
    pub fn start(&mut self, entry: u64, context: u64) {
        *self = Self::new(self.vm, self.index);
        self.state = State::On;
        self.system.pc = entry;
        self.general.x[0] = context;
    }

    /// When its virtual timer fires, in ticks of the physical counter: `now` if it has, [`NEVER`] if it is off or masked. Only
    /// while it is not loaded.
    #[inline(always)]
    pub fn virtual_timer_deadline(&self, now: u64) -> u64 {
        let system = &self.system;
        if system.cntv_ctl & timer::RUNS != timer::ENABLE {
            return NEVER;
        }
        // What would come beyond the counter's end never comes.
        now.saturating_add(system.cntv_cval.saturating_sub(now.wrapping_sub(system.cntvoff)))
    }

    /// Tells the virtual GIC if the line of its physical timer has risen by `now`, in ticks.
    #[inline(always)]
    pub fn update_physical_timer(&mut self, now: u64) {
        if self.physical_timer.deadline <= now {
            self.physical_timer_changed(now);
        }
    }

    /// The same at `now` when its physical timer was written: the line may fall, too.
    #[inline(never)]
    pub fn physical_timer_changed(&mut self, now: u64) {
        let timer = &mut self.physical_timer;
        let high = timer.runs() && timer.is_due(now);
        timer.deadline = if timer.runs() && !high { timer.compare } else { NEVER };
        if core::mem::replace(&mut timer.is_high, high) != high {
            // Who has to look is this vCPU alone, on its own core: it does before it enters, or is picked to.
            let _ = self.vm.vgic.set_line(self.index, interrupt::GUEST_PHYSICAL_TIMER, high);
        }
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
    #[inline(always)]
    pub fn pstate(&self) -> u64 {
        read_register!("spsr_el2")
    }

    /// Sets its PSTATE; only while it is loaded.
    pub fn set_pstate(&mut self, pstate: u64) {
        write_register!("spsr_el2", pstate);
    }
}
