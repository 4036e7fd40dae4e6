//! The machines that count: QEMU with one tick of the counter for each instruction, and what runs on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::{self, Hypervisor};
use crate::console::Script;
use crate::paths;
use crate::qemu::{self, Board};
use crate::run::engine::{Plan, Session, Verdict};
use crate::run::failure;
use crate::run::prepare::{self, Request};

/// The longest a run may take, for hosts that do much else at the same time.
const LIMIT: Duration = Duration::from_secs(400);
/// Makes one tick of the counter one instruction.
pub const COUNTING: [&str; 4] = ["-icount", "shift=0,sleep=off", "-cpu", "cortex-a72,cntfrq=1000000000"];
/// What keeps runs of Linux alike.
const REPEATABLE: [&str; 4] = ["-seed", "1", "-rtc", "base=2024-01-01,clock=vm"];
/// Where QEMU puts an image behind the stub: 2 MiB after it, as the stub expects.
const BEHIND_STUB: usize = 2 << 20;

/// RAM of our machine, in bytes.
const OUR_MEMORY: u64 = 2 << 30;

/// A guest without a hypervisor.
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
}

impl Plain<'_> {
    fn command(&self) -> Command {
        let mut command = qemu::tied("qemu-system-aarch64");
        let el2 = if self.at_el2 { ",virtualization=on" } else { "" };
        command.args(["-M", &format!("virt,gic-version={},dtb-randomness=off{el2}", self.gic)]);
        command.args(COUNTING).args(REPEATABLE);
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
        command
    }

    /// QEMU's own device tree of the machine.
    pub fn own_tree(&self) -> Result<Vec<u8>> {
        let path = folder()?.join(format!("qemu-gic{}.dtb", self.gic));
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
    /// More arguments for QEMU.
    pub extra: Vec<String>,
}

impl Ours {
    /// One VM of the bench guest.
    pub fn bench(gic: u32, cpus: usize, memory_mib: u64, arguments: &str) -> Self {
        let system = format!(
            "[[vm]]\nname = \"bench\"\ncpus = {cpus}\nmemory = \"{memory_mib}M\"\nimage = \"tessera:guest/bench\"\n\
             command-line = \"{arguments}\"\n"
        );
        Self { name: format!("bench-gic{gic}"), system, gic, extra: Vec::new() }
    }

    /// One VM of the guest that writes to pages of its own image, which is shared.
    pub fn sharing(gic: u32, memory_mib: u64) -> Self {
        let system = format!(
            "[[vm]]\nname = \"bench\"\ncpus = 1\nmemory = \"{memory_mib}M\"\nimage = \"tessera:guest/bench-shared\"\n\
             share-image = true\n"
        );
        Self { name: format!("bench-sharing-gic{gic}"), system, gic, extra: Vec::new() }
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
        };
        let mut machine = prepare::prepare(&request, hypervisor)?.machine;
        let own = COUNTING.iter().chain(&REPEATABLE).map(|argument| (*argument).to_owned());
        machine.extra.extend(own);
        machine.extra.extend(self.extra.iter().cloned());
        Ok(machine.command())
    }

    /// Runs it to its end; the console's text, or why there is none.
    pub fn run(&self, hypervisor: &Hypervisor) -> Result<String, String> {
        let mut command = self.command(hypervisor).map_err(|error| format!("{error:#}"))?;
        run(&mut command)
    }
}

/// Runs a machine until it switches itself off.
///
/// A machine that ends with an error has said why on its console: that is for the reader of the text.
fn run(command: &mut Command) -> Result<String, String> {
    let mut text = Vec::new();
    let outcome = run_into(command, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    match outcome {
        Ok(Verdict::Ended(Some(_))) => Ok(text),
        Ok(verdict) => Err(failure(&verdict).unwrap_or_else(|| "it did not end".to_owned())),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn run_into(command: &mut Command, text: &mut Vec<u8>) -> Result<Verdict> {
    let mut session = Session::start(command, &[])?;
    let plan = Plan { script: Script::new(Vec::new(), &[] as &[&str])?, stop_after_script: false, limit: Some(LIMIT) };
    let verdict = session.run(plan, &mut |bytes| text.extend(bytes))?;
    session.stop();
    match (&verdict, text.is_empty()) {
        (Verdict::Ended(_), true) => anyhow::bail!("QEMU: {}", session.errors().trim()),
        _ => Ok(verdict),
    }
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
    }

    #[test]
    fn a_plain_machine_counts_and_repeats() {
        let plain = Plain {
            gic: 2,
            cpus: 2,
            memory_mib: 64,
            kernel: Path::new("/k"),
            initrd: None,
            arguments: "ops=spi",
            tree: None,
            at_el2: false,
        };
        let words: Vec<_> = plain.command().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let line = words.join(" ");
        assert!(line.contains("virt,gic-version=2,dtb-randomness=off -icount shift=0,sleep=off"), "{line}");
        assert!(line.contains("cntfrq=1000000000") && line.contains("-append ops=spi") && line.contains("-smp 2"));
    }
}
