//! QEMU's command line for a machine that loads Tessera as it would load Linux.
//! Which system runs belongs to `run` and `test`; talking to the machine to `run::engine`.

use std::path::PathBuf;
use std::process::Command;

use crate::process;

/// The emulated machine, and what is loaded into it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Cores.
    pub cpus: usize,
    /// RAM in bytes.
    pub memory: u64,
    /// The GIC's version, 2 or 3.
    pub gic: u32,
    /// The hypervisor's flat image.
    pub kernel: PathBuf,
    /// The system's archive.
    pub initrd: Option<PathBuf>,
    /// Whether the console's tags are coloured.
    pub colour: bool,
    /// Wait for gdb on TCP port 1234 before the first instruction.
    pub gdb: bool,
    /// More arguments, as the user gave them.
    pub extra: Vec<String>,
}

impl Machine {
    /// The command that runs it: its serial line on standard input and output, and its exit status the hypervisor's
    /// verdict (semihosting SYS_EXIT). It ends with the thread that starts it.
    pub fn command(&self) -> Command {
        let mut command = tied("qemu-system-aarch64");
        let machine = format!("virt,virtualization=on,gic-version={}", self.gic);
        command.args(["-M", &machine, "-cpu", "cortex-a72", "-smp", &self.cpus.to_string()]);
        command.args(["-m", &format!("{}M", self.memory.div_ceil(1 << 20))]);
        command.args(["-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none"]);
        command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        command.args(["-semihosting-config", "enable=on,target=native"]);
        command.arg("-kernel").arg(&self.kernel);
        if let Some(initrd) = &self.initrd {
            command.arg("-initrd").arg(initrd);
        }
        command.args(["-append", &self.boot_arguments()]);
        if self.gdb {
            command.args(["-s", "-S"]);
        }
        command.args(&self.extra);
        command
    }

    fn boot_arguments(&self) -> String {
        let colour = if self.colour { " tessera.colour=on" } else { "" };
        format!("tessera.exit=semihosting{colour}")
    }
}

/// A program that is killed when the thread that starts it ends in any way.
pub fn tied(program: &str) -> Command {
    match process::find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--", program]);
            command
        }
        None => Command::new(program),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(machine: &Machine) -> Vec<String> {
        machine.command().get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_machine_is_as_asked() {
        let mut machine = Machine {
            cpus: 3,
            memory: (512 << 20) + 1,
            gic: 2,
            kernel: "/k".into(),
            initrd: Some("/i".into()),
            colour: false,
            gdb: false,
            extra: vec!["-d".into(), "int".into()],
        };
        let line = words(&machine).join(" ");
        assert!(line.contains("-M virt,virtualization=on,gic-version=2 -cpu cortex-a72 -smp 3 -m 513M"));
        assert!(line.contains("-kernel /k -initrd /i -append tessera.exit=semihosting -d int"));
        machine.gdb = true;
        machine.colour = true;
        let words = words(&machine);
        assert!(words.contains(&"-S".to_owned()));
        assert!(words.contains(&"tessera.exit=semihosting tessera.colour=on".to_owned()));
    }
}
