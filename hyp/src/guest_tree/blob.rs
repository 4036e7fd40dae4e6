//! A flattened device tree in the making, written from front to back (Devicetree Specification 0.4, chapter 5).
//!
//! Only the format belongs here. Names are known to be good: literals, or checked with the manifest. A library that first
//! builds the tree of nodes took a fifth of all instructions of boot.

use alloc::vec::Vec;

/// The header's length, in bytes.
const HEADER: usize = 40;
/// An empty memory reservation block: its end mark.
const RESERVATIONS: usize = 16;
/// The format that is written, and the oldest whose readers understand it.
const VERSIONS: [u32; 2] = [17, 16];

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// The blob so far.
pub(super) struct Writer<'a> {
    /// Room for the header, the memory reservations, and the structure block.
    blob: Vec<u8>,
    /// The strings block: each property's name once.
    strings: Vec<u8>,
    /// The names in it, and their offsets.
    names: Vec<(&'a str, u32)>,
}

impl<'a> Writer<'a> {
    /// The blob of the tree whose root has these contents.
    pub(super) fn tree(contents: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut blob = Vec::with_capacity(2048);
        blob.resize(HEADER + RESERVATIONS, 0);
        let mut writer = Self { blob, strings: Vec::with_capacity(512), names: Vec::with_capacity(32) };
        writer.node("", contents);
        writer.word(END);
        writer.finish()
    }

    /// A node: its properties first, then its children.
    pub(super) fn node(&mut self, name: &str, contents: impl FnOnce(&mut Self)) {
        self.word(BEGIN_NODE);
        self.blob.extend_from_slice(name.as_bytes());
        self.blob.push(0);
        self.align();
        contents(self);
        self.word(END_NODE);
    }

    /// A property without a value.
    pub(super) fn flag(&mut self, name: &'a str) {
        self.begin_property(name, 0);
    }

    /// A property of raw bytes.
    pub(super) fn bytes(&mut self, name: &'a str, value: &[u8]) {
        self.begin_property(name, value.len());
        self.blob.extend_from_slice(value);
        self.align();
    }

    /// A property of one cell.
    pub(super) fn u32(&mut self, name: &'a str, value: u32) {
        self.cells(name, &[value]);
    }

    /// A property of cells.
    pub(super) fn cells(&mut self, name: &'a str, values: &[u32]) {
        self.begin_property(name, values.len() * 4);
        values.iter().for_each(|value| self.word(*value));
    }

    /// A property of numbers of two cells each.
    pub(super) fn double_cells(&mut self, name: &'a str, values: &[u64]) {
        self.begin_property(name, values.len() * 8);
        values.iter().for_each(|value| self.blob.extend_from_slice(&value.to_be_bytes()));
    }

    /// A property of one string.
    pub(super) fn string(&mut self, name: &'a str, value: &str) {
        self.strings(name, &[value]);
    }

    /// A property of strings.
    pub(super) fn strings(&mut self, name: &'a str, values: &[&str]) {
        self.begin_property(name, values.iter().map(|value| value.len() + 1).sum());
        for value in values {
            self.blob.extend_from_slice(value.as_bytes());
            self.blob.push(0);
        }
        self.align();
    }

    fn begin_property(&mut self, name: &'a str, bytes: usize) {
        let offset = self.name_offset(name);
        self.word(PROPERTY);
        self.word(bytes as u32);
        self.word(offset);
    }

    /// Where the name is in the strings block, into which it comes if it is not there yet.
    fn name_offset(&mut self, name: &'a str) -> u32 {
        if let Some((_, offset)) = self.names.iter().find(|(known, _)| *known == name) {
            return *offset;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.names.push((name, offset));
        offset
    }

    fn word(&mut self, value: u32) {
        self.blob.extend_from_slice(&value.to_be_bytes());
    }

    /// Pads to the next token.
    fn align(&mut self) {
        while !self.blob.len().is_multiple_of(4) {
            self.blob.push(0);
        }
    }

    /// Appends the strings, and fills in the header.
    fn finish(mut self) -> Vec<u8> {
        let [version, last_compatible] = VERSIONS;
        let structure = HEADER + RESERVATIONS;
        let strings = self.blob.len();
        self.blob.append(&mut self.strings);
        let total = self.blob.len();
        let sizes = [total, structure, strings, HEADER].map(|value| value as u32);
        let [total_word, structure_word, strings_word, reservations_word] = sizes;
        let header = [
            MAGIC,
            total_word,
            structure_word,
            strings_word,
            reservations_word,
            version,
            last_compatible,
            0, // The boot CPU.
            (total - strings) as u32,
            (strings - structure) as u32,
        ];
        for (place, value) in self.blob.chunks_exact_mut(4).zip(header) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        self.blob
    }
}
