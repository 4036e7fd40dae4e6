//! A card's image: an MBR with one partition, whose FAT32 file system has the files. Byte for byte the same from the same
//! files.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use fscommon::StreamSlice;
use mbrman::{BOOT_INACTIVE, CHS, MBR, MBRPartitionEntry};

use super::CardFile;

const SECTOR: u64 = 512;
/// Where partitions usually begin: flash likes a whole MiB.
const START: u64 = 1 << 20;
/// FAT32 with LBA.
const PARTITION_TYPE: u8 = 0x0c;
/// The smallest image: FAT32 needs 65,525 clusters.
const SMALLEST: u64 = 128 << 20;

/// Writes the image. Its size is a power of two, as emulated cards want it; what no file takes is not stored.
///
/// # Errors
/// Those of the disk.
pub fn write(path: &Path, files: &[CardFile]) -> Result<()> {
    let bytes: u64 = files.iter().map(|file| file.contents.len() as u64).sum();
    let size = (START + bytes + bytes / 8).next_power_of_two().max(SMALLEST);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    // Written elsewhere first: what bears the name is always whole.
    let mut part = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o644)).tempfile_in(folder)?;
    part.as_file().set_len(size)?;
    write_partition_table(part.as_file_mut(), size)?;
    write_files(part.reopen()?, size, files)?;
    say_where_it_begins(part.as_file_mut())?;
    part.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn write_partition_table(disk: &mut File, size: u64) -> Result<()> {
    let mut table = MBR::new_from(disk, SECTOR as u32, *b"TESS")?;
    table[1] = MBRPartitionEntry {
        boot: BOOT_INACTIVE,
        first_chs: CHS::empty(),
        sys: PARTITION_TYPE,
        last_chs: CHS::empty(),
        starting_lba: (START / SECTOR) as u32,
        sectors: u32::try_from((size - START) / SECTOR).context("the system is too large for a card's FAT32")?,
    };
    Ok(table.write_into(disk)?)
}

fn write_files(disk: File, size: u64, files: &[CardFile]) -> Result<()> {
    let mut partition = StreamSlice::new(disk, START, size)?;
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(cluster(size));
    fatfs::format_volume(&mut partition, options.volume_label(*b"TESSERA    "))?;
    let system = FileSystem::new(partition, FsOptions::new())?;
    for file in files {
        if let Some((folder, _)) = file.name.rsplit_once('/') {
            system.root_dir().create_dir(folder)?;
        }
        let mut entry = system.root_dir().create_file(&file.name)?;
        entry.write_all(&file.contents)?;
    }
    Ok(system.unmount()?)
}

/// BPB_HiddSec, in the boot sector and its copy: the sectors before the partition.
fn say_where_it_begins(disk: &mut File) -> Result<()> {
    const HIDDEN_SECTORS: u64 = 28;
    const COPY: u64 = 6 * SECTOR;
    for sector in [START, START + COPY] {
        disk.seek(SeekFrom::Start(sector + HIDDEN_SECTORS))?;
        disk.write_all(&((START / SECTOR) as u32).to_le_bytes())?;
    }
    Ok(())
}

/// Bytes of a cluster: the smallest images would have too few of the usual size.
fn cluster(size: u64) -> u32 {
    if size < 512 << 20 { 512 } else { 4096 }
}

/// A file's contents, read back from an image.
///
/// # Errors
/// It is no such image, or has no such file.
pub fn read(path: &Path, name: &str) -> Result<Vec<u8>> {
    let mut disk = File::open(path)?;
    let table = MBR::read_from(&mut disk, SECTOR as u32)?;
    let partition = &table[1];
    ensure!(partition.sys == PARTITION_TYPE, "the first partition is no FAT32");
    let start = u64::from(partition.starting_lba) * SECTOR;
    let end = start + u64::from(partition.sectors) * SECTOR;
    let system = FileSystem::new(StreamSlice::new(disk, start, end)?, FsOptions::new())?;
    let mut contents = Vec::new();
    system.root_dir().open_file(name)?.read_to_end(&mut contents)?;
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, contents: Vec<u8>) -> CardFile {
        CardFile { name: name.to_owned(), contents }
    }

    #[test]
    fn an_image_is_what_the_boards_firmware_looks_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/card.img");
        let large: Vec<u8> = (0..3_000_001_u32).map(|index| (index / 7) as u8).collect();
        let files = [file("a.txt", b"short".to_vec()), file("overlays/long-name.dtbo", large.clone())];
        write(&path, &files).expect("written");
        assert_eq!(read(&path, "a.txt").expect("there"), b"short");
        assert_eq!(read(&path, "overlays/long-name.dtbo").expect("there"), large);
        assert!(read(&path, "b.txt").is_err());
        let disk = fs::read(&path).expect("there");
        // MBR: the first entry's type and start, the signature. FAT32 (Microsoft's specification 1.03): its name and
        // signature, more clusters than FAT16 may have.
        assert_eq!(
            (disk[446 + 4], &disk[446 + 8..446 + 12], &disk[510..512]),
            (0x0c, &[0, 8, 0, 0][..], &[0x55, 0xaa][..])
        );
        let boot = &disk[1 << 20..];
        assert_eq!((&boot[82..90], &boot[510..512]), (&b"FAT32   "[..], &[0x55, 0xaa][..]));
        assert_eq!(boot[28..32], [0, 8, 0, 0]);
        let word = |at: usize| u32::from_le_bytes(boot[at..at + 4].try_into().expect("four bytes"));
        let clusters = (word(32) - 32 - 2 * word(36)) / u32::from(boot[13]);
        assert!(clusters >= 65525 && word(32) as usize == boot.len() / 512, "{clusters} clusters");
        assert!(disk.len().is_power_of_two());
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let [first, second] = ["1.img", "2.img"].map(|name| {
            let path = folder.path().join(name);
            write(&path, &[file("a", vec![1; 10_000])]).expect("written");
            fs::read(path).expect("there")
        });
        assert!(first == second);
    }
}
