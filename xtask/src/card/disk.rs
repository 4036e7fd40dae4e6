//! A card's image: an MBR with a partition whose FAT32 file system has the files, and one that holds the system's disk if it
//! has one. Byte for byte the same from the same files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use fscommon::StreamSlice;
use mbrman::{BOOT_INACTIVE, CHS, MBR, MBRPartitionEntry};

use super::CardFile;

const SECTOR: u64 = 512;
/// Where partitions usually begin: flash likes whole MiB.
const MEBIBYTE: u64 = 1 << 20;
/// Where the first one does.
const START: u64 = MEBIBYTE;
/// FAT32 with LBA.
const PARTITION_TYPE: u8 = 0x0c;
/// Linux's.
const DISK_TYPE: u8 = 0x83;
/// The smallest image: FAT32 needs 65,525 clusters.
const SMALLEST: u64 = 128 << 20;

/// Where everything is in the image, in bytes.
struct Plan {
    /// The end of the partition with the files.
    files_end: u64,
    /// Start and length of the one with the disk.
    disk: Option<(u64, u64)>,
    size: u64,
}

impl Plan {
    /// The image's size is a power of two, as emulated cards want it; without a disk the files have all of it.
    fn new(files: &[CardFile], disk_bytes: Option<u64>) -> Self {
        let bytes: u64 = files.iter().map(|file| file.contents.len() as u64).sum();
        let files_end = (START + bytes + bytes / 8).max(SMALLEST).next_multiple_of(MEBIBYTE);
        let disk = disk_bytes.map(|bytes| (files_end, bytes.next_multiple_of(SECTOR)));
        let size = disk.map_or(files_end, |(start, bytes)| start + bytes).next_power_of_two();
        Self { files_end: if disk.is_some() { files_end } else { size }, disk, size }
    }
}

/// Writes the image, with the contents of `disk` as the second partition. What no file takes is not stored.
///
/// # Errors
/// Those of the disk.
pub fn write(path: &Path, files: &[CardFile], disk: Option<&Path>) -> Result<()> {
    let open = |path| File::open(path).with_context(|| format!("cannot read {}", Path::display(path)));
    let mut disk = disk.map(open).transpose()?;
    let disk_bytes = disk.as_ref().map(File::metadata).transpose()?.map(|data| data.len());
    let plan = Plan::new(files, disk_bytes);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    // Written elsewhere first: what bears the name is always whole.
    let mut part = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write into the folder {}", folder.display()))?;
    part.as_file().set_len(plan.size)?;
    write_partition_table(part.as_file_mut(), &plan)?;
    write_files(part.reopen()?, plan.files_end, files)?;
    say_where_it_begins(part.as_file_mut())?;
    if let (Some(disk), Some((start, _))) = (&mut disk, plan.disk) {
        part.as_file_mut().seek(SeekFrom::Start(start))?;
        io::copy(disk, part.as_file_mut())?;
    }
    part.persist(path).map_err(|error| error.error).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn write_partition_table(image: &mut File, plan: &Plan) -> Result<()> {
    let mut table = MBR::new_from(image, SECTOR as u32, *b"TESS")?;
    table[1] = partition(PARTITION_TYPE, START, plan.files_end - START)?;
    if let Some((start, bytes)) = plan.disk {
        table[2] = partition(DISK_TYPE, start, bytes)?;
    }
    Ok(table.write_into(image)?)
}

fn partition(kind: u8, start: u64, bytes: u64) -> Result<MBRPartitionEntry> {
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).context("the system is too large for a card");
    Ok(MBRPartitionEntry {
        boot: BOOT_INACTIVE,
        first_chs: CHS::empty(),
        sys: kind,
        last_chs: CHS::empty(),
        starting_lba: sectors(start)?,
        sectors: sectors(bytes)?,
    })
}

fn write_files(image: File, end: u64, files: &[CardFile]) -> Result<()> {
    let mut partition = StreamSlice::new(image, START, end)?;
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(cluster(end));
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
        write(&path, &files, None).expect("written");
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
    fn the_systems_disk_is_the_second_partition() {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, disk] = ["card.img", "disk.img"].map(|name| folder.path().join(name));
        let contents: Vec<u8> = (0..5_000_700_u32).map(|index| (index / 3) as u8).collect();
        fs::write(&disk, &contents).expect("written");
        write(&path, &[file("a.txt", b"short".to_vec())], Some(&disk)).expect("written");
        assert_eq!(read(&path, "a.txt").expect("there"), b"short");
        let image = fs::read(&path).expect("there");
        let entry = &image[446 + 16..446 + 32];
        let [start, sectors] =
            [8, 12].map(|at| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four")) as usize);
        assert_eq!((entry[4], start * 512, sectors), (0x83, 128 << 20, 9767));
        assert!(image[start * 512..].starts_with(&contents) && image.len() == 256 << 20);
        // The first one ends where the second begins.
        let first = &image[446..446 + 16];
        assert_eq!(first[12..16], ((127_u32 << 20) / 512).to_le_bytes());
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let [first, second] = ["1.img", "2.img"].map(|name| {
            let path = folder.path().join(name);
            write(&path, &[file("a", vec![1; 10_000])], None).expect("written");
            fs::read(path).expect("there")
        });
        assert!(first == second);
    }
}
