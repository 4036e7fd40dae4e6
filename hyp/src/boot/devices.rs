//! Devices of the board's tree for guests, for systems that ask for some; all others pay nothing.

use core::fmt::Display;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tessera_memory::{Frames, Owner};
use tessera_platform::IntId;
use tessera_platform::assignment::{Assignment, Kept};
use tessera_platform::board::Board;
use tessera_platform::tree::Tree;

use super::layout::Layout;
use crate::heap;
use crate::manifest::{self, Manifest};

/// More heap for the tree's index and the guests' trees: 2 to the power of this many frames, 512 KiB.
const HEAP_ORDER: u32 = 7;

/// The board's tree, if the system asks for devices of it.
///
/// # Errors
/// No memory for the work.
pub fn tree(
    manifest: &Manifest,
    blob: &'static [u8],
    frames: &mut Frames,
) -> Result<Option<&'static Tree<'static>>, String> {
    if manifest.vms.iter().all(|vm| vm.board_devices.is_empty()) {
        return Ok(None);
    }
    let text = |error: &dyn Display| error.to_string();
    let span = frames.allocate(Owner::Hypervisor, HEAP_ORDER).map_err(|error| text(&error))?.will_be_overwritten();
    // SAFETY: RAM that EL2 maps for writing, and that has just become its own.
    unsafe { heap::extend(span.start().get(), span.bytes()) };
    // Guests that start afresh get their tree from it again.
    Tree::parse(blob).map(|tree| Some(&*Box::leak(Box::new(tree)))).map_err(|error| text(&error))
}

/// What each VM is given of it.
///
/// # Errors
/// What is unsafe, or not there.
pub fn assign(
    manifest: &mut Manifest,
    tree: Option<&'static Tree<'static>>,
    board: &Board,
    layout: &Layout,
) -> Result<&'static [Option<Assignment<'static>>], manifest::ManifestError> {
    let Some(tree) = tree else { return Ok(&[]) };
    let kept = layout.kept(board);
    let kept: Vec<_> = kept.into_iter().map(|(owner, span)| Kept { owner, span }).collect();
    let uart: Vec<IntId> = board.console.iter().filter_map(|uart| Some(uart.interrupt?.id)).collect();
    let assignments = manifest::assign(manifest, tree, &kept, &uart)?;
    for (vm, assignment) in manifest.vms.iter().zip(&assignments) {
        if let Some(assignment) = assignment {
            let paths: Vec<String> = assignment.given().iter().map(|given| given.node.path()).collect();
            let paths = if paths.is_empty() { "nothing".into() } else { paths.join(" ") };
            log::info!("{}: is given {paths}", vm.name);
        }
    }
    Ok(Vec::leak(assignments))
}
