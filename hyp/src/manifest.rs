//! The manifest: what to run, as the archive says and EL2 validates.
