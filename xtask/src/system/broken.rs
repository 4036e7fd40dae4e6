//! Systems that EL2 must refuse: a good one, damaged behind xtask's back, with what EL2 says to it.
//!
//! `cargo xtask test` boots each, for EL2 trusts neither archive nor manifest. Every case fits any system whose first VM
//! has its RAM and console where QEMU's `virt` has them, such as `hello`.

use std::path::Path;

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use tessera_abi::manifest::PAGE_BYTES;

use super::{CompiledSystem, ImageProvider, SystemError, compile_changed};

/// A way to break a system.
pub struct Broken {
    /// What is wrong with it, as a test's name.
    pub name: &'static str,
    /// Part of what EL2 says.
    pub message: &'static str,
    damage: Damage,
}

enum Damage {
    Archive(fn(&mut Vec<u8>)),
    Manifest(fn(&mut DeviceTree)),
}

impl Broken {
    /// The system file at `path`, compiled and then damaged.
    ///
    /// # Errors
    ///
    /// The file does not compile as it is.
    pub fn compile(&self, path: &Path, images: &dyn ImageProvider) -> Result<CompiledSystem, SystemError> {
        match self.damage {
            Damage::Manifest(change) => compile_changed(path, images, change),
            Damage::Archive(change) => {
                let mut system = compile_changed(path, images, |_| ())?;
                change(&mut system.archive);
                Ok(system)
            }
        }
    }
}

const fn archive(name: &'static str, message: &'static str, change: fn(&mut Vec<u8>)) -> Broken {
    Broken { name, message, damage: Damage::Archive(change) }
}

const fn manifest(name: &'static str, message: &'static str, change: fn(&mut DeviceTree)) -> Broken {
    Broken { name, message, damage: Damage::Manifest(change) }
}

/// A page beyond the start of the archive lies the manifest's blob.
const BLOB: usize = PAGE_BYTES as usize;
const MEMORY: &str = "/vm@0/memory@40000000";
const UART: u64 = 0x0900_0000;
const RAM: u64 = 0x4000_0000;
/// In nanoseconds.
const MILLISECOND: u64 = 1_000_000;

/// One case for each kind of damage.
pub const CASES: [Broken; 24] = [
    archive("archive-magic", "system archive: at offset 0x0: no `newc` cpio entry", |a| a[0] = b'x'),
    archive("archive-digits", "a header field is not eight hexadecimal digits", |a| a[54] = b'z'),
    archive("archive-cut", "goes beyond the archive's end", |a| a.truncate(a.len() - 100)),
    archive("manifest-missing", "there is no file `manifest.dtb` in the archive", |a| a[110] = b'M'),
    archive("manifest-garbage", "manifest: manifest.dtb: ", |a| a[BLOB] = 0),
    manifest("format-version", "format-version: 2, but this hypervisor reads version 1", |t| {
        set(t, "/", "format-version", 2u32)
    }),
    manifest("no-vm", "there is no VM: describe at least one", |t| {
        t.root.remove_child("vm@0");
    }),
    manifest("name", "vm-name: must be 1 to 31 of a-z", |t| set(t, "/vm@0", "vm-name", "tessera")),
    manifest("unknown-property", "colour: unknown property", |t| set(t, "/vm@0", "colour", "red")),
    manifest("core-missing", "there is no core 99", |t| {
        remove(t, "/vm@0", "cpus");
        set(t, "/vm@0", "cores", [99u32]);
    }),
    manifest("core-twice", "core 0 is listed twice", |t| {
        remove(t, "/vm@0", "cpus");
        set(t, "/vm@0", "cores", [0u32, 0]);
    }),
    manifest("cores-too-many", "cpus: wants 8, but of the board's", |t| set(t, "/vm@0", "cpus", 8u32)),
    manifest("memory-too-much", "memory: wants 268435456 KiB, but of the board's", |t| {
        set(t, MEMORY, "reg", pair(RAM, 1 << 38))
    }),
    manifest("memory-unaligned", "is not made of whole pages", |t| set(t, MEMORY, "reg", pair(RAM, (4 << 20) + 1))),
    manifest("memory-overlap", "overlaps memory@40000000", |t| {
        set(t, "/vm@0/memory@40001000", "reg", pair(RAM + PAGE_BYTES, PAGE_BYTES))
    }),
    manifest("memory-of-el2", "belongs to", |t| set(t, MEMORY, "machine", RAM)),
    manifest("entry-outside", "entry: 0x0..0x4 does not lie in one region", |t| set(t, "/vm@0", "entry", 0u64)),
    manifest("file-missing", "there is no file `none` in the archive", |t| set(t, "/vm@0/device-tree", "file", "none")),
    manifest("uart-of-el2", "belongs to", |t| passthrough(t, "/vm@0/device@a000000", 0x0a00_0000, UART)),
    manifest("priority-too-high", "priority: 32: give 0 to 31", |t| set(t, "/vm@0", "priority", 32u32)),
    manifest("budget-without-period", "budget: given without `period`", |t| set(t, "/vm@0", "budget", MILLISECOND)),
    manifest("windows-overlap", "begins before the window in front of it ends", |t| {
        set(t, "/core@0", "core", 0u32);
        set(t, "/core@0", "frame", 10 * MILLISECOND);
        window(t, "/core@0/window@0", 0);
        window(t, "/core@0/window@1", MILLISECOND - 1);
    }),
    manifest("housekeeping-missing", "housekeeping: there is no core 99", |t| set(t, "/", "housekeeping", 99u32)),
    manifest("device-twice", "is given to VM", |t| {
        passthrough(t, "/vm@0/device@a000000", 0x0a00_0000, 0x0a00_0000);
        passthrough(t, "/vm@0/device@a001000", 0x0a00_1000, 0x0a00_0000);
    }),
];

