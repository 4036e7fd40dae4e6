//! From an ELF program to the flat image that boot loaders load: its segments at their places, nothing else.

use anyhow::{Context, Result, bail, ensure};
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

/// More than any image of ours: a link address gone wrong must not fill the disk.
const LARGEST: u64 = 64 << 20;

/// One loadable segment: its load address and its bytes in the file.
struct Segment<'data> {
    address: u64,
    bytes: &'data [u8],
}

/// The bytes from the lowest loadable byte to the last initialized one; gaps are zero, `.bss` is left to the loader
/// (the image's header says how much memory it takes).
pub fn flatten(file: &[u8]) -> Result<Vec<u8>> {
    let segments = segments(file)?;
    let base = segments.iter().map(|segment| segment.address).min().context("nothing to load")?;
    let mut image = Vec::new();
    for segment in &segments {
        let start = segment.address.saturating_sub(base);
        let end = start.saturating_add(segment.bytes.len() as u64);
        ensure!(end <= LARGEST, "a segment at {:#x} is {end} bytes from the image's start", segment.address);
        let (start, end) = (usize::try_from(start)?, usize::try_from(end)?);
        if image.len() < end {
            image.resize(end, 0);
        }
        if let Some(place) = image.get_mut(start..end) {
            place.copy_from_slice(segment.bytes);
        }
    }
    Ok(image)
}

fn segments(file: &[u8]) -> Result<Vec<Segment<'_>>> {
    let header = FileHeader64::<Endianness>::parse(file).context("no 64-bit ELF")?;
    let endian = header.endian()?;
    if header.e_machine(endian) != elf::EM_AARCH64 {
        bail!("an ELF, but not for AArch64");
    }
    let loadable = header.program_headers(endian, file)?.iter();
    let loadable = loadable.filter(|program| program.p_type(endian) == PT_LOAD && program.p_filesz(endian) != 0);
    loadable
        .map(|program| {
            let bytes = program.data(endian, file).ok().context("a segment beyond the file's end")?;
            Ok(Segment { address: program.p_paddr(endian), bytes })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF with the given segments: (load address, bytes, size in memory).
    fn elf(segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let count = u16::try_from(segments.len()).expect("few");
        file.extend([2u16, 183].map(u16::to_le_bytes).concat());
        file.extend(1u32.to_le_bytes());
        file.extend([0u64, 64, 0].map(u64::to_le_bytes).concat());
        file.extend(0u32.to_le_bytes());
        file.extend([64u16, 56, count, 64, 0, 0].map(u16::to_le_bytes).concat());
        let mut offset = 64 + 56 * segments.len() as u64;
        for (address, bytes, memory) in segments {
            let size = bytes.len() as u64;
            file.extend([1u32, 5].map(u32::to_le_bytes).concat());
            // The virtual address is another on purpose: the load address counts.
            file.extend([offset, address + 0x1_0000, *address, size, *memory, 8].map(u64::to_le_bytes).concat());
            offset += size;
        }
        segments.iter().for_each(|segment| file.extend(segment.1));
        file
    }

    #[test]
    fn segments_lie_at_their_load_addresses_with_zeros_between() {
        let file = elf(&[(0x1010, b"data", 4), (0x1000, b"text", 4), (0x1020, b"", 64)]);
        let mut expected = b"text".to_vec();
        expected.resize(16, 0);
        expected.extend(b"data");
        assert_eq!(flatten(&file).expect("valid"), expected);
    }

    #[test]
    fn what_cannot_be_loaded_is_refused() {
        assert!(flatten(b"no ELF").is_err());
        assert!(flatten(&elf(&[])).is_err());
        assert!(flatten(&elf(&[(0, b"a", 1), (1 << 40, b"b", 1)])).is_err());
        let whole = elf(&[(0, b"abcdef", 6)]);
        assert!(flatten(&whole[..whole.len() - 1]).is_err());
    }
}
