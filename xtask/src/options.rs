//! The command line's options, as clap reads them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{ArgMatches, Args, Parser, Subcommand};

use crate::bench::BenchOptions;
use crate::build::Profile;
use crate::card::{CardBoard, CardOptions, Uart};
use crate::chaos::Processor;
use crate::console::Step;
use crate::qemu::Board;
use crate::run::RunOptions;
use crate::run::prepare::parse_memory;

use crate::setup::toolchain::Choice;
use crate::test::Part;

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
    /// Run a system in QEMU: interactively on a terminal, or by a script of --expect and --send.
    Run(RunArguments),
    /// Write the card that a board boots from: a folder of files, or an image.
    Image(ImageArguments),
    /// Run the checks, the crates' own tests and the guests' tests; the last line says how many passed and failed.
    Test {
        /// Only this part.
        #[arg(long, value_enum)]
        only: Option<Part>,
        /// Only tests whose names contain this.
        filter: Option<String>,
        /// All of the guests' tests on this version of the interrupt controller [default: both, where it matters].
        #[arg(long, value_parser = clap::value_parser!(u32).range(2..=3))]
        gic: Option<u32>,
        /// Name the tests instead of running them.
        #[arg(long)]
        list: bool,
    },
    /// Count what operations cost, in executed instructions, beside the plain machine and peers.
    Bench(BenchArguments),
    /// Run a guest that does at random whatever a guest can, beside neighbours that must not notice.
    Chaos {
        /// How many actions.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        actions: u64,
        /// Which ones: the same again for the same number [default: the time of day].
        #[arg(long)]
        seed: Option<u32>,
        /// The version of the machine's interrupt controller.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=3))]
        gic: u32,
        /// The machine's processors.
        #[arg(long, value_enum, default_value = "cortex-a72")]
        cpu: Processor,
    },
    /// Check format, lints and documentation, as CI does.
    Check,
}

/// The options of `bench`.
#[derive(Args, Debug)]
pub struct BenchArguments {
    /// Only this version of the machine's interrupt controller [default: both].
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=3))]
    gic: Option<u32>,
    /// Only this operation, by its name in the results for programs.
    #[arg(long, value_name = "OPERATION")]
    only: Option<String>,
    /// Measure KVM and Xen too, on the same machine.
    #[arg(long)]
    peers: bool,
    /// Measure Linux on two vCPUs too, beside Linux on two plain cores: instructions, time, exits.
    #[arg(long)]
    smp: bool,
    /// Measure only how late the ticks of a system with a period of 1 ms are: alone, beside others, sharing a core.
    #[arg(long, conflicts_with_all = ["only", "peers", "smp", "write_budget", "twice", "json"])]
    latency: bool,
    /// Fail, with a table of what rose, where a figure exceeds its bound in xtask/budget.toml.
    #[arg(long)]
    check: bool,
    /// Make the bounds in xtask/budget.toml what is measured now.
    #[arg(long, conflicts_with = "check")]
    write_budget: bool,
    /// Measure Tessera twice and fail if any figure differs.
    #[arg(long)]
    twice: bool,
    /// Write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the results into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl BenchArguments {
    /// The options.
    pub fn into_options(self) -> BenchOptions {
        let Self { gic, only, peers, smp, latency, check, write_budget, twice, json, svg } = self;
        BenchOptions { gic, only, peers, smp, latency, check, write_budget, twice, json, svg }
    }
}

/// The options of `image`.
#[derive(Args, Debug)]
pub struct ImageArguments {
    /// The board.
    #[arg(long, value_enum, default_value = "rpi4")]
    board: CardBoard,
    /// A system of guests/systems, or a file of your own.
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "linux-freertos")]
    system: String,
    /// A folder for the files, or an image to be written.
    #[arg(long, value_name = "DIR|FILE.img")]
    out: PathBuf,
    /// Memory of the board.
    #[arg(long, value_parser = parse_memory, default_value = "1G")]
    memory: u64,
    /// The serial line that is the console.
    #[arg(long, value_enum, default_value = "mini")]
    uart: Uart,
    /// With Debian's TF-A, which starts cores and switches off by PSCI.
    #[arg(long)]
    tfa: bool,
    /// A folder with the board's own firmware, start4.elf and fixup4.dat [default: Debian's raspi-firmware].
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    /// A raw image that becomes the card's second partition [default: the system's disk, if it has one].
    #[arg(long, value_name = "FILE", value_parser = existing_file)]
    disk: Option<PathBuf>,
}

impl ImageArguments {
    /// The options.
    pub fn into_options(self) -> CardOptions {
        let Self { board: CardBoard::Rpi4, system, out, memory, uart, tfa, firmware, disk } = self;
        CardOptions { system, out, memory, uart, tfa, firmware, disk }
    }
}

