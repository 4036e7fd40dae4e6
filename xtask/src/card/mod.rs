//! `image`: the card that a board boots from, as a folder of files or as an image.
//! What the firmware is told is `config`, the serial line `console` and `tree`, the image's format `disk`; what a system is
//! made of belongs to `system`.

pub mod config;
pub mod console;
pub mod disk;
mod place;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Hypervisor, Profile};
use crate::images::Images;
use crate::paths;
use crate::raspberry_pi;
use crate::run::prepare::find_system;
use crate::setup::{self, firmware};
use crate::system::{self, CompiledSystem};

pub use console::Uart;

/// The boards that cards are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CardBoard {
    /// Raspberry Pi 4 Model B.
    Rpi4,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CardOptions {
    /// The system: a name or a file.
    pub system: String,
    /// A folder, or a file whose name ends in `.img`.
    pub out: PathBuf,
    /// The board's RAM, in bytes.
    pub memory: u64,
    /// The console.
    pub uart: Uart,
    /// With TF-A at EL3.
    pub tfa: bool,
    /// The folder with the board's firmware; None for Debian's.
    pub firmware: Option<PathBuf>,
    /// What becomes the card's second partition; None for the system's disk, if it has one.
    pub disk: Option<PathBuf>,
}

/// A file on the card.
pub struct CardFile {
    /// Its path from the root.
    pub name: String,
    /// What is in it.
    pub contents: Vec<u8>,
}

impl CardFile {
    fn read(name: &str, path: &Path) -> Result<Self> {
        let contents = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { name: name.to_owned(), contents })
    }
}

/// Builds everything and writes the card.
///
/// # Errors
/// The system is wrong, or too large for the board; the disk's.
pub fn image(options: &CardOptions) -> Result<ExitCode> {
    let hypervisor = build::all(&setup::ensure(setup::toolchain::Choice::Auto)?, Profile::Release)?;
    let path = find_system(&options.system)?;
    let system = system::compile(&path, &Images::for_card(store_tree(options.uart)?, options.memory))?;
    let disk = disk_of(options, &system)?;
    let mut files = own_files(options, &hypervisor, system.archive)?;
    place::check(&system.fixed_memory, &files, options.tfa)?;
    let missing = add_firmware(options, &mut files)?;
    write(&options.out, &files, disk.as_deref())?;
    for file in &files {
        println!("{:>12}  {}", file.contents.len(), file.name);
    }
    println!("Written: {}", options.out.display());
    if let Some(disk) = &disk {
        println!("{}", say_where_the_disk_is(&options.out, disk));
    }
    if !missing.is_empty() {
        println!("{}", ask_for(&missing));
    }
    Ok(ExitCode::SUCCESS)
}

/// What becomes the second partition: a card has room for one disk.
fn disk_of(options: &CardOptions, system: &CompiledSystem) -> Result<Option<PathBuf>> {
    if options.disk.is_some() {
        return Ok(options.disk.clone());
    }
    let count = system.disks.len();
    ensure!(count <= 1, "a card has room for one disk, but the system has {count}: say which by --disk FILE");
    Ok(system.disks.first().map(|disk| disk.path.clone()))
}

fn say_where_the_disk_is(out: &Path, disk: &Path) -> String {
    match is_image(out) {
        true => format!("Its second partition is the disk {}.", disk.display()),
        false => format!(
            "The system wants the disk {0} as the card's second partition, of at least {1} MiB; if that is /dev/sdX2:\n\
             dd if={0} of=/dev/sdX2 bs=4M conv=fsync",
            disk.display(),
            fs::metadata(disk).map_or(0, |data| data.len().div_ceil(1 << 20))
        ),
    }
}

fn is_image(out: &Path) -> bool {
    out.extension().is_some_and(|extension| extension == "img")
}

/// The tree on the card.
fn board_tree(uart: Uart) -> Result<Vec<u8>> {
    tree::for_console(&fs::read(raspberry_pi::tree())?, uart)
}

/// Keeps the tree in a file where whoever writes a system can look at it, though there is no card yet.
fn store_tree(uart: Uart) -> Result<PathBuf> {
    let folder = paths::target().join("systems");
    fs::create_dir_all(&folder)?;
    let path = folder.join("card.dtb");
    fs::write(&path, board_tree(uart)?)?;
    Ok(path)
}

/// All but the board's firmware.
///
/// # Errors
/// A file cannot be read, or something is too large for its place.
pub fn own_files(options: &CardOptions, hypervisor: &Hypervisor, archive: Vec<u8>) -> Result<Vec<CardFile>> {
    let mut kernel = CardFile::read(config::KERNEL_FILE, &hypervisor.flat)?;
    console::tell(&mut kernel.contents, options.uart)?;
    let name = Path::new(&options.system).file_stem().unwrap_or_default().to_string_lossy();
    let (kernel_bytes, archive_bytes) = (kernel.contents.len() as u64, archive.len() as u64);
    let text = config::text(&name, options.uart, options.tfa, kernel_bytes, archive_bytes)?;
    let mut files = vec![
        CardFile { name: "config.txt".to_owned(), contents: text.into_bytes() },
        kernel,
        CardFile { name: config::ARCHIVE_FILE.to_owned(), contents: archive },
        CardFile { name: config::TREE_FILE.to_owned(), contents: board_tree(options.uart)? },
    ];
    if options.tfa {
        firmware::ensure_bl31()?;
        files.push(CardFile::read(config::TFA_FILE, &firmware::bl31())?);
    }
    Ok(files)
}

/// Adds the board's firmware. Returns the files that could not be had.
fn add_firmware(options: &CardOptions, files: &mut Vec<CardFile>) -> Result<Vec<&'static str>> {
    let wanted = vec!["start4.elf", "fixup4.dat"];
    let folder = match &options.firmware {
        Some(folder) if !folder.is_dir() => bail!("--firmware: there is no folder {}", folder.display()),
        Some(folder) => folder.clone(),
        None => match firmware::ensure_board_firmware() {
            Ok(folder) => folder,
            Err(error) => {
                eprintln!("{error:#}");
                return Ok(wanted);
            }
        },
    };
    let (there, missing): (Vec<&str>, Vec<&str>) = wanted.into_iter().partition(|name| folder.join(name).is_file());
    for name in there {
        files.push(CardFile::read(name, &folder.join(name))?);
    }
    Ok(missing)
}

fn ask_for(missing: &[&str]) -> String {
    format!(
        "The card is not complete. Add {}: they are in the folder `boot` of the Raspberry Pi's firmware \
         (the repository raspberrypi/firmware) and in Debian's raspi-firmware; or give a folder that has \
         them by --firmware.",
        missing.join(", ")
    )
}

/// Writes a folder, or an image with the disk.
///
/// # Errors
/// Those of the disk.
pub fn write(out: &Path, files: &[CardFile], disk: Option<&Path>) -> Result<()> {
    if is_image(out) {
        return disk::write(out, files, disk);
    }
    ensure!(out.is_dir() || !out.exists(), "{} is no folder; an image's name ends in .img", out.display());
    for file in files {
        let path = out.join(&file.name);
        let folder = path.parent().unwrap_or(out);
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        fs::write(&path, &file.contents).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
