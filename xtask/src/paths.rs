//! Where things lie: the workspace, the target directory, the cache. Nothing here touches the disk.

use std::path::{Path, PathBuf};

/// The workspace's root directory.
pub fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => workspace().join(directory),
        None => workspace().join("target"),
    }
}

/// What set-up has fetched or made: safe to delete, costly to get again.
pub fn cache() -> PathBuf {
    target().join("cache")
}

/// Where the bare-metal programs are built, apart from the host's so that two compilers can differ.
pub fn bare_metal() -> PathBuf {
    target().join("bare-metal")
}

/// The folder of the guests' sources.
pub fn guests() -> PathBuf {
    workspace().join("guests")
}
