//! The bytes of a flattened device tree (Devicetree Specification 0.4, chapter 5), checked once and then only read.
//!
//! `index` finds every structural error in one pass, so that everything else can rely on nodes that nest, names that end and
//! values that lie within the blob. What values mean does not belong here.

use super::MAX_NODES;
use super::error::BoardError;
use crate::span::Span;
use alloc::format;

const MAGIC: u32 = 0xd00d_feed;
const HEADER_SIZE: usize = 40;
/// The version of the format that is read here; blobs say from which version on a reader understands them.
const VERSION: u32 = 17;
/// No tree for arm64 may be larger (Linux Documentation/arch/arm64/booting.rst): structure and strings, as QEMU leaves room
/// behind them, as much again.
const MAX_SIZE: usize = 2 << 20;
/// Longer names occur nowhere; the bound keeps the check linear in the size of the blob.
pub(super) const MAX_NAME: usize = 255;

pub(super) const BEGIN_NODE: u32 = 1;
pub(super) const END_NODE: u32 = 2;
pub(super) const PROPERTY: u32 = 3;
pub(super) const NOP: u32 = 4;
pub(super) const END: u32 = 9;

pub(super) const REMEDY: &str = "pass the blob as dtc or the firmware wrote it, whole and unchanged";

/// Where a node begins.
#[derive(Clone, Copy)]
pub(super) struct NodeEntry {
    /// Offset of its name in the structure block.
    pub(super) name: u32,
    /// Offset of its first property in the structure block.
    pub(super) properties: u32,
    /// Offset of its `compatible` in the structure block; 0 if it has none. Boards are searched by it.
    pub(super) compatible: u32,
    /// Which names its properties can have: see [`NameClass`].
    pub(super) names: u32,
    /// Index of its parent; the root is its own.
    pub(super) parent: u16,
    /// What its name begins with, or 0: few names of siblings agree in that.
    pub(super) initial: u8,
}

/// Names of 32 classes, one bit of a mask each, so that a node's properties need not be searched for what it lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct NameClass(u8);

impl NameClass {
    /// By length and first letter: these tell apart what is often looked for.
    pub(super) const fn of(name: &[u8]) -> Self {
        let first = if let [first, ..] = name { *first } else { 0 };
        Self((name.len() as u8 ^ first) % 32)
    }

    pub(super) const fn bit(self) -> u32 {
        1 << self.0
    }
}

/// Models to look for in the `compatible` of many nodes, most of which are none of them.
pub(crate) struct Models {
    lists: &'static [&'static [&'static str]],
    /// A bit for the class of each model.
    classes: u32,
}

impl Models {
    /// The models of all these lists.
    #[allow(clippy::indexing_slicing, reason = "iterators are not const; evaluated by the compiler")]
    pub(crate) const fn new(lists: &'static [&'static [&'static str]]) -> Self {
        let (mut classes, mut list, mut model) = (0, 0, 0);
        while list < lists.len() {
            if model < lists[list].len() {
                classes |= NameClass::of(lists[list][model].as_bytes()).bit();
                model += 1;
            } else {
                (list, model) = (list + 1, 0);
            }
        }
        Self { lists, classes }
    }

    /// Whether `text` is one of them.
    #[inline]
    pub(super) fn has(&self, text: &[u8]) -> bool {
        let may_be = self.classes & NameClass::of(text).bit() != 0;
        may_be && self.lists.iter().any(|models| models.iter().any(|model| model.as_bytes() == text))
    }
}

/// How many bytes the structure block has, by the header; 0 if there is no header.
pub(super) fn structure_bytes(blob: &[u8]) -> usize {
    Header::read(blob).map_or(0, |header| (header.structure_size as usize).min(blob.len()))
}

/// The most nodes that fit into a structure block of so many words: each begins, has a name, and ends.
pub(super) fn most_nodes(words: usize) -> usize {
    (words / 3).min(MAX_NODES)
}

/// A blob whose structure was checked.
#[derive(Clone, Copy)]
pub(super) struct Blob<'blob> {
    pub(super) structure: &'blob [u8],
    /// The same, in big-endian words: bytes would take four times as long to read.
    pub(super) words: &'blob [u32],
    pub(super) strings: &'blob [u8],
    reservations: &'blob [u8],
}

/// Reads the big-endian word at `offset`.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let chunk = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*chunk))
}

/// Reads the big-endian 64-bit number at `offset`.
fn double_word(bytes: &[u8], offset: usize) -> Option<u64> {
    let chunk = bytes.get(offset..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*chunk))
}

/// The length of the text at `offset`, if it has a NUL within [`MAX_NAME`] bytes and is printable ASCII.
pub(super) fn name_length(bytes: &[u8], offset: usize) -> Option<usize> {
    let text = bytes.get(offset..)?;
    let text = text.get(..=MAX_NAME).unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_graphic())?;
    (text.get(end) == Some(&0)).then_some(end)
}

