//! The machines that count: QEMU with one tick of the counter for each instruction, and what runs on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::{self, Hypervisor};
use crate::console::{Script, Step};
use crate::paths;
use crate::qemu::{self, Board};
use crate::run::ending::Ending;
use crate::run::engine::{Plan, Session, Verdict};
use crate::run::failure;
use crate::run::prepare::{self, Request};

/// The longest a run may take, for hosts that do much else at the same time.
const LIMIT: Duration = Duration::from_secs(400);
/// Makes one tick of the counter one instruction, on one core.
///
/// The recording, which is thrown away, makes QEMU's main loop wait while the core executes. Else it may see a core that has
/// just gone to sleep (WFI) before its last instructions count: it moves the clock to the next deadline and by these
/// instructions past it, so that the interrupt seems late.
pub const COUNTING: [&str; 4] =
    ["-icount", "shift=0,sleep=off,rr=record,rrfile=/dev/null", "-cpu", "cortex-a72,cntfrq=1000000000"];
/// The same for several cores, of which QEMU makes no recordings. Nothing is exact then in which all of them sleep.
pub const COUNTING_SEVERAL: [&str; 4] = ["-icount", "shift=0,sleep=off", "-cpu", "cortex-a72,cntfrq=1000000000"];
/// What keeps runs of Linux alike.
const REPEATABLE: [&str; 4] = ["-seed", "1", "-rtc", "base=2024-01-01,clock=vm"];
/// Each core on a thread of the host's, in the host's time.
const PARALLEL: [&str; 4] = ["-accel", "tcg,thread=multi", "-cpu", "cortex-a72"];
/// No seeds in the board's tree, and so none in the guest's: the plain machine's Linux has none either.
pub const NO_SEEDS: [&str; 2] = ["-M", "dtb-randomness=off"];
/// Where QEMU puts an image behind the stub: 2 MiB after it, as the stub expects.
const BEHIND_STUB: usize = 2 << 20;

/// Where QEMU loads our image: 2 MiB into the RAM, which begins at 1 GiB.
pub const LOADED: u64 = 0x4020_0000;
/// The most that our image may have for those who look for its addresses.
pub const LARGEST_IMAGE: u64 = 0x10_0000;
/// RAM of our machine, in bytes.
const OUR_MEMORY: u64 = 2 << 30;

/// How a machine's time goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// By instructions, one core after the other: two runs are the same.
    #[default]
    Counted,
    /// As the host's, all cores at once (QEMU's MTTCG): no two runs are the same.
    Real,
}

impl Timing {
    fn arguments(self, cpus: usize) -> Vec<String> {
        let arguments = match self {
            Self::Counted if cpus == 1 => [COUNTING, REPEATABLE].concat(),
            Self::Counted => [COUNTING_SEVERAL, REPEATABLE].concat(),
            Self::Real => PARALLEL.to_vec(),
        };
        arguments.into_iter().map(str::to_owned).collect()
    }
}

/// A guest without a hypervisor.
#[derive(Clone, Debug)]
pub struct Plain<'a> {
    /// The GIC's version.
    pub gic: u32,
    /// Cores.
    pub cpus: usize,
    /// RAM in MiB.
    pub memory_mib: u64,
    /// The flat image.
    pub kernel: &'a Path,
    /// For Linux.
    pub initrd: Option<&'a Path>,
    /// Its command line.
    pub arguments: &'a str,
    /// Its device tree, if not QEMU's own.
    pub tree: Option<&'a Path>,
    /// Whether it starts at EL2.
    pub at_el2: bool,
    /// How its time goes.
    pub timing: Timing,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
}

impl<'a> Plain<'a> {
    /// The bench guest's machine, or another's that differs in some of this.
    pub fn bench(gic: u32, cpus: usize, kernel: &'a Path, arguments: &'a str) -> Self {
        let (memory_mib, initrd, tree) = (128, None, None);
        let (at_el2, timing, extra) = (false, Timing::Counted, Vec::new());
        Self { gic, cpus, memory_mib, kernel, initrd, arguments, tree, at_el2, timing, extra }
    }

