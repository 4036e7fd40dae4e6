//! System files: TOML checked, compiled to a manifest blob, and packed with its images into the archive.
