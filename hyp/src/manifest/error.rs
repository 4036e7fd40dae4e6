//! What is wrong with a manifest, in one line.

use alloc::string::{String, ToString};
use core::fmt::{self, Display};

/// What is wrong with a manifest: in which VM, in which node or property, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The VM's name (or its node's, where the name is what is wrong); `None` for the manifest as a whole.
    pub vm: Option<String>,
    /// The node or property, as the manifest calls it.
    pub place: String,
    /// What is wrong and what to change.
    pub problem: String,
}

impl ManifestError {
    /// Something wrong at `place` of the VM `vm`.
    pub(super) fn in_vm(vm: &str, place: impl Display, problem: impl Display) -> Self {
        Self::new(Some(vm), &place, &problem)
    }

    /// Something wrong at `place` of the manifest as a whole.
    pub(super) fn in_system(place: impl Display, problem: impl Display) -> Self {
        Self::new(None, &place, &problem)
    }

    /// Once in the image, not once for each type.
    pub(super) fn new(vm: Option<&str>, place: &dyn Display, problem: &dyn Display) -> Self {
        Self { vm: vm.map(str::to_string), place: place.to_string(), problem: problem.to_string() }
    }
}

impl Display for ManifestError {
    /// One line: what comes from the manifest is escaped, so that it cannot break out of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("manifest: ")?;
        if let Some(vm) = &self.vm {
            write!(f, "VM `{}`: ", vm.escape_default())?;
        }
        write!(f, "{}: {}", self.place.escape_default(), self.problem)
    }
}

impl core::error::Error for ManifestError {}
