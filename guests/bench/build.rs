//! Links the programs as images that relocate themselves: the guest and the stub each with a layout of its own.

use std::env;

fn main() {
    let package = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=image.ld");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "none") {
        let script = format!("-T{package}/image.ld");
        for argument in [script.as_str(), "-pie", "--no-dynamic-linker", "-znotext", "-zmax-page-size=4096"] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
