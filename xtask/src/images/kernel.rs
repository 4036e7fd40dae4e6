//! Linux kernels as distributions pack them: raw, gzip, or EFI zboot; always unpacked to the raw arm64 Image.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// "ARM\x64" at byte 56 of the header (Linux, Documentation/arch/arm64/booting.rst).
const IMAGE_MAGIC: (usize, &[u8]) = (56, b"ARMd");
const GZIP_MAGIC: (usize, &[u8]) = (0, &[0x1f, 0x8b]);
/// The header of an EFI zboot image (Linux, drivers/firmware/efi/libstub/zboot-header.S).
const ZBOOT_MAGIC: (usize, &[u8]) = (4, b"zimg");

fn has(image: &[u8], (offset, magic): (usize, &[u8])) -> bool {
    image.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

/// The raw Image in whatever the distribution's file is.
pub fn uncompressed(file: &[u8]) -> Result<Vec<u8>> {
    let image = if has(file, ZBOOT_MAGIC) {
        unpack_zboot(file)?
    } else if has(file, GZIP_MAGIC) {
        gunzip(file)?
    } else {
        file.to_vec()
    };
    if !has(&image, IMAGE_MAGIC) {
        bail!("not an arm64 Linux Image, neither raw nor gzip nor EFI zboot");
    }
    Ok(image)
}

fn gunzip(packed: &[u8]) -> Result<Vec<u8>> {
    let mut image = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut image).context("broken gzip")?;
    Ok(image)
}

fn unpack_zboot(file: &[u8]) -> Result<Vec<u8>> {
    let word = |offset: usize| -> Option<usize> {
        let bytes = file.get(offset..offset.checked_add(4)?)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let range = word(8).zip(word(12)).and_then(|(start, size)| Some(start..start.checked_add(size)?));
    let payload = range.and_then(|range| file.get(range)).context("EFI zboot: payload beyond the file")?;
    match file.get(24..).unwrap_or_default() {
        kind if kind.starts_with(b"gzip") => gunzip(payload),
        kind if kind.starts_with(b"zstd") => filter("zstd", payload),
        kind if kind.starts_with(b"xz") => filter("xz", payload),
        _ => bail!("EFI zboot: neither gzip nor zstd nor xz"),
    }
}

/// Unpacks through a program of the system's.
pub(super) fn filter(program: &str, packed: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{program} is needed to unpack the kernel"))?;
    let mut input = child.stdin.take().context("no pipe")?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || drop(input.write_all(packed)));
        child.wait_with_output()
    })?;
    if !output.status.success() {
        bail!("{program} cannot unpack the kernel");
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        let mut image = vec![7; 100];
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn zboot(payload: &[u8], kind: &[u8]) -> Vec<u8> {
        let mut file = b"MZ\0\0zimg".to_vec();
        file.extend(64u32.to_le_bytes());
        file.extend(u32::try_from(payload.len()).expect("small").to_le_bytes());
        file.resize(24, 0);
        file.extend(kind);
        file.resize(64, 0);
        file.extend(payload);
        file
    }

    #[test]
    fn each_packing_gives_the_same_image() {
        assert_eq!(uncompressed(&image()).expect("raw"), image());
        assert_eq!(uncompressed(&gzip(&image())).expect("gzip"), image());
        assert_eq!(uncompressed(&zboot(&gzip(&image()), b"gzip")).expect("zboot"), image());
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        for file in [vec![], vec![0; 100], gzip(b"hello"), zboot(b"x", b"lzma"), b"MZ\0\0zimg".to_vec()] {
            assert!(uncompressed(&file).is_err());
        }
        let mut beyond = zboot(&gzip(&image()), b"gzip");
        beyond[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(uncompressed(&beyond).is_err());
    }
}
