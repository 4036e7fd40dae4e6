//! Debian's TF-A for the Raspberry Pi 4, unpacked (never installed) under the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::apt::{Apt, MIRROR_VARIABLE, Use};
use super::system::System;
use crate::paths;
use crate::progress::Step;

const PACKAGE: &str = "arm-trusted-firmware";
/// Where the package has it.
const BL31: &str = "usr/lib/arm-trusted-firmware/rpi4/bl31.bin";

fn directory() -> PathBuf {
    paths::cache().join("firmware")
}

/// TF-A's BL31: the program at EL3.
pub fn bl31() -> PathBuf {
    directory().join("rpi4-bl31.bin")
}

/// Fetches it unless it is there.
pub fn ensure() -> Result<()> {
    if bl31().is_file() {
        return Ok(());
    }
    let system = System::read();
    if !system.has_apt() {
        bail!("{}", by_hand());
    }
    let step = Step::start("Fetching Debian's TF-A for the Raspberry Pi 4");
    fetch(&step, &system).with_context(by_hand)?;
    step.done();
    Ok(())
}

fn fetch(step: &Step, system: &System) -> Result<()> {
    let apt = Apt::prepare(step, system, Use::Guests)?;
    fs::create_dir_all(directory())?;
    let unpacked = tempfile::tempdir_in(directory())?;
    apt.unpack(step, &[PACKAGE], unpacked.path())?;
    // Written elsewhere first: what bears the name is always whole.
    let part = directory().join("part");
    fs::copy(unpacked.path().join(BL31), &part).with_context(|| format!("no {BL31} in {PACKAGE}"))?;
    fs::rename(&part, bl31())?;
    Ok(())
}

fn by_hand() -> String {
    format!(
        "the machine raspi4b-tfa needs a file that could not be fetched. Either set {MIRROR_VARIABLE} to a Debian \
         mirror's address (apt and dpkg-deb needed), or put there by hand: {} (bl31.bin of TF-A for rpi4; Debian's \
         {PACKAGE})",
        bl31().display()
    )
}
