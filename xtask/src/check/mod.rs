//! `cargo xtask check`: format, lints, documentation and the direction of arrows, exactly what CI checks.

mod rooms;

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::build::guest_packages;
use crate::paths;
use crate::process;
use crate::progress::Step;
use crate::setup::toolchain::Toolchain;
use crate::test::Tally;

/// The checks' names, in their order.
pub const NAMES: [&str; 6] =
    ["format", "lints on the host", "lints of the hypervisor", "lints of the guests", "documentation", ROOMS];

/// The one check that is no command.
const ROOMS: &str = "arrows between rooms";

/// Runs all checks; the exit status says whether all passed.
pub fn check(toolchain: &Toolchain) -> Result<ExitCode> {
    let tally = steps(toolchain)?;
    Ok(if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all checks, also after one has failed.
pub fn steps(toolchain: &Toolchain) -> Result<Tally> {
    ensure_components();
    let commands = [format(), host_lints(), hypervisor_lints(toolchain), guest_lints(toolchain)?, documentation()];
    let mut tally = Tally::default();
    for (name, mut command) in NAMES.into_iter().zip(commands) {
        count(&mut tally, name, |step| process::run(step, &mut command));
    }
    count(&mut tally, ROOMS, |_| rooms::check(&paths::workspace()));
    Ok(tally)
}

fn count(tally: &mut Tally, name: &str, check: impl FnOnce(&Step) -> Result<()>) {
    let step = Step::start(format!("check: {name}"));
    let result = check(&step);
    tally.count(&format!("check: {name}"), result.is_ok());
    match result {
        Ok(()) => step.done(),
        Err(error) => {
            drop(step);
            println!("{error:#}");
        }
    }
}

/// rustup's smallest profile has neither formatter nor linter. If they cannot be had, the checks themselves say so.
fn ensure_components() {
    let works = |name: &str| process::output(process::host_cargo(name).arg("--version")).is_ok();
    if (!works("fmt") || !works("clippy")) && process::find("rustup").is_some() {
        let step = Step::start("Adding Rust's formatter and linter with rustup");
        let mut add = Command::new("rustup");
        if process::run(&step, add.args(["component", "add", "rustfmt", "clippy"])).is_ok() {
            step.done();
        }
    }
}

fn format() -> Command {
    let mut command = process::host_cargo("fmt");
    command.args(["--all", "--check"]);
    command
}

fn host_lints() -> Command {
    let mut command = process::host_cargo("clippy");
    command.args(["--all-targets", "--", "-D", "warnings"]);
    command
}

fn hypervisor_lints(toolchain: &Toolchain) -> Command {
    let mut command = toolchain.cargo("clippy");
    command.args(toolchain.target_arguments()).args(["--release", "-p", "tessera"]);
    command.args(["--", "-D", "warnings"]);
    command
}

fn guest_lints(toolchain: &Toolchain) -> Result<Command> {
    let mut command = toolchain.cargo("clippy");
    let packages = guest_packages(&paths::guests())?;
    command.args(toolchain.target_arguments()).arg("--release");
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    command.args(["--", "-D", "warnings"]);
    Ok(command)
}

fn documentation() -> Command {
    let mut command = process::host_cargo("doc");
    command.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
    command
}
