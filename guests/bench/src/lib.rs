//! What the bench guests have in common: the image's head, the counter, the statistics, and the operations measured.
//!
//! One image for every machine: plain QEMU at EL1, Tessera, KVM, Xen. It is position independent, has the arm64 Linux
//! header, and takes memory, UART and interrupt controller from its device tree. How results are shown to people
//! belongs to `cargo xtask bench`.
#![no_std]

extern crate alloc;

mod calls;
mod clock;
mod devices;
mod gic;
mod head;
mod interrupts;
mod memory;
mod operations;
mod samples;
mod vectors;

pub use operations::{run, run_sharing};
