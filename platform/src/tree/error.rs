//! What is wrong with a device tree, said so that a person can mend it.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

/// Why a device tree does not describe a machine that can be used: what, where, and what to change.
///
/// Displayed in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardError {
    path: String,
    property: Cow<'static, str>,
    problem: Cow<'static, str>,
    remedy: Cow<'static, str>,
}

impl BoardError {
    /// An error in `property` (empty: in the node as a whole) of the node at `path` (empty: in the blob as a whole).
    pub fn new(
        path: impl Into<String>,
        property: impl Into<Cow<'static, str>>,
        problem: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { path: path.into(), property: property.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Path of the node that is wrong; empty if the blob as a whole is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The property that is wrong; empty if the node as a whole is.
    pub fn property(&self) -> &str {
        &self.property
    }

    /// What is wrong.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What to change.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device tree")?;
        if !self.path.is_empty() {
            write!(f, ", node {}", self.path)?;
        }
        if !self.property.is_empty() {
            write!(f, ", property {}", self.property)?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

impl core::error::Error for BoardError {}
