//! The files that go into the archive, each content once.

use std::path::Path;

use tessera_abi::manifest::FILE_NAME;

/// A file of the archive.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) data: Vec<u8>,
}

/// Which of the [`Files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(usize);

/// All files but the manifest, in the order in which they were first needed.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<File>);

impl Files {
    /// Adds a file named after `origin`, unless one with the same content is there: VMs with the same image share it.
    pub(super) fn add(&mut self, origin: &str, data: Vec<u8>) -> FileId {
        if let Some(position) = self.0.iter().position(|file| file.data == data) {
            return FileId(position);
        }
        let name = self.unused_name(origin);
        self.0.push(File { name, data });
        FileId(self.0.len() - 1)
    }

    pub(super) fn name(&self, id: FileId) -> &str {
        &self.0[id.0].name
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    /// `origin`'s last part in characters that no tool stumbles over, with a number if it is taken.
    fn unused_name(&self, origin: &str) -> String {
        let last = Path::new(origin.rsplit(':').next().unwrap_or(origin)).file_name();
        let last = last.map(|name| name.to_string_lossy()).unwrap_or("file".into());
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }
        };
        let base: String = last.chars().take(100).map(plain).collect();
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        let free = |name: &String| name != FILE_NAME && self.0.iter().all(|file| file.name != *name);
        names.find(free).unwrap_or(base)
    }
}

#[cfg(test)]
mod tests {
    use super::Files;

    #[test]
    fn the_same_content_is_stored_once() {
        let mut files = Files::default();
        let first = files.add("a/Image", vec![1]);
        assert_eq!(files.add("b/Other", vec![1]), first);
        assert_ne!(files.add("a/Image", vec![2]), first);
        let names: Vec<_> = files.iter().map(|file| &file.name[..]).collect();
        assert_eq!(names, ["Image", "Image-2"]);
    }

    #[test]
    fn names_are_plain_and_never_the_manifests() {
        let mut files = Files::default();
        for (number, origin) in ["manifest.dtb", "tessera:guest/hello", "ä b", "TRAILER!!!"].iter().enumerate() {
            files.add(origin, vec![number as u8]);
        }
        let names: Vec<_> = files.iter().map(|file| &file.name[..]).collect();
        assert_eq!(names, ["manifest.dtb-2", "hello", "__b", "TRAILER___"]);
    }
}
