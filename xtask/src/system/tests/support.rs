//! A directory with made-up images, and systems compiled in it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tessera::archive::Archive;
use tessera::manifest::Manifest;
use tessera_platform::Span;

use super::super::{CompiledSystem, ImageProvider, SystemError, Target, compile};

/// An arm64 Linux Image of `bytes` bytes that says it occupies `image_size`.
pub(super) fn linux_image(bytes: usize, text_offset: u64, image_size: u64) -> Vec<u8> {
    let mut image = vec![0xd5; bytes];
    image[..64].fill(0);
    image[8..16].copy_from_slice(&text_offset.to_le_bytes());
    image[16..24].copy_from_slice(&image_size.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// A segment of an ELF file: virtual address, physical address, data, size in memory.
pub(super) type Load<'a> = (u64, u64, &'a [u8], u64);

/// A 64-bit little-endian ELF executable for `machine`.
pub(super) fn elf(machine: u16, entry: u64, loads: &[Load<'_>]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2u16, machine] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64, 56, loads.len() as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut offset = 64 + 56 * loads.len() as u64;
    for (virtual_address, physical_address, data, memory) in loads {
        file.extend(1u32.to_le_bytes());
        file.extend(5u32.to_le_bytes());
        let length = data.len() as u64;
        for word in [offset, *virtual_address, *physical_address, length, *memory, 0x1000] {
            file.extend(word.to_le_bytes());
        }
        offset += length;
    }
    loads.iter().for_each(|(_, _, data, _)| file.extend_from_slice(data));
    file
}

pub(super) const AARCH64: u16 = 183;

/// A directory in which systems are compiled.
pub(super) struct Workshop(TempDir);

impl Workshop {
    /// With a Linux Image, an ELF file, a raw image and an initrd in it.
    pub(super) fn new() -> Self {
        let workshop = Self(tempfile::tempdir().expect("a temporary directory"));
        workshop.write("Image", &linux_image(100_000, 0, 0x20_0000));
        let elf = elf(AARCH64, 0x4000_0000, &[(0x4000_0000, 0x4000_0000, &[1; 5000], 0x3000)]);
        workshop.write("rtos.elf", &elf);
        workshop.write("raw.bin", &[2; 300]);
        workshop.write("initrd", &[3; 5001]);
        workshop
    }

    pub(super) fn write(&self, name: &str, data: &[u8]) {
        std::fs::write(self.0.path().join(name), data).expect("written");
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn compile(&self, toml: &str) -> Result<CompiledSystem, SystemError> {
        self.compile_for(toml, Target::default(), Vec::new())
    }

    /// For a machine with RAM there.
    pub(super) fn compile_for(
        &self,
        toml: &str,
        target: Target,
        ram: Vec<Span>,
    ) -> Result<CompiledSystem, SystemError> {
        self.write("system.toml", toml.as_bytes());
        let provider = Provider { folder: self.0.path().to_path_buf(), target, ram };
        compile(&self.0.path().join("system.toml"), &provider)
    }
}

/// Provides `linux` and `guest/hello`; fails to make `freertos`.
struct Provider {
    folder: PathBuf,
    target: Target,
    ram: Vec<Span>,
}

impl ImageProvider for Provider {
    fn names(&self) -> Vec<String> {
        ["linux", "guest/hello", "freertos"].map(String::from).into()
    }

    fn image(&self, name: &str) -> anyhow::Result<PathBuf> {
        match name {
            "linux" => Ok(self.folder.join("Image")),
            "guest/hello" => Ok(self.folder.join("raw.bin")),
            _ => anyhow::bail!("the compiler is missing"),
        }
    }

    /// The Raspberry Pi's is known.
    fn gic(&self) -> Option<u64> {
        self.folder.join("board.dtb").is_file().then_some(2)
    }

    fn target(&self) -> Target {
        self.target
    }

    fn ram(&self, _memory: u64) -> Vec<Span> {
        self.ram.clone()
    }

    /// `board.dtb`, or QEMU's `virt`.
    fn board_tree(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.folder.join("board.dtb")).unwrap_or_else(|_| board_tree("virt-gicv3-2")))
    }
}

/// The tree of a real board.
pub(super) fn board_tree(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../platform/tests/blobs");
    std::fs::read(folder.join(name).with_extension("dtb")).expect("a tree")
}

/// Compiles `toml` and has EL2's reader accept it.
#[track_caller]
pub(super) fn accepted(workshop: &Workshop, toml: &str) -> (CompiledSystem, Manifest) {
    let system = workshop.compile(toml).unwrap_or_else(|error| panic!("{error}"));
    let archive = Archive::parse(&system.archive).expect("EL2 reads the archive");
    let blob = archive.file("manifest.dtb").expect("a manifest").data;
    let manifest = Manifest::parse(blob, &archive).unwrap_or_else(|error| panic!("{error}"));
    (system, manifest)
}

/// A `[[vm]]` called `linux` with the given further lines.
pub(super) fn linux_vm(lines: &str) -> String {
    format!("[[vm]]\nname = \"linux\"\ncpus = 2\nmemory = \"64M\"\nimage = \"Image\"\n{lines}\n")
}

/// A `[[vm]]` called `guest` with one cpu, 16 MiB, and the given further lines.
pub(super) fn guest_vm(lines: &str) -> String {
    format!("[[vm]]\nname = \"guest\"\ncpus = 1\nmemory = \"16M\"\n{lines}\n")
}
