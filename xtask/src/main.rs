//! The project's one command: set-up, build, run, test, check.
//! Here are only the options' dispatch and the exit status; each command has a module of its own.

mod build;
mod console;
mod flat;
mod images;
mod options;
mod paths;
mod process;
mod progress;
mod setup;
mod system;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use options::{Command, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    progress::set_verbose(options.verbose);
    match carry_out(options.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup { rust } => {
            setup::ensure(rust)?;
            println!("Everything is set up.");
            Ok(ExitCode::SUCCESS)
        }
        Command::Build { debug } => {
            let toolchain = setup::ensure(setup::toolchain::Choice::Auto)?;
            let profile = if debug {
                build::Profile::Debug
            } else {
                build::Profile::Release
            };
            let hypervisor = build::all(&toolchain, profile)?;
            println!(
                "{}\n{}",
                hypervisor.elf.display(),
                hypervisor.flat.display()
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}