/// The text at `offset`, if it is a name.
pub(super) fn name_at(bytes: &[u8], offset: usize) -> Option<&str> {
    let name = bytes.get(offset..)?.get(..name_length(bytes, offset)?)?;
    core::str::from_utf8(name).ok()
}

/// Whether `text` begins with `name` and a byte that may follow it. That one and the first letter are looked at first: few
/// names agree in both.
#[inline]
fn begins_with(text: &[u8], name: &str, may_follow: impl Fn(u8) -> bool) -> bool {
    let may_be = text.first() == name.as_bytes().first() || name.is_empty();
    may_be && text.get(name.len()).is_some_and(|&next| may_follow(next)) && text.starts_with(name.as_bytes())
}

fn wrong(problem: impl Into<alloc::borrow::Cow<'static, str>>) -> BoardError {
    BoardError::new("", "", problem, REMEDY)
}

/// What the header says: offsets and sizes in bytes, not yet checked.
struct Header {
    size: u32,
    structure: u32,
    structure_size: u32,
    strings: u32,
    strings_size: u32,
    reservations: u32,
}

impl Header {
    /// Reads the header, if it is one of a version that can be read.
    fn read(bytes: &[u8]) -> Result<Self, BoardError> {
        let field = |index: usize| word(bytes, index * 4).ok_or_else(|| wrong("the blob is shorter than its header"));
        let (magic, version, last_compatible) = (field(0)?, field(5)?, field(6)?);
        if magic != MAGIC {
            let problem = format!("no device tree: it begins with {magic:#010x}, not {MAGIC:#010x}");
            return Err(wrong(problem));
        }
        if version < VERSION || last_compatible > VERSION {
            let problem = format!("its format version is {version}, only {VERSION} can be read");
            return Err(wrong(problem));
        }
        Ok(Self {
            size: field(1)?,
            structure: field(2)?,
            structure_size: field(9)?,
            strings: field(3)?,
            strings_size: field(8)?,
            reservations: field(4)?,
        })
    }

    /// The bytes that are the blob.
    fn blob<'blob>(&self, bytes: &'blob [u8]) -> Result<&'blob [u8], BoardError> {
        let (size, available) = (self.size as usize, bytes.len());
        bytes.get(..size).ok_or_else(|| wrong(format!("its header says {size} bytes, there are only {available}")))
    }
}

impl<'blob> Blob<'blob> {
    /// Checks the header and the memory reservations, and cuts the blob into its parts. `bytes` may be longer than
    /// the blob.
    pub(super) fn new(bytes: &'blob [u8]) -> Result<Self, BoardError> {
        let header = Header::read(bytes)?;
        let blob = header.blob(bytes)?;
        let part = |what: &str, start: u32, length: u32| {
            let start = start as usize;
            let end = start.checked_add(length as usize).filter(|_| start >= HEADER_SIZE);
            end.and_then(|end| blob.get(start..end)).ok_or_else(|| wrong(format!("its {what} block lies outside it")))
        };
        let structure = part("structure", header.structure, header.structure_size)?;
        let whole = structure.get(..structure.len() & !3).and_then(|whole| bytemuck::try_cast_slice(whole).ok());
        let parts = Self {
            structure,
            words: whole.ok_or_else(|| wrong("its structure block does not begin at a multiple of 4 bytes"))?,
            strings: part("strings", header.strings, header.strings_size)?,
            reservations: blob.get((header.reservations as usize).max(HEADER_SIZE)..).unwrap_or_default(),
        };
        parts.check_reservations()?;
        Ok(parts)
    }

    /// The entries of the memory reservation block, up to its end mark.
    fn reservation_entries(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.reservations
            .chunks_exact(16)
            .map_while(|entry| Some((double_word(entry, 0)?, double_word(entry, 8)?)))
            .take_while(|entry| *entry != (0, 0))
    }

    fn check_reservations(&self) -> Result<(), BoardError> {
        let entries = self.reservation_entries().count();
        if entries == self.reservations.chunks_exact(16).count() {
            return Err(wrong("its memory reservation block has no end"));
        }
        match self.reservation_entries().find(|&(start, size)| Span::new(start, size).is_none()) {
            Some((start, size)) => Err(wrong(format!("it reserves {size:#x} bytes at {start:#x}, beyond 52 bits"))),
            None => Ok(()),
        }
    }

