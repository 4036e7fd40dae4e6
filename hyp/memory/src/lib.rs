//! Memory virtualization: Stage-2 translation, frames and sharing, free of any machine.
//!
//! Here belong the rules: which descriptor says what, in which order a live translation is changed, who owns a frame
//! and who shares it. Here do not belong instructions, registers of the running core, boards, vCPUs or locks: the
//! machine is seen through the two small traits of [`machine`], and exclusive access is what `&mut` says.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`address`] | virtual, physical (IPA) and machine addresses, and spans of them |
//! | [`descriptor`] | the 64-bit Stage-2 descriptor |
//! | [`fault`] | an access that Stage 2 refused |
//! | [`machine`] | physical memory and TLB maintenance as traits |
//! | [`frames`] | machine memory: allocation, owners, sharing counts, reservations |
//! | [`physmap`] | one guest's Stage-2 table, the map from physical to machine addresses |
//! | [`vmid`] | which VMIDs are in use |
//! | [`guest_walk`] | the guest's own Stage-1 tables, walked in software |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

extern crate alloc;

pub mod address;
pub mod descriptor;
pub mod error;
pub mod fault;
pub mod frames;
pub mod guest_walk;
pub mod machine;
pub mod physmap;
pub mod vmid;

pub use address::{Ipa, PAGE_SIZE, Pa, Span, Va};
pub use descriptor::{Access, Attributes, Level, MemoryType, SoftwareState};
pub use error::Error;
pub use fault::{FaultKind, GuestFault};
pub use frames::{Frames, Owner, Reservation, VmId};
pub use machine::{Context, Machine, PhysicalMemory, TlbMaintenance};
pub use physmap::{Geometry, Mapping, PhysMap};
pub use vmid::{Vmid, VmidAllocator};
