//! Devices of the board's tree for guests, for systems that ask for some; all others pay nothing.

use core::fmt::Display;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tessera_memory::Frames;
use tessera_platform::assignment::{Assignment, Kept};
use tessera_platform::board::Board;
use tessera_platform::tree::Tree;
use tessera_platform::{IntId, Span};

use super::layout::Layout;
use crate::manifest::{self, Device, Manifest};

/// More heap for the tree's index, the guests' trees, and tables for registers.
const HEAP_BYTES: u64 = 512 * 1024;

/// The board's tree, if the system asks for devices of it.
///
/// # Errors
/// No memory for the work.
pub fn tree(
    manifest: &Manifest,
    blob: &'static [u8],
    layout: &mut Layout,
    frames: &mut Frames,
) -> Result<Option<&'static Tree<'static>>, String> {
    let by_tree = manifest.vms.iter().any(|vm| !vm.board_devices.is_empty());
    if !by_tree && sub_pages(manifest).next().is_none() {
        return Ok(None);
    }
    let text = |error: &dyn Display| error.to_string();
    layout.grow_heap(frames, HEAP_BYTES)?;
    if !by_tree {
        return Ok(None);
    }
    // Guests that start afresh get their tree from it again.
    Tree::parse(blob).map(|tree| Some(&*Box::leak(Box::new(tree)))).map_err(|error| text(&error))
}

/// The registers to which EL2 passes accesses on: machine addresses.
fn sub_pages(manifest: &Manifest) -> impl Iterator<Item = manifest::Span> {
    manifest.vms.iter().flat_map(|vm| &vm.devices).filter_map(Device::sub_page_span)
}

/// Lets EL2 itself access these registers.
///
/// # Errors
/// They are not where a checked manifest has them.
pub fn map_sub_pages(manifest: &Manifest, board: &Board, layout: &mut Layout) -> Result<(), String> {
    let spans: Vec<_> = sub_pages(manifest).filter_map(|span| Span::new(span.start, span.bytes)).collect();
    if spans.is_empty() { Ok(()) } else { layout.map_registers(board, spans) }
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
