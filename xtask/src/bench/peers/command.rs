//! QEMU's command line for a machine that boots a peer, such that every run is the same to the instruction.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::MACHINE_MEMORY;
use crate::qemu::tied;

/// The machine, and what is loaded into it.
pub struct Machine {
    /// 2 or 3.
    pub gic: u32,
    /// Cores.
    pub cpus: usize,
    /// Its device tree blob.
    pub tree: PathBuf,
    /// The peer's kernel.
    pub kernel: PathBuf,
}

impl Machine {
    /// The command that runs it, its serial line on standard input and output. At 1 GHz, a tick of the generic timer is one
    /// instruction.
    pub fn command(&self) -> Command {
        let mut command = base(self.gic, self.cpus, "");
        command.args(["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2024-01-01,clock=vm"]);
        command.args(["-monitor", "none", "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        command.arg("-dtb").arg(&self.tree).arg("-kernel").arg(&self.kernel);
        command
    }
}

/// The command that writes the machine's device tree to a file and ends.
pub fn dump_tree(gic: u32, cpus: usize, file: &Path) -> Command {
    base(gic, cpus, &format!(",dumpdtb={}", file.display()))
}

fn base(gic: u32, cpus: usize, more: &str) -> Command {
    let mut command = tied("qemu-system-aarch64");
    let machine = format!("virt,virtualization=on,gic-version={gic},dtb-randomness=off{more}");
    command.args(["-M", &machine, "-cpu", "cortex-a72,cntfrq=1000000000", "-smp", &cpus.to_string()]);
    command.args(["-m", &format!("{}M", MACHINE_MEMORY >> 20), "-nodefaults", "-no-reboot", "-display", "none"]);
    command
}
