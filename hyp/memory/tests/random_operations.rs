//! Random operations on several maps, compared after each with a plain model, on the nasty simulated machine.
#![allow(clippy::unwrap_used)]

mod simulated;

use proptest::prelude::*;
use simulated::model::Page;
use simulated::world::*;

/// Pages around which spans lie: before and on boundaries of 2 MiB, 1 GiB, 512 GiB, and the ends of the spaces.
const ANCHORS: [u64; 6] = [0x4_0000, 0x7_fe00, 0xf_fc00, 0x7ff_fe00, 0xfff_fc00, 0xf_ffff_fc00];
const OFFSETS: [u64; 8] = [0, 0, 0, 1, 5, 511, 512, 513];
const COUNTS: [u64; 10] = [1, 2, 3, 16, 511, 512, 512, 513, 1024, 0x4_0000];

#[derive(Clone, Copy, Debug)]
struct Where {
    vm: usize,
    /// Where something is mapped already, rather than anywhere.
    mapped: bool,
    step: usize,
    anchor: usize,
    offset: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    MapBorrowed(Where, usize, usize, usize),
    MapOwned(Where),
    MapArchive(Where, u64),
    Unmap(Where),
    Protect(Where, usize),
    Split(Where, bool, bool),
    Merge(Where),
    Replace(Where, u64),
    Write(Where),
    Refuse(Where, usize),
    ShareContent(Where, usize),
    Reserve(usize, u64),
    Restart(usize),
    Recreate(usize),
}

fn anywhere() -> impl Strategy<Value = Where> {
    let place = (0..VMS, 0..2usize, 0..OFFSETS.len(), 0..COUNTS.len());
    place.prop_map(|(vm, anchor, offset, count)| Where { vm, mapped: false, step: 0, anchor, offset, count })
}

fn where_mapped() -> impl Strategy<Value = Where> {
    let mapped = prop::bool::weighted(0.8);
    (anywhere(), mapped, 0..64usize).prop_map(|(place, mapped, step)| Where { mapped, step, ..place })
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        4 => (anywhere(), 0..BORROWED.len(), 0..KINDS.len(), 0..MEMORIES.len())
            .prop_map(|(place, pa, kind, memory)| MapBorrowed(place, pa, kind, memory)),
        4 => anywhere().prop_map(MapOwned),
        4 => (anywhere(), 0u64..2).prop_map(|(place, first)| MapArchive(place, first)),
        3 => where_mapped().prop_map(Unmap),
        5 => (where_mapped(), 0..KINDS.len()).prop_map(|(place, kind)| Protect(place, kind)),
        2 => (where_mapped(), any::<bool>(), any::<bool>()).prop_map(|(place, pages, merge)| Split(place, pages, merge)),
        3 => where_mapped().prop_map(Merge),
        3 => (where_mapped(), 0u64..4).prop_map(|(place, page)| Replace(place, page)),
        8 => where_mapped().prop_map(Write),
        8 => (where_mapped(), any::<usize>()).prop_map(|(place, access)| Refuse(place, access)),
        3 => (where_mapped(), 0..VMS).prop_map(|(place, other)| ShareContent(place, other)),
        3 => (0..VMS, 1u64..40).prop_map(|(vm, count)| Reserve(vm, count)),
        2 => (0..VMS).prop_map(Restart),
        1 => (0..VMS).prop_map(Recreate),
    ]
}

/// The pages that an operation is about; `None` if they are not all in the guest's space.
fn resolve(world: &World, anchors: [usize; 2], place: Where) -> Option<Place> {
    let model = &world.guests[place.vm].model;
    if place.mapped {
        return in_step(&model.mapped(), place);
    }
    let first = ANCHORS[anchors[place.anchor]] + OFFSETS[place.offset];
    let count = COUNTS[place.count];
    (first + count <= model.pages()).then_some(Place { vm: place.vm, first, count })
}

/// A part of something mapped: at its start, a little further on, in the middle, or all of it.
fn in_step(steps: &[(u64, u64, Page)], place: Where) -> Option<Place> {
    let shared: Vec<_> = steps.iter().filter(|step| step.2.state & COPY_ON_WRITE != 0).collect();
    let (first, count, _) = match shared.get(place.step % 8) {
        Some(step) => **step,
        None => *steps.get(place.step % steps.len().max(1))?,
    };
    let offset = [0, 0, 1 % count, OFFSETS[place.offset] % count, count / 2][place.offset % 5];
    let length = [1, count, COUNTS[place.count]][place.count % 3].min(count - offset);
    Some(Place { vm: place.vm, first: first + offset, count: length })
}

fn carry_out(world: &mut World, anchors: [usize; 2], operation: Operation) -> Option<()> {
    use Operation::*;
    let at = |world: &World, place| resolve(world, anchors, place);
    match operation {
        MapBorrowed(place, pa, kind, memory) => world.map_borrowed(at(world, place)?, pa, kind, memory),
        MapOwned(place) => world.map_owned(at(world, place)?),
        MapArchive(place, part) => world.map_archive(at(world, place)?, part),
        Unmap(place) => world.unmap(at(world, place)?),
        Protect(place, kind) => world.protect(at(world, place)?, kind),
        Split(place, pages, merge) => {
            let place = at(world, place)?;
            world.split(place, pages);
            if merge {
                world.end();
                world.merge(place);
            }
        }
        Merge(place) => world.merge(at(world, place)?),
        Replace(place, page) => world.replace(at(world, place)?, page),
        Write(place) => world.write(at(world, place)?),
        Refuse(place, access) => world.refuse(at(world, place)?, access),
        ShareContent(place, other) => world.share_content(at(world, place)?, other),
        Reserve(index, count) => world.reserve(index, count),
        Restart(index) => world.restart(index),
        Recreate(index) => world.recreate(index),
    }
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_operation_does_what_the_model_says(
        anchors in [0..ANCHORS.len(), 0..ANCHORS.len()],
        operations in prop::collection::vec(operation(), 1..100),
    ) {
        let mut world = World::new();
        for operation in operations {
            carry_out(&mut world, anchors, operation);
            world.check();
        }
        world.finish();
    }
}
