//! The hypervisor's own size: its image by section, and the memory that it keeps for itself.

use std::path::Path;

use anyhow::Result;
use object::{Object, ObjectSection, SectionFlags, elf};

use super::figures;

/// Bytes of the flat image.
pub fn size(flat: &Path) -> Result<u64> {
    Ok(std::fs::metadata(flat)?.len())
}

/// The sections that take memory: name and bytes.
pub fn sections(elf: &Path) -> Result<Vec<(String, u64)>> {
    let bytes = std::fs::read(elf)?;
    let file = object::File::parse(&*bytes)?;
    let takes_memory = |flags| match flags {
        SectionFlags::Elf { sh_flags, .. } => sh_flags & elf::SHF_ALLOC == elf::SHF_ALLOC,
        _ => false,
    };
    let sections = file.sections().filter(|section| takes_memory(section.flags()) && section.size() > 0);
    Ok(sections.map(|section| (section.name().unwrap_or("?").to_owned(), section.size())).collect())
}

/// What EL2 says that it keeps, in bytes.
pub fn memory_kept(console: &str) -> Result<u64, String> {
    let kibibytes = figures::number_after(console, "EL2 keeps ", "");
    kibibytes.map(|count| count.saturating_mul(1024)).ok_or_else(|| "EL2 does not say what it keeps".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_el2_keeps_is_read_from_its_log() {
        let line = "[tessera] 1 cores, 1964368 KiB free; EL2 keeps 584 KiB: image 512 KiB, heap and stacks 72 KiB\r\n";
        assert_eq!(memory_kept(line), Ok(584 << 10));
        assert!(memory_kept("[tessera] hello").is_err());
    }

    /// This test's own program stands for the hypervisor.
    #[test]
    fn sections_that_take_memory_are_listed() {
        let own = std::env::current_exe().expect("a file");
        let sections = sections(&own).expect("ELF");
        assert!(sections.iter().any(|(name, bytes)| name == ".text" && *bytes > 1000));
        assert!(sections.iter().any(|(name, _)| name == ".rodata") && sections.iter().any(|(name, _)| name == ".bss"));
        assert!(!sections.iter().any(|(name, _)| name.starts_with(".debug_info")));
    }
}
