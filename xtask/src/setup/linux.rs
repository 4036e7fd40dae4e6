//! Debian's arm64 kernel and static busybox, unpacked (never installed) under the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::{Apt, MIRROR_VARIABLE, Use};
use super::system::System;
use crate::images;
use crate::paths;
use crate::process;
use crate::progress::Step;

/// The package that depends on the current kernel's own, versioned one.
const KERNEL: &str = "linux-image-cloud-arm64";
const BUSYBOX: &str = "busybox-static";

fn directory() -> PathBuf {
    paths::cache().join("linux")
}

/// The kernel as an uncompressed arm64 Image.
pub fn kernel() -> PathBuf {
    directory().join("Image")
}

/// A statically linked arm64 busybox.
pub fn busybox() -> PathBuf {
    directory().join("busybox")
}

/// Fetches both unless they are there.
pub fn ensure() -> Result<()> {
    if kernel().is_file() && busybox().is_file() {
        return Ok(());
    }
    let system = System::read();
    if !system.has_apt() {
        bail!("{}", by_hand());
    }
    let step = Step::start("Fetching Debian's arm64 kernel and busybox");
    fetch(&step, &system).with_context(by_hand)?;
    step.done();
    Ok(())
}

fn fetch(step: &Step, system: &System) -> Result<()> {
    let apt = Apt::prepare(step, system, Use::Guests)?;
    let package = versioned_kernel(&apt)?;
    fs::create_dir_all(directory())?;
    let unpacked = tempfile::tempdir_in(directory())?;
    apt.unpack(step, &[&package, BUSYBOX], unpacked.path())?;
    let image = images::kernel::uncompressed(&fs::read(find_kernel(unpacked.path())?)?)?;
    // Written elsewhere first: what bears the name is always whole.
    let part = directory().join("part");
    fs::write(&part, image)?;
    fs::rename(&part, kernel())?;
    fs::copy(find_busybox(unpacked.path())?, &part)?;
    fs::rename(&part, busybox())?;
    fs::write(directory().join("package"), format!("{package}\n"))?;
    Ok(())
}

fn versioned_kernel(apt: &Apt) -> Result<String> {
    let depends = process::output(apt.command("apt-cache").args(["depends", KERNEL]))?;
    parse_depends(&depends).with_context(|| format!("{KERNEL} depends on no kernel"))
}

fn parse_depends(depends: &str) -> Option<String> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::trim).find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

fn find_kernel(root: &Path) -> Result<PathBuf> {
    let boot = root.join("boot");
    let files = fs::read_dir(&boot).with_context(|| format!("no {}", boot.display()))?;
    let mut names = files.filter_map(|entry| Some(entry.ok()?.path()));
    let is_kernel = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    names.find(is_kernel).context("the kernel's package holds no boot/vmlinuz")
}

fn find_busybox(root: &Path) -> Result<PathBuf> {
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| root.join(place));
    places.into_iter().find(|place| place.is_file()).context("no busybox in busybox-static")
}

fn by_hand() -> String {
    format!(
        "the Linux guest needs two files that could not be fetched. Either set {MIRROR_VARIABLE} to a \
         Debian mirror's address (apt and dpkg-deb needed), or put there by hand:\n  - {}: an \
         uncompressed arm64 kernel Image (Debian's {KERNEL})\n  - {}: a static arm64 busybox \
         (Debian's {BUSYBOX})",
        kernel().display(),
        busybox().display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versioned_kernel_is_found_among_what_is_depended_on() {
        let depends = "linux-image-cloud-arm64\n  Depends: kmod\n  Depends: linux-image-6.1.0-40-cloud-arm64\n";
        assert_eq!(parse_depends(depends).as_deref(), Some("linux-image-6.1.0-40-cloud-arm64"));
        assert_eq!(parse_depends("linux-image-cloud-arm64\n"), None);
    }
}
