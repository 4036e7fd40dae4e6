//! The FreeRTOS kernel's sources, which the crate `freertos-next` carries, fetched by cargo into the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::process;
use crate::progress::Step;

/// A package that needs nothing but the crate, and is no member of our workspace.
const MANIFEST: &str = "\
[package]
name = \"freertos-sources\"
version = \"0.0.0\"
edition = \"2021\"

[dependencies]
freertos-next = \"=0.12.0\"

[workspace]
";

/// The directory of the FreeRTOS kernel (`tasks.c`, `include/`, `portable/`).
pub fn kernel() -> PathBuf {
    paths::cache().join("freertos/vendor/freertos-next/FreeRTOS-Kernel")
}

/// Fetches the sources unless they are there.
pub fn ensure() -> Result<()> {
    let whole = kernel().join("tasks.c");
    if whole.is_file() {
        return Ok(());
    }
    let step = Step::start("Fetching the FreeRTOS kernel");
    let directory = paths::cache().join("freertos");
    fs::create_dir_all(directory.join("src"))?;
    fs::write(directory.join("Cargo.toml"), MANIFEST)?;
    fs::write(directory.join("src/lib.rs"), "")?;
    // Vendored beside its place and then moved: what bears the name is always whole.
    let part = directory.join("part");
    process::run(&step, process::host_cargo("vendor").arg("part").current_dir(&directory))?;
    let vendor = directory.join("vendor");
    drop(fs::remove_dir_all(&vendor));
    fs::rename(&part, &vendor).with_context(|| format!("cannot move {}", part.display()))?;
    if !whole.is_file() {
        bail!("the crate freertos-next holds no FreeRTOS-Kernel/tasks.c");
    }
    step.done();
    Ok(())
}
