//! A flattened device tree in the making, written from front to back (Devicetree Specification 0.4, chapter 5).
//!
//! Only the format belongs here. Names are known to be good: literals, or checked with the manifest. A library that first
//! builds the tree of nodes took a fifth of all instructions of boot.

use alloc::string::String;
use alloc::vec::Vec;

/// The header's length, in words.
const HEADER: usize = 10;
/// An empty memory reservation block: its end mark.
const RESERVATIONS: usize = 4;
/// The format that is written, and the oldest whose readers understand it.
const VERSIONS: [u32; 2] = [17, 16];

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// Where the structure block of a blob ends, in bytes.
pub(super) fn structure_end(blob: &[u8]) -> Option<usize> {
    /// Words of the header: where the structure block begins, and how long it is.
    const STRUCTURE: [usize; 2] = [2, 9];
    let [start, bytes] = STRUCTURE.map(|index| word(blob, index * 4));
    Some((start? + bytes?) as usize)
}

/// Whether a property's value of `bytes` is at `place`.
pub(super) fn is_property(blob: &[u8], place: usize, bytes: usize) -> bool {
    let head = |words: usize| place.checked_sub(words * 4).and_then(|at| word(blob, at));
    (head(3), head(2)) == (Some(PROPERTY), Some(bytes as u32))
}

/// A node's name with its unit address (Devicetree Specification 0.4, 2.2.1). Without the detour of a format.
pub(super) fn unit_name(name: &str, address: u64) -> String {
    let digits = (u64::BITS - (address | 1).leading_zeros()).div_ceil(4);
    let mut text = String::with_capacity(name.len() + 1 + digits as usize);
    text.push_str(name);
    text.push('@');
    text.extend((0..digits).rev().filter_map(|digit| char::from_digit((address >> (digit * 4)) as u32 & 0xf, 16)));
    text
}

fn word(blob: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*blob.get(at..)?.first_chunk()?))
}

/// The blob so far.
pub(super) struct Writer<'a> {
    /// Room for the header, the memory reservations, and the structure block: in big-endian words, as all of it is aligned.
    words: Vec<u32>,
    /// The strings block: the names of properties.
    strings: Vec<u8>,
    /// The names in it, and their offsets.
    names: Vec<(&'a str, u32)>,
}

impl<'a> Writer<'a> {
    /// The blob of the tree whose root has these contents.
    pub(super) fn tree(contents: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut words = Vec::with_capacity(512);
        words.resize(HEADER + RESERVATIONS, 0);
        let mut writer = Self { words, strings: Vec::with_capacity(512), names: Vec::with_capacity(32) };
        writer.node("", contents);
        writer.word(END);
        writer.finish()
    }

    /// A node: its properties first, then its children.
    pub(super) fn node(&mut self, name: &str, contents: impl FnOnce(&mut Self)) {
        self.word(BEGIN_NODE);
        self.bytes_of(name.len() + 1, &[name.as_bytes()]);
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
        self.bytes_of(value.len(), &[value]);
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
        for value in values {
            self.word((value >> 32) as u32);
            self.word(*value as u32);
        }
    }

    /// A property of one string.
    pub(super) fn string(&mut self, name: &'a str, value: &str) {
        self.strings(name, &[value]);
    }

    /// A property of strings.
    pub(super) fn strings(&mut self, name: &'a str, values: &[&str]) {
        let bytes = values.iter().map(|value| value.len() + 1).sum();
        self.begin_property(name, bytes);
        self.bytes_of(bytes, values);
    }

    /// Appends parts, each with a NUL behind it as far as `total` bytes reach, and pads to the next token.
    fn bytes_of<T: AsRef<[u8]>>(&mut self, total: usize, parts: &[T]) {
        let start = self.words.len();
        self.words.resize(start + total.div_ceil(4), 0);
        let mut room: &mut [u8] = bytemuck::cast_slice_mut(self.words.get_mut(start..).unwrap_or_default());
        for part in parts.iter().map(AsRef::as_ref) {
            if let Some((place, rest)) = core::mem::take(&mut room).split_at_mut_checked(part.len()) {
                place.copy_from_slice(part);
                room = rest.get_mut(1..).unwrap_or_default();
            }
        }
    }

    fn begin_property(&mut self, name: &'a str, bytes: usize) {
        let offset = self.name_offset(name);
        [PROPERTY, bytes as u32, offset].into_iter().for_each(|word| self.word(word));
    }

    /// Where the name is in the strings block, into which it comes if it is not there yet.
    fn name_offset(&mut self, name: &'a str) -> u32 {
        // The same text from another place comes twice: that does no harm, and is cheaper than to compare all of them.
        if let Some((_, offset)) = self.names.iter().find(|(known, _)| core::ptr::eq(*known, name)) {
            return *offset;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.names.push((name, offset));
        offset
    }

    fn word(&mut self, value: u32) {
        self.words.push(value.to_be());
    }

    /// Appends the strings, and fills in the header.
    fn finish(mut self) -> Vec<u8> {
        let [version, last_compatible] = VERSIONS;
        let structure = 4 * (HEADER + RESERVATIONS);
        let strings = 4 * self.words.len();
        let total = strings + self.strings.len();
        let sizes = [total, structure, strings, 4 * HEADER, total - strings, strings - structure];
        let [total_word, structure_at, strings_at, reservations_at, strings_size, structure_size] =
            sizes.map(|value| value as u32);
        let parts = [MAGIC, total_word, structure_at, strings_at, reservations_at, version, last_compatible];
        let boot_cpu = 0;
        let header = parts.into_iter().chain([boot_cpu, strings_size, structure_size]);
        self.words.iter_mut().zip(header).for_each(|(place, value)| *place = value.to_be());
        let mut blob = Vec::with_capacity(total);
        blob.extend_from_slice(bytemuck::cast_slice(&self.words));
        blob.extend_from_slice(&self.strings);
        blob
    }
}
