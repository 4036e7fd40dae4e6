//! The system archive: a `newc` cpio whose files are used where they lie.
//!
//! Only the container belongs here: which files there are and where their bytes start. What they mean is the manifest's
//! business. Nothing of the archive is believed: every number is read as hexadecimal digits, every span is checked
//! against the bytes there are, and each error says what is wrong at which offset.
//!
//! Format: <https://man.freebsd.org/cgi/man.cgi?query=cpio&sektion=5>, "New ASCII Format". Beyond it we ask that file
//! data start at multiples of 4096 bytes, that names be unique, and that there be regular files only.

use alloc::vec::Vec;
use core::fmt;

/// Alignment of file data within the archive, in bytes, so that a file's pages can be mapped in place.
pub const FILE_ALIGNMENT: usize = 4096;
/// Most files in an archive.
pub const MAX_FILES: usize = 256;

const MAGIC: &[u8] = b"070701";
const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
/// `c_mode`'s file type field and the value for a regular file.
const MODE_TYPE: u32 = 0o170_000;
const MODE_REGULAR: u32 = 0o100_000;

/// A file of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// Its name, without the padding.
    pub name: &'a str,
    /// Where its data starts in the archive, in bytes: a multiple of [`FILE_ALIGNMENT`].
    pub offset: usize,
    /// Its data.
    pub data: &'a [u8],
}

/// A checked archive.
#[derive(Debug, Clone)]
pub struct Archive<'a> {
    files: Vec<File<'a>>,
}

impl<'a> Archive<'a> {
    /// Reads and checks the archive in `bytes`, which may be longer than the archive is.
    ///
    /// # Errors
    ///
    /// Anything that is not a complete `newc` archive of page-aligned regular files with unique names.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        let mut files: Vec<File<'a>> = Vec::new();
        let mut offset = 0;
        loop {
            let entry = Entry::parse(bytes, offset)?;
            if entry.file.name == TRAILER {
                return Ok(Self { files });
            }
            entry.check()?;
            if files.iter().any(|file| file.name == entry.file.name) {
                return Err(ArchiveError::new(offset, Problem::DuplicateName));
            }
            if files.len() >= MAX_FILES {
                return Err(ArchiveError::new(offset, Problem::TooManyFiles));
            }
            offset = entry.next;
            files.push(entry.file);
        }
    }

    /// The file called `name`.
    pub fn file(&self, name: &str) -> Option<File<'a>> {
        self.files.iter().find(|file| file.name == name).copied()
    }

    /// All files, in the archive's order.
    pub fn files(&self) -> &[File<'a>] {
        &self.files
    }
}

/// One entry, as it stands.
struct Entry<'a> {
    file: File<'a>,
    offset: usize,
    mode: u32,
    next: usize,
}

impl<'a> Entry<'a> {
    /// Reads the entry whose header is at `offset`. `next > offset` in what it returns, so a walk ends.
    fn parse(bytes: &'a [u8], offset: usize) -> Result<Self, ArchiveError> {
        let error = |problem| ArchiveError::new(offset, problem);
        let header = span(bytes, offset, HEADER_BYTES).ok_or(error(Problem::NoTrailer))?;
        if !header.starts_with(MAGIC) {
            return Err(error(Problem::BadMagic));
        }
        // Fields of eight digits after the magic: 1 is mode, 6 file size, 11 name size.
        let field = |index| hex_field(header, index).ok_or(error(Problem::BadHexField));
        let (mode, file_bytes, name_bytes) = (field(1)?, field(6)?, field(11)?);
        let name_start = offset + HEADER_BYTES;
        let name = span(bytes, name_start, to_usize(name_bytes)).ok_or(error(Problem::NameBeyondEnd))?;
        let data_start = align(name_start + name.len(), 4).ok_or(error(Problem::NameBeyondEnd))?;
        let data = span(bytes, data_start, to_usize(file_bytes)).ok_or(error(Problem::DataBeyondEnd))?;
        let next = align(data_start + data.len(), 4).ok_or(error(Problem::DataBeyondEnd))?;
        let name = text_before_nul(name).ok_or(error(Problem::BadName))?;
        Ok(Self { file: File { name, offset: data_start, data }, offset, mode, next })
    }

