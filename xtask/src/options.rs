//! The command line's options, as clap reads them.

use clap::{Parser, Subcommand};

use crate::setup::toolchain::Choice;

/// Sets up, builds, runs, tests and checks Tessera.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Options {
    /// Show the output of the commands that are run.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the tools and the guests' images; the other commands do it by themselves.
    Setup {
        /// The Rust that compiles for the bare machine.
        #[arg(long, value_enum, default_value = "auto")]
        rust: Choice,
    },
    /// Build the hypervisor and the guests; prints the paths of the hypervisor's ELF and flat image.
    Build {
        /// With overflow checks and debug assertions in the hypervisor.
        #[arg(long)]
        debug: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }
}
