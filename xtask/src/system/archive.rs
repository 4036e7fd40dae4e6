//! The archive's writer: a plain `newc` cpio whose file data starts at page boundaries.
//!
//! The format has no room for padding before data but the file's name, which may be longer than its text: readers stop
//! at the first NUL. So names are padded with NULs. Everything else is constant, so that the same system gives the same
//! bytes.

use tessera_abi::manifest::{FILE_NAME, MAX_BYTES, PAGE_BYTES};

use super::files::Files;

const HEADER_BYTES: usize = 110;
const PAGE: usize = PAGE_BYTES as usize;
/// A regular file that all may read.
const MODE: usize = 0o100_644;

/// Packs the manifest and the files. The error says which file is too large for the format.
pub(super) fn pack(manifest: &[u8], files: &Files) -> Result<Vec<u8>, String> {
    if manifest.len() > MAX_BYTES {
        return Err(format!("too much for a manifest: {} bytes, at most {MAX_BYTES}", manifest.len()));
    }
    let mut archive = Vec::new();
    entry(&mut archive, FILE_NAME, MODE, manifest)?;
    for file in files.iter() {
        entry(&mut archive, &file.name, MODE, &file.data)?;
    }
    entry(&mut archive, "TRAILER!!!", 0, &[])?;
    Ok(archive)
}

/// One entry: header, name up to the next page, data up to the next multiple of 4.
fn entry(archive: &mut Vec<u8>, name: &str, mode: usize, data: &[u8]) -> Result<(), String> {
    if u32::try_from(data.len()).is_err() {
        return Err(format!("`{name}` is larger than 4 GiB, which the archive format cannot hold"));
    }
    let name_start = archive.len() + HEADER_BYTES;
    let data_start = (name_start + name.len() + 1).next_multiple_of(PAGE);
    let inode = archive.len() / PAGE + 1;
    // ino, mode, uid, gid, nlink, mtime, filesize, four of devices, namesize, check.
    let fields = [inode, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, data_start - name_start, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.resize(data_start, 0);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
    Ok(())
}
