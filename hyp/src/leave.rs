//! The ways out of the machine: off, or from the start again; by firmware, or by a watchdog where there is none. What waits to
//! be said goes before (see `terminal`), and last how it went, if somebody listens for it.
//!
//! The verdict carries a word that whoever started the machine chose for this run: no guest knows it, so none can say it.

use core::fmt::{self, Write};

use arrayvec::ArrayString;
use spin::Once;
use tessera_platform::board::{Psci, PsciVersion};
use tessera_platform::psci::{Firmware, PsciError};
use tessera_platform::watchdog::Watchdog;

use crate::arch::aarch64 as arch;
use crate::arguments::Arguments;
use crate::terminal::{self, Emergency};

/// The longest word that a verdict carries, in bytes: a longer one is wanted by nobody.
const VERDICT_LIMIT: usize = 64;

/// How the machine is left.
static LEAVE: Once<Leave> = Once::new();

struct Leave {
    /// Firmware that can do it.
    psci: Option<Psci>,
    watchdog: Option<Watchdog>,
    /// The word that the verdict carries, if one is wanted.
    verdict: Option<ArrayString<VERDICT_LIMIT>>,
    reset_on_fault: bool,
}

/// Learns how the machine is left: by the firmware, or by a watchdog where there is none; and whether the boot arguments want
/// a verdict.
pub fn set(arguments: Arguments<'_>, psci: Option<Psci>, watchdog: Option<Watchdog>) {
    let Arguments { verdict, reset_on_fault, .. } = arguments;
    let verdict = verdict.and_then(|word| ArrayString::from(word).ok());
    let psci = psci.filter(|psci| !matches!(psci.version, PsciVersion::V0_1 { .. }));
    LEAVE.call_once(|| Leave { psci, watchdog, verdict, reset_on_fault });
}

/// The end: says what waits to be said, and leaves the machine. `is_success` becomes the verdict.
pub fn stop_machine(is_success: bool) -> ! {
    leave_by(is_success, Firmware::system_off, Watchdog::power_off)
}

/// Says what waits to be said, and starts the machine anew. `is_success`: because it was asked for.
pub fn restart_machine(is_success: bool) -> ! {
    if LEAVE.get().is_none_or(|leave| leave.psci.is_none() && leave.watchdog.is_none()) {
        log::error!("cannot restart: the device tree has neither PSCI 0.2 nor a watchdog; switch the board off");
    }
    leave_by(is_success, Firmware::system_reset, Watchdog::reset)
}

/// Leaves the machine by whatever there is.
fn leave_by(is_success: bool, by_firmware: fn(Firmware) -> PsciError, by_watchdog: fn(&Watchdog)) -> ! {
    let leave = LEAVE.get();
    match leave.and_then(|leave| leave.verdict) {
        Some(word) => terminal::fall_silent(format_args!("verdict {word}: {}\n", u32::from(!is_success))),
        None => terminal::fall_silent(format_args!("")),
    }
    let Some(leave) = leave else { arch::halt() };
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
        restart_machine(false)
    }
    stop_machine(false)
}
