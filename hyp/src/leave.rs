//! The ways out of the machine: off, or from the start again; by firmware, by a watchdog where there is none, or with an exit
//! code if somebody listens for it. What waits to be said goes before: see `terminal`.

use spin::Once;
use tessera_platform::board::Psci;
use tessera_platform::psci::Firmware;
use tessera_platform::semihosting;
use tessera_platform::watchdog::Watchdog;

use crate::arch::aarch64 as arch;
use crate::terminal;

/// How the machine is left.
static LEAVE: Once<Leave> = Once::new();

struct Leave {
    psci: Option<Psci>,
    watchdog: Option<Watchdog>,
    wishes: Wishes,
}

/// What the boot arguments ask for.
#[derive(Default)]
pub struct Wishes {
    /// An exit code through semihosting.
    pub exit_by_semihosting: bool,
    /// A start anew after a fault of EL2's own.
    pub reset_on_fault: bool,
    /// Coloured tags.
    pub colour: bool,
}

impl Wishes {
    fn of(arguments: &str) -> Self {
        let mut wishes = Self::default();
        for argument in arguments.split_ascii_whitespace() {
            match argument {
                "tessera.exit=semihosting" => wishes.exit_by_semihosting = true,
                "tessera.on-fault=reset" => wishes.reset_on_fault = true,
                "tessera.colour=on" => wishes.colour = true,
                _ => {}
            }
        }
        wishes
    }
}

/// Learns how the machine is left: by the firmware, or by a watchdog where there is none, or with an exit code if the boot
/// arguments say who listens for it. Returns all that these say.
pub fn set(arguments: &str, psci: Option<Psci>, watchdog: Option<Watchdog>) -> &'static Wishes {
    &LEAVE.call_once(|| Leave { psci, watchdog, wishes: Wishes::of(arguments) }).wishes
}

/// The end: says what waits to be said, and leaves the machine. `is_success` becomes the exit code, where there is one.
pub fn stop_machine(is_success: bool) -> ! {
    terminal::fall_silent();
    let leave = LEAVE.get();
    if leave.is_some_and(|leave| leave.wishes.exit_by_semihosting) {
        semihosting::exit(u32::from(!is_success));
    }
    if let Some(psci) = leave.and_then(|leave| leave.psci) {
        let _ = Firmware::new(psci).system_off();
    }
    if let Some(watchdog) = leave.and_then(|leave| leave.watchdog.as_ref()) {
        watchdog.power_off();
    }
    arch::halt()
}

/// Says what waits to be said, and starts the machine anew.
pub fn restart_machine() -> ! {
    terminal::fall_silent();
    let leave = LEAVE.get();
    if let Some(psci) = leave.and_then(|leave| leave.psci) {
        let _ = Firmware::new(psci).system_reset();
    }
    if let Some(watchdog) = leave.and_then(|leave| leave.watchdog.as_ref()) {
        watchdog.reset();
    }
    arch::halt()
}

/// What follows a fault of EL2's own: the machine stops, or starts anew if the boot arguments say so.
pub fn end_after_fault() -> ! {
    if LEAVE.get().is_some_and(|leave| leave.wishes.reset_on_fault) {
        restart_machine()
    }
    stop_machine(false)
}
