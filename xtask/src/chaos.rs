//! `cargo xtask chaos`: the guest that does at random whatever a guest can, for as long as one likes. What is run, and when it
//! counts as well, is the tests' (`test::cases::chaos`).

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::build::{self, Profile};
use crate::setup;
use crate::test::cases::chaos::{self, Chaos};
use crate::test::guests;

pub use crate::test::cases::chaos::Processor;

/// What `cargo xtask chaos` was asked for.
#[derive(Clone, Copy, Debug)]
pub struct ChaosOptions {
    /// How many actions.
    pub actions: u64,
    /// Which ones; None for some.
    pub seed: Option<u32>,
    /// The GIC's version, 2 or 3.
    pub gic: u32,
    /// The machine's processors.
    pub cpu: Processor,
}

/// Builds what is missing and runs it once; the exit status says whether all was well.
pub fn chaos(options: &ChaosOptions) -> Result<ExitCode> {
    let toolchain = setup::ensure(setup::toolchain::Choice::Auto)?;
    let hypervisor = build::all(&toolchain, Profile::Release)?;
    let ChaosOptions { actions, gic, cpu, .. } = *options;
    let seed = options.seed.unwrap_or_else(some_seed);
    println!("chaos: --seed {seed} --actions {actions} --gic {gic} --cpu {cpu}");
    let case = chaos::case(&Chaos { seed, actions, gic, cpu });
    let tally = guests::test(vec![case], &hypervisor);
    Ok(if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn some_seed() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.subsec_nanos())
}
