//! `cargo xtask run`: a system in QEMU, by hand on a terminal, or by a script as a CI does it.
//! The parts: `prepare` (system to machine), `engine` (one run), `ending` (how it ended), `patience` (for how long), `recorder` (output), `symbols`, `terminal`.

pub mod ending;
pub mod engine;
mod patience;
pub mod prepare;
pub mod recorder;
mod symbols;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::build::{self, Hypervisor, Profile};
use crate::console::{Script, Step};
use crate::qemu::Board;
use crate::setup;
use crate::system::Disk;
use ending::Ending;
use engine::{Plan, Session, Verdict};
use prepare::{Prepared, Request};
use recorder::Recorder;
pub use symbols::Symbolizer;

/// The longest a script may take if nothing else is said.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);

/// What `cargo xtask run` was asked for.
#[derive(Debug)]
pub struct RunOptions {
    /// A system's name or file.
    pub system: String,
    /// Cores of the machine; None for as many as the system needs.
    pub cpus: Option<usize>,
    /// RAM in bytes; None for as much as the system needs.
    pub memory: Option<u64>,
    /// The board.
    pub board: Board,
    /// The GIC's version; None for the board's usual one.
    pub gic: Option<u32>,
    /// Raw images of disks; what is written to them stays.
    pub disks: Vec<PathBuf>,
    /// The longest it may take.
    pub timeout: Option<Duration>,
    /// The script's steps.
    pub steps: Vec<Step>,
    /// Wait for gdb.
    pub gdb: bool,
    /// More arguments for QEMU.
    pub qemu: Vec<String>,
    /// Where the console's output goes besides.
    pub log_file: Option<PathBuf>,
    /// How the hypervisor is compiled.
    pub profile: Profile,
}

/// Sets up and builds what is missing, and runs the system.
pub fn run(options: RunOptions) -> Result<ExitCode> {
    let file = prepare::find_system(&options.system)?;
    let toolchain = setup::ensure(setup::toolchain::Choice::Auto)?;
    let hypervisor = build::all(&toolchain, options.profile)?;
    let name = file.file_stem().context("the system's file has no name")?;
    let request = Request {
        name: name.to_string_lossy().into_owned(),
        system: file,
        board: options.board,
        cpus: options.cpus,
        memory: options.memory,
        gic: options.gic,
        disks: options.disks.iter().map(|path| Disk { path: path.clone(), keeps_changes: true }).collect(),
        arguments: "",
    };
    let mut prepared = prepare::prepare(&request, &hypervisor)?;
    let interactive = options.steps.is_empty() && terminal::is_interactive();
    prepared.machine.colour = std::io::IsTerminal::is_terminal(&std::io::stdout());
    prepared.machine.gdb = options.gdb;
    prepared.machine.extra.clone_from(&options.qemu);
    announce(&prepared, &hypervisor, interactive);
    execute(&options, &prepared, &hypervisor, interactive)
}

fn announce(prepared: &Prepared, hypervisor: &Hypervisor, interactive: bool) {
    if prepared.machine.gdb {
        // QEMU loads an arm64 Image with text offset 0 2 MiB into the RAM, which begins at 1 GiB.
        eprintln!(
            "QEMU waits for gdb:\n  gdb-multiarch -ex 'target remote localhost:1234' \
             -ex 'add-symbol-file {} -o 0x40200000'",
            hypervisor.elf.display()
        );
    }
    if interactive {
        eprintln!("Guests: {}. Ctrl-] h helps, Ctrl-] q quits.", prepared.guests.join(", "));
    }
}

