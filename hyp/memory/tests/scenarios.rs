//! Single operations in situations that matter, on the same nasty machine as the random ones.
#![allow(clippy::unwrap_used)]

mod simulated;

use simulated::world::*;
use tessera_memory::frames::{TableFrames, Unscrubbed};
use tessera_memory::physmap::Outcome;
use tessera_memory::{
    Access, Attributes, Error, FaultKind, Geometry, GuestFault, Ipa, Level, Pa, PhysMap, SoftwareState, Span, Va, Vmid,
};

/// The indices of kinds and memory types in the tables of `world`.
const ALL: usize = 0;
const READ_EXECUTE: usize = 1;
const READ_ONLY: usize = 2;
const NORMAL: usize = 0;
const DEVICE: usize = 1;
/// Machine memory aligned to a gigabyte, and memory that fits no block.
const ALIGNED: usize = 1;
const ODD: usize = 3;
const GIGABYTE: u64 = 0x4_0000;

fn at(vm: usize, first: u64, count: u64) -> Place {
    Place { vm, first, count }
}

/// A store to a page that was refused.
fn write_to(page: u64) -> GuestFault {
    GuestFault { page: Ipa::new(page << 12), kind: FaultKind::Write, va: Va::new(0) }
}

/// How many pages the descriptor for a page covers.
fn pages(world: &World, vm: usize, page: u64) -> Option<u64> {
    world.machine.descriptor_pages(world.regime(vm), page)
}

fn tables(world: &World, vm: usize) -> u64 {
    world.guests[vm].map.as_ref().unwrap().table_frames()
}

#[test]
fn the_largest_descriptors_that_fit_are_used() {
    let mut world = World::new();
    // The 32-bit guest starts at level 2 and has no gigabytes.
    for (vm, largest) in [(0, GIGABYTE), (1, 512), (2, GIGABYTE)] {
        let before = tables(&world, vm);
        world.map_borrowed(at(vm, GIGABYTE, GIGABYTE), ALIGNED, ALL, NORMAL);
        world.check();
        assert_eq!(pages(&world, vm, GIGABYTE + 12345), Some(largest));
        assert_eq!(tables(&world, vm) - before, [0, 0, 1][vm]);
    }
    world.finish();
}

#[test]
fn a_span_that_begins_and_ends_amid_blocks_uses_all_sizes() {
    let mut world = World::new();
    // A page, 2 MiB, 1 GiB, 2 MiB, two pages.
    let (first, count) = (2 * GIGABYTE - 513, GIGABYTE + 513 + 514);
    let span = ipa_span(first, count);
    let map = world.guests[0].map.as_mut().unwrap();
    let pa = Pa::new((4 * GIGABYTE - 513) << 12);
    let mut tables = world.frames.tables(vm(0));
    map.map(span, pa, Attributes::DEVICE, &mut tables, &mut world.machine).unwrap();
    let found: Vec<_> = map.mappings(span, &world.machine).map(|mapping| mapping.ipa.page_count()).collect();
    assert_eq!(found, [1, 512, GIGABYTE, 512, 1, 1]);
    let starts = [0, 1, 513, 513 + GIGABYTE, 1025 + GIGABYTE, 1026 + GIGABYTE];
    assert_eq!(starts.map(|page| pages(&world, 0, first + page).unwrap()), found[..]);
}

#[test]
fn a_page_taken_out_of_a_gigabyte_and_put_back_leaves_a_gigabyte() {
    for (vm, first) in [(0, GIGABYTE), (2, 0x3ff * GIGABYTE)] {
        let mut world = World::new();
        world.map_borrowed(at(vm, first, GIGABYTE), ALIGNED, ALL, NORMAL);
        world.check();
        let before = tables(&world, vm);
        let page = first + 0x2_0123;
        world.protect(at(vm, page, 1), READ_ONLY);
        world.check();
        assert_eq!(tables(&world, vm), before + 2);
        let sizes = [page, page + 1, page ^ 0x200].map(|page| pages(&world, vm, page));
        assert_eq!(sizes, [Some(1), Some(1), Some(512)]);
        world.merge(at(vm, page, 1));
        world.check();
        assert_eq!(pages(&world, vm, page + 1), Some(1), "merged though the access differs");
        world.protect(at(vm, page, 1), ALL);
        world.check();
        world.merge(at(vm, page, 1));
        world.check();
        assert_eq!((pages(&world, vm, page), tables(&world, vm)), (Some(GIGABYTE), before));
        world.finish();
    }
}