/// The options of `run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// A system of guests/systems, or a file of your own.
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "linux-freertos")]
    system: String,
    /// Cores of the machine [default: what the system needs].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=8))]
    cpus: Option<u8>,
    /// Memory of the machine, as 512M or 2G [default: what the system needs].
    #[arg(long, value_parser = parse_memory)]
    memory: Option<u64>,
    /// The longest it may take [default: 60 with a script, no limit without].
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,
    /// A disk of the machine, as a raw image; what is written to it stays. May be given several times [default: the system's].
    #[arg(long, value_name = "FILE", value_parser = existing_file)]
    disk: Vec<PathBuf>,
    /// Wait until the guest has written this; `tessera` is the hypervisor itself.
    #[arg(long, value_name = "VM:REGEX")]
    expect: Vec<String>,
    /// Send this to the guest; escapes: \\n \\r \\t \\e \\\\ \\xHH. To `tessera`: keys as after Ctrl-].
    #[arg(long, value_name = "VM:TEXT")]
    send: Vec<String>,
    /// Start stopped and wait for gdb on port 1234.
    #[arg(long)]
    gdb: bool,
    /// One more argument for QEMU; may be given several times.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    qemu_arg: Vec<String>,
    /// Keep the console's output in this file too.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// The version of the machine's interrupt controller [default: 3, on a Raspberry Pi 2].
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=3))]
    gic: Option<u32>,
    /// The machine.
    #[arg(long, value_enum, default_value = "virt")]
    machine: Board,
    /// With overflow checks and debug assertions in the hypervisor.
    #[arg(long)]
    debug: bool,
}

impl RunArguments {
    /// The options, with the script's steps in the order in which `matches` (of `run` itself) has them.
    pub fn into_options(self, matches: &ArgMatches) -> Result<RunOptions> {
        let steps = steps(matches)?;
        Ok(RunOptions {
            system: self.system,
            cpus: self.cpus.map(usize::from),
            memory: self.memory,
            board: self.machine,
            gic: self.gic,
            disks: self.disk,
            timeout: self.timeout,
            steps,
            gdb: self.gdb,
            qemu: self.qemu_arg,
            log_file: self.log_file,
            profile: if self.debug { Profile::Debug } else { Profile::Release },
        })
    }
}

/// The script: clap keeps each option's values apart, but knows where on the command line each stood.
fn steps(matches: &ArgMatches) -> Result<Vec<Step>> {
    let all = |name: &str| {
        let indices = matches.indices_of(name).into_iter().flatten();
        let values = matches.get_many::<String>(name).into_iter().flatten().cloned();
        indices.zip(values).collect::<Vec<_>>()
    };
    let mut steps = Vec::new();
    for (index, argument) in all("expect") {
        steps.push((index, Step::expect(&argument)?));
    }
    for (index, argument) in all("send") {
        steps.push((index, Step::send(&argument)?));
    }
    steps.sort_by_key(|(index, _)| *index);
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

fn existing_file(text: &str) -> Result<PathBuf> {
    let path = PathBuf::from(text);
    anyhow::ensure!(path.is_file(), "there is no file {text}");
    Ok(path)
}

/// Seconds, with a fraction if need be.
fn parse_seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }

    fn run(arguments: &str) -> Result<RunOptions> {
        let words = format!("xtask run {arguments}");
        let matches = Options::command().try_get_matches_from(words.split(' '))?;
        let options = Options::from_arg_matches(&matches)?;
        let Command::Run(run) = options.command else { panic!("another command") };
        run.into_options(matches.subcommand_matches("run").expect("run"))
    }

    #[test]
    fn steps_keep_the_command_lines_order_across_both_kinds() {
        let line = "--expect a:1 --send a:2 --send b:3 --cpus 4 --expect b:4 --expect a:5 --send a:6";
        let options = run(line).expect("valid");
        let steps: Vec<_> = options.steps.iter().map(ToString::to_string).collect();
        let expected = ["expect a: 1", "send a: 2", "send b: 3", "expect b: 4", "expect a: 5", "send a: 6"];
        assert_eq!(steps, expected);
        assert_eq!(options.cpus, Some(4));
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in
            ["--expect noname", "--send a:\\q", "--memory much", "--timeout -1", "--cpus 0", "--gic 4", "--expect a:("]
        {
            assert!(run(line).is_err(), "{line}");
        }
    }

    #[test]
    fn qemus_arguments_may_begin_with_a_hyphen() {
        assert_eq!(run("--qemu-arg -d --qemu-arg=int").expect("valid").qemu, ["-d", "int"]);
    }
}
