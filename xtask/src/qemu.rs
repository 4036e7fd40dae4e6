//! QEMU's command line for a machine that loads Tessera as it would load Linux.
//! Which system runs belongs to `run` and `test`; talking to the machine to `run::engine`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::card::Uart;
use crate::process;
use crate::raspberry_pi;
use crate::run::ending::Token;
use crate::system::{Amount, Disk, Target};

/// QEMU's `virt` has 32 virtio-mmio devices of 512 bytes (hw/arm/virt.c): 8 to a page of 4 KiB.
const VIRTIO_PER_PAGE: usize = 8;
const VIRTIO_PAGES: usize = 4;

/// The device tree of `virt` with a GIC of this version. Its devices are the same whatever cores and memory it has.
pub fn virt_tree(gic: u32) -> Result<Vec<u8>> {
    let file = tempfile::NamedTempFile::new()?;
    let machine = format!("virt,virtualization=on,gic-version={gic},dumpdtb={}", file.path().display());
    let mut command = Command::new("qemu-system-aarch64");
    command.args(["-M", &machine, "-cpu", "cortex-a72", "-m", "4G", "-nodefaults", "-display", "none"]);
    process::output(&mut command)?;
    Ok(std::fs::read(file.path())?)
}

/// What is settled of `virt` with a GIC of this version, if so many cores and bytes of RAM are asked for.
pub fn virt_target(gic: u32, cpus: Option<usize>, memory: Option<u64>) -> Target {
    let more_cpus = match (cpus, gic) {
        (Some(_), _) => "give the machine more by `--cpus`",
        (None, 2) => "run it with `--gic 3`",
        (None, _) => "",
    };
    Target {
        name: if gic == 2 && cpus.is_none() { "a machine with a GICv2" } else { "the machine" },
        // As many as a GICv2 has interfaces for, or QEMU's GICv3 (hw/arm/virt.c).
        cpus: cpus.map_or(Amount::UpTo(if gic == 2 { 8 } else { 512 }), |cpus| Amount::Exactly(cpus as u64)),
        memory,
        more_cpus,
        more_memory: "give the machine more by `--memory`",
    }
}

/// The boards that QEMU emulates for us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Board {
    /// QEMU's own: any number of cores, any GIC, PSCI firmware.
    #[default]
    Virt,
    /// Raspberry Pi 4: 4 cores, 2 GiB, GICv2, spin table.
    Raspi4b,
    /// The same behind Debian's TF-A: PSCI firmware.
    Raspi4bTfa,
}

/// The emulated machine, and what is loaded into it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Which board it is.
    pub board: Board,
    /// Cores.
    pub cpus: usize,
    /// RAM in bytes.
    pub memory: u64,
    /// The GIC's version, 2 or 3.
    pub gic: u32,
    /// The hypervisor's flat image.
    pub kernel: PathBuf,
    /// The Raspberry Pi's device tree, or what `virt` is to have instead of its own.
    pub tree: Option<PathBuf>,
    /// The serial line of the Raspberry Pi that is the console; behind TF-A it is the PL011.
    pub uart: Uart,
    /// The program at EL3, if there is one.
    pub firmware: Option<PathBuf>,
    /// The system's archive.
    pub initrd: Option<PathBuf>,
    /// Disks: of `virt` the first virtio-mmio devices of each page, of a Raspberry Pi the SD card.
    pub disks: Vec<Disk>,
    /// Whether the console's tags are coloured.
    pub colour: bool,
    /// By what Tessera's verdict is known.
    pub token: Token,
    /// More boot arguments, a blank before each.
    pub arguments: &'static str,
    /// Whether it starts anew when it is reset, or ends as if it were switched off.
    pub starts_anew: bool,
    /// Wait for gdb on TCP port 1234 before the first instruction.
    pub gdb: bool,
    /// More arguments, as the user gave them.
    pub extra: Vec<String>,
}

impl Machine {
    /// The command that runs it: its serial line on standard input and output, where also the hypervisor's verdict comes.
    /// It ends with the thread that starts it. Nothing of the host is open to what runs on it: above all no semihosting.
    pub fn command(&self) -> Command {
        let mut command = tied("qemu-system-aarch64");
        command.args(["-nodefaults", "-display", "none", "-monitor", "none"]);
        if !self.starts_anew {
            command.arg("-no-reboot");
        }
        command.args(["-chardev", "stdio,id=console,signal=off"]);
        match self.board {
            Board::Virt => self.add_virt(&mut command),
            Board::Raspi4b => self.add_raspberry_pi(&mut command),
            Board::Raspi4bTfa => self.add_raspberry_pi_with_firmware(&mut command),
        }
        self.add_disks(&mut command);
        if self.gdb {
            command.args(["-s", "-S"]);
        }
        command.args(&self.extra);
        command
    }

    /// Whether the board has room for the disks.
    ///
    /// # Errors
    /// It has not, and how much it has.
    pub fn check_disks(&self) -> Result<()> {
        let room = if self.board == Board::Virt { VIRTIO_PAGES } else { 1 };
        ensure!(self.disks.len() <= room, "this machine has room for {room} disks, not {}", self.disks.len());
        Ok(())
    }

