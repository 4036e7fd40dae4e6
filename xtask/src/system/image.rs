//! What kind of file an image is, and what it wants to be loaded where.

use std::io::Read;

use object::Endianness;
use object::elf::{ET_DYN, ET_EXEC, FileHeader64, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

use super::description::{Image, Kind};
use super::problem::Result;

/// An image, read.
#[derive(Debug)]
pub(super) enum Loadable {
    /// An arm64 Linux Image.
    Linux {
        data: Vec<u8>,
        /// Where it starts behind a 2 MiB boundary, in bytes.
        text_offset: u64,
        /// What it occupies, with its uninitialized data, in bytes.
        bytes: u64,
    },
    /// What an ELF file's `PT_LOAD` segments say.
    Elf { parts: Vec<Part>, entry: u64 },
    /// Bytes.
    Raw(Vec<u8>),
}

/// Part of an image, placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) address: u64,
    pub(super) data: Vec<u8>,
    /// What it occupies, at least `data`'s length; the rest is zero.
    pub(super) bytes: u64,
}

/// Reads the image whose file has the content `data`.
pub(super) fn read(image: &Image, data: Vec<u8>) -> Result<Loadable> {
    let name = &image.path.value;
    let wrong = |is: String, help: &str| Err(image.path.problem(format!("`{name}` {is}")).help(help));
    if data.is_empty() {
        return wrong("is empty".into(), "give the image's path");
    }
    if image.kind.as_ref().is_some_and(|kind| kind.value == Kind::Raw) {
        return Ok(Loadable::Raw(data));
    }
    let data = match unpacked(data) {
        Ok(data) => data,
        Err(is) => {
            return wrong(
                is,
                "give an arm64 Image, which may be gzip'ed, or an ELF, or what the ELF is made into by `objcopy -O binary`",
            );
        }
    };
    let loadable = match recognise(data) {
        Ok(loadable) => loadable,
        Err(is) => {
            return wrong(is, "give an image for AArch64; one that is to be loaded as it is needs `kind = \"raw\"`");
        }
    };
    match (image.kind.as_ref().map(|kind| kind.value), &loadable) {
        (Some(Kind::Linux), Loadable::Elf { .. } | Loadable::Raw(_)) => wrong(
            "is no arm64 Linux Image".into(),
            "give the file that is called `Image` or `vmlinuz`, or remove `kind`",
        ),
        (Some(Kind::Elf), Loadable::Linux { .. } | Loadable::Raw(_)) => wrong("is no ELF file".into(), "remove `kind`"),
        _ => Ok(loadable),
    }
}

/// Unpacks a gzip'ed kernel, as Debian's `vmlinuz` may be.
fn unpacked(data: Vec<u8>) -> core::result::Result<Vec<u8>, String> {
    if !data.starts_with(&[0x1f, 0x8b]) {
        return Ok(data);
    }
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(&data[..])
        .read_to_end(&mut unpacked)
        .map_err(|error| format!("is gzip'ed, but cannot be unpacked: {error}"))?;
    match linux(&unpacked) {
        Some(_) => Ok(unpacked),
        None => Err("is gzip'ed, but holds no arm64 Linux Image".into()),
    }
}

/// `Err` says what else it is.
fn recognise(data: Vec<u8>) -> core::result::Result<Loadable, String> {
    if let Some((text_offset, bytes)) = linux(&data) {
        return Ok(Loadable::Linux { text_offset, bytes, data });
    }
    if data.starts_with(b"\x7fELF") {
        return elf(&data);
    }
    match known_but_wrong(&data) {
        Some(is) => Err(is.to_string()),
        None => Ok(Loadable::Raw(data)),
    }
}

