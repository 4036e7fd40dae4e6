//! The images that systems name with `tessera:`: what each is, and making those that are made.

pub mod freertos;
pub mod initramfs;
pub mod kernel;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::setup;

/// The prefix of the images that belong to this repository.
pub const PREFIX: &str = "tessera:";

/// The file of an image by its name after [`PREFIX`], for a machine with this version of the GIC.
///
/// # Errors
/// An unknown name, or an image that is not there although set-up and build have run.
pub fn resolve(name: &str, gic: u32) -> Result<PathBuf> {
    let path = match name {
        "linux" => setup::linux::kernel(),
        "initramfs" => initramfs::path(),
        "freertos" => freertos::path(gic),
        "freertos-gicv2" => freertos::path(2),
        "freertos-gicv3" => freertos::path(3),
        _ => match name.strip_prefix("guest/") {
            Some(guest) => build::guest(guest)?,
            None => {
                bail!("no image `{PREFIX}{name}`: there are linux, initramfs, freertos, guest/NAME")
            }
        },
    };
    path.is_file()
        .then_some(path)
        .with_context(|| format!("`{PREFIX}{name}` has not been built"))
}
