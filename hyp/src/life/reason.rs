//! Why a VM stops.

use core::fmt;

/// Why a VM stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// It asked for it (SYSTEM_OFF), or all its vCPUs are off.
    Off,
    /// It asked to start again (SYSTEM_RESET).
    Reset,
    /// It cannot go on.
    Crashed(CrashReason),
}

/// Why a VM cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashReason {
    /// Its exception vector is not in its memory: it would take exceptions for ever.
    NoVector {
        /// The vector's virtual address.
        address: u64,
    },
    /// There is no memory for a page it wrote.
    OutOfMemory {
        /// The page's guest physical address.
        address: u64,
    },
    /// It could not be started again: trying once more would not help.
    NotRestarted,
}

impl fmt::Display for StopReason {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Off => out.write_str("off"),
            Self::Reset => out.write_str("reset"),
            Self::Crashed(why) => write!(out, "crashed: {why}"),
        }
    }
}

impl fmt::Display for CrashReason {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NoVector { address } => write!(out, "no code at its exception vector {address:#x}"),
            Self::OutOfMemory { address } => write!(out, "no memory left for a copy of its page {address:#x}"),
            Self::NotRestarted => write!(out, "it could not be started again"),
        }
    }
}
