//! Passes the image's layout to the linker; only the bare-metal image needs one.

fn main() {
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("{folder}/src/arch/aarch64/image.ld");
    println!("cargo::rerun-if-changed={script}");
    if os == "none" {
        // The image relocates itself: absolute addresses become relative relocations, packed, in read-only data too.
        let pack = "-zpack-relative-relocs";
        let script = format!("-T{script}");
        for argument in [&script, "-pie", "--no-dynamic-linker", "-znotext", "-zmax-page-size=4096", pack] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
        // Else ADRP near the end of a page may make a load or store after it go astray on a Cortex-A53.
        println!("cargo::rustc-link-arg-bins=--fix-cortex-a53-843419");
    }
}
