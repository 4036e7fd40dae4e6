//! The nodes of a blob one after the other, without an index and so without a heap: for what must be known before there
//! is one.

use super::blob::{BEGIN_NODE, Blob, END, END_NODE, NOP, RawProperty, name_at, name_length};
use super::cells::Cells;
use crate::span::Span;

/// What of a node says where memory is; what the node does not have is empty or as the specification has it.
#[derive(Clone, Copy)]
pub(super) struct Walked<'blob> {
    /// Of the root, 0.
    pub(super) depth: usize,
    pub(super) name: &'blob str,
    /// How its children write an address and a size: numbers of cells.
    pub(super) cells: (usize, usize),
    pub(super) registers: &'blob [u8],
    pub(super) ranges: &'blob [u8],
    pub(super) is_memory: bool,
    pub(super) is_enabled: bool,
    /// The first address, and the end.
    initrd: (&'blob [u8], &'blob [u8]),
}

impl<'blob> Walked<'blob> {
    fn take(&mut self, name: &[u8], value: &'blob [u8]) {
        let number = || Cells::new(value).and_then(|mut cells| cells.next()).map_or(usize::MAX, |cell| cell as usize);
        match name {
            b"reg" => self.registers = value,
            b"ranges" => self.ranges = value,
            b"device_type" => self.is_memory = value == b"memory\0",
            b"status" => self.is_enabled = matches!(value, b"okay\0" | b"ok\0"),
            b"#address-cells" => self.cells.0 = number(),
            b"#size-cells" => self.cells.1 = number(),
            b"linux,initrd-start" => self.initrd.0 = value,
            b"linux,initrd-end" => self.initrd.1 = value,
            _ => {}
        }
    }

    /// The initrd that it names.
    pub(super) fn initrd(&self) -> Option<Span> {
        let number = |value| Cells::new(value).and_then(|mut cells| cells.take_number(cells.len()));
        Span::between(number(self.initrd.0)?, number(self.initrd.1)?)
    }
}

/// Where the walk is: it ends before what is no node, the end of the tree or anything that is damaged.
#[derive(Clone)]
pub(super) struct Walk<'blob> {
    blob: Blob<'blob>,
    rest: &'blob [u32],
    /// Of the node that begins next.
    depth: usize,
}

impl<'blob> Walk<'blob> {
    pub(super) fn new(blob: Blob<'blob>) -> Self {
        Self { blob, rest: blob.words, depth: 0 }
    }

    /// Whether the whole tree was walked.
    pub(super) fn is_at_end(&self) -> bool {
        self.depth == 0 && self.rest.first().copied().map(u32::from_be) == Some(END)
    }

    /// Takes the beginning of the next node; gives its name.
    fn begin(&mut self) -> Option<&'blob str> {
        loop {
            let (token, rest) = self.rest.split_first()?;
            match u32::from_be(*token) {
                BEGIN_NODE => break,
                END_NODE => self.depth = self.depth.checked_sub(1)?,
                NOP => {}
                _ => return None,
            }
            self.rest = rest;
        }
        let start = (self.blob.words.len() - self.rest.len() + 1) * 4;
        let name = name_at(self.blob.structure, start)?;
        self.rest = self.blob.words.get((start + name.len() + 1).div_ceil(4)..)?;
        Some(name)
    }

    /// Takes the next property of the node that began last.
    fn property(&mut self) -> Option<(&'blob [u8], &'blob [u8])> {
        while self.rest.first().is_some_and(|token| u32::from_be(*token) == NOP) {
            self.rest = self.rest.get(1..)?;
        }
        let property = RawProperty::first(self.rest)?;
        self.rest = property.rest;
        let name = self.blob.strings.get(property.name..)?;
        Some((name.get(..name_length(name, 0)?)?, property.value()))
    }
}

impl<'blob> Iterator for Walk<'blob> {
    type Item = Walked<'blob>;

    fn next(&mut self) -> Option<Walked<'blob>> {
        let name = self.begin()?;
        let mut node = Walked {
            depth: self.depth,
            name,
            cells: (2, 1),
            registers: &[],
            ranges: &[],
            is_memory: false,
            is_enabled: true,
            initrd: (&[], &[]),
        };
        self.depth += 1;
        while let Some((name, value)) = self.property() {
            node.take(name, value);
        }
        Some(node)
    }
}
