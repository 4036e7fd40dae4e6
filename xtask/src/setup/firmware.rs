//! What boards need beside Tessera, from Debian's packages, unpacked (never installed) under the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::{Apt, MIRROR_VARIABLE, Use};
use super::system::System;
use crate::paths;
use crate::progress::Step;

/// Files of a Debian package.
struct Package {
    what: &'static str,
    name: &'static str,
    component: Use,
    /// Where the package has them.
    folder: &'static str,
    /// What is taken of it, and its name in the cache.
    files: &'static [(&'static str, &'static str)],
}

/// TF-A: the program at EL3.
const TFA: Package = Package {
    what: "Debian's TF-A for the Raspberry Pi 4",
    name: "arm-trusted-firmware",
    component: Use::Guests,
    folder: "usr/lib/arm-trusted-firmware/rpi4",
    files: &[("bl31.bin", "rpi4-bl31.bin")],
};

/// What the Raspberry Pi 4's GPU runs.
const BOARD: Package = Package {
    what: "the Raspberry Pi 4's own firmware",
    name: "raspi-firmware",
    component: Use::Firmware,
    folder: "usr/lib/raspi-firmware",
    files: &[("start4.elf", "start4.elf"), ("fixup4.dat", "fixup4.dat")],
};

fn directory() -> PathBuf {
    paths::cache().join("firmware")
}

/// TF-A's BL31.
pub fn bl31() -> PathBuf {
    directory().join(TFA.files[0].1)
}

/// Fetches TF-A unless it is there.
///
/// # Errors
/// It cannot be fetched; the message says what to do by hand.
pub fn ensure_bl31() -> Result<()> {
    ensure(&TFA)
}

/// Fetches the board's own firmware unless it is there. Returns the folder.
///
/// # Errors
/// It cannot be fetched; the message says what to do by hand.
pub fn ensure_board_firmware() -> Result<PathBuf> {
    ensure(&BOARD)?;
    Ok(directory())
}

fn ensure(package: &Package) -> Result<()> {
    if package.files.iter().all(|(_, name)| directory().join(name).is_file()) {
        return Ok(());
    }
    let system = System::read();
    if !system.has_apt() {
        bail!("{}", by_hand(package));
    }
    let step = Step::start(format!("Fetching {}", package.what));
    fetch(package, &step, &system).with_context(|| by_hand(package))?;
    step.done();
    Ok(())
}

fn fetch(package: &Package, step: &Step, system: &System) -> Result<()> {
    let apt = Apt::prepare(step, system, package.component)?;
    fs::create_dir_all(directory())?;
    let unpacked = tempfile::tempdir_in(directory())?;
    apt.unpack(step, &[package.name], unpacked.path())?;
    for (file, name) in package.files {
        // Written elsewhere first: what bears the name is always whole.
        let part = directory().join("part");
        let from = Path::new(package.folder).join(file);
        fs::copy(unpacked.path().join(&from), &part)
            .with_context(|| format!("no {} in {}", from.display(), package.name))?;
        fs::rename(&part, directory().join(name))?;
    }
    Ok(())
}

fn by_hand(package: &Package) -> String {
    let files: Vec<_> = package.files.iter().map(|(_, name)| directory().join(name).display().to_string()).collect();
    format!(
        "{} could not be fetched. Either set {MIRROR_VARIABLE} to a Debian mirror's address (apt and dpkg-deb needed), \
         or put there by hand, from Debian's {}: {}",
        package.what,
        package.name,
        files.join(", ")
    )
}
