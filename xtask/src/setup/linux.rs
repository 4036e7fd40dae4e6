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

const BUSYBOX: &str = "busybox-static";

/// Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// For virtual machines: few drivers.
    Cloud,
    /// For boards: all drivers.
    Generic,
}

impl Flavour {
    /// The package that depends on the current kernel's own, versioned one.
    const fn package(self) -> &'static str {
        match self {
            Self::Cloud => "linux-image-cloud-arm64",
            Self::Generic => "linux-image-arm64",
        }
    }

    fn directory(self) -> PathBuf {
        paths::cache().join(match self {
            Self::Cloud => "linux",
            Self::Generic => "linux-generic",
        })
    }

    /// The kernel as an uncompressed arm64 Image.
    pub fn kernel(self) -> PathBuf {
        self.directory().join("Image")
    }

    /// The folder of the modules that a root file system on a disk needs, named in the order in which they are loaded.
    pub fn modules(self) -> PathBuf {
        self.directory().join("modules")
    }

    /// Fetches kernel and modules unless they are there. The cache must be locked (see [`super::lock`]).
    pub fn ensure(self) -> Result<()> {
        match self.kernel().is_file() && self.modules().is_dir() {
            true => Ok(()),
            false => fetch_with(self),
        }
    }
}

/// The cloud kernel as an uncompressed arm64 Image.
pub fn kernel() -> PathBuf {
    Flavour::Cloud.kernel()
}

/// A statically linked arm64 busybox.
pub fn busybox() -> PathBuf {
    Flavour::Cloud.directory().join("busybox")
}

/// Fetches the cloud kernel and busybox unless they are there.
pub fn ensure() -> Result<()> {
    match kernel().is_file() && busybox().is_file() {
        true => Ok(()),
        false => fetch_with(Flavour::Cloud),
    }
}

fn fetch_with(flavour: Flavour) -> Result<()> {
    let system = System::read();
    if !system.has_apt() {
        bail!("{}", by_hand(flavour));
    }
    let step = Step::start(format!("Fetching Debian's {} and busybox", flavour.package()));
    fetch(&step, &system, flavour).with_context(|| by_hand(flavour))?;
    step.done();
    Ok(())
}

fn fetch(step: &Step, system: &System, flavour: Flavour) -> Result<()> {
    let apt = Apt::prepare(step, system, Use::Guests)?;
    let package = versioned_kernel(&apt, flavour)?;
    let directory = flavour.directory();
    fs::create_dir_all(&directory)?;
    fs::create_dir_all(Flavour::Cloud.directory())?;
    let unpacked = tempfile::tempdir_in(&directory)?;
    apt.unpack(step, &[&package, BUSYBOX], unpacked.path())?;
    let image = images::kernel::uncompressed(&fs::read(find_kernel(unpacked.path())?)?)?;
    let modules = images::modules::needed(unpacked.path(), flavour)?;
    store_modules(&modules, &flavour.modules())?;
    // Written elsewhere first: what bears the name is always whole.
    let part = directory.join("part");
    fs::write(&part, image)?;
    fs::rename(&part, flavour.kernel())?;
    fs::copy(find_busybox(unpacked.path())?, &part)?;
    fs::rename(&part, busybox())?;
    fs::write(directory.join("package"), format!("{package}\n"))?;
    Ok(())
}

/// Makes `folder` hold these modules and no others, each with its place in the order before its name.
fn store_modules(modules: &[(String, Vec<u8>)], folder: &Path) -> Result<()> {
    let part = folder.with_extension("part");
    for old in [&part, &folder.to_path_buf()] {
        if old.is_dir() {
            fs::remove_dir_all(old)?;
        }
    }
    fs::create_dir_all(&part)?;
    for (position, (name, module)) in modules.iter().enumerate() {
        fs::write(part.join(format!("{position:02}-{name}.ko")), module)?;
    }
    Ok(fs::rename(part, folder)?)
}

fn versioned_kernel(apt: &Apt, flavour: Flavour) -> Result<String> {
    let name = flavour.package();
    let depends = process::output(apt.command("apt-cache").args(["depends", name]))?;
    parse_depends(&depends).with_context(|| format!("{name} depends on no kernel"))
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

fn by_hand(flavour: Flavour) -> String {
    format!(
        "the Linux guest needs files that could not be fetched. Either set {MIRROR_VARIABLE} to a \
         Debian mirror's address (apt and dpkg-deb needed), or put there by hand:\n  - {}: an \
         uncompressed arm64 kernel Image (Debian's {})\n  - {}: a static arm64 busybox \
         (Debian's {BUSYBOX})\n  - for disks, {}: a folder of the kernel's modules, named in the order of loading",
        flavour.kernel().display(),
        flavour.package(),
        busybox().display(),
        flavour.modules().display()
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
