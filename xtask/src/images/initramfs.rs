//! The Linux guest's first file system, packed as guests/linux/initramfs.list says (the format of the kernel's
//! `usr/gen_init_cpio`). What it holds belongs to the list; here is only the packing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cpio::newc::{self, Builder, ModeFileType};

use crate::paths;
use crate::setup::linux;

/// What stands for the busybox program in the list.
const BUSYBOX_VARIABLE: &str = "${BUSYBOX}";

/// Where the finished initramfs lies.
pub fn path() -> PathBuf {
    paths::cache().join("linux/initramfs.cpio")
}

/// Packs the initramfs anew (it takes milliseconds).
pub fn build() -> Result<()> {
    let folder = paths::guests().join("linux");
    let file = folder.join("initramfs.list");
    let list = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let archive = pack_list(&list).with_context(|| file.display().to_string())?;
    fs::write(path(), archive).with_context(|| format!("cannot write {}", path().display()))
}

/// The bytes of an initramfs with the files of a list, whose locations are relative to guests/linux or absolute.
pub fn pack_list(list: &str) -> Result<Vec<u8>> {
    pack(list, &paths::guests().join("linux"), &linux::busybox())
}

/// An initramfs's bytes: a `newc` archive, which Linux accepts without compression. Files lie in `folder`.
pub fn pack(list: &str, folder: &Path, busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for (number, line) in (1..).zip(list.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().collect();
        if !words.is_empty() {
            let locate = |location: &str| match location {
                BUSYBOX_VARIABLE => busybox.to_owned(),
                _ => folder.join(location),
            };
            archive.take(&words, locate).with_context(|| format!("line {number}: {line}"))?;
        }
    }
    Ok(newc::trailer(archive.bytes)?)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds what one line of the list says.
    fn take(&mut self, words: &[&str], locate: impl Fn(&str) -> PathBuf) -> Result<()> {
        match *words {
            ["dir", name, mode, user, group] => {
                let entry = self.entry(name, ModeFileType::Directory, [mode, user, group])?;
                self.add(entry, &[])
            }
            ["file", name, location, mode, user, group] => {
                let source = locate(location);
                let content = fs::read(&source).with_context(|| source.display().to_string())?;
                let entry = self.entry(name, ModeFileType::Regular, [mode, user, group])?;
                self.add(entry, &content)
            }
            ["slink", name, target, mode, user, group] => {
                let entry = self.entry(name, ModeFileType::Symlink, [mode, user, group])?;
                self.add(entry, target.as_bytes())
            }
            ["nod", name, mode, user, group, kind, major, minor] => {
                let kind = if kind == "b" { ModeFileType::Block } else { ModeFileType::Char };
                let entry = self.entry(name, kind, [mode, user, group])?;
                self.add(entry.rdev_major(major.parse()?).rdev_minor(minor.parse()?), &[])
            }
            _ => bail!("none of dir, file, slink, nod with their words"),
        }
    }

    fn entry(&mut self, name: &str, kind: ModeFileType, words: [&str; 3]) -> Result<Builder> {
        let [mode, user, group] = words;
        self.entries = self.entries.saturating_add(1);
        let entry = Builder::new(name.trim_start_matches('/')).ino(self.entries).nlink(1);
        let entry = entry.mode(u32::from_str_radix(mode, 8)?).set_mode_file_type(kind);
        Ok(entry.uid(user.parse()?).gid(group.parse()?))
    }

    fn add(&mut self, entry: Builder, content: &[u8]) -> Result<()> {
        let mut writer = entry.write(&mut self.bytes, u32::try_from(content.len())?);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# comment\ndir /bin 0755 0 0\nnod /dev/console 0600 0 0 c 5 1\n\
        file /bin/busybox ${BUSYBOX} 0755 0 0\nslink /bin/sh busybox 0777 0 0\nfile /init init 0755 1 2\n";

    #[test]
    fn the_archive_holds_what_the_list_says() {
        let folder = tempfile::tempdir().expect("temporary");
        fs::write(folder.path().join("init"), "#!init").expect("written");
        fs::write(folder.path().join("bb"), "BUSYBOX").expect("written");
        let bytes = pack(LIST, folder.path(), &folder.path().join("bb")).expect("packed");
        let seen = entries(&bytes);
        let find = |name: &str| seen.iter().find(|entry| entry.0.name() == name).expect(name);
        assert_eq!((find("init").0.mode(), &*find("init").1), (0o100_755, &b"#!init"[..]));
        assert_eq!((find("init").0.uid(), find("init").0.gid()), (1, 2));
        assert_eq!(find("bin/busybox").1, b"BUSYBOX");
        assert_eq!((find("bin/sh").0.mode(), &*find("bin/sh").1), (0o120_777, &b"busybox"[..]));
        assert_eq!(find("bin").0.mode(), 0o040_755);
        let console = &find("dev/console").0;
        assert_eq!((console.mode(), console.rdev_major(), console.rdev_minor()), (0o020_600, 5, 1));
        assert_eq!(seen.len(), 5);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = pack("\ndir /bin\n", Path::new("/"), Path::new("/")).expect_err("too few words");
        assert!(format!("{error:#}").contains("line 2: dir /bin"));
    }

    fn entries(bytes: &[u8]) -> Vec<(newc::Entry, Vec<u8>)> {
        let (mut rest, mut seen) = (bytes, Vec::new());
        loop {
            let mut reader = newc::Reader::new(rest).expect("valid entry");
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                return seen;
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut content).expect("content");
            seen.push((entry, content));
            rest = reader.finish().expect("next");
        }
    }
}
