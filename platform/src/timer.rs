//! The hypervisor's own timer: CNTHP, the EL2 physical timer (Arm ARM D12), and the arithmetic of its ticks.
//!
//! Of the timer that guests use only whether its interrupt arrives belongs here.

use crate::board::Timer;
use crate::interrupt_id::IntId;
use crate::mmio::wait_until;
use crate::system_registers::{synchronize_context, system_registers};
use core::fmt;
use core::time::Duration;

system_registers! {
    /// Frequency of the system counter in Hz, as the firmware wrote it.
    CntFrq = "CNTFRQ_EL0";
    /// The system counter.
    CntPct = "CNTPCT_EL0";
    /// Control of the EL2 physical timer.
    CntHpCtl = "CNTHP_CTL_EL2";
    /// Deadline of the EL2 physical timer.
    CntHpCval = "CNTHP_CVAL_EL2";
    /// Control of the virtual timer.
    CntvCtl = "CNTV_CTL_EL0";
    /// Deadline of the virtual timer.
    CntvCval = "CNTV_CVAL_EL0";
}

/// CNTHP_CTL_EL2.ENABLE, and CNTV_CTL_EL0's: the timer runs. IMASK (bit 1) clear: it raises its interrupt.
const ENABLE: u64 = 1;

const NANOSECONDS: u128 = 1_000_000_000;

/// A timer whose interrupt is not the one that the device tree says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilentTimer {
    /// Its name in the timer node.
    name: &'static str,
    id: IntId,
}

impl fmt::Display for SilentTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, id } = self;
        write!(
            f,
            "timer: the device tree says that its {name} interrupt is {} (PPI {}), but it raises another or none: \
             correct the timer node's interrupts, in the order sec-phys, phys, virt, hyp-phys",
            id.number(),
            id.number().saturating_sub(16)
        )
    }
}

/// Sets a timer's control register; it is due whenever it runs.
type SetControl = fn(u64);

fn set_virtual(control: u64) {
    CntvCval.write(0);
    CntvCtl.write(control);
}

fn set_hypervisor(control: u64) {
    CntHpCval.write(0);
    CntHpCtl.write(control);
}

/// Whether a line is high while the timer runs, and only then. Leaves the timer off.
#[inline(never)]
fn follows(is_high: &dyn Fn() -> bool, set_control: SetControl) -> bool {
    let works = [0, ENABLE].into_iter().all(|control| {
        set_control(control);
        synchronize_context();
        wait_until(|| is_high() == (control != 0))
    });
    set_control(0);
    synchronize_context();
    works
}

/// Whether the calling core's EL2 timer and virtual timer raise the private interrupts `hypervisor` and
/// `virtual_timer`: whoever waits for another one waits for ever. `is_pending` asks the interrupt controller, which is
/// set up. To be called with interrupts masked, before any guest runs; leaves both timers off.
///
/// # Errors
/// The first that does not.
#[inline(never)]
pub fn check_interrupts(
    hypervisor: IntId,
    virtual_timer: IntId,
    is_pending: &dyn Fn(IntId) -> bool,
) -> Result<(), SilentTimer> {
    let timers: [(_, _, SetControl); 2] =
        [("virt", virtual_timer, set_virtual), ("hyp-phys", hypervisor, set_hypervisor)];
    match timers.into_iter().find(|(_, id, set_control)| !follows(&|| is_pending(*id), *set_control)) {
        Some((name, id, _)) => Err(SilentTimer { name, id }),
        None => Ok(()),
    }
}

/// The system counter and the calling core's EL2 timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    frequency: u64,
}

impl Clock {
    /// The clock of a board. `None` if neither the tree nor the firmware says how fast it is.
    pub fn of_board(timer: &Timer) -> Option<Self> {
        Self::new(timer.frequency.map_or_else(|| CntFrq.read() & 0xffff_ffff, u64::from))
    }

    /// A clock of `frequency` Hz; `None` if that is 0.
    pub const fn new(frequency: u64) -> Option<Self> {
        if frequency == 0 { None } else { Some(Self { frequency }) }
    }

    /// Ticks per second.
    pub const fn frequency(self) -> u64 {
        self.frequency
    }

    /// Ticks since the counter started.
    #[inline]
    pub fn now(self) -> u64 {
        // Else the counter may be read ahead of what came before (Arm ARM D12.1.2).
        synchronize_context();
        CntPct.read()
    }

    /// Raises the calling core's timer interrupt once the counter has reached `deadline` (in ticks).
    #[inline]
    pub fn set_deadline(self, deadline: u64) {
        CntHpCval.write(deadline);
        CntHpCtl.write(ENABLE);
        synchronize_context();
    }

    /// No longer raises the calling core's timer interrupt.
    #[inline]
    pub fn disarm(self) {
        CntHpCtl.write(0);
        synchronize_context();
    }

