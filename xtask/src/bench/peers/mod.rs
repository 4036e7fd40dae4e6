//! The peers, measured in the same way: each runs the bench guest's flat image and gives its console's text.

use std::path::Path;

/// Runs a peer with the guest's image on a machine with this version of the GIC; what it does now goes to the last
/// argument. The error says why there is no console.
pub type Run = fn(&Path, u32, &dyn Fn(&str)) -> Result<String, String>;

/// KVM and Xen, in the table's order.
pub const ALL: [(&str, Run); 2] = [("KVM nVHE", absent), ("Xen 4.17", absent)];

fn absent(_: &Path, _: u32, _: &dyn Fn(&str)) -> Result<String, String> {
    Err("this build cannot run it".to_owned())
}
