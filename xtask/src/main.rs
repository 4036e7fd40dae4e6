//! The project's one command: set-up, build, run, test, check.
//! Here are only the options' dispatch and the exit status; each command has a module of its own.

mod bench;
mod build;
mod card;
mod chaos;
mod check;
mod console;
mod flat;
mod images;
mod link;
mod options;
mod paths;
mod process;
mod progress;
mod qemu;
mod raspberry_pi;
mod run;
mod setup;
mod system;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use options::{Command, Options};

fn main() -> ExitCode {
    let outcome = link::requested().unwrap_or_else(|| {
        let matches = Options::command().get_matches();
        Options::from_arg_matches(&matches).map_err(Into::into).and_then(|options| {
            progress::set_verbose(options.verbose);
            carry_out(options.command, &matches)
        })
    });
    outcome.unwrap_or_else(|error: anyhow::Error| {
        match error.downcast_ref::<system::SystemError>() {
            // It is rendered with its place in the file, and as an error.
            Some(placed) => eprintln!("{placed}"),
            None => eprintln!("error: {error:#}"),
        }
        ExitCode::FAILURE
    })
}

fn carry_out(command: Command, matches: &ArgMatches) -> Result<ExitCode> {
    match command {
        Command::Setup { rust } => {
            setup::ensure(rust)?;
            println!("Everything is set up.");
            Ok(ExitCode::SUCCESS)
        }
        Command::Build { debug } => {
            let toolchain = setup::ensure(setup::toolchain::Choice::Auto)?;
            let profile = if debug { build::Profile::Debug } else { build::Profile::Release };
            let hypervisor = build::all(&toolchain, profile)?;
            println!("{}\n{}", hypervisor.elf.display(), hypervisor.flat.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check => check::check(&setup::ensure(setup::toolchain::Choice::Auto)?),
        Command::Test { only, filter, gic, list } => test::test(&test::TestOptions { only, filter, gic, list }),
        Command::Bench(arguments) => bench::bench(&arguments.into_options()),
        Command::Chaos { actions, seed, gic, cpu } => chaos::chaos(&chaos::ChaosOptions { actions, seed, gic, cpu }),
        Command::Image(arguments) => card::image(&arguments.into_options()),
        Command::Run(arguments) => {
            let own = matches.subcommand_matches("run").unwrap_or(matches);
            run::run(arguments.into_options(own)?)
        }
    }
}
