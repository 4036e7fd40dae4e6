//! What a core's schedule is made of, in ticks of the counter. Whoever makes it has checked it.

use alloc::vec::Vec;

/// How many vCPUs a core can have: one bit of a word each.
pub const MAXIMUM_SLOTS: usize = 64;

/// What one vCPU may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The VM it is of, for windows.
    pub vm: usize,
    /// Who is more urgent runs at once: higher is more urgent.
    pub priority: u8,
    /// How long it runs at most before an equal has its turn; at least 1.
    pub slice: u64,
    /// How long it runs at most in each period, if that is bounded.
    pub budget: Option<Budget>,
}

/// Time in each period of a core's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At least 1, at most the period.
    pub ticks: u64,
    /// Periods follow each other from the core's start on.
    pub period: u64,
}

/// A major frame: what repeats for ever from the core's start on (ARINC 653 part 1, 2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// At least 1.
    pub length: u64,
    /// In their order, without overlap, within the length.
    pub windows: Vec<Window>,
    /// Time in no window is anybody's; else it is nobody's.
    pub lends: bool,
}

/// Time in the frame for one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where it begins in the frame.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// Whose it is.
    pub vm: usize,
    /// While none of the VM's vCPUs can run, others may; else the core is idle.
    pub lends: bool,
}

/// One core's schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreSchedule {
    /// Its vCPUs by slot; those beyond [`MAXIMUM_SLOTS`] never run.
    pub vcpus: Vec<Claims>,
    /// Its major frame, if there is one.
    pub frame: Option<Frame>,
}
