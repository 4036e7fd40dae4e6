//! Memory virtualization: Stage-2 translation, frames and sharing, free of any machine.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
