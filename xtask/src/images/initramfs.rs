//! The Linux guest's first file system: busybox, its applets' names, device nodes, and our `/init`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cpio::newc::{self, Builder, ModeFileType};

use crate::paths;
use crate::setup::linux;

/// Used where guests/linux/init is missing.
const FALLBACK_INIT: &str = "#!/bin/sh\n/bin/busybox --install -s /bin\nmount -t proc proc /proc\n\
    mount -t sysfs sysfs /sys\nexec setsid cttyhack sh\n";

/// Where the finished initramfs lies.
pub fn path() -> PathBuf {
    paths::cache().join("linux/initramfs.cpio")
}

/// Makes the initramfs anew (it takes milliseconds).
pub fn build() -> Result<()> {
    let source = paths::guests().join("linux/init");
    let init = fs::read(&source).unwrap_or_else(|_| FALLBACK_INIT.as_bytes().to_vec());
    let busybox = fs::read(linux::busybox())
        .with_context(|| format!("cannot read {}", linux::busybox().display()))?;
    let archive = archive(&init, &busybox)?;
    fs::write(path(), archive).with_context(|| format!("cannot write {}", path().display()))
}

/// The initramfs's bytes: a `newc` archive, which Linux accepts without compression.
fn archive(init: &[u8], busybox: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"] {
        archive.add(directory, ModeFileType::Directory, 0o755, &[])?;
    }
    archive.device("dev/console", 0o600, 5, 1)?;
    archive.device("dev/null", 0o666, 1, 3)?;
    archive.device("dev/zero", 0o666, 1, 5)?;
    archive.device("dev/tty", 0o666, 5, 0)?;
    archive.device("dev/ttyAMA0", 0o600, 204, 64)?;
    archive.add("bin/busybox", ModeFileType::Regular, 0o755, busybox)?;
    archive.add("bin/sh", ModeFileType::Symlink, 0o777, b"busybox")?;
    archive.add("init", ModeFileType::Regular, 0o755, init)?;
    archive.finish()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, kind: ModeFileType, mode: u32, content: &[u8]) -> Result<()> {
        let entry = self.entry(name, kind, mode);
        let mut writer = entry.write(&mut self.bytes, u32::try_from(content.len())?);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }

    /// A character device node.
    fn device(&mut self, name: &str, mode: u32, major: u32, minor: u32) -> Result<()> {
        let entry = self.entry(name, ModeFileType::Char, mode);
        entry
            .rdev_major(major)
            .rdev_minor(minor)
            .write(&mut self.bytes, 0)
            .finish()?;
        Ok(())
    }

    fn entry(&mut self, name: &str, kind: ModeFileType, mode: u32) -> Builder {
        self.entries = self.entries.saturating_add(1);
        Builder::new(name)
            .ino(self.entries)
            .nlink(1)
            .mode(mode)
            .set_mode_file_type(kind)
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(newc::trailer(self.bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_holds_what_linux_needs_to_start() {
        let bytes = archive(b"#!init", b"BUSYBOX").expect("in memory");
        let mut rest = &bytes[..];
        let mut seen = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).expect("valid entry");
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                break;
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut content).expect("content");
            seen.push((
                entry.name().to_owned(),
                entry.mode(),
                content,
                entry.rdev_major(),
                entry.rdev_minor(),
            ));
            rest = reader.finish().expect("next");
        }
        let find = |name: &str| seen.iter().find(|entry| entry.0 == name).expect(name);
        assert_eq!(
            (find("init").1, &find("init").2[..]),
            (0o100_755, &b"#!init"[..])
        );
        assert_eq!(find("bin/busybox").2, b"BUSYBOX");
        assert_eq!(
            (find("bin/sh").1, &find("bin/sh").2[..]),
            (0o120_777, &b"busybox"[..])
        );
        assert_eq!(
            (
                find("dev/console").1,
                find("dev/console").3,
                find("dev/console").4
            ),
            (0o020_600, 5, 1)
        );
        assert_eq!((find("dev/ttyAMA0").3, find("dev/ttyAMA0").4), (204, 64));
    }
}
