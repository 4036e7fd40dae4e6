//! What is discovered in device trees: real ones, small ones for each kind of property, and damaged ones.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod boards;
mod common;
mod cores;
mod interrupts;
mod memory;
mod mutated;
mod registers;
mod room;
mod services;
mod tree;