/// Sets a property, making the node at `path` if it is not there.
fn set(tree: &mut DeviceTree, path: &str, property: &str, value: impl ToPropertyValue) {
    let mut node = &mut tree.root;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        node = node.add_child_mut(DeviceTreeNode::new_unchecked(name));
    }
    node.add_property(DeviceTreeProperty::new_unchecked(property, value));
}

fn remove(tree: &mut DeviceTree, path: &str, property: &str) {
    if let Some(node) = tree.find_node_mut(path) {
        node.remove_property(property);
    }
}

fn passthrough(tree: &mut DeviceTree, path: &str, address: u64, machine: u64) {
    set(tree, path, "kind", "passthrough");
    set(tree, path, "reg", pair(address, PAGE_BYTES));
    set(tree, path, "machine", machine);
}

/// One millisecond for the first VM of `hello`.
fn window(tree: &mut DeviceTree, path: &str, start: u64) {
    set(tree, path, "vm", "hello");
    set(tree, path, "start", start);
    set(tree, path, "length", MILLISECOND);
}

fn pair(first: u64, second: u64) -> Vec<u8> {
    [first.to_be_bytes(), second.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tessera::archive::Archive;
    use tessera::manifest::{BoardFacts, Manifest, Reserved, Span};

    use super::*;

    const HELLO: &str = "[[vm]]\nname = \"hello\"\ncpus = 1\nmemory = \"4M\"\nimage = \"raw.bin\"\n";

    struct NoImages;

    impl ImageProvider for NoImages {
        fn names(&self) -> Vec<String> {
            Vec::new()
        }

        fn image(&self, name: &str) -> anyhow::Result<PathBuf> {
            anyhow::bail!("no {name}")
        }
    }

    /// What EL2 says to the archive on a machine like QEMU's `virt`.
    fn verdict(archive: &[u8]) -> Result<(), String> {
        let span = |start, bytes| Span { start, bytes };
        let reserved = |owner, start, bytes| Reserved { owner, span: span(start, bytes) };
        let facts = BoardFacts {
            cores: 4,
            available_memory: 512 << 20,
            ram: &[span(RAM, 1 << 30)],
            reserved: &[reserved("EL2", RAM, 4 << 20), reserved("EL2's UART", UART, 0x1000)],
            gic_version: 3,
            spis: 256,
            reserved_spis: &[1],
            ipa_bits: 44,
        };
        let archive = Archive::parse(archive).map_err(|error| error.to_string())?;
        let manifest = Manifest::read(&archive).map_err(|error| error.to_string())?;
        manifest.validate(&facts).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn el2_refuses_each_broken_system_and_only_those() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("hello.toml");
        std::fs::write(&path, HELLO).expect("written");
        std::fs::write(directory.path().join("raw.bin"), [1; 300]).expect("written");
        let good = compile_changed(&path, &NoImages, |_| ()).expect("compiles");
        verdict(&good.archive).expect("the system as it is");
        for case in CASES {
            let system = case.compile(&path, &NoImages).expect("compiles");
            let message = verdict(&system.archive).expect_err(case.name);
            assert!(message.contains(case.message), "{}: {message}", case.name);
            assert!(!message.contains('\n'), "{}: {message}", case.name);
        }
    }
}