    /// The spans of the memory reservation block (`/memreserve/` in the source).
    pub(super) fn reservations(&self) -> impl Iterator<Item = Span> + '_ {
        self.reservation_entries().filter_map(|(start, size)| Span::new(start, size))
    }

    /// Not earlier: a tree that is too large can be read up to here, to say so on its console.
    pub(super) fn check_size(&self) -> Result<(), BoardError> {
        let bytes = self.structure.len() + self.strings.len();
        if bytes <= MAX_SIZE {
            return Ok(());
        }
        let problem = format!("it has {bytes} bytes, more than the {MAX_SIZE} that arm64 allows");
        Err(BoardError::new("", "", problem, "take nodes or labels (`dtc -@`) out"))
    }

    /// The name of a node, unit address included; empty for the root.
    pub(super) fn name(&self, node: &NodeEntry) -> &'blob str {
        name_at(self.structure, node.name as usize).unwrap_or("")
    }

    /// Whether a node is called `name`: whole, or but for its unit address where `bare`.
    #[inline]
    pub(super) fn is_called(&self, node: &NodeEntry, name: &str, bare: bool) -> bool {
        let may_be = name.as_bytes().first().copied().unwrap_or(0) == node.initial;
        may_be && {
            let text = self.structure.get(node.name as usize..).unwrap_or_default();
            begins_with(text, name, |next| next == 0 || bare && next == b'@')
        }
    }

    /// The property `compatible` of a node.
    #[inline]
    pub(super) fn compatible(&self, node: &NodeEntry) -> Option<RawProperty<'blob>> {
        let offset = (node.compatible != 0).then_some(node.compatible as usize)?;
        RawProperty::first(self.words.get(offset / 4..)?)
    }

    /// The value of the property `name` of a node.
    pub(super) fn property(&self, node: &NodeEntry, name: &str) -> Option<&'blob [u8]> {
        let may_be = node.names & NameClass::of(name.as_bytes()).bit() != 0;
        if may_be { self.find_property(node, name) } else { None }
    }

    /// Apart from what spares most calls of it.
    #[inline(never)]
    fn find_property(&self, node: &NodeEntry, name: &str) -> Option<&'blob [u8]> {
        let mut properties = self.raw_properties(node);
        properties.find(|property| property.is_called(self.strings, name)).map(|property| property.value())
    }

    /// The properties of a node.
    pub(super) fn properties(&self, node: &NodeEntry) -> impl Iterator<Item = (&'blob str, &'blob [u8])> + use<'blob> {
        let strings = self.strings;
        self.raw_properties(node).map_while(move |property| Some((property.name(strings)?, property.value())))
    }

    /// The name of the first property of a node that is not among `known`.
    pub(super) fn unknown_property(&self, node: &NodeEntry, known: &[&str]) -> Option<&'blob str> {
        let is_known = |property: &RawProperty| known.iter().any(|name| property.is_called(self.strings, name));
        self.raw_properties(node).find(|property| !is_known(property))?.name(self.strings)
    }

    fn raw_properties(&self, node: &NodeEntry) -> impl Iterator<Item = RawProperty<'blob>> + use<'blob> {
        let mut rest = self.words.get(node.properties as usize / 4..).unwrap_or_default();
        core::iter::from_fn(move || {
            while let [token, next @ ..] = rest
                && u32::from_be(*token) == NOP
            {
                rest = next;
            }
            let property = RawProperty::first(rest)?;
            rest = property.rest;
            Some(property)
        })
    }
}

/// A property whose name has not been looked at.
pub(super) struct RawProperty<'blob> {
    /// Offset of its name in the strings block.
    pub(super) name: usize,
    /// Of its value, in bytes.
    pub(super) length: usize,
    /// From its value on.
    words: &'blob [u32],
    /// From the next token on.
    pub(super) rest: &'blob [u32],
}

impl<'blob> RawProperty<'blob> {
    /// The property whose token is the first of `words`.
    #[inline]
    pub(super) fn first(words: &'blob [u32]) -> Option<Self> {
        let [token, length, name, words @ ..] = words else { return None };
        let length = u32::from_be(*length) as usize;
        let is_property = u32::from_be(*token) == PROPERTY;
        let rest = words.get(length.div_ceil(4)..).filter(|_| is_property)?;
        Some(Self { name: u32::from_be(*name) as usize, length, words, rest })
    }

    #[inline]
    pub(super) fn value(&self) -> &'blob [u8] {
        bytemuck::cast_slice(self.words).get(..self.length).unwrap_or_default()
    }

    /// The value with what it is filled up with, as it stands.
    #[inline]
    pub(super) fn value_words(&self) -> &'blob [u32] {
        self.words.get(..self.length.div_ceil(4)).unwrap_or_default()
    }

    fn name(&self, strings: &'blob [u8]) -> Option<&'blob str> {
        name_at(strings, self.name)
    }

    /// Whether that is its name, byte for byte: cheaper than to look for its end first.
    #[inline]
    fn is_called(&self, strings: &[u8], name: &str) -> bool {
        begins_with(strings.get(self.name..).unwrap_or_default(), name, |next| next == 0)
    }
}
