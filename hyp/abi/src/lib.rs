//! What Tessera shares with its guests and its tools: hypercall numbers and layouts.
#![no_std]
#![forbid(unsafe_code)]

pub mod early_console;
pub mod manifest;
