//! The kernel's modules that a root file system on a disk needs, and in which order they are loaded.
//! Debian builds them so; nothing here loads anything.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

use super::kernel;
use crate::setup::linux::Flavour;

/// For virtio disks.
const CLOUD: &[&str] = &["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"];
/// For virtio disks, and the Raspberry Pi's SD card with its regulators.
const GENERIC: &[&str] =
    &["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", "fixed", "gpio_regulator", "sdhci_iproc"];

/// Names and contents of the modules, each behind what it depends on, from the unpacked package at `root`.
pub fn needed(root: &Path, flavour: Flavour) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = only_entry(&root.join("lib/modules")).or_else(|_| only_entry(&root.join("usr/lib/modules")))?;
    let mut files = HashMap::new();
    list(&folder, &mut files)?;
    let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let built_in = built_in.lines().map(|line| plain_name(Path::new(line))).collect();
    let mut order = Order { files, built_in, loaded: HashSet::new(), modules: Vec::new() };
    let names = if flavour == Flavour::Generic { GENERIC } else { CLOUD };
    names.iter().try_for_each(|name| order.add(name))?;
    Ok(order.modules)
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    Ok(entries.next().context("the package has no modules")??.path())
}

/// All modules below `folder`, by name.
fn list(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.to_string_lossy().contains(".ko") {
            files.insert(plain_name(&path), path);
        }
    }
    Ok(())
}

/// Without folder and suffix, and with the one kind of dash that the kernel uses.
fn plain_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split(".ko").next().unwrap_or_default().replace('-', "_")
}

struct Order {
    files: HashMap<String, PathBuf>,
    built_in: HashSet<String>,
    loaded: HashSet<String>,
    modules: Vec<(String, Vec<u8>)>,
}

impl Order {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.built_in.contains(name) || !self.loaded.insert(name.to_owned()) {
            return Ok(());
        }
        let path = self.files.get(name).with_context(|| format!("the kernel has no module {name}"))?;
        let module = uncompressed(path)?;
        for dependency in dependencies(&module)? {
            self.add(&dependency)?;
        }
        self.modules.push((name.to_owned(), module));
        Ok(())
    }
}

fn uncompressed(path: &Path) -> Result<Vec<u8>> {
    let file = fs::read(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => Ok(file),
        Some("xz") => kernel::filter("xz", &file),
        Some("zst") => kernel::filter("zstd", &file),
        _ => bail!("{}: packed in an unknown way", path.display()),
    }
}

/// What the module's `depends` says.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("a module without .modinfo")?;
    let data = section.uncompressed_data()?;
    let mut entries = data.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let depends = entries.find_map(|entry| entry.strip_prefix("depends=").map(str::to_owned)).unwrap_or_default();
    Ok(depends.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_kernel_has_them() {
        for path in ["drivers/mmc/host/sdhci-iproc.ko", "x/sdhci_iproc.ko.xz", "sdhci-iproc.ko.zst"] {
            assert_eq!(plain_name(Path::new(path)), "sdhci_iproc");
        }
    }
}
