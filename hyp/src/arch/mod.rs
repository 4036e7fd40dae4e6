//! The processor: everything that needs its registers or instructions, and nothing else.
//!
//! `unsafe` of the hypervisor lives here. Policy does not: what a trap means is decided in `exit`.

#[cfg(target_os = "none")]
pub mod aarch64;