    fn command(&self) -> Command {
        let mut command = qemu::tied("qemu-system-aarch64");
        let el2 = if self.at_el2 { ",virtualization=on" } else { "" };
        command.args(["-M", &format!("virt,gic-version={},dtb-randomness=off{el2}", self.gic)]);
        command.args(self.timing.arguments(self.cpus));
        command.args(["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory_mib)]);
        command.args(["-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none"]);
        command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        command.arg("-kernel").arg(self.kernel).args(["-append", self.arguments]);
        if let Some(initrd) = self.initrd {
            command.arg("-initrd").arg(initrd);
        }
        if let Some(tree) = self.tree {
            command.arg("-dtb").arg(tree);
        }
        command.args(&self.extra);
        command
    }

    /// QEMU's own device tree of the machine.
    pub fn own_tree(&self) -> Result<Vec<u8>> {
        let path = folder()?.join(format!("qemu-gic{}-{}.dtb", self.gic, self.cpus));
        let mut command = self.command();
        let output = command.args(["-M", &format!("dumpdtb={}", path.display())]).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "QEMU: {}", String::from_utf8_lossy(&output.stderr).trim());
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Runs it to its end; the console's text, or why there is none.
    pub fn run(&self) -> Result<String, String> {
        run(&mut self.command())
    }
}

/// A system under Tessera.
#[derive(Clone, Debug)]
pub struct Ours {
    /// The name of the files made for it.
    pub name: String,
    /// The system file's text.
    pub system: String,
    /// The GIC's version.
    pub gic: u32,
    /// How its time goes.
    pub timing: Timing,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
}

impl Ours {
    /// A system on a machine that counts.
    pub fn counted(name: String, system: String, gic: u32) -> Self {
        Self { name, system, gic, timing: Timing::Counted, extra: Vec::new() }
    }

    /// One VM of the bench guest.
    pub fn bench(gic: u32, cpus: usize, memory_mib: u64, arguments: &str) -> Self {
        let system = format!(
            "[[vm]]\nname = \"bench\"\ncpus = {cpus}\nmemory = \"{memory_mib}M\"\nimage = \"tessera:guest/bench\"\n\
             command-line = \"{arguments}\"\n"
        );
        Self::counted(format!("bench-gic{gic}"), system, gic)
    }

    /// One VM of the guest that writes to pages of its own image, which is shared.
    pub fn sharing(gic: u32, memory_mib: u64) -> Self {
        let system = format!(
            "[[vm]]\nname = \"bench\"\ncpus = 1\nmemory = \"{memory_mib}M\"\nimage = \"tessera:guest/bench-shared\"\n\
             share-image = true\n"
        );
        Self::counted(format!("bench-sharing-gic{gic}"), system, gic)
    }

    /// The command that runs it.
    pub fn command(&self, hypervisor: &Hypervisor) -> Result<Command> {
        let path = folder()?.join(format!("{}.toml", self.name));
        fs::write(&path, &self.system)?;
        let request = Request {
            system: path,
            name: self.name.clone(),
            board: Board::Virt,
            cpus: None,
            memory: Some(OUR_MEMORY),
            gic: Some(self.gic),
            disks: Vec::new(),
            arguments: "",
        };
        let mut machine = prepare::prepare(&request, hypervisor)?.machine;
        machine.extra.extend(self.timing.arguments(machine.cpus));
        machine.extra.extend(self.extra.iter().cloned());
        Ok(machine.command())
    }

    /// Runs it to its end; the console's text, or why there is none.
    pub fn run(&self, hypervisor: &Hypervisor) -> Result<String, String> {
        let mut command = self.command(hypervisor).map_err(|error| format!("{error:#}"))?;
        run(&mut command)
    }

    /// Runs it until the VM `bench` has written a line that begins so, so many times, and stops it.
    pub fn run_until(&self, hypervisor: &Hypervisor, line: &str, times: usize) -> Result<String, String> {
        let why = |error: anyhow::Error| format!("{error:#}");
        let mut command = self.command(hypervisor).map_err(why)?;
        let step = Step::expect(&format!("bench:^{line}")).map_err(|error| error.to_string())?;
        run_script(&mut command, vec![step; times])
    }
}

/// Runs a machine until it switches itself off.
fn run(command: &mut Command) -> Result<String, String> {
    run_script(command, Vec::new())
}

/// Runs a machine until the steps are done, or without any until it switches itself off.
///
/// A machine that ends with an error has said why on its console: that is for the reader of the text.
fn run_script(command: &mut Command, steps: Vec<Step>) -> Result<String, String> {
    let (mut text, mut errors) = (Vec::new(), String::new());
    let outcome = run_into(command, steps, &mut text, &mut errors);
    let text = String::from_utf8_lossy(&text).into_owned();
    let said = errors.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let said = said.map(|line| line.strip_prefix("qemu-system-aarch64: ").unwrap_or(line));
    match (outcome, said) {
        (Ok(Verdict::Ended(Ending::Silent(Some(_)))), Some(said)) if text.is_empty() => Err(format!("QEMU: {said}")),
        (Ok(Verdict::Ended(Ending::Silent(Some(_))) | Verdict::ScriptDone), _) => Ok(text),
        (Ok(verdict), said) => {
            let why = failure(&verdict).unwrap_or_else(|| "it did not end".to_owned());
            Err(said.map_or(why.clone(), |said| format!("{why}: {said}")))
        }
        (Err(error), _) => Err(format!("{error:#}")),
    }
}

fn run_into(command: &mut Command, steps: Vec<Step>, text: &mut Vec<u8>, errors: &mut String) -> Result<Verdict> {
    let mut session = Session::start(command, &["bench".to_owned()], None)?;
    let stop_after_script = !steps.is_empty();
    let plan = Plan { script: Script::new(steps, &["bench"])?, stop_after_script, limit: Some(LIMIT), patience: None };
    let verdict = session.run(plan, &mut |bytes| text.extend(bytes))?;
    session.stop();
    *errors = session.errors();
    Ok(verdict)
}

/// Where files made for a bench lie.
pub fn folder() -> Result<PathBuf> {
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The stub with the bench guest behind it.
pub fn stubbed() -> Result<PathBuf> {
    let read = |name| {
        let path = build::guest(name)?;
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let path = folder()?.join("stubbed.bin");
    fs::write(&path, behind(read("bench-stub")?, &read("bench")?)?)?;
    Ok(path)
}

fn behind(mut stub: Vec<u8>, guest: &[u8]) -> Result<Vec<u8>> {
    ensure!(stub.len() <= BEHIND_STUB, "the stub has grown over its guest");
    stub.resize(BEHIND_STUB, 0);
    stub.extend(guest);
    Ok(stub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_lies_where_the_stub_expects_it() {
        let image = behind(vec![1; 10], &[2; 4]).expect("fits");
        assert_eq!((image.len(), image[9], image[10], image[BEHIND_STUB]), (BEHIND_STUB + 4, 1, 0, 2));
        assert!(behind(vec![1; BEHIND_STUB + 1], &[]).is_err());
    }

    #[test]
    fn a_machine_that_cannot_start_says_why() {
        let why = run(Command::new("sh").args(["-c", "echo no such machine >&2; exit 1"])).expect_err("fails");
        assert!(why.contains("no such machine"), "{why}");
        assert_eq!(run(Command::new("sh").args(["-c", "echo hello"])).as_deref(), Ok("hello\n"));
        let why = run(Command::new("sh").args(["-c", "echo hello; echo bug >&2; kill -ABRT $$"])).expect_err("killed");
        assert_eq!(why, "QEMU was killed: bug");
    }

    #[test]
    fn a_plain_machine_counts_and_repeats() {
        let plain = Plain::bench(2, 2, Path::new("/k"), "ops=spi");
        let words: Vec<_> = plain.command().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let line = words.join(" ");
        assert!(line.contains("virt,gic-version=2,dtb-randomness=off -icount shift=0,sleep=off -cpu"), "{line}");
        assert!(line.contains("cntfrq=1000000000") && line.contains("-append ops=spi") && line.contains("-smp 2"));
    }
}