    fn check(&self) -> Result<(), ArchiveError> {
        let error = |problem| Err(ArchiveError::new(self.offset, problem));
        if self.mode & MODE_TYPE != MODE_REGULAR {
            return error(Problem::NotRegular);
        }
        if !self.file.offset.is_multiple_of(FILE_ALIGNMENT) {
            return error(Problem::Unaligned);
        }
        if self.file.name.is_empty() {
            return error(Problem::BadName);
        }
        Ok(())
    }
}

/// `length` bytes from `start`, if there are that many.
fn span(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(start..start.checked_add(length)?)
}

fn align(value: usize, alignment: usize) -> Option<usize> {
    value.checked_next_multiple_of(alignment)
}

/// The header's field number `index`: eight hexadecimal digits and nothing else, no sign or blank.
fn hex_field(header: &[u8], index: usize) -> Option<u32> {
    let digits = span(header, MAGIC.len() + index * 8, 8)?;
    digits.iter().try_fold(0, |value: u32, &digit| Some((value << 4) | char::from(digit).to_digit(16)?))
}

/// A 32-bit length as an index: no target of ours has a narrower `usize`.
fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The text before the first NUL: the writer pads names with NULs to align what follows.
fn text_before_nul(bytes: &[u8]) -> Option<&str> {
    let text = core::ffi::CStr::from_bytes_until_nul(bytes).ok()?.to_str().ok()?;
    // Names are padded to whole pages: 32 bytes at a time.
    let (before, words, after) = bytemuck::pod_align_to::<u8, u64>(bytes.get(text.len()..)?);
    let (fours, rest) = words.as_chunks::<4>();
    let are_zero = fours.iter().all(|[a, b, c, d]| a | b | c | d == 0) && rest.iter().all(|word| *word == 0);
    let is_padding = are_zero && before.iter().chain(after).all(|byte| *byte == 0);
    is_padding.then_some(text)
}

/// What is wrong with an archive, and in the entry at which offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveError {
    /// Where the entry starts, in bytes from the archive's start.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with an archive's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It does not begin with `070701`.
    BadMagic,
    /// A header field is not eight hexadecimal digits.
    BadHexField,
    /// The name goes beyond the archive's end.
    NameBeyondEnd,
    /// The name is empty, not UTF-8, or not terminated.
    BadName,
    /// The data goes beyond the archive's end.
    DataBeyondEnd,
    /// The data does not start at a multiple of [`FILE_ALIGNMENT`].
    Unaligned,
    /// The entry is a directory, a link or the like.
    NotRegular,
    /// An earlier file has the same name.
    DuplicateName,
    /// There are more than [`MAX_FILES`] files.
    TooManyFiles,
    /// The archive ends without a `TRAILER!!!` entry.
    NoTrailer,
}

impl ArchiveError {
    fn new(offset: usize, problem: Problem) -> Self {
        Self { offset, problem }
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system archive: at offset {:#x}: {}", self.offset, self.problem)
    }
}

impl core::error::Error for ArchiveError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadMagic => "no `newc` cpio entry (magic 070701): is the initrd a system archive?",
            Self::BadHexField => "a header field is not eight hexadecimal digits: the archive is damaged",
            Self::NameBeyondEnd => "a file's name goes beyond the archive's end: the archive is cut short or damaged",
            Self::BadName => "a file's name is empty, not UTF-8, or not terminated: the archive is damaged",
            Self::DataBeyondEnd => "a file's data goes beyond the archive's end: the archive is cut short or damaged",
            Self::Unaligned => "a file's data is not page-aligned: pack the archive with `cargo xtask`",
            Self::NotRegular => "not a regular file: pack the archive with `cargo xtask`",
            Self::DuplicateName => "an earlier file has the same name: pack the archive with `cargo xtask`",
            Self::TooManyFiles => "more than 256 files: leave some out",
            Self::NoTrailer => "no entry follows, nor the trailer: the archive is cut short",
        })
    }
}

#[cfg(test)]
mod tests;
