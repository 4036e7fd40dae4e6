//! Archives as they should be, broken in each way, and mutated at random.

use super::*;
use proptest::prelude::*;
use std::string::String;

/// One entry, its name padded so that data starts at a page.
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
    let name_start = archive.len() + HEADER_BYTES;
    let data_start = (name_start + name.len() + 1).next_multiple_of(FILE_ALIGNMENT);
    entry_with(archive, name, mode, data, data_start - name_start);
}

fn entry_with(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8], name_bytes: usize) {
    let mut header = String::from("070701");
    for value in [1, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, name_bytes as u32, 0] {
        header += &std::format!("{value:08x}");
    }
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(name.as_bytes());
    archive.resize(archive.len() + name_bytes - name.len(), 0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn trailer(archive: &mut Vec<u8>) {
    entry_with(archive, TRAILER, 0, &[], TRAILER.len() + 1);
}

fn sample() -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, "manifest.dtb", 0o100_644, b"first");
    entry(&mut archive, "linux", 0o100_644, &[7; 5000]);
    entry(&mut archive, "empty", 0o100_644, &[]);
    trailer(&mut archive);
    archive
}

fn problem(archive: &[u8]) -> (usize, Problem) {
    let error = Archive::parse(archive).expect_err("this archive is broken");
    (error.offset, error.problem)
}

#[test]
fn files_are_found_where_they_lie() {
    let mut bytes = sample();
    bytes.resize(bytes.len() + 1000, 0);
    let archive = Archive::parse(&bytes).expect("a good archive");
    let names: Vec<_> = archive.files().iter().map(|file| (file.name, file.offset)).collect();
    assert_eq!(names, [("manifest.dtb", 0x1000), ("linux", 0x2000), ("empty", 0x4000)]);
    let linux = archive.file("linux").expect("there is a file linux");
    assert_eq!(linux.data, &[7; 5000]);
    assert_eq!(&bytes[linux.offset..linux.offset + 5000], linux.data);
    assert_eq!(archive.file("Linux"), None);
}

#[test]
fn each_broken_kind_is_told_with_its_offset() {
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut archive = sample();
        change(&mut archive);
        problem(&archive)
    };
    assert_eq!(problem(&[]), (0, Problem::NoTrailer));
    assert_eq!(broken(&|a| a[5] = b'2'), (0, Problem::BadMagic));
    assert_eq!(broken(&|a| a[54] = b'+'), (0, Problem::BadHexField));
    assert_eq!(broken(&|a| a[94..102].fill(b'f')), (0, Problem::NameBeyondEnd));
    assert_eq!(broken(&|a| a[94..102].fill(b'0')), (0, Problem::BadName));
    assert_eq!(broken(&|a| a[4095] = b'x'), (0, Problem::BadName));
    assert_eq!(broken(&|a| a[110] = 0xff), (0, Problem::BadName));
    assert_eq!(broken(&|a| a[54..62].fill(b'f')), (0, Problem::DataBeyondEnd));
    assert_eq!(broken(&|a| a[14..22].copy_from_slice(b"000041ed")), (0, Problem::NotRegular));
    assert_eq!(broken(&|a| a.truncate(0x1008)), (0x1008, Problem::NoTrailer));
    assert_eq!(broken(&|a| a.truncate(0x1008 + 200)), (0x1008, Problem::NameBeyondEnd));
    assert_eq!(broken(&|a| a.truncate(0x2000)), (0x1008, Problem::DataBeyondEnd));
}

#[test]
fn unaligned_data_and_names_used_twice_are_refused() {
    let mut archive = Vec::new();
    entry_with(&mut archive, "a", 0o100_644, b"data", 2);
    trailer(&mut archive);
    assert_eq!(problem(&archive), (0, Problem::Unaligned));

    let mut archive = Vec::new();
    entry(&mut archive, "a", 0o100_644, b"data");
    entry(&mut archive, "a", 0o100_644, b"else");
    trailer(&mut archive);
    assert_eq!(problem(&archive), (0x1004, Problem::DuplicateName));
}

#[test]
fn more_files_than_allowed_are_refused() {
    let mut archive = Vec::new();
    for number in 0..=MAX_FILES {
        entry(&mut archive, &std::format!("{number}"), 0o100_644, &[]);
    }
    trailer(&mut archive);
    assert_eq!(problem(&archive).1, Problem::TooManyFiles);
}

#[test]
fn an_error_is_one_line_that_says_what_and_where() {
    let text = std::format!("{}", Archive::parse(&[0; 200]).expect_err("zeros are no archive"));
    assert_eq!(
        text,
        "system archive: at offset 0x0: no `newc` cpio entry (magic 070701): is the initrd a system archive?"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Whatever is changed or cut off: an answer, never a panic, and every file inside the bytes.
    #[test]
    fn mutated_archives_never_panic(changes in prop::collection::vec((0usize..0x4200, any::<u8>()), 1..6), keep in 0usize..0x5000) {
        let mut bytes = sample();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
        }
        bytes.truncate(keep);
        if let Ok(archive) = Archive::parse(&bytes) {
            for file in archive.files() {
                prop_assert_eq!(&bytes[file.offset..][..file.data.len()], file.data);
            }
        }
    }

    /// The headers are where mistakes matter: change only bytes of them.
    #[test]
    fn mutated_headers_never_panic(changes in prop::collection::vec((0usize..110, any::<u8>(), 0usize..4), 1..4)) {
        let mut bytes = sample();
        let headers = [0, 0x1008, 0x2000 + 5000, 0x4000];
        for (at, value, header) in changes {
            bytes[headers[header] + at] = value;
        }
        let _ = Archive::parse(&bytes);
    }
}