#[test]
fn pages_that_do_not_add_up_to_a_block_are_not_merged() {
    let mut world = World::new();
    let page = GIGABYTE + 9;
    for kind in [READ_EXECUTE, READ_ONLY] {
        world.map_borrowed(at(0, GIGABYTE, 512), ALIGNED, ALL, NORMAL);
        world.protect(at(0, page, 1), kind);
        world.merge(at(0, page, 1));
        world.check();
        assert_eq!(pages(&world, 0, page), Some(1), "merged though the access differs");
        world.unmap(at(0, GIGABYTE, 512));
    }
    world.map_borrowed(at(0, GIGABYTE, 512), ALIGNED, ALL, NORMAL);
    let attributes = Attributes { state: SoftwareState::BORROWED, ..Attributes::RAM };
    for (frame, merged) in [(page ^ 0x100, 0), (page ^ 0x1_0000, 0), (page, 1)] {
        let map = world.guests[0].map.as_mut().unwrap();
        let (ipa, pa) = (Ipa::new(page << 12), Pa::new(frame << 12));
        let (tables, machine) = (&mut world.frames.tables(vm(0)), &mut world.machine);
        machine.begin(Vec::new());
        map.replace_page(ipa, pa, attributes, tables, machine).unwrap();
        assert_eq!(map.merge(ipa_span(page, 1), tables, machine), Ok(merged));
    }
    world.check();
    world.finish();
}

#[test]
fn a_hole_in_a_block_splits_it_only_where_needed() {
    let mut world = World::new();
    world.map_borrowed(at(0, GIGABYTE, GIGABYTE), ALIGNED, ALL, DEVICE);
    let before = tables(&world, 0);
    // From the middle of one 2 MiB to the middle of another.
    world.unmap(at(0, GIGABYTE + 700, 2000));
    world.check();
    assert_eq!(tables(&world, 0), before + 3);
    assert_eq!(pages(&world, 0, GIGABYTE + 600), Some(1));
    assert_eq!(pages(&world, 0, GIGABYTE + 3072), Some(512));
    // What is left of the tables goes with what they mapped.
    world.unmap(at(0, GIGABYTE, GIGABYTE));
    world.check();
    assert_eq!(tables(&world, 0), 2);
    world.finish();
}

#[test]
fn a_long_change_flushes_everything_once_and_a_short_one_by_address() {
    let mut world = World::new();
    world.map_borrowed(at(0, GIGABYTE, 1024), ODD, ALL, NORMAL);
    let before = world.machine.uses;
    world.protect(at(0, GIGABYTE, 32), READ_ONLY);
    world.end();
    let short = world.machine.uses;
    assert_eq!((short.by_ipa - before.by_ipa, short.stage_1 - before.stage_1, short.all - before.all), (32, 1, 0));
    world.protect(at(0, GIGABYTE + 32, 33), READ_ONLY);
    world.end();
    let long = world.machine.uses;
    assert_eq!((long.by_ipa - short.by_ipa, long.stage_1 - short.stage_1, long.all - short.all), (0, 0, 1));
    // What is as it should be is neither written nor flushed.
    world.protect(at(0, GIGABYTE, 65), READ_ONLY);
    assert_eq!(world.machine.uses, long);
    world.check();
    world.finish();
}

#[test]
fn guests_that_share_an_image_get_their_own_pages() {
    let mut world = World::new();
    for vm in [0, 1] {
        world.map_archive(at(vm, GIGABYTE, 512), 0);
        world.check();
        assert_eq!(pages(&world, vm, GIGABYTE), Some(512), "the image is not mapped by a block");
        let map = world.guests[vm].map.as_ref().unwrap();
        assert_eq!(map.tables_for_pages(ipa_span(GIGABYTE, 512), &world.machine), 1);
        world.reserve(vm, 3);
    }
    world.write(at(0, GIGABYTE + 7, 1));
    world.check();
    world.write(at(1, GIGABYTE + 7, 1));
    world.check();
    world.write(at(1, GIGABYTE + 8, 1));
    world.check();
    // Three copies, and for each guest a table.
    assert_eq!((world.guests[0].reservation.left(), world.guests[1].reservation.left()), (1, 0));
    let before = world.guests[1].model.at(GIGABYTE + 9);
    world.write(at(1, GIGABYTE + 9, 1));
    world.check();
    assert_eq!(world.guests[1].model.at(GIGABYTE + 9), before, "copied without a reservation");
    world.finish();
}

