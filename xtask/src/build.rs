//! Building the bare-metal programs: the hypervisor's flat image, the small guests, the FreeRTOS guest, the initramfs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::flat;
use crate::images;
use crate::link;
use crate::paths;
use crate::process;
use crate::progress::Step;
use crate::setup::toolchain::{TARGET, Toolchain};

/// The hypervisor's package and program.
const HYPERVISOR: &str = "tessera";

/// The small guests that are flat images with an arm64 Linux header, so that any loader takes them.
const FLAT_GUESTS: [&str; 3] = ["bench", "bench-shared", "bench-stub"];

/// How the bare-metal programs are compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Optimized, as users run it.
    #[default]
    Release,
    /// With overflow checks and debug assertions.
    Debug,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "dev",
        }
    }

    fn directory(self) -> PathBuf {
        let name = if self == Self::Release { "release" } else { "debug" };
        paths::bare_metal().join(TARGET).join(name)
    }
}

/// The hypervisor as built.
#[derive(Clone, Debug)]
pub struct Hypervisor {
    /// With symbols and debug information.
    pub elf: PathBuf,
    /// The flat image that boot loaders load.
    pub flat: PathBuf,
}

/// Builds everything that runs on the bare machine.
pub fn all(toolchain: &Toolchain, profile: Profile) -> Result<Hypervisor> {
    let hypervisor = hypervisor(toolchain, profile)?;
    guests(toolchain)?;
    images::initramfs::build()?;
    images::freertos::build()?;
    Ok(hypervisor)
}

/// Builds QEMU's plugin that counts instructions, on and for the host.
pub fn counter() -> Result<()> {
    let step = Step::start("Building the counter of instructions");
    process::run(&step, process::host_cargo("build").args(["-p", "bench-counter"]))?;
    step.done();
    Ok(())
}

/// Where [`counter`] leaves the plugin.
pub fn counter_path() -> PathBuf {
    let name = format!("{}bench_counter{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    paths::target().join("debug").join(name)
}

/// Where the hypervisor's ELF is built.
pub fn hypervisor_elf(profile: Profile) -> PathBuf {
    profile.directory().join(HYPERVISOR)
}

/// Builds the hypervisor and flattens it.
pub fn hypervisor(toolchain: &Toolchain, profile: Profile) -> Result<Hypervisor> {
    let step = Step::start("Building the hypervisor");
    compile(&step, toolchain, profile, &[HYPERVISOR.to_owned()])?;
    let elf = hypervisor_elf(profile);
    link::prove(&fs::read(&elf)?).with_context(|| format!("{} is not to be run", elf.display()))?;
    let flat = flatten(&elf)?;
    step.done();
    Ok(Hypervisor { elf, flat })
}

/// Builds the small guests: every package in a folder of guests/. Apart from the hypervisor, so that cargo does not
/// unite the features both ask of their libraries.
fn guests(toolchain: &Toolchain) -> Result<()> {
    let packages = guest_packages(&paths::guests())?;
    if packages.is_empty() {
        return Ok(());
    }
    let step = Step::start("Building the small guests");
    compile(&step, toolchain, Profile::Release, &packages)?;
    for name in FLAT_GUESTS {
        flatten(&Profile::Release.directory().join(name))?;
    }
    step.done();
    Ok(())
}

/// Writes the flat image of a program next to it.
fn flatten(elf: &Path) -> Result<PathBuf> {
    let flat = elf.with_extension("bin");
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    fs::write(&flat, flat::flatten(&bytes)?)?;
    Ok(flat)
}

fn compile(step: &Step, toolchain: &Toolchain, profile: Profile, packages: &[String]) -> Result<()> {
    let mut cargo = toolchain.cargo("build");
    cargo.args(toolchain.target_arguments()).args(["--profile", profile.name()]);
    cargo.args(packages.iter().flat_map(|package| ["-p", package]));
    process::run(step, &mut cargo)
}

/// The names of the packages in the folders of `directory`.
pub fn guest_packages(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let manifest = entry?.path().join("Cargo.toml");
        if let Ok(text) = fs::read_to_string(&manifest) {
            names.push(package_name(&text).with_context(|| format!("no name in {}", manifest.display()))?);
        }
    }
    names.sort();
    Ok(names)
}

/// The package's name, the first of its manifest's keys `name`.
fn package_name(manifest: &str) -> Option<String> {
    let value = manifest.lines().find_map(|line| line.strip_prefix("name"))?;
    let value = value.trim_start().strip_prefix('=')?.trim();
    Some(value.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

/// The names of the small guests: the programs (`src/bin/NAME.rs`) of the packages in the folders of guests/.
pub fn guest_names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for package in fs::read_dir(paths::guests())? {
        let Ok(programs) = fs::read_dir(package?.path().join("src/bin")) else {
            continue;
        };
        for program in programs {
            let name = program?.path();
            names.extend(name.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The program of a small guest, as built.
pub fn guest(name: &str) -> Result<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        bail!("`{name}` is no guest's name");
    }
    let path = Profile::Release.directory().join(name);
    Ok(if FLAT_GUESTS.contains(&name) { path.with_extension("bin") } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_name_is_the_first_name() {
        let manifest = "[package]\nname = \"guest-checks\"\n[[bin]]\nname = \"other\"\n";
        assert_eq!(package_name(manifest).as_deref(), Some("guest-checks"));
        assert_eq!(package_name("[package]\n"), None);
    }

    #[test]
    fn a_guests_name_cannot_leave_the_directory() {
        assert!(guest("../tessera").is_err() && guest("").is_err());
        assert!(guest("touch-other").expect("plain").ends_with("release/touch-other"));
        assert!(guest("bench").expect("flat").ends_with("release/bench.bin"));
    }

    #[test]
    fn every_guest_package_of_this_repository_has_a_name() {
        let packages = guest_packages(&paths::guests()).expect("names");
        assert!(packages.contains(&"guest-runtime".to_owned()));
    }
}
