//! What VMs want at addresses of the board against what its firmware loads there.

use anyhow::Result;

use super::{CardFile, config};
use crate::raspberry_pi::{INITRD, KERNEL, TREE};
use crate::system::FixedMemory;

/// Beginning, end and name of something in memory.
type Piece = (u64, u64, &'static str);

/// The most that the device tree may grow to.
const TREE_BYTES: u64 = 2 << 20;
/// Where the arm64 Linux header says how much memory the image takes (Documentation/arch/arm64/booting.rst).
const IMAGE_SIZE: usize = 16;

/// Whether nothing else is in the memory that VMs want.
///
/// # Errors
/// Whose it is, and what is there.
pub fn check(wanted: &[FixedMemory], files: &[CardFile], tfa: bool) -> Result<()> {
    let taken = taken(files, tfa);
    wanted.iter().try_for_each(|wanted| check_one(wanted, &taken))
}

fn check_one(wanted: &FixedMemory, taken: &[Piece]) -> Result<()> {
    let FixedMemory { vm, start, bytes } = wanted;
    let end = start.saturating_add(*bytes);
    let what = format!("VM `{vm}` wants the board's memory from {start:#x} to {end:#x}");
    let other = taken.iter().find(|(from, to, _)| from < &end && start < to);
    if let Some((from, to, name)) = other {
        anyhow::bail!("{what}, but {name} is loaded from {from:#x} to {to:#x}: choose another `base`");
    }
    Ok(())
}

/// What the firmware loads.
fn taken(files: &[CardFile], tfa: bool) -> [Piece; 4] {
    let contents = |name| files.iter().find(|file| file.name == name).map_or(&[][..], |file| &file.contents);
    let size = contents(config::KERNEL_FILE).get(IMAGE_SIZE..).and_then(|bytes| bytes.first_chunk());
    let firmware = if tfa { (0, 0x8_0000, "TF-A") } else { (0, 0x1000, "the firmware's spin table") };
    [
        firmware,
        (KERNEL, KERNEL + size.map_or(0, |size| u64::from_le_bytes(*size)), config::KERNEL_FILE),
        (TREE, TREE + TREE_BYTES, config::TREE_FILE),
        (INITRD, INITRD + contents(config::ARCHIVE_FILE).len() as u64, config::ARCHIVE_FILE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(start: u64, bytes: u64) -> Option<String> {
        let mut kernel = vec![0; 64];
        kernel[IMAGE_SIZE..IMAGE_SIZE + 8].copy_from_slice(&0x8_0000_u64.to_le_bytes());
        let files = [(config::KERNEL_FILE, kernel), (config::ARCHIVE_FILE, vec![0; 0x1_0000])];
        let files = files.map(|(name, contents)| CardFile { name: name.to_owned(), contents });
        let wanted = FixedMemory { vm: "a".to_owned(), start, bytes };
        check(&[wanted], &files, false).err().map(|error| error.to_string())
    }

    #[test]
    fn memory_is_free_or_it_is_said_what_is_in_it() {
        let says = |start, bytes, part: &str| problem(start, bytes).is_some_and(|text| text.contains(part));
        assert_eq!(problem(0x1001_0000, 0x1000), None);
        assert_eq!(problem(0x27_f000 + 0x1000, 0x1000), None);
        assert!(says(0x1000_f000, 0x1000, "system.cpio is loaded from 0x10000000 to 0x10010000"));
        assert!(says(0x27_f000, 0x1000, "kernel8.img") && says(0, 0x1000, "spin table"));
        assert!(says(0x0800_1000, 0x1000, "bcm2711-rpi-4-b.dtb"));
    }
}