#[test]
fn an_empty_reservation_changes_nothing() {
    let mut world = World::new();
    world.map_archive(at(0, GIGABYTE, 512), 0);
    // Enough for the table, not for the page as well.
    world.reserve(0, 1);
    world.write(at(0, GIGABYTE, 1));
    world.check();
    assert_eq!((pages(&world, 0, GIGABYTE), world.guests[0].reservation.left()), (Some(512), 1));
    world.finish();
}

#[test]
fn the_last_sharer_of_a_private_page_keeps_it() {
    let mut world = World::new();
    world.map_owned(at(0, GIGABYTE, 512));
    world.write(at(0, GIGABYTE + 3, 1));
    world.share_content(at(0, GIGABYTE + 3, 1), 1);
    world.check();
    world.share_content(at(0, GIGABYTE + 3, 1), 2);
    world.check();
    for vm in [0, 1, 2] {
        world.reserve(vm, 1);
        world.write(at(vm, GIGABYTE + 3, 1));
        world.check();
    }
    // The first two copied, the third kept the frame that the first had brought in.
    let left = [0, 1, 2].map(|vm| world.guests[vm].reservation.left());
    assert_eq!(left, [0, 0, 1]);
    world.finish();
}

#[test]
fn a_shared_page_outlives_the_guest_that_brought_it_in() {
    let mut world = World::new();
    world.map_owned(at(0, GIGABYTE, 16));
    world.write(at(0, GIGABYTE + 3, 1));
    world.share_content(at(0, GIGABYTE + 3, 1), 1);
    world.recreate(0);
    world.check();
    world.write(at(1, GIGABYTE + 3, 1));
    world.check();
    world.finish();
}

#[test]
fn a_write_to_a_page_read_only_for_other_reasons_is_refused() {
    let mut world = World::new();
    world.map_borrowed(at(0, GIGABYTE, 1), ALIGNED, READ_ONLY, NORMAL);
    let guest = &mut world.guests[0];
    let map = guest.map.as_mut().unwrap();
    let mut write =
        |page: u64| map.resolve(&write_to(page), Some(&mut guest.reservation), &mut world.frames, &mut world.machine);
    assert_eq!(write(GIGABYTE), Ok(Outcome::Denied));
    assert_eq!(write(GIGABYTE + 1), Ok(Outcome::Absent));
    assert_eq!(write(1 << 40), Ok(Outcome::Absent));
    world.check();
}

#[test]
fn a_traced_page_stays_traced_when_its_sharing_ends() {
    let mut world = World::new();
    world.map_archive(at(0, GIGABYTE, 1), 0);
    world.end();
    world.reserve(0, 1);
    let guest = &mut world.guests[0];
    let map = guest.map.as_mut().unwrap();
    let (page, traced) = (ipa_span(GIGABYTE, 1), Attributes::ARCHIVE.state.with(SoftwareState::TRACED));
    let mut tables = world.frames.tables(vm(0));
    map.protect_with(page, &mut tables, &mut world.machine, |_| (Access::READ, traced)).unwrap();
    let fault = write_to(GIGABYTE);
    let outcome = map.resolve(&fault, Some(&mut guest.reservation), &mut world.frames, &mut world.machine);
    assert!(matches!(outcome, Ok(Outcome::Copied { .. })));
    let now = map.translate(page.start(), &world.machine).unwrap().attributes;
    assert_eq!((now.access, now.state), (Access::READ, SoftwareState::TRACED));
}

