//! The system archive: a `newc` cpio whose files are used where they lie.
