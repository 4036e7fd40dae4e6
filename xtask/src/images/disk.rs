//! A Linux root file system on a disk: its image, and the initramfs that finds the disk and goes on from it.
//! Which modules that takes belongs to `modules`, attaching the disk to `qemu`.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::initramfs;
use crate::paths;
use crate::process;
use crate::progress::Step;
use crate::setup;
use crate::setup::linux::{self, Flavour};

/// What Linux finds it by, whether it is a whole disk or a partition.
const LABEL: &str = "tessera";
/// An SD card's size must be a power of two, in QEMU.
const SIZE: &str = "16M";

fn directory() -> PathBuf {
    paths::target().join("images")
}

/// Debian's kernel for boards.
pub fn generic_kernel() -> Result<PathBuf> {
    let _lock = setup::lock()?;
    Flavour::Generic.ensure()?;
    Ok(Flavour::Generic.kernel())
}

/// The initramfs for the kernel of this flavour, made anew.
pub fn initramfs(flavour: Flavour) -> Result<PathBuf> {
    let _lock = setup::lock()?;
    flavour.ensure()?;
    let name = if flavour == Flavour::Generic { "initramfs-disk-generic.cpio" } else { "initramfs-disk.cpio" };
    let archive = initramfs::pack_list(&list(&flavour.modules())?)?;
    store(name, |path| Ok(fs::write(path, archive)?))
}

/// What it holds: see guests/linux/initramfs.list for the format.
fn list(modules: &Path) -> Result<String> {
    let mut list = String::from(
        "dir /bin 0755 0 0\ndir /dev 0755 0 0\ndir /modules 0755 0 0\nnod /dev/console 0600 0 0 c 5 1\n\
         file /bin/busybox ${BUSYBOX} 0755 0 0\nslink /bin/sh busybox 0777 0 0\nfile /init init-disk 0755 0 0\n",
    );
    let mut files: Vec<_> = fs::read_dir(modules)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        writeln!(list, "file /modules/{name} {} 0644 0 0", file.display())?;
    }
    Ok(list)
}

/// The disk's image, an ext4 file system, made anew.
pub fn image() -> Result<PathBuf> {
    let _lock = setup::lock()?;
    let mke2fs = process::find("mke2fs").context("mke2fs is needed (Debian's package e2fsprogs)")?;
    let root = tempfile::tempdir()?;
    fill(root.path())?;
    store("disk.img", |path| {
        let step = Step::start("Making a disk");
        let mut command = Command::new(mke2fs);
        command
            .args(["-q", "-F", "-t", "ext4", "-L", LABEL, "-E", "root_owner=0:0", "-d"])
            .arg(root.path())
            .arg(path)
            .arg(SIZE);
        process::run(&step, &mut command)?;
        step.done();
        Ok(())
    })
}

/// The root file system: the same first process as in the initramfs without a disk.
fn fill(root: &Path) -> Result<()> {
    for folder in ["bin", "sbin", "dev", "proc", "sys", "tmp", "root", "etc"] {
        fs::create_dir(root.join(folder))?;
    }
    fs::copy(linux::busybox(), root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh"))?;
    let guest = paths::guests().join("linux");
    fs::copy(guest.join("init"), root.join("sbin/init"))?;
    fs::copy(guest.join("load"), root.join("bin/load"))?;
    fs::write(root.join("etc/issue"), "on a disk\n")?;
    Ok(())
}

/// Makes a file of target/images; what bears the name is always whole.
fn store(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    fs::create_dir_all(directory())?;
    let part = tempfile::NamedTempFile::new_in(directory())?;
    make(part.path())?;
    let path = directory().join(name);
    part.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
