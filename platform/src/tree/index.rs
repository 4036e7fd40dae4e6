//! The one pass over a blob's structure: every structural error is found here, and the nodes are listed, without recursion.

use super::blob::{
    BEGIN_NODE, Blob, END, END_NODE, MAX_NAME, NOP, NameClass, NodeEntry, PROPERTY, REMEDY, RawProperty,
};
use super::blob::{most_nodes, name_length, word};
use super::error::BoardError;
use super::{MAX_DEPTH, MAX_NODES, MAX_PROPERTIES};
use alloc::format;
use alloc::vec::Vec;
use arrayvec::ArrayVec;

/// How many names are remembered as good: about as many as boards use.
const GOOD_NAMES: usize = 256;

const NO_TEXT: &str = "a node's name is no printable text";

/// Phandles with the indices of their nodes.
pub(super) type Phandles = Vec<(u32, u16)>;

/// What the pass over the structure wants to know of a property's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Empty,
    Compatible,
    Phandle,
    Other,
}

/// A name that was looked at.
#[derive(Clone, Copy)]
struct GoodName {
    /// In the strings block.
    offset: u32,
    kind: NameKind,
    class: NameClass,
}

impl GoodName {
    /// What stands for none: an empty name is not remembered. All zero, since a table of them is quickly made so.
    const NONE: Self = Self { offset: 0, kind: NameKind::Empty, class: NameClass::of(b"") };

    /// The name at `offset`, if there is one.
    fn read(strings: &[u8], offset: usize) -> Option<Self> {
        let name = strings.get(offset..)?.get(..name_length(strings, offset)?)?;
        let kind = match name {
            b"" => NameKind::Empty,
            b"compatible" => NameKind::Compatible,
            b"phandle" | b"linux,phandle" => NameKind::Phandle,
            _ => NameKind::Other,
        };
        Some(Self { offset: offset as u32, kind, class: NameClass::of(name) })
    }
}

/// The length of the node's name that `words` begin with, or what is wrong with it.
///
/// Four bytes at a time: such names are the most of what is looked at byte by byte.
fn node_name_length(words: &[u32]) -> Result<usize, &'static str> {
    const EACH: u32 = 0x0101_0101;
    const TOP: u32 = 0x80 * EACH;
    for (index, word) in words.iter().enumerate().take((MAX_NAME + 1) / 4) {
        let word = u32::from_le(*word);
        let slashes = word ^ (u32::from(b'/') * EACH);
        // The top bit of the first byte that is below '!', above '~' or '/': what is carried on reaches later ones only.
        let others = word.wrapping_sub(0x21 * EACH) | word.wrapping_add(EACH) | word;
        let ends = (others | slashes.wrapping_sub(EACH) & !slashes) & TOP;
        if ends != 0 {
            let first = ends.trailing_zeros() / 8;
            return match word >> (first * 8) & 0xff {
                0 => Ok(index * 4 + first as usize),
                0x2f => Err("a node's name is wrong"),
                _ => Err(NO_TEXT),
            };
        }
    }
    Err(NO_TEXT)
}

impl Blob<'_> {
    /// Checks the structure block and lists the nodes in tree order (the root first, parents before children), and the
    /// phandles with the indices of their nodes.
    ///
    /// Up to an error, if there is one: what stands before it can be read.
    pub(super) fn index(&self) -> (Vec<NodeEntry>, Phandles, Result<(), BoardError>) {
        let mut pass = Pass {
            blob: self,
            rest: self.words,
            nodes: Vec::new(),
            open: ArrayVec::new(),
            phandles: Vec::new(),
            good_names: [GoodName::NONE; GOOD_NAMES],
        };
        let result = pass.run().and_then(|()| self.check_size());
        (pass.nodes, pass.phandles, result)
    }
}

/// What is wrong with a property.
enum Wrong {
    /// Its name or value lies outside its block.
    Outside,
    /// It has no name, or stands where none may.
    Misplaced,
}

/// The one pass over the structure block.
struct Pass<'pass, 'blob> {
    blob: &'pass Blob<'blob>,
    /// From the next token on.
    rest: &'blob [u32],
    nodes: Vec<NodeEntry>,
    /// The nodes that have begun and not ended.
    open: ArrayVec<u16, MAX_DEPTH>,
    phandles: Phandles,
    /// Names that were found good.
    good_names: [GoodName; GOOD_NAMES],
}

