//! System files: TOML checked, compiled to a manifest blob, and packed with its images into the archive.

use std::path::{Path, PathBuf};

/// Where the images come from that xtask provides itself.
pub trait ImageProvider {
    /// The names there are, without the prefix.
    fn names(&self) -> Vec<String>;
    /// The file that holds the image `name`, made if need be.
    fn image(&self, name: &str) -> anyhow::Result<PathBuf>;
}

/// A system, ready to be loaded as an initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledSystem {
    /// The archive.
    pub archive: Vec<u8>,
    /// What the file says about itself, or empty.
    pub description: String,
    /// The VMs' names, in the manifest's order.
    pub vms: Vec<String>,
    /// The machine to run it on.
    pub machine: Machine,
}

/// A machine that suffices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Number of cores.
    pub cpus: usize,
    /// Bytes of RAM.
    pub memory: u64,
}

/// Compiles the system file at `path`.
pub fn compile(path: &Path, images: &dyn ImageProvider) -> anyhow::Result<CompiledSystem> {
    anyhow::bail!("{} {:?}", path.display(), images.names())
}
