//! `image`: the card that a board boots from, as a folder of files or as an image.
//! What the firmware is told is `config`, the image's format `disk`; what a system is made of belongs to `system`.

pub mod config;
pub mod disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tessera_abi::early_console::{MAGIC, OFFSET};

use crate::build::{self, Hypervisor, Profile};
use crate::images::Images;
use crate::qemu::Board;
use crate::raspberry_pi;
use crate::run::prepare::find_system;
use crate::setup::{self, firmware};
use crate::system;

/// The boards that cards are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CardBoard {
    /// Raspberry Pi 4 Model B.
    Rpi4,
}

/// The serial line at GPIO14 and GPIO15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Uart {
    /// The mini UART.
    #[default]
    Mini,
    /// The PL011, which takes it from Bluetooth (the overlay disable-bt).
    Pl011,
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
    let system = system::compile(&path, &Images { gic: 2, board: Board::Raspi4b })?;
    raspberry_pi::check_fits(&system.machine, options.memory)?;
    let mut files = own_files(options, &hypervisor, system.archive)?;
    let missing = add_firmware(options, &mut files)?;
    write(&options.out, &files)?;
    for file in &files {
        println!("{:>12}  {}", file.contents.len(), file.name);
    }
    println!("Written: {}", options.out.display());
    if !missing.is_empty() {
        println!("{}", ask_for(&missing));
    }
    Ok(ExitCode::SUCCESS)
}

/// All but the board's firmware.
///
/// # Errors
/// A file cannot be read, or something is too large for its place.
pub fn own_files(options: &CardOptions, hypervisor: &Hypervisor, archive: Vec<u8>) -> Result<Vec<CardFile>> {
    let mut kernel = CardFile::read(config::KERNEL_FILE, &hypervisor.flat)?;
    tell_console(&mut kernel.contents, options.uart)?;
    let (kernel_bytes, archive_bytes) = (kernel.contents.len() as u64, archive.len() as u64);
    let text = config::text(&options.system, options.uart, options.tfa, kernel_bytes, archive_bytes)?;
    let mut files = vec![
        CardFile { name: "config.txt".to_owned(), contents: text.into_bytes() },
        kernel,
        CardFile { name: config::ARCHIVE_FILE.to_owned(), contents: archive },
        CardFile::read(config::TREE_FILE, &raspberry_pi::tree())?,
    ];
    if options.tfa {
        firmware::ensure_bl31()?;
        files.push(CardFile::read(config::TFA_FILE, &firmware::bl31())?);
    }
    Ok(files)
}

/// Tells the image of the board's UART, so that it speaks before it has found the device tree.
fn tell_console(image: &mut [u8], uart: Uart) -> Result<()> {
    let record = match uart {
        Uart::Mini => raspberry_pi::MINI_UART,
        Uart::Pl011 => raspberry_pi::PL011,
    }
    .to_bytes();
    let place = image.get_mut(OFFSET..OFFSET + record.len());
    let place = place.filter(|place| place.starts_with(&MAGIC)).context("this is no image of Tessera's")?;
    place.copy_from_slice(&record);
    Ok(())
}

/// Adds the board's firmware. Returns the files that could not be had.
fn add_firmware(options: &CardOptions, files: &mut Vec<CardFile>) -> Result<Vec<&'static str>> {
    let mut wanted = vec!["start4.elf", "fixup4.dat"];
    if options.uart == Uart::Pl011 {
        wanted.push("overlays/disable-bt.dtbo");
    }
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
         (the repository raspberrypi/firmware; all but overlays are in Debian's raspi-firmware), or give a folder that \
         has them by --firmware.",
        missing.join(", ")
    )
}

/// Writes a folder or an image.
///
/// # Errors
/// Those of the disk.
pub fn write(out: &Path, files: &[CardFile]) -> Result<()> {
    if out.extension().is_some_and(|extension| extension == "img") {
        return disk::write(out, files);
    }
    for file in files {
        let path = out.join(&file.name);
        let folder = path.parent().unwrap_or(out);
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        fs::write(&path, &file.contents).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
