//! The ways out of the machine: off, or from the start again; by firmware, by a watchdog where there is none, or with an exit
//! code if somebody listens for it. What waits to be said goes before: see `terminal`.

use core::fmt::{self, Write};

use spin::Once;
use tessera_platform::board::{Psci, PsciVersion};
use tessera_platform::psci::{Firmware, PsciError};
use tessera_platform::semihosting;
use tessera_platform::watchdog::Watchdog;

use crate::arch::aarch64 as arch;
use crate::arguments::Arguments;
use crate::terminal::{self, Emergency};

/// How the machine is left.
static LEAVE: Once<Leave> = Once::new();

struct Leave {
    /// Firmware that can do it.
    psci: Option<Psci>,
    watchdog: Option<Watchdog>,
    exit_by_semihosting: bool,
    reset_on_fault: bool,
}

/// Learns how the machine is left: by the firmware, or by a watchdog where there is none, or with an exit code if the boot
/// arguments say who listens for it.
pub fn set(arguments: Arguments<'_>, psci: Option<Psci>, watchdog: Option<Watchdog>) {
    let Arguments { exit_by_semihosting, reset_on_fault, .. } = arguments;
    let psci = psci.filter(|psci| !matches!(psci.version, PsciVersion::V0_1 { .. }));
    LEAVE.call_once(|| Leave { psci, watchdog, exit_by_semihosting, reset_on_fault });
}

/// The end: says what waits to be said, and leaves the machine. `is_success` becomes the exit code, where there is one.
pub fn stop_machine(is_success: bool) -> ! {
    leave_by(Some(u32::from(!is_success)), Firmware::system_off, Watchdog::power_off)
}

/// Says what waits to be said, and starts the machine anew.
pub fn restart_machine() -> ! {
    if LEAVE.get().is_none_or(|leave| leave.psci.is_none() && leave.watchdog.is_none()) {
        log::error!("cannot restart: the device tree has neither PSCI 0.2 nor a watchdog; switch the board off");
    }
    leave_by(None, Firmware::system_reset, Watchdog::reset)
}

/// Leaves the machine by whatever there is; `exit_code` is for those who listen.
fn leave_by(exit_code: Option<u32>, by_firmware: fn(Firmware) -> PsciError, by_watchdog: fn(&Watchdog)) -> ! {
    terminal::fall_silent();
    let Some(leave) = LEAVE.get() else { arch::halt() };
    if let Some(code) = exit_code.filter(|_| leave.exit_by_semihosting) {
        semihosting::exit(code);
    }
    if let Some(psci) = leave.psci {
        let _ = by_firmware(Firmware::new(psci));
    }
    if let Some(watchdog) = &leave.watchdog {
        by_watchdog(watchdog);
    }
    arch::halt()
}

/// Refuses to go on with a message that says what to change.
pub fn refuse(message: fmt::Arguments) -> ! {
    let mut out = Emergency::begin();
    let _ = writeln!(out, "error: {message}");
    let _ = writeln!(out, "stopped: no guest was started");
    stop_machine(false)
}

/// What follows a fault of EL2's own: the machine stops, or starts anew if the boot arguments say so.
pub fn end_after_fault() -> ! {
    if LEAVE.get().is_some_and(|leave| leave.reset_on_fault) {
        restart_machine()
    }
    stop_machine(false)
}
