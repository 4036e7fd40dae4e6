//! The generic timer: the counter and the two timers that EL1 has.

use crate::{read_register, write_register};

/// Interrupt of the virtual timer (PPI 27 on `virt`).
pub const VIRTUAL_INTERRUPT: u32 = 27;
/// Interrupt of the physical timer (PPI 30 on `virt`).
pub const PHYSICAL_INTERRUPT: u32 = 30;

/// CTL: the timer is on.
pub const ENABLE: u64 = 1;
/// CTL: it raises no interrupt.
pub const MASK: u64 = 1 << 1;
/// CTL: its condition is met.
pub const STATUS: u64 = 1 << 2;

/// One of EL1's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// CNTV_*, compared with CNTVCT.
    Virtual,
    /// CNTP_*, compared with CNTPCT.
    Physical,
}

impl Timer {
    /// The timer's interrupt number.
    #[must_use]
    pub fn interrupt(self) -> u32 {
        match self {
            Self::Virtual => VIRTUAL_INTERRUPT,
            Self::Physical => PHYSICAL_INTERRUPT,
        }
    }

    /// The counter this timer compares with, in ticks.
    #[must_use]
    pub fn counter(self) -> u64 {
        match self {
            Self::Virtual => counter(),
            Self::Physical => {
                barrier();
                read_register!("cntpct_el0")
            }
        }
    }

    /// Reads the control register.
    #[must_use]
    pub fn control(self) -> u64 {
        match self {
            Self::Virtual => read_register!("cntv_ctl_el0"),
            Self::Physical => read_register!("cntp_ctl_el0"),
        }
    }

    /// Writes the control register.
    pub fn set_control(self, value: u64) {
        match self {
            Self::Virtual => write_register!("cntv_ctl_el0", value),
            Self::Physical => write_register!("cntp_ctl_el0", value),
        }
    }

    /// Sets the counter value at which the timer fires.
    pub fn set_compare(self, value: u64) {
        match self {
            Self::Virtual => write_register!("cntv_cval_el0", value),
            Self::Physical => write_register!("cntp_cval_el0", value),
        }
    }

    /// Starts the timer to fire `microseconds` from now; returns the counter value at which it does.
    pub fn start(self, microseconds: u64) -> u64 {
        let deadline = self.counter() + ticks(microseconds);
        self.set_compare(deadline);
        self.set_control(ENABLE);
        deadline
    }

    /// Stops the timer and with it its interrupt.
    pub fn stop(self) {
        self.set_control(0);
    }
}

/// The virtual counter, in ticks, not read ahead of what comes before it.
#[must_use]
pub fn counter() -> u64 {
    barrier();
    read_register!("cntvct_el0")
}

/// The counters' frequency in Hz.
#[must_use]
pub fn frequency() -> u64 {
    read_register!("cntfrq_el0")
}

/// `microseconds` as counter ticks.
#[must_use]
pub fn ticks(microseconds: u64) -> u64 {
    (u128::from(microseconds) * u128::from(frequency()) / 1_000_000) as u64
}

/// Counter ticks as microseconds.
#[must_use]
pub fn microseconds(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000 / u128::from(frequency().max(1))) as u64
}

fn barrier() {
    // SAFETY: only orders what comes after it.
    unsafe { core::arch::asm!("isb", options(nostack)) };
}
