//! What the peers need and nothing else here does, from Debian, unpacked (never installed) under the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::process;
use crate::progress::Step;
use crate::setup;
use crate::setup::apt::{Apt, Use};
use crate::setup::system::System;

/// The hypervisor, as Debian 12 has it.
const XEN: &str = "xen-hypervisor-4.17-arm64";
/// The C library and the kernel's headers that the VMM is built with.
const C_LIBRARY: [&str; 2] = ["libc6-dev", "linux-libc-dev"];

/// Xen's image, fetched unless it is there.
pub fn xen(step: &Step) -> Result<PathBuf> {
    let image = ensure(step, "xen", &[XEN])?.join("boot/xen-4.17-arm64");
    image.is_file().then_some(image).with_context(|| format!("{XEN} holds no boot/xen-4.17-arm64"))
}

/// A folder with `usr/include` and `usr/lib/aarch64-linux-gnu`, fetched unless it is there. The cross compiler's own
/// library is only recommended by its package and may be missing.
pub fn c_library(step: &Step) -> Result<PathBuf> {
    ensure(step, "c-library", &C_LIBRARY)
}

fn ensure(step: &Step, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = paths::cache().join("peers").join(name);
    let _lock = setup::lock()?;
    if !folder.is_dir() {
        step.shown()(&format!("fetching {}", packages.join(" ")));
        fetch(step, packages, &folder).with_context(|| format!("cannot fetch {}", packages.join(" ")))?;
    }
    Ok(folder)
}

/// Unpacked beside its place and then moved: what bears the name is always whole.
fn fetch(step: &Step, packages: &[&str], folder: &Path) -> Result<()> {
    let system = System::read();
    if !system.has_apt() {
        bail!("only known how to with Debian's apt and dpkg-deb");
    }
    let parent = folder.parent().context("no parent folder")?;
    fs::create_dir_all(parent)?;
    let apt = Apt::prepare(step, &system, Use::Guests)?;
    let unpacked = tempfile::tempdir_in(parent)?;
    apt.unpack(step, packages, unpacked.path())?;
    fs::rename(unpacked.keep(), folder)?;
    Ok(())
}

/// Whether the cross compiler is there; set-up brings it.
pub fn compiler() -> Result<&'static str> {
    const COMPILER: &str = "aarch64-linux-gnu-gcc";
    process::find(COMPILER).map(|_| COMPILER).with_context(|| format!("{COMPILER} is missing"))
}
