//! The life of a VM: one state, and every way from one to another.
//!
//! What changes a life comes from two sides. Anybody may *ask*: start, stop, pause, resume, or, for the guest, switch a vCPU
//! on. The core that owns a vCPU, and nobody else, takes [orders](Life::order) for it, carries them out, and *confirms*.
//! Each change returns [`Effects`]: whose cores are to be rung, for there is an order, and what happened to the VM.
//!
//! An order to start, or to unpark, is handed out once: from then on the core holds the vCPU, and a stop or a pause waits
//! for it. The others stand until they are confirmed, or withdrawn. So no order is lost, whatever comes between taking and
//! confirming it, and a vCPU that was asked for but not taken is nobody's: a stop forgets it.
//!
//! Nothing here knows cores, registers, memory or locks: one lock around this value serves the VM.

#[cfg(test)]
mod tests;

mod ask;
mod orders;
mod powers;
mod reason;
mod restart;

use alloc::boxed::Box;
use alloc::vec;

pub use powers::Powers;
pub use reason::{CrashReason, StopReason};
pub use restart::{RestartPolicy, Then};

use crate::interrupts::VcpuSet;
use restart::BackOff;

/// The vCPU that starts with its VM, and whose core does the VM's work.
pub const FIRST: usize = 0;

/// Where a VM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It was never started.
    Off,
    /// Its first vCPU is to start.
    Starting,
    /// It runs.
    Running(Powers),
    /// It is going to be paused: not all vCPUs that are on are out of their cores.
    Pausing(Powers),
    /// All vCPUs are out of their cores and whole in memory.
    Paused(Powers),
    /// It goes off.
    Stopping {
        /// Why: the first reason counts.
        reason: StopReason,
        /// The vCPUs whose cores have not confirmed yet; never empty.
        held: VcpuSet,
    },
    /// It is to start afresh. No vCPU is on, but it has not ended.
    Restarting(Job),
    /// It has stopped for good.
    Ended,
}

/// How far the work for a restart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    /// Nobody has it in hand.
    Waiting {
        /// When it may begin, in ticks.
        not_before: u64,
    },
    /// The first vCPU's core does it.
    Working,
}

/// PSCI's states of a vCPU (DEN0022 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Off,
    /// To be started by its core.
    OnPending,
    /// On.
    On,
}

/// Why CPU_ON is refused (DEN0022 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is on.
    AlreadyOn,
    /// Somebody has asked for it before.
    OnPending,
    /// Not in this state of the VM, or there is no such vCPU.
    Denied,
}

/// Only a VM that runs can be paused, only one that pauses can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow;

/// What a core has to do for one of its vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Go on as before.
    Nothing,
    /// Start it out of reset. The core holds it from now on.
    Start {
        /// The first instruction's guest physical address.
        entry: u64,
        /// What it finds in X0.
        context: u64,
    },
    /// Switch it off, or drop the work that was begun for a restart; confirmed by [`Life::went_off`].
    PutOut,
    /// Take it out of the core, whole into memory; confirmed by [`Life::parked`].
    Park,
    /// Let it go on. The core holds it from now on.
    Unpark,
    /// Do the next step of the restart's work; after the last, call [`Life::work_done`].
    Work,
    /// Ask again at this time.
    Wait {
        /// In ticks.
        until: u64,
    },
}

/// What a change of a life brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "cores have to be rung, and somebody told"]
pub struct Effects {
    /// The vCPUs whose cores have to ask for an order.
    pub ring: VcpuSet,
    /// What is to be said of it.
    pub event: Option<Event>,
}

/// What happened to a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is out of all cores and whole in memory.
    Paused,
    /// It has stopped: nobody holds a vCPU of it.
    Stopped {
        /// Why.
        reason: StopReason,
        /// What follows.
        then: Then,
    },
}

impl Effects {
    /// Nothing follows.
    pub const NONE: Self = Self { ring: VcpuSet::EMPTY, event: None };

    fn ring(ring: VcpuSet) -> Self {
        Self { ring, event: None }
    }

    fn event(event: Event) -> Self {
        Self { ring: VcpuSet::EMPTY, event: Some(event) }
    }

    /// Whether the VM has ended for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.event, Some(Event::Stopped { then: Then::Ends | Then::EndsAtLimit, .. }))
    }
}

/// Where a vCPU is to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Entry {
    address: u64,
    context: u64,
}

/// One VM's life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    state: State,
    policy: RestartPolicy,
    back_off: BackOff,
    /// Where the VM starts.
    boot: Entry,
    /// What was asked for last, by vCPU.
    entries: Box<[Entry]>,
    has_crashed: bool,
}

impl Life {
    /// A VM that was never started, of 1 to 64 vCPUs. Nothing is allocated later.
    #[must_use]
    pub fn new(vcpus: usize, policy: RestartPolicy) -> Self {
        Self {
            state: State::Off,
            policy,
            back_off: BackOff::default(),
            boot: Entry::default(),
            entries: vec![Entry::default(); vcpus].into_boxed_slice(),
            has_crashed: false,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it has stopped for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether it was ever stopped for a fault of its own.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.has_crashed
    }

    /// What PSCI tells of a vCPU: one that a core holds is on.
    #[must_use]
    pub fn affinity(&self, vcpu: usize) -> Power {
        match self.state {
            State::Starting => Powers::pending(FIRST).of(vcpu),
            State::Running(powers) | State::Pausing(powers) | State::Paused(powers) => powers.of(vcpu),
            State::Stopping { held, .. } if held.contains(vcpu) => Power::On,
            State::Off | State::Stopping { .. } | State::Restarting(_) | State::Ended => Power::Off,
        }
    }
}
