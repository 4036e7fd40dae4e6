//! From a system's name to a machine that can be started: compiled, packed, with cores and memory enough.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::build::Hypervisor;
use crate::card::Uart;
use crate::images::Images;
use crate::paths;
use crate::qemu::{Board, Machine};
use crate::raspberry_pi;
use crate::run::ending::Token;
use crate::setup;
use crate::system::{self, CompiledSystem, Disk, ImageProvider, SystemError};

/// What is asked for; what is None comes from the system.
#[derive(Clone, Debug)]
pub struct Request {
    /// The system's file.
    pub system: PathBuf,
    /// The name of the archive made from it: two runs at the same time need two.
    pub name: String,
    /// The board.
    pub board: Board,
    /// Cores.
    pub cpus: Option<usize>,
    /// RAM in bytes.
    pub memory: Option<u64>,
    /// The GIC's version, 2 or 3; None for the board's usual one.
    pub gic: Option<u32>,
    /// Disks instead of the system's own; empty for those.
    pub disks: Vec<Disk>,
    /// More boot arguments for the hypervisor, a blank before each.
    pub arguments: &'static str,
}

/// A machine, and who lives on it.
pub struct Prepared {
    /// Ready to be started.
    pub machine: Machine,
    /// The guests' names, in the manifest's order.
    pub guests: Vec<String>,
}

/// Compiles and packs the system.
pub fn prepare(request: &Request, hypervisor: &Hypervisor) -> Result<Prepared> {
    prepare_with(request, hypervisor, |path, images| system::compile(path, images))
}

/// As [`prepare`], with another way to compile.
pub fn prepare_with(
    request: &Request,
    hypervisor: &Hypervisor,
    compile: impl FnOnce(&Path, &dyn ImageProvider) -> Result<CompiledSystem, SystemError>,
) -> Result<Prepared> {
    let gic = gic(request)?;
    check_size(request)?;
    let images = Images { gic, board: request.board, cpus: request.cpus, memory: request.memory, card_tree: None };
    let system = compile(&request.system, &images)?;
    let initrd = store(&request.name, &system.archive)?;
    let mut machine = Machine {
        board: request.board,
        cpus: system.machine.cpus,
        memory: system.machine.memory,
        gic,
        kernel: hypervisor.flat.clone(),
        tree: None,
        uart: Uart::Mini,
        firmware: None,
        initrd: Some(initrd),
        colour: false,
        token: Token::draw(),
        arguments: request.arguments,
        disks: if request.disks.is_empty() { system.disks.clone() } else { request.disks.clone() },
        starts_anew: false,
        gdb: false,
        extra: Vec::new(),
    };
    machine.check_disks()?;
    add_board_files(&mut machine, &request.name, system.archive.len() as u64)?;
    Ok(Prepared { machine, guests: system.vms })
}

fn gic(request: &Request) -> Result<u32> {
    match request.board {
        Board::Virt => Ok(request.gic.unwrap_or(3)),
        Board::Raspi4b | Board::Raspi4bTfa => {
            ensure!(request.gic.is_none_or(|gic| gic == 2), "the Raspberry Pi 4 has a GICv2");
            Ok(2)
        }
    }
}

/// Whether the board can have the cores and RAM that are asked for: a Raspberry Pi's are what they are.
fn check_size(request: &Request) -> Result<()> {
    let (cpus, memory) = (raspberry_pi::CPUS, raspberry_pi::MEMORY);
    if request.board == Board::Virt {
        return Ok(());
    }
    ensure!(request.cpus.is_none_or(|asked| asked == cpus), "the Raspberry Pi 4 has {cpus} cores");
    ensure!(request.memory.is_none_or(|asked| asked == memory), "the Raspberry Pi 4 of QEMU has {} MiB", memory >> 20);
    Ok(())
}

/// The Raspberry Pi's device tree and firmware.
fn add_board_files(machine: &mut Machine, name: &str, initrd_bytes: u64) -> Result<()> {
    let path = |extension| paths::target().join("systems").join(name).with_extension(extension);
    match machine.board {
        Board::Virt => {}
        Board::Raspi4b => machine.tree = Some(raspberry_pi::tree()),
        Board::Raspi4bTfa => {
            setup::firmware::ensure_bl31()?;
            let (tree, firmware) = (path("dtb"), path("bl31"));
            raspberry_pi::write_complete_tree(&tree, initrd_bytes, &machine.boot_arguments())?;
            raspberry_pi::write_told_firmware(&setup::firmware::bl31(), &firmware)?;
            machine.tree = Some(tree);
            machine.firmware = Some(firmware);
        }
    }
    Ok(())
}

/// Writes an archive under target/systems; what bears the name is always whole.
pub fn store(name: &str, archive: &[u8]) -> Result<PathBuf> {
    let folder = paths::target().join("systems");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name).with_extension("cpio");
    let part = tempfile::NamedTempFile::new_in(&folder)?;
    fs::write(part.path(), archive)?;
    part.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The file of a system: a path to a TOML file, or the name of one of guests/systems.
pub fn find_system(name: &str) -> Result<PathBuf> {
    if name.ends_with(".toml") {
        let path = PathBuf::from(name);
        ensure!(path.is_file(), "there is no file {name}");
        return Ok(path);
    }
    let folder = paths::guests().join("systems");
    let path = folder.join(name).with_extension("toml");
    if !path.is_file() {
        bail!("there is no system `{name}`; there are: {}; or give a FILE.toml", systems(&folder).join(", "));
    }
    Ok(path)
}

/// The names of the systems in a folder.
fn systems(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let tomls = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut names: Vec<_> = tomls.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

/// Bytes from `512M`, `2G`, `65536K`, or a bare number of MiB.
pub fn parse_memory(text: &str) -> Result<u64> {
    let (digits, shift) = match text
        .trim_end_matches("iB")
        .trim_end_matches('B')
        .split_at_checked(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
    {
        Some((digits, "" | "M" | "m")) => (digits, 20),
        Some((digits, "K" | "k")) => (digits, 10),
        Some((digits, "G" | "g")) => (digits, 30),
        _ => bail!("`{text}` is no size: write it as 512M or 2G"),
    };
    let count: u64 = digits.parse().with_context(|| format!("`{text}` is no size: write it as 512M or 2G"))?;
    let bytes = count.checked_mul(1 << shift).filter(|bytes| *bytes <= 1 << 40);
    let bytes = bytes.with_context(|| format!("`{text}` is too much"))?;
    ensure!(bytes >= 1 << 20, "`{text}` is less than 1M");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("512M", 512 << 20), ("2G", 2 << 30), ("2048K", 2 << 20), ("64", 64 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(parse_memory(text).expect(text), bytes, "{text}");
        }
        for wrong in ["", "M", "-1", "1.5G", "12Q", "99999999999999999999", "99999999G", "0", "12K"] {
            assert!(parse_memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_system_is_a_file_or_a_name_and_an_unknown_name_lists_the_known() {
        let own = paths::guests().join("systems/hello.toml");
        assert_eq!(find_system("hello").expect("known"), own);
        assert_eq!(find_system(&own.display().to_string()).expect("a path"), own);
        assert!(find_system("/x/mine.toml").is_err());
        assert!(find_system("no-such-system").expect_err("unknown").to_string().contains("there are:"));
    }

    #[test]
    fn an_archive_is_replaced_whole() {
        let name = "unit-test-of-store";
        let path = store(name, b"first, longer").expect("stored");
        assert_eq!(store(name, b"second").expect("stored"), path);
        assert_eq!(fs::read(&path).expect("there"), b"second");
        fs::remove_file(path).expect("removed");
    }
}
