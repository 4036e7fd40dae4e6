//! More for the first heap, where the image's own is too small for the board: found in the board's memory before that is
//! divided.

use alloc::format;
use alloc::string::String;

use arrayvec::ArrayVec;
use tessera_memory::PAGE_SIZE;
use tessera_platform::Span;
use tessera_platform::tree::find_room;

use crate::arch::aarch64::stage1;
use crate::heap;

/// What the first map changes at once.
const BLOCK: u64 = 2 << 20;
/// As many rooms as the first map has tables for, and boot asks for: the tree's index, the board, the final map.
const MOST: usize = 3;
/// What is allocated besides, in bytes.
const MARGIN: usize = 8 * 1024;

/// What is taken of the board's memory.
pub struct Rooms {
    blob: &'static [u8],
    /// Of the image and of the device tree, in whole pages.
    pub loaded: [Span; 2],
    given: ArrayVec<Span, MOST>,
}

impl Rooms {
    /// With the image and the device tree, `blob`, which lies at `tree`.
    pub fn new(blob: &'static [u8], image: Span, tree: Span) -> Self {
        Self { blob, loaded: [image, tree], given: ArrayVec::new() }
    }

    /// The rooms that the heap was given.
    pub fn given(&self) -> &[Span] {
        &self.given
    }

    /// Sees to it that the heap has so many bytes free for `purpose`.
    ///
    /// # Errors
    /// The board has no such memory.
    pub fn ensure(&mut self, bytes: usize, purpose: &str) -> Result<(), String> {
        let wanted = bytes + MARGIN;
        if heap::has_free(wanted) {
            return Ok(());
        }
        let bytes = (wanted as u64).next_multiple_of(PAGE_SIZE);
        // A power of two does not cross the border of a GiB, which the first map could not.
        let alignment = bytes.next_power_of_two().max(BLOCK);
        let block = bytes.next_multiple_of(BLOCK);
        let taken: ArrayVec<Span, { MOST + 2 }> = self.loaded.iter().chain(&self.given).copied().collect();
        let found = find_room(self.blob, block, alignment, &taken);
        let room = found.filter(|room| !self.given.is_full() && self.take(*room, bytes)).ok_or_else(|| {
            format!(
                "{purpose} needs {} KiB of memory at a multiple of {} KiB that neither a reservation nor what was loaded \
                 takes: give the machine more, or load the initrd and the device tree elsewhere",
                block / 1024,
                alignment / 1024
            )
        })?;
        self.given.extend(Span::new(room.start(), bytes));
        Ok(())
    }

    /// Gives the heap the first `bytes` of `room`; false if the first map has no table for it.
    fn take(&self, room: Span, bytes: u64) -> bool {
        // SAFETY: free memory of the board, used by nobody before, and the first map is in use; only the early console is
        // in no GiB of its own then, and boot is not speaking.
        let is_mapped = unsafe { stage1::extend_early((room.start(), room.size())) };
        if is_mapped {
            // SAFETY: as above, and mapped for writing in the final map as well, which has all memory.
            unsafe { heap::extend(room.start(), bytes) };
        }
        is_mapped
    }
}
