//! The hypervisor's image: all of it is in the library, whose `boot` the first instruction leads to.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use tessera as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This is a hypervisor: it runs at EL2 of an ARM64 machine. Try `cargo xtask run`.");
}
