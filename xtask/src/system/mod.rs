//! System files: TOML checked, compiled to a manifest blob, and packed with its images into the archive.
//!
//! Every decision about placement is made here and stated in the manifest; EL2 only checks it. The steps, a module
//! each: `read` (TOML to typed values), `board` (devices by their names), `image` (what kind of file is it), `place` (where
//! everything goes), `conflicts` and `sharing` (VMs against each other), `target` (VMs against the machine), `manifest` (the blob),
//! `archive` (the cpio). Each error is a [`Problem`] at a span of the TOML file, shown with line, column and what to
//! change. Where images come from is the caller's business: see [`ImageProvider`].

mod archive;
mod board;
mod board_tree;
pub mod broken;
mod conflicts;
mod description;
mod files;
mod image;
mod layout;
mod manifest;
mod place;
mod problem;
mod read;
mod sharing;
mod table;
mod target;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use board_tree::BoardTree;
use dtoolkit::model::DeviceTree;
use files::Files;
pub use problem::SystemError;
use problem::{At, Problem, Result};
pub use target::{Amount, Target, VIRT_RAM};
use tessera_platform::Span;

/// What stands before the name of an image that xtask itself provides, as in `tessera:linux`.
pub const PROVIDED: &str = "tessera:";

/// Where the images come from that xtask provides itself.
pub trait ImageProvider {
    /// The names there are, without [`PROVIDED`]: `linux`, `guest/hello`. For error messages.
    fn names(&self) -> Vec<String>;

    /// The file that holds the image `name`, made if need be.
    ///
    /// # Errors
    ///
    /// There is no such image (see [`Self::names`]), or making it failed.
    fn image(&self, name: &str) -> anyhow::Result<PathBuf>;

    /// The version of the board's GIC, if it is known.
    fn gic(&self) -> Option<u64> {
        None
    }

    /// What is settled of the machine that the system is to run on.
    fn target(&self) -> Target {
        Target::default()
    }

    /// Where that machine has its RAM, if it has so many bytes of it; empty if that is not known.
    fn ram(&self, _memory: u64) -> Vec<Span> {
        Vec::new()
    }

    /// The command that shows [`Self::board_tree`] as text.
    fn tree_is_shown_by(&self) -> String {
        "dtc -I dtb -O dts".to_owned()
    }

    /// The device tree of the board that the system is for, with its memory: asked for where a system names devices.
    ///
    /// # Errors
    ///
    /// It cannot be found out, or it is not known which board that is.
    fn board_tree(&self) -> anyhow::Result<Vec<u8>> {
        anyhow::bail!("it is not known which board the system is for")
    }
}

/// A file that is a disk of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its raw image.
    pub path: PathBuf,
    /// Whether what is written to it stays: not if xtask made it.
    pub keeps_changes: bool,
}

/// A system, ready to be loaded as an initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledSystem {
    /// The archive: a `newc` cpio that begins with the manifest.
    pub archive: Vec<u8>,
    /// What the file says about itself, or empty.
    pub description: String,
    /// The VMs' names, in the manifest's order.
    pub vms: Vec<String>,
    /// The machine to run it on.
    pub machine: Machine,
    /// The machine's disks.
    pub disks: Vec<Disk>,
    /// Memory that VMs want at a machine address.
    pub fixed_memory: Vec<FixedMemory>,
}

/// Memory of the machine that a VM wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedMemory {
    /// The VM's name.
    pub vm: String,
    /// Its first machine address.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The machine to run it on: what is settled of it, else as the file's `[machine]` says, else one that suffices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Number of cores.
    pub cpus: usize,
    /// Bytes of RAM.
    pub memory: u64,
}

/// Compiles the system file at `path`.
///
/// # Errors
///
/// The first thing found wrong, with its place in the file.
pub fn compile(path: &Path, images: &dyn ImageProvider) -> core::result::Result<CompiledSystem, SystemError> {
    compile_changed(path, images, |_| ())
}

