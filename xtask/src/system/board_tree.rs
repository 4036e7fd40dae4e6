//! The device tree of the board that a system is for: made once, and only if the system asks for something of the board's.

use std::cell::OnceCell;
use std::ops::Range;

use tessera_platform::board::{Board, find_console};
use tessera_platform::tree::Tree;

use super::ImageProvider;
use super::problem::{Problem, Result};

/// The tree, which is asked for when it is first read.
pub(super) struct BoardTree<'a> {
    provider: &'a dyn ImageProvider,
    blob: OnceCell<anyhow::Result<Vec<u8>>>,
}

/// What is read from it.
pub(super) struct Read<'tree> {
    /// The tree itself.
    pub tree: Tree<'tree>,
    /// What EL2 will learn from it.
    pub board: Board,
    /// Its size.
    pub bytes: u64,
}

impl<'a> BoardTree<'a> {
    pub(super) fn new(provider: &'a dyn ImageProvider) -> Self {
        Self { provider, blob: OnceCell::new() }
    }

    /// Reads it for what stands at `place` in the system's file.
    ///
    /// # Errors
    /// It is not known, or EL2 could not run on such a board.
    pub(super) fn read(&self, place: &Range<usize>) -> Result<Read<'_>> {
        let at = |message: String| Problem::new(place.clone(), message);
        let blob = self.blob.get_or_init(|| self.provider.board_tree());
        let blob = blob.as_ref().map_err(|error| at(format!("no device tree of the board: {error:#}")))?;
        let tree = Tree::parse(blob).map_err(|error| at(format!("the board's {error}")))?;
        let board = Board::from_tree(&tree, find_console(&tree)).map_err(|error| at(format!("the board's {error}")))?;
        Ok(Read { tree, board, bytes: blob.len() as u64 })
    }
}