impl<'blob> Pass<'_, 'blob> {
    /// Takes all tokens.
    fn run(&mut self) -> Result<(), BoardError> {
        let most = most_nodes(self.rest.len());
        self.nodes.try_reserve_exact(most).map_err(|_| self.wrong("there is not enough heap for its nodes"))?;
        while self.step()? {}
        Ok(())
    }

    /// Takes one token; false after the last one.
    fn step(&mut self) -> Result<bool, BoardError> {
        let Some((token, rest)) = self.rest.split_first() else {
            return Err(self.wrong("the structure block has no end"));
        };
        match u32::from_be(*token) {
            BEGIN_NODE => self.begin_node()?,
            END_NODE => self.end_node()?,
            PROPERTY => return Err(self.wrong_property(Wrong::Misplaced)),
            NOP => self.rest = rest,
            END if self.open.is_empty() && !self.nodes.is_empty() => return Ok(false),
            END => return Err(self.wrong("the structure block ends within a node")),
            token => return Err(self.wrong(&format!("{token:#x} is no token"))),
        }
        Ok(true)
    }

    fn begin_node(&mut self) -> Result<(), BoardError> {
        let start = self.offset() + 4;
        let length = node_name_length(self.rest.get(1..).unwrap_or_default()).map_err(|problem| self.wrong(problem))?;
        if self.open.is_empty() && !self.nodes.is_empty() {
            return Err(self.wrong("there is a second root node"));
        }
        if (length == 0) != self.open.is_empty() {
            return Err(self.wrong("a node's name is wrong"));
        }
        let properties = (start + length + 1).next_multiple_of(4);
        let node = NodeEntry {
            name: start as u32,
            properties: properties as u32,
            compatible: 0,
            names: 0,
            parent: self.open.last().copied().unwrap_or(0),
            initial: self.blob.structure.get(start).copied().unwrap_or(0),
        };
        self.push(node)?;
        self.rest = self.blob.words.get(properties / 4..).unwrap_or_default();
        self.properties(node)
    }

    /// Opens a node and makes room for it in the list.
    fn push(&mut self, node: NodeEntry) -> Result<(), BoardError> {
        let index = self.nodes.len();
        if index >= MAX_NODES {
            return Err(self.wrong(&format!("there are more than {MAX_NODES} nodes")));
        }
        if self.open.try_push(index as u16).is_err() {
            return Err(self.wrong(&format!("nodes are nested more than {MAX_DEPTH} deep")));
        }
        self.nodes.push(node);
        Ok(())
    }

    fn end_node(&mut self) -> Result<(), BoardError> {
        if self.open.pop().is_none() {
            return Err(self.wrong("a node ends that has not begun"));
        }
        self.rest = self.rest.get(1..).unwrap_or_default();
        Ok(())
    }

    /// Takes the properties of `node`, which began last: they stand before its children.
    fn properties(&mut self, mut node: NodeEntry) -> Result<(), BoardError> {
        let (mut rest, mut left) = (self.rest, MAX_PROPERTIES);
        let mut result = Ok(());
        while let Some(token) = rest.first().map(|token| u32::from_be(*token)) {
            match token {
                NOP => rest = rest.get(1..).unwrap_or_default(),
                PROPERTY if left > 0 => match self.property(rest, &mut node) {
                    Ok(behind) => (rest, left) = (behind, left - 1),
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                },
                _ => break,
            }
        }
        self.rest = rest;
        // What stands before an error can be read.
        if let Some(listed) = self.nodes.last_mut() {
            *listed = node;
        }
        result.map_err(|property: Wrong| self.wrong_property(property))
    }

    /// Takes the property of `node` that `words` begin with, and what the index wants of it; gives the words behind it.
    fn property(&mut self, words: &'blob [u32], node: &mut NodeEntry) -> Result<&'blob [u32], Wrong> {
        let property = RawProperty::first(words).ok_or(Wrong::Outside)?;
        let name = self.good_name(property.name).ok_or(Wrong::Outside)?;
        node.names |= name.class.bit();
        match name.kind {
            NameKind::Empty => return Err(Wrong::Misplaced),
            NameKind::Compatible => node.compatible = ((self.blob.words.len() - words.len()) * 4) as u32,
            NameKind::Phandle => {
                let index = self.nodes.len().saturating_sub(1);
                let value = word(property.value(), 0).filter(|_| property.length == 4);
                self.phandles.extend(value.map(|phandle| (phandle, index as u16)));
            }
            NameKind::Other => {}
        }
        Ok(property.rest)
    }

    /// The name at `offset`; `None` if it is no name at all. Few names stand for most properties: those seen last are
    /// known to be good.
    fn good_name(&mut self, offset: usize) -> Option<GoodName> {
        let known = self.good_names.get_mut(offset / 4 % GOOD_NAMES)?;
        if known.offset as usize != offset || known.kind == NameKind::Empty {
            *known = GoodName::read(self.blob.strings, offset)?;
        }
        Some(*known)
    }

    /// Offset of the next token in the structure block.
    fn offset(&self) -> usize {
        (self.blob.words.len() - self.rest.len()) * 4
    }

    #[cold]
    fn wrong_property(&self, property: Wrong) -> BoardError {
        match property {
            Wrong::Outside => self.wrong("a property's name or value lies outside its block"),
            Wrong::Misplaced => self.wrong(&format!(
                "a property has no name, stands behind child nodes, or is one of over {MAX_PROPERTIES}"
            )),
        }
    }

    /// An error at the current offset, in the node that is open.
    #[cold]
    fn wrong(&self, problem: &str) -> BoardError {
        let mut path = alloc::string::String::new();
        for node in self.open.iter().filter_map(|&index| self.nodes.get(usize::from(index))).skip(1) {
            path.push('/');
            path.push_str(self.blob.name(node));
        }
        BoardError::new(path, "", format!("{problem} (offset {:#x} of the structure block)", self.offset()), REMEDY)
    }
}