fn execute(options: &RunOptions, prepared: &Prepared, hypervisor: &Hypervisor, interactive: bool) -> Result<ExitCode> {
    let plan = plan(options, &prepared.guests)?;
    let scripted = !plan.script.is_empty();
    let symbolizer = Symbolizer::new(&hypervisor.elf).ok();
    let mut recorder = Recorder::new(symbolizer, true, options.log_file.as_deref())?;
    let mut session = Session::start(&mut prepared.machine.command(), &prepared.guests, Some(&prepared.machine.token))?;
    terminal::forward_signals(session.sender())?;
    let raw = interactive.then(terminal::RawMode::enter).transpose()?;
    if interactive {
        terminal::forward_input(session.sender());
    }
    let verdict = session.run(plan, &mut |bytes| recorder.take(bytes));
    session.stop();
    drop(raw);
    let errors = session.errors();
    eprint!("{errors}");
    Ok(conclude(&verdict?, scripted, &recorder))
}

fn plan(options: &RunOptions, guests: &[String]) -> Result<Plan> {
    let script = Script::new(options.steps.clone(), guests)?;
    let limit = options.timeout.or((!script.is_empty()).then_some(SCRIPT_LIMIT));
    let stop_after_script = !script.is_empty();
    Ok(Plan { script, stop_after_script, limit, patience: None })
}

/// The exit status, and the reason of a failure on standard error.
fn conclude(verdict: &Verdict, scripted: bool, recorder: &Recorder) -> ExitCode {
    let Some(reason) = failure(verdict) else {
        return ExitCode::SUCCESS;
    };
    if scripted {
        eprintln!("\n--- the console's last lines ---\n{}\n---", recorder.tail());
    }
    eprintln!("xtask: {reason}");
    match verdict {
        // As shells say it: 128 and the signal's number.
        Verdict::Signalled(number) => ExitCode::from(u8::try_from(number.saturating_add(128)).unwrap_or(1)),
        _ => ExitCode::FAILURE,
    }
}

/// Why a run failed; None if it did not.
pub fn failure(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::ScriptDone | Verdict::Ended(Ending::Said(0)) | Verdict::Quit => None,
        Verdict::Ended(ending) => Some(said(*ending)),
        Verdict::EndedEarly(ending, step) => Some(format!("{} before {step}", said(*ending))),
        Verdict::TimedOut(None) => Some("the time is over".to_owned()),
        Verdict::TimedOut(Some(step)) => Some(format!("the time was over in {step}")),
        Verdict::Signalled(number) => Some(format!("ended by signal {number}")),
    }
}

/// What a machine that ended by itself is said to have done.
fn said(ending: Ending) -> String {
    match ending {
        Ending::Said(0) => "the machine was switched off".to_owned(),
        Ending::Said(_) => "a guest crashed, or Tessera stopped or refused the system".to_owned(),
        Ending::Silent(Some(0)) => "the machine went off without a verdict of Tessera's: firmware or QEMU ended it; \
                                    `-v` shows QEMU's command"
            .to_owned(),
        Ending::Unheard => "the machine went off, and nothing was heard of Tessera: either the device tree names a console \
                            that it has no driver for (it has them for a PL011, an SBSA UART and the Raspberry Pi's mini \
                            UART: let `stdout-path` in `/chosen` name such a one), or it was not started at EL2 with the \
                            device tree's address in X0"
            .to_owned(),
        Ending::Silent(Some(code)) => format!("QEMU ended with status {code}"),
        Ending::Silent(None) => "QEMU was killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_end_is_none() {
        for good in [Verdict::ScriptDone, Verdict::Ended(Ending::Said(0)), Verdict::Quit] {
            assert_eq!(failure(&good), None);
        }
        let early = Verdict::EndedEarly(Ending::Said(0), "step 2 of 3: expect linux: x".into());
        assert_eq!(
            failure(&early).expect("a failure"),
            "the machine was switched off before step 2 of 3: expect linux: x"
        );
        let ended =
            [Ending::Said(1), Ending::Silent(Some(0)), Ending::Silent(Some(1)), Ending::Silent(None), Ending::Unheard];
        let ended = ended.into_iter().map(Verdict::Ended);
        for bad in ended.chain([Verdict::TimedOut(None), Verdict::Signalled(15)]) {
            assert!(failure(&bad).is_some());
        }
    }
}