#[test]
fn addresses_are_checked_before_anything_changes() {
    let mut world = World::new();
    let writes = world.machine.uses.writes;
    let map = world.guests[0].map.as_mut().unwrap();
    let machine = &mut world.machine;
    let tables = &mut world.frames.tables(vm(0));
    let page = ipa_span(GIGABYTE, 1);
    let odd = Span::new(Ipa::new(0x800), 0x1000).unwrap();
    let outside = ipa_span((1 << 28) - 1, 2);
    assert_eq!(map.map(odd, Pa::new(0), Attributes::RAM, tables, machine), Err(Error::Unaligned));
    assert_eq!(map.map(page, Pa::new(8), Attributes::RAM, tables, machine), Err(Error::Unaligned));
    assert!(matches!(map.map(outside, Pa::new(0), Attributes::RAM, tables, machine), Err(Error::OutsideIpaSpace(_))));
    let far = Pa::new(1 << 48);
    assert!(matches!(map.map(page, far, Attributes::RAM, tables, machine), Err(Error::OutsidePaSpace(_))));
    assert!(matches!(map.unmap(outside, tables, machine, |_, _| Ok(())), Err(Error::OutsideIpaSpace(_))));
    assert!(matches!(map.merge(outside, tables, machine), Err(Error::OutsideIpaSpace(_))));
    assert!(matches!(map.split(outside.last(), Level::PAGE, tables, machine), Err(Error::OutsideIpaSpace(_))));
    let replaced = map.replace_page(page.start(), far, Attributes::RAM, tables, machine);
    assert!(matches!(replaced, Err(Error::OutsidePaSpace(_))));
    assert_eq!(map.translate(outside.last(), machine), None);
    assert_eq!(map.translate(Ipa::new(u64::MAX), machine), None);
    assert_eq!(world.machine.uses.writes, writes);
}

/// A source that fails after some tables, though it said that it had enough.
struct Failing<T> {
    source: T,
    left: u64,
}

impl<T: TableFrames> TableFrames for Failing<T> {
    fn take(&mut self, order: u32) -> Result<Unscrubbed<Span<Pa>>, Error> {
        self.left = self.left.checked_sub(1).ok_or(Error::OutOfFrames)?;
        self.source.take(order)
    }

    fn give(&mut self, frames: Span<Pa>) -> Result<(), Error> {
        self.source.give(frames)
    }

    fn available(&self) -> u64 {
        u64::MAX
    }
}

#[test]
fn without_tables_nothing_changes_and_nothing_leaks() {
    let mut world = World::new();
    world.map_borrowed(at(0, GIGABYTE, GIGABYTE), ALIGNED, ALL, NORMAL);
    let free = world.frames.free_frames();
    let writes = world.machine.uses.writes;
    let map = world.guests[0].map.as_mut().unwrap();
    let machine = &mut world.machine;
    for left in [0, 1] {
        let mut tables = Failing { source: world.frames.tables(vm(0)), left };
        let result = map.map(ipa_span(8 * GIGABYTE - 1, 2), Pa::new(0), Attributes::DEVICE, &mut tables, machine);
        assert_eq!(result, Err(Error::OutOfFrames));
        let mut tables = Failing { source: world.frames.tables(vm(0)), left };
        let result = map.protect(ipa_span(GIGABYTE + 1, 1), Access::NONE, &mut tables, machine);
        assert_eq!(result, Err(Error::OutOfFrames));
    }
    assert_eq!((world.frames.free_frames(), world.machine.uses.writes), (free, writes));
    world.check();
    world.finish();
}

#[test]
fn a_vm_may_have_several_maps() {
    let mut world = World::new();
    let geometry = Geometry::new(36, 5).unwrap();
    let second = Vmid::new(77).unwrap();
    let free = world.frames.free_frames();
    let mut tables = world.frames.tables(vm(0));
    let map = PhysMap::new(geometry, second, &mut tables, &mut world.machine).unwrap();
    assert_eq!((map.context().vttbr() >> 48, map.table_frames()), (77, 1));
    assert_ne!(map.context().root(), world.guests[0].map.as_ref().unwrap().context().root());
    map.teardown(&mut tables, &mut world.machine, |_, _| Ok(())).unwrap();
    assert_eq!(world.frames.free_frames(), free);
    world.finish();
}

#[test]
fn errors_of_the_caller_do_not_keep_an_unmap_from_completing() {
    let mut world = World::new();
    world.map_owned(at(0, GIGABYTE, 16));
    let map = world.guests[0].map.as_mut().unwrap();
    let span = ipa_span(GIGABYTE, 16);
    let mut frames = Vec::new();
    let mut tables = world.frames.tables(vm(0));
    let result = map.unmap(span, &mut tables, &mut world.machine, |_, mapping| {
        frames.push(mapping.pa);
        Err(Error::NotShared(mapping.pa))
    });
    assert_eq!(result, Err(Error::NotShared(frames[0])));
    assert_eq!((frames.len(), map.mappings(span, &world.machine).count()), (16, 0));
}