/// A little-endian number in `data`.
fn number<const N: usize>(data: &[u8], offset: usize) -> Option<u64> {
    let bytes: [u8; N] = data.get(offset..offset + N)?.try_into().ok()?;
    Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

/// `text_offset` and the size in memory, if it is an arm64 Linux Image (Documentation/arch/arm64/booting.rst).
fn linux(data: &[u8]) -> Option<(u64, u64)> {
    const MAGIC: u64 = u32::from_le_bytes(*b"ARM\x64") as u64;
    /// What kernels before 3.17, which left `image_size` zero, meant by it.
    const OLD_TEXT_OFFSET: u64 = 0x8_0000;
    if number::<4>(data, 56)? != MAGIC {
        return None;
    }
    let (text_offset, image_size) = (number::<8>(data, 8)?, number::<8>(data, 16)?);
    let text_offset = if image_size == 0 { OLD_TEXT_OFFSET } else { text_offset };
    Some((text_offset, image_size.max(data.len() as u64)))
}

/// Files that people give by mistake.
fn known_but_wrong(data: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| data.starts_with(magic);
    let has = |offset: usize, magic: &[u8]| data.get(offset..).is_some_and(|d| d.starts_with(magic));
    match () {
        () if has(0x202, b"HdrS") => Some("is an x86 Linux kernel (bzImage)"),
        () if starts(b"MZ") && has(4, b"zimg") => Some("is a compressed EFI kernel (zboot): unpack it first"),
        () if starts(b"MZ") => Some("is a PE (EFI or Windows) program"),
        () if has(36, &[0x18, 0x28, 0x6f, 0x01]) => Some("is a 32-bit Arm Linux kernel (zImage)"),
        () if starts(&[0x27, 0x05, 0x19, 0x56]) => Some("is a U-Boot image (uImage): give what it was made of"),
        () if starts(&[0xd0, 0x0d, 0xfe, 0xed]) => Some("is a device tree blob or a FIT image"),
        () if starts(&[0xfd, b'7', b'z', b'X', b'Z']) => Some("is xz-compressed: unpack it first"),
        () if starts(&[0x28, 0xb5, 0x2f, 0xfd]) => Some("is zstd-compressed: unpack it first"),
        () if starts(b"BZh") => Some("is bzip2-compressed: unpack it first"),
        () if starts(b"070701") => Some("is a cpio archive: give it as `initrd`"),
        () => None,
    }
}

fn elf(data: &[u8]) -> core::result::Result<Loadable, String> {
    elf_is_ours(data)?;
    let broken = |error: object::Error| format!("is a damaged ELF file: {error}");
    let header = FileHeader64::<Endianness>::parse(data).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    if ![ET_EXEC, ET_DYN].contains(&header.e_type(endian)) {
        return Err("is an ELF file that is not linked: link it to an executable".into());
    }
    let headers = header.program_headers(endian, data).map_err(broken)?;
    let loads = |header: &&ProgramHeader64<_>| header.p_type(endian) == PT_LOAD && header.p_memsz(endian) > 0;
    let headers: Vec<_> = headers.iter().filter(loads).collect();
    if headers.is_empty() {
        return Err("is an ELF file without anything to load".into());
    }
    let parts = headers.iter().map(|header| part(header, endian, data));
    let parts = parts.collect::<core::result::Result<Vec<_>, String>>()?;
    Ok(Loadable::Elf { entry: entry(header.e_entry(endian), &headers, endian), parts })
}

fn part(header: &ProgramHeader64<Endianness>, endian: Endianness, data: &[u8]) -> core::result::Result<Part, String> {
    let bytes = header.p_memsz(endian);
    match header.data(endian, data) {
        Ok(data) if data.len() as u64 <= bytes => {
            Ok(Part { address: header.p_paddr(endian), data: data.to_vec(), bytes })
        }
        Ok(_) => Err("is a damaged ELF file: a segment is larger in the file than in memory".into()),
        Err(()) => Err("is a damaged ELF file: a segment goes beyond its end".into()),
    }
}

/// The physical address of the entry: an entry given as a virtual address is where its segment is loaded.
fn entry(entry: u64, headers: &[&ProgramHeader64<Endianness>], endian: Endianness) -> u64 {
    let physical = |header: &&ProgramHeader64<Endianness>| {
        let offset = entry.checked_sub(header.p_vaddr(endian))?;
        (offset < header.p_memsz(endian)).then(|| header.p_paddr(endian).wrapping_add(offset))
    };
    headers.iter().find_map(physical).unwrap_or(entry)
}

/// Class, byte order and machine (System V ABI, "ELF Header").
fn elf_is_ours(data: &[u8]) -> core::result::Result<(), String> {
    const AARCH64: u64 = 183;
    if data.get(4) != Some(&2) {
        return Err("is a 32-bit ELF file".into());
    }
    if data.get(5) != Some(&1) {
        return Err("is a big-endian ELF file".into());
    }
    match number::<2>(data, 18) {
        Some(AARCH64) => Ok(()),
        Some(62) => Err("is an ELF file for x86-64, not for AArch64".into()),
        Some(243) => Err("is an ELF file for RISC-V, not for AArch64".into()),
        Some(machine) => Err(format!("is an ELF file for machine {machine}, not for AArch64 (183)")),
        None => Err("is a damaged ELF file: it ends within its header".into()),
    }
}
