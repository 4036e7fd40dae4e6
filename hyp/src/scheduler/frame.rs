//! Where in the major frame a core is.

use super::parameters::{Frame, Window};

/// A stretch of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Whose it is.
    pub owner: Option<usize>,
    /// Who does not own it may run while its owner does not.
    pub lends: bool,
    /// How long it goes on, in ticks; at least 1.
    pub left: u64,
}

impl Frame {
    /// What the core is in, `since_start` ticks after its start.
    pub(super) fn stretch(&self, since_start: u64) -> Stretch {
        let at = since_start % self.length.max(1);
        let next = self.windows.iter().find(|window| at < window.end);
        match next {
            Some(Window { start, end, vm, lends }) if *start <= at => {
                Stretch { owner: Some(*vm), lends: *lends, left: end - at }
            }
            _ => {
                let end = next.map_or(self.length.max(1), |window| window.start);
                Stretch { owner: None, lends: self.lends, left: end - at }
            }
        }
    }
}
