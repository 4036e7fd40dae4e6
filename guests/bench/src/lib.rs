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
mod roles;
mod samples;
mod ticker;
mod vectors;

use guest_runtime::Machine;

pub use operations::run_sharing;

/// What `role=` on the command line says, or else measures all operations but those of shared images (see
/// [`operations`]).
pub fn run(machine: &Machine) {
    match machine.text_argument("role").and_then(roles::named) {
        Some(role) => role(machine),
        None => operations::run(machine),
    }
}
