//! Set-up: brings the tools and the guests' real images, once, into the cache; says what it cannot bring.
//! What belongs here is getting things; making images of them is `images`, using them is `build` and `run`.

pub mod apt;
pub mod firmware;
pub mod freertos;
pub mod linux;
pub mod packages;
pub mod system;
pub mod toolchain;

use std::fs::{self, File};

use anyhow::{Context, Result};

use crate::paths;
use toolchain::{Choice, Toolchain};

/// Brings whatever is missing; quick when nothing is. Returns the bare-metal toolchain to build with.
pub fn ensure(choice: Choice) -> Result<Toolchain> {
    let _lock = lock()?;
    let toolchain = toolchain::choose(choice)?;
    packages::ensure(&toolchain)?;
    toolchain.check()?;
    linux::ensure()?;
    freertos::ensure()?;
    Ok(toolchain)
}

/// Makes the cache this run's alone until the lock is dropped: two runs at once wait for each other instead of unpacking
/// over each other.
pub fn lock() -> Result<File> {
    let cache = paths::cache();
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}