    /// Each virtio-mmio disk in a page of its own, so that each can be a guest's alone.
    fn add_disks(&self, command: &mut Command) {
        for (index, disk) in self.disks.iter().enumerate() {
            let file = disk.path.display().to_string().replace(',', ",,");
            let snapshot = if disk.keeps_changes { "off" } else { "on" };
            let common = format!("file={file},format=raw,snapshot={snapshot}");
            if self.board == Board::Virt {
                let bus = index * VIRTIO_PER_PAGE;
                command.arg("-drive").arg(format!("if=none,id=disk{index},{common}"));
                command.arg("-device").arg(format!("virtio-blk-device,drive=disk{index},bus=virtio-mmio-bus.{bus}"));
            } else {
                // QEMU's own SD card is at the wireless card's controller; on the board it is at this one, the last added.
                command.arg("-drive").arg(format!("if=none,id=disk{index},{common}"));
                command.args(["-device", &format!("sd-card,drive=disk{index},bus=/generic-sdhci/sd-bus")]);
            }
        }
        if self.board == Board::Virt && !self.disks.is_empty() {
            command.args(["-global", "virtio-mmio.force-legacy=false"]);
        }
    }

    fn add_virt(&self, command: &mut Command) {
        let machine = format!("virt,virtualization=on,gic-version={}", self.gic);
        command.args(["-M", &machine, "-cpu", "cortex-a72", "-smp", &self.cpus.to_string()]);
        command.args(["-m", &format!("{}M", self.memory.div_ceil(1 << 20)), "-serial", "chardev:console"]);
        self.add_as_linux(command);
    }

    /// QEMU's first serial line is the PL011; the second is the mini UART, which the board's tree names as the console.
    fn add_raspberry_pi(&self, command: &mut Command) {
        command.args(["-M", "raspi4b"]);
        if self.uart == Uart::Mini {
            command.args(["-serial", "null"]);
        }
        command.args(["-serial", "chardev:console"]);
        self.add_as_linux(command);
    }

    /// All is loaded where the board's firmware would load it, and all cores start at EL3 at address 0. TF-A makes the
    /// PL011, QEMU's first serial line, the console.
    fn add_raspberry_pi_with_firmware(&self, command: &mut Command) {
        command.args(["-M", "raspi4b", "-serial", "chardev:console"]);
        let files = [
            (self.firmware.as_ref(), 0),
            (Some(&self.kernel), raspberry_pi::KERNEL),
            (self.tree.as_ref(), raspberry_pi::TREE),
            (self.initrd.as_ref(), raspberry_pi::INITRD),
        ];
        for (file, address) in files {
            // A comma in a value is written twice.
            let name = file.map(|file| file.display().to_string().replace(',', ",,"));
            let options = name.map(|name| format!("loader,file={name},addr={address:#x},force-raw=on"));
            command.args(options.into_iter().flat_map(|options| ["-device".to_owned(), options]));
        }
    }

    /// Loads Tessera as it would load Linux.
    fn add_as_linux(&self, command: &mut Command) {
        if let Some(tree) = &self.tree {
            command.arg("-dtb").arg(tree);
        }
        command.arg("-kernel").arg(&self.kernel);
        if let Some(initrd) = &self.initrd {
            command.arg("-initrd").arg(initrd);
        }
        command.args(["-append", &self.boot_arguments()]);
    }

    /// What the hypervisor finds as its command line.
    pub fn boot_arguments(&self) -> String {
        let colour = if self.colour { " tessera.colour=on" } else { "" };
        format!("{}{colour}{}", self.token.argument(), self.arguments)
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
            board: Board::Virt,
            tree: None,
            uart: Uart::Mini,
            firmware: None,
            cpus: 3,
            memory: (512 << 20) + 1,
            gic: 2,
            kernel: "/k".into(),
            initrd: Some("/i".into()),
            disks: Vec::new(),
            colour: false,
            token: Token::draw(),
            arguments: "",
            starts_anew: false,
            gdb: false,
            extra: vec!["-d".into(), "int".into()],
        };
        let line = words(&machine).join(" ");
        assert!(line.contains("-no-reboot"));
        assert!(line.contains("-M virt,virtualization=on,gic-version=2 -cpu cortex-a72 -smp 3 -m 513M"));
        assert!(line.contains(&format!("-kernel /k -initrd /i -append {} -d int", machine.token.argument())));
        assert!(!line.contains("semihosting"));
        machine.board = Board::Raspi4b;
        machine.tree = Some("/t".into());
        let line = words(&machine).join(" ");
        assert!(line.contains("-M raspi4b -serial null -serial chardev:console -dtb /t -kernel /k -initrd /i -append"));
        machine.board = Board::Raspi4bTfa;
        machine.firmware = Some("/a,b".into());
        let line = words(&machine).join(" ");
        assert!(line.contains("-device loader,file=/a,,b,addr=0x0,force-raw=on -device loader,file=/k,addr=0x200000"));
        assert!(!line.contains("-kernel"));
        machine.board = Board::Virt;
        machine.gdb = true;
        machine.starts_anew = true;
        machine.colour = true;
        let words = words(&machine);
        assert!(words.contains(&"-S".to_owned()) && !words.contains(&"-no-reboot".to_owned()));
        assert!(words.contains(&format!("{} tessera.colour=on", machine.token.argument())));
    }
}
