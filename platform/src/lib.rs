//! What the machine is: device-tree discovery and drivers.
//!
//! Belongs here: reading the board's device tree ([`tree`], [`board`]) and the registers of the board's own
//! devices. Does not belong here: anything that knows of guests, of Stage-2 memory or of the hypervisor's policy.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test stops at what it does not expect"))]

extern crate alloc;

pub mod affinity;
pub mod assignment;
pub mod board;
pub mod gic;
pub mod gicv2;
pub mod gicv3;
pub mod interrupt_id;
pub mod mmio;
pub mod psci;
pub mod smccc;
pub mod span;
pub mod system_registers;
pub mod timer;
pub mod tree;
pub mod uart;
pub mod watchdog;

pub use affinity::Affinity;
pub use board::{Board, BoardError};
pub use interrupt_id::{IntId, Interrupt, Trigger};
pub use span::Span;
