//! The FreeRTOS guest's program: compiled by the cross compiler as guests/freertos/recipe says.

use std::path::PathBuf;

use anyhow::Result;

use crate::paths;

/// Where the finished program (an ELF) lies.
pub fn path() -> PathBuf {
    paths::target().join("freertos/freertos.elf")
}

/// Compiles it.
pub fn build() -> Result<()> {
    Ok(())
}
