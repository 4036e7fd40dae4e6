//! The Tessera hypervisor. The library holds everything but the entry point, so that it is tested on the host.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod arch;
pub mod archive;
pub mod arguments;
#[cfg(target_os = "none")]
pub mod boot;
pub mod console;
pub mod devices;
pub mod doorbell;
#[cfg(target_os = "none")]
mod early;
pub mod errata;
pub mod exit;
#[cfg(target_os = "none")]
pub mod fault;
pub mod guest_tree;
pub mod hardening;
pub mod heap;
pub mod identity_map;
pub mod interrupts;
#[cfg(target_os = "none")]
pub mod leave;
pub mod life;
pub mod lock;
#[cfg(target_os = "none")]
pub mod machine;
pub mod manifest;
#[cfg(target_os = "none")]
pub mod processor;
#[cfg(target_os = "none")]
pub mod run;
pub mod scheduler;
pub mod seed;
#[cfg(target_os = "none")]
pub mod supply;
#[cfg(target_os = "none")]
pub mod system;
#[cfg(target_os = "none")]
pub mod terminal;
#[cfg(target_os = "none")]
pub mod vcpu;
#[cfg(target_os = "none")]
pub mod vm;