/// Compiles the system file at `path`, with a manifest that `change` has changed when all checks were done.
fn compile_changed(
    path: &Path,
    images: &dyn ImageProvider,
    change: impl FnOnce(&mut DeviceTree),
) -> core::result::Result<CompiledSystem, SystemError> {
    let source = std::fs::read_to_string(path).map_err(|error| SystemError::unreadable(path, &error))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    compile_source(&source, Sources { directory, images }, change)
        .map_err(|problem| SystemError::new(path, source.clone(), problem))
}

/// Where the files come from that a system names.
#[derive(Clone, Copy)]
struct Sources<'a> {
    directory: &'a Path,
    images: &'a dyn ImageProvider,
}

fn compile_source(source: &str, sources: Sources<'_>, change: impl FnOnce(&mut DeviceTree)) -> Result<CompiledSystem> {
    let mut system = read::system(source)?;
    let board = BoardTree::new(sources.images);
    board::find(&mut system, &board, sources.images.tree_is_shown_by())?;
    conflicts::check(&system)?;
    sharing::check(&system)?;
    conflicts::gic(&system, sources.images.gic())?;
    let mut files = Files::default();
    let plans = system.vms.iter().map(|vm| place::vm(vm, sources, &mut files)).collect::<Result<Vec<_>>>()?;
    let mut tree = manifest::tree(&system, &plans, &files);
    change(&mut tree);
    let archive =
        archive::pack(&tree.to_dtb(), &files).map_err(|message| Problem::new(system.span.clone(), message))?;
    let machine = target::machine(&system, &plans, archive.len() as u64, &sources.images.target())?;
    target::addresses(&system, machine, sources.images, &board)?;
    Ok(CompiledSystem {
        archive,
        description: system.description,
        vms: system.vms.iter().map(|vm| vm.name.value.clone()).collect(),
        machine,
        disks: system.disks.iter().map(|disk| sources.disk(disk)).collect::<Result<_>>()?,
        fixed_memory: system.vms.iter().flat_map(fixed_memory).collect(),
    })
}

fn fixed_memory(vm: &description::Vm) -> impl Iterator<Item = FixedMemory> {
    let regions = vm.memory.iter().map(|region| region.value);
    let fixed = regions.filter_map(|region| Some((region.machine?, region.bytes)));
    fixed.map(|(start, bytes)| FixedMemory { vm: vm.name.value.clone(), start, bytes })
}

impl Sources<'_> {
    /// Where the file is that the system calls `name`, which is relative to the system's file.
    fn path(&self, name: &At<String>) -> Result<PathBuf> {
        match name.value.strip_prefix(PROVIDED) {
            Some(provided) => self.provided(name, provided),
            None => Ok(self.directory.join(&name.value)),
        }
    }

    fn disk(&self, name: &At<String>) -> Result<Disk> {
        let path = self.path(name)?;
        if !path.is_file() {
            return Err(name.problem(format!("there is no disk `{}`", name.value)).help("name a raw image file"));
        }
        Ok(Disk { path, keeps_changes: !name.value.starts_with(PROVIDED) })
    }

    /// The bytes of the file that the system calls `name`.
    fn load(&self, name: &At<String>) -> Result<Vec<u8>> {
        let path = self.path(name)?;
        std::fs::read(&path).map_err(|error| {
            let looked = path.display();
            name.problem(format!("cannot read `{}`: {error}", name.value))
                .help(format!("looked at {looked}; paths are relative to the system's file"))
        })
    }

    fn provided(&self, at: &At<String>, name: &str) -> Result<PathBuf> {
        let names = self.images.names();
        if !names.iter().any(|known| known == name) {
            let known = names.iter().map(|name| format!("{PROVIDED}{name}"));
            let problem = at.problem(format!("there is no image `{}`", at.value));
            return Err(problem.help(problem::one_of(&at.value, known)));
        }
        self.images.image(name).map_err(|error| at.problem(format!("cannot make image `{}`: {error:#}", at.value)))
    }
}