    /// How many ticks `duration` takes, rounded up; the most there can be if it is longer.
    pub fn ticks(self, duration: Duration) -> u64 {
        let ticks = (duration.as_nanos().saturating_mul(u128::from(self.frequency))).div_ceil(NANOSECONDS);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// How many nanoseconds `ticks` take, rounded down; for a counter of less than 18 GHz, and less than 584 years.
    pub const fn nanoseconds(self, ticks: u64) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        (ticks / self.frequency).wrapping_mul(SECOND) + (ticks % self.frequency).wrapping_mul(SECOND) / self.frequency
    }

    /// How long `ticks` take, rounded down to nanoseconds.
    pub fn duration(self, ticks: u64) -> Duration {
        let remainder = u128::from(ticks % self.frequency) * NANOSECONDS / u128::from(self.frequency);
        // The remainder is below a second, so it fits.
        Duration::new(ticks / self.frequency, u32::try_from(remainder).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system_registers::Fake;

    #[test]
    fn nanoseconds_agree_with_durations() {
        for (frequency, ticks) in
            [(54_000_000, 1), (62_500_000, 1 << 58), (1_000_000_000, 12_345), (1, 7), (19_200_000, 19_199_999)]
        {
            let clock = Clock::new(frequency).expect("a frequency");
            let expected = clock.duration(ticks).as_nanos();
            assert_eq!(u128::from(clock.nanoseconds(ticks)), expected & u128::from(u64::MAX), "{ticks} at {frequency}");
        }
    }

    #[test]
    fn ticks_round_up_and_durations_round_down() {
        let clock = Clock::new(62_500_000).unwrap();
        assert_eq!(clock.ticks(Duration::from_secs(3)), 187_500_000);
        assert_eq!(clock.ticks(Duration::from_nanos(16)), 1);
        assert_eq!(clock.ticks(Duration::from_nanos(17)), 2);
        assert_eq!(clock.ticks(Duration::ZERO), 0);
        assert_eq!(clock.duration(62_500_001), Duration::new(1, 16));
        let odd = Clock::new(54_000_000).unwrap();
        assert_eq!(odd.duration(1), Duration::from_nanos(18));
    }

    #[test]
    fn the_longest_times_do_not_overflow() {
        let fast = Clock::new(u64::MAX).unwrap();
        assert_eq!(fast.ticks(Duration::MAX), u64::MAX);
        assert_eq!(fast.duration(u64::MAX - 1).as_secs(), 0);
        let slow = Clock::new(1).unwrap();
        assert_eq!(slow.duration(u64::MAX), Duration::from_secs(u64::MAX));
    }

    #[test]
    fn the_tree_overrides_the_firmware_and_zero_is_no_frequency() {
        let registers = Fake::new();
        let interrupt = crate::Interrupt { id: crate::IntId::ppi(10).unwrap(), trigger: crate::Trigger::Level };
        let timer = |frequency| Timer {
            secure_physical: None,
            physical: interrupt,
            virtual_timer: interrupt,
            hypervisor: interrupt,
            frequency,
        };
        assert_eq!(Clock::of_board(&timer(None)), None);
        registers.set("CNTFRQ_EL0", 54_000_000);
        assert_eq!(Clock::of_board(&timer(None)).map(Clock::frequency), Some(54_000_000));
        assert_eq!(Clock::of_board(&timer(Some(7))).map(Clock::frequency), Some(7));
    }

    #[test]
    fn timers_must_raise_the_interrupts_that_the_tree_gives_them() {
        let registers = Fake::new();
        let ppi = |number| IntId::ppi(number).unwrap();
        // The lines of a machine whose timers have PPIs 10 and 11; PPI 12 is stuck.
        let is_pending = |id: IntId| match id.number() - 16 {
            10 => registers.get("CNTHP_CTL_EL2") == 1,
            11 => registers.get("CNTV_CTL_EL0") == 1,
            12 => true,
            _ => false,
        };
        let check = |hypervisor, of_guests| check_interrupts(ppi(hypervisor), ppi(of_guests), &is_pending);
        registers.set("CNTHP_CTL_EL2", 1);
        assert_eq!(check(10, 11), Ok(()), "also if firmware left one running");
        assert_eq!((registers.get("CNTHP_CTL_EL2"), registers.get("CNTV_CTL_EL0")), (0, 0));
        for wrong in [5, 11, 12] {
            assert_eq!(check(wrong, 11), Err(SilentTimer { name: "hyp-phys", id: ppi(wrong) }));
        }
        for wrong in [5, 10, 12] {
            assert_eq!(check(10, wrong), Err(SilentTimer { name: "virt", id: ppi(wrong) }));
        }
        let shown = check(5, 11).unwrap_err().to_string();
        assert!(shown.contains("hyp-phys interrupt is 21 (PPI 5)"), "{shown}");
    }

    #[test]
    fn the_timer_runs_from_a_deadline_until_disarmed() {
        let registers = Fake::new();
        let clock = Clock::new(1000).unwrap();
        clock.set_deadline(1234);
        assert_eq!((registers.get("CNTHP_CVAL_EL2"), registers.get("CNTHP_CTL_EL2")), (1234, 1));
        clock.disarm();
        assert_eq!(registers.get("CNTHP_CTL_EL2"), 0);
        registers.set("CNTPCT_EL0", 99);
        assert_eq!(clock.now(), 99);
    }
}
