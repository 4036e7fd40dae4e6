//! Links each program with its layout: the guests relocate themselves, the stub has no absolute address, and Linux's
//! programs are static.

use std::env;

const POSITION_INDEPENDENT: &[&str] = &["-pie", "--no-dynamic-linker", "-znotext", "-zmax-page-size=4096"];

/// Program, layout, further arguments for the linker.
const PROGRAMS: [(&str, &str, &[&str]); 5] = [
    ("bench", "image.ld", POSITION_INDEPENDENT),
    ("bench-shared", "image.ld", POSITION_INDEPENDENT),
    ("bench-stub", "stub.ld", &["-zmax-page-size=4096"]),
    ("bench-init", "init.ld", &["-zmax-page-size=4096"]),
    ("bench-mark", "init.ld", &["-zmax-page-size=4096"]),
];

fn main() {
    let package = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let bare = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "none");
    for (program, layout, arguments) in PROGRAMS {
        println!("cargo:rerun-if-changed={layout}");
        let script = format!("-T{package}/{layout}");
        let all = [script.as_str()].into_iter().chain(arguments.iter().copied());
        if bare {
            all.for_each(|argument| println!("cargo:rustc-link-arg-bin={program}={argument}"));
        }
    }
}
