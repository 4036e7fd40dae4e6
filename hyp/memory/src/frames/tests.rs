//! Allocation, promises, owners and counts; maps are not needed for any of it.

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ONE: VmId = VmId(1);
const TWO: VmId = VmId(2);

fn span(first: u64, count: u64) -> Span<Pa> {
    Span::new(Pa::new(first * 4096), count * 4096).unwrap()
}

fn ipa(first: u64, count: u64) -> Span<Ipa> {
    Span::new(Ipa::new(first * 4096), count * 4096).unwrap()
}

fn pa(frame: u64) -> Pa {
    Pa::new(frame * 4096)
}

fn with(spans: &[(u64, u64)]) -> Frames {
    let mut frames = Frames::new();
    spans.iter().for_each(|(first, count)| frames.add_memory(span(*first, *count)).unwrap());
    frames
}

#[test]
fn memory_is_added_once() {
    let mut frames = with(&[(0x100, 0x100)]);
    assert_eq!(frames.add_memory(span(0x1ff, 2)), Err(Error::FrameKnown(pa(0x1ff))));
    assert_eq!(frames.adopt(span(0xff, 2), Owner::Archive), Err(Error::FrameKnown(pa(0xff))));
    frames.adopt(span(0x200, 2), Owner::Archive).unwrap();
    assert_eq!(frames.add_memory(span(0x201, 1)), Err(Error::FrameKnown(pa(0x201))));
    let odd = Span::new(Pa::new(0x800), 0x1000).unwrap();
    assert_eq!(frames.add_memory(odd), Err(Error::Unaligned));
    assert_eq!(frames.free_frames(), 0x100);
}

#[test]
fn allocations_are_naturally_aligned_and_apart() {
    let mut frames = with(&[(0x101, 0x3fe)]);
    let mut seen = BTreeSet::new();
    for order in [0, 3, 5, 1, 0, 7, 4] {
        let found = frames.allocate(Owner::Hypervisor, order).unwrap().will_be_overwritten();
        assert_eq!(found.bytes(), 4096 << order);
        assert!(found.start().is_aligned(4096 << order));
        assert!(found.pages().all(|page| seen.insert(page)));
    }
    assert_eq!(frames.free_frames(), 0x3fe - seen.len() as u64);
    assert_eq!(frames.allocate(Owner::Hypervisor, 19).err(), Some(Error::OutOfFrames));
    assert_eq!(frames.allocate(Owner::Hypervisor, 10).err(), Some(Error::OutOfFrames));
}

#[test]
fn a_frame_is_freed_once_and_by_its_owner() {
    let mut frames = with(&[(0, 16)]);
    let mine = frames.allocate(Owner::Vm(ONE), 2).unwrap().will_be_overwritten();
    let first = mine.start();
    assert_eq!(frames.free(Owner::Vm(TWO), mine), Err(Error::NotOwner(first)));
    assert_eq!(frames.free(Owner::Hypervisor, mine), Err(Error::NotOwner(first)));
    frames.free(Owner::Vm(ONE), Span::page(first).unwrap()).unwrap();
    assert_eq!(frames.free(Owner::Vm(ONE), mine), Err(Error::NotOwner(first)));
    assert_eq!(frames.check_returned(ONE), Err(Error::Leaked(Owner::Vm(ONE), 3)));
    let (_, rest) = mine.split_at(4096).unwrap();
    frames.free(Owner::Vm(ONE), rest).unwrap();
    assert_eq!(frames.free(Owner::Vm(ONE), rest), Err(Error::NotOwner(rest.start())));
    assert_eq!((frames.check_returned(ONE), frames.free_frames()), (Ok(()), 16));
    assert_eq!(frames.free(Owner::Vm(ONE), span(100, 1)), Err(Error::NotOwner(pa(100))));
}

#[test]
fn a_guest_gets_few_large_pieces_and_nothing_more() {
    // 100 MiB at 1 GiB, out of 128 MiB that start 1 MiB past a boundary of 2 MiB.
    let mut frames = with(&[(0x100, 0x8000)]);
    let pieces = frames.allocate_guest(ONE, ipa(0x4_0000, 25600)).unwrap().will_be_overwritten();
    assert_eq!(frames.free_frames(), 0x8000 - 25600);
    assert!(pieces.len() <= 3, "{pieces:x?}");
    let congruent = |piece: &GuestSpan| (piece.ipa().start().get() ^ piece.frames().start().get()) & 0x1f_ffff == 0;
    assert!(pieces.iter().all(congruent));
    pieces.iter().for_each(|piece| frames.free(Owner::Vm(ONE), piece.frames()).unwrap());
    assert_eq!((frames.free_frames(), frames.check_returned(ONE)), (0x8000, Ok(())));
}

#[test]
fn a_fragmented_pool_still_gives_all_it_has() {
    let mut frames = with(&[(0, 64)]);
    let all: Vec<_> = (0..64).map(|_| frames.allocate(Owner::Hypervisor, 0).unwrap().will_be_overwritten()).collect();
    all.iter().filter(|page| page.start().page_number() % 2 == 1).for_each(|page| {
        frames.free(Owner::Hypervisor, *page).unwrap();
    });
    assert_eq!(frames.allocate_guest(ONE, ipa(0, 33)).err(), Some(Error::OutOfFrames));
    assert_eq!(frames.free_frames(), 32);
    let pieces = frames.allocate_guest(ONE, ipa(0, 32)).unwrap().will_be_overwritten();
    assert_eq!((pieces.len(), frames.free_frames()), (32, 0));
}

#[test]
fn an_exact_span_is_all_free_or_not_given() {
    let mut frames = with(&[(0x40, 0x40), (0x80, 0x81)]);
    let taken = frames.allocate_exact(Owner::Vm(ONE), span(0x90, 1)).unwrap().will_be_overwritten();
    assert_eq!(frames.allocate_exact(Owner::Vm(TWO), span(0x50, 0x41)).err(), Some(Error::FrameNotFree(pa(0x90))));
    assert_eq!(frames.allocate_exact(Owner::Vm(TWO), span(0x100, 2)).err(), Some(Error::FrameNotFree(pa(0x101))));
    assert_eq!(frames.allocate_exact(Owner::Vm(TWO), span(0x3f, 2)).err(), Some(Error::FrameNotFree(pa(0x3f))));
    assert_eq!(frames.free_frames(), 0xc0);
    frames.free(Owner::Vm(ONE), taken).unwrap();
    // Across the two parts.
    let all = frames.allocate_exact(Owner::Vm(TWO), span(0x41, 0xbf)).unwrap().will_be_overwritten();
    assert_eq!((all, frames.free_frames()), (span(0x41, 0xbf), 2));
}

#[test]
fn what_is_set_aside_is_nobody_elses() {
    let mut frames = with(&[(3, 61)]);
    let mut mine = frames.reserve(ONE, 10).unwrap();
    let other = frames.reserve(TWO, 20).unwrap();
    assert_eq!(frames.reserve(ONE, 32).err(), Some(Error::OutOfFrames));
    assert_eq!(frames.free_frames(), 31);
    while frames.allocate(Owner::Hypervisor, 0).is_ok() {}
    let taken: Vec<Pa> = (0..10).map(|_| mine.take_frame().unwrap().will_be_overwritten().start()).collect();
    assert!(taken.is_sorted() && taken.iter().all(|pa| frames.owner_of(*pa) == Some(Owner::Reserve(ONE))));
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 10);
    assert_eq!(mine.take_frame().err(), Some(Error::ReservationEmpty));
    assert_eq!((frames.unreserve(other), frames.free_frames()), (Ok(()), 20));
    taken.iter().for_each(|pa| mine.give_frame(*pa).unwrap());
    assert_eq!((frames.unreserve(mine), frames.free_frames()), (Ok(()), 30));
}

#[test]
fn a_reserved_frame_is_given_back_once_and_to_its_reservation() {
    let mut frames = with(&[(0, 16), (32, 200)]);
    let mut mine = frames.reserve(ONE, 200).unwrap();
    let first = mine.take_frame().unwrap().will_be_overwritten();
    let second = mine.take_frame().unwrap().will_be_overwritten();
    assert_eq!(frames.free(Owner::Vm(ONE), first), Err(Error::NotOwner(first.start())));
    assert_eq!(frames.make_shared(ONE, first.start()), Err(Error::NotOwner(first.start())));
    mine.give_frame(first.start()).unwrap();
    assert_eq!(mine.give_frame(first.start()), Err(Error::NotOwner(first.start())));
    assert_eq!(mine.give_frame(pa(20)), Err(Error::NotOwner(pa(20))));
    assert_eq!((mine.left(), mine.size()), (199, 200));
    // What was given back is the next that is taken.
    assert_eq!(mine.take_frame().unwrap().will_be_overwritten(), first);
    mine.give(first).unwrap();
    assert_eq!(frames.unreserve(mine), Err(Error::Leaked(Owner::Reserve(ONE), 1)));
    assert_eq!(frames.owner_of(second.start()), Some(Owner::Reserve(ONE)));
}

#[test]
fn a_reservation_is_made_of_what_there_is() {
    for fragments in [1, 2, 3, 7, 64] {
        let parts: Vec<_> = (0..fragments).map(|part| (part * 1000, 700 / fragments)).collect();
        let mut frames = with(&parts);
        let count = frames.free_frames();
        let mut all = frames.reserve(ONE, count).unwrap();
        let taken: BTreeSet<Pa> = (0..count).map(|_| all.take_frame().unwrap().will_be_overwritten().start()).collect();
        assert_eq!((taken.len() as u64, all.left(), frames.free_frames()), (count, 0, 0));
        assert!(taken.iter().all(|pa| pa.page_number() % 1000 < 700 / fragments && all.knows(*pa)));
        taken.iter().rev().for_each(|pa| all.give_frame(*pa).unwrap());
        assert_eq!((frames.unreserve(all), frames.free_frames()), (Ok(()), count));
    }
}

#[test]
fn the_archive_is_neither_counted_nor_freed() {
    let mut frames = Frames::new();
    frames.adopt(span(0x10, 4), Owner::Archive).unwrap();
    assert_eq!(frames.check_archive(span(0x10, 4)), Ok(()));
    assert_eq!(frames.check_archive(span(0x10, 5)), Err(Error::NotOwner(pa(0x14))));
    assert_eq!(frames.share(pa(0x10)), Err(Error::NotShared(pa(0x10))));
    assert_eq!(frames.claim(ONE, pa(0x11)), Err(Error::NotShared(pa(0x11))));
    assert_eq!(frames.release(ONE, pa(0x11)), Err(Error::NotOwner(pa(0x11))));
    assert_eq!(frames.free(Owner::Archive, span(0x10, 1)), Err(Error::Pinned(pa(0x10))));
    assert_eq!(frames.owner_of(pa(0x13)), Some(Owner::Archive));
}

#[test]
fn a_private_frame_can_be_shared_and_outlive_its_owner() {
    let mut frames = with(&[(0, 16)]);
    let page = frames.allocate_exact(Owner::Vm(ONE), span(5, 1)).unwrap().will_be_overwritten();
    assert_eq!(frames.share(pa(5)), Err(Error::NotShared(pa(5))));
    assert_eq!(frames.make_shared(TWO, pa(5)), Err(Error::NotOwner(pa(5))));
    frames.make_shared(ONE, pa(5)).unwrap();
    assert_eq!(frames.make_shared(ONE, pa(5)), Err(Error::Shared(pa(5))));
    frames.share(pa(5)).unwrap();
    assert_eq!(frames.free(Owner::Vm(ONE), page), Err(Error::Shared(pa(5))));
    assert_eq!(frames.claim(TWO, pa(5)), Ok(false));
    assert_eq!(frames.release(ONE, pa(5)), Ok(Released::Kept));
    assert_eq!((frames.check_returned(ONE), frames.free_frames()), (Ok(()), 15));
    assert_eq!(frames.claim(TWO, pa(5)), Ok(true));
    assert_eq!((frames.owner_of(pa(5)), frames.sharers(pa(5))), (Some(Owner::Vm(TWO)), 0));
    assert_eq!(frames.release(ONE, pa(5)), Err(Error::NotOwner(pa(5))));
    assert_eq!(frames.release(TWO, pa(5)), Ok(Released::Freed));
    assert_eq!(frames.free_frames(), 16);
}

#[test]
fn the_last_sharer_frees_a_frame_that_its_owner_left() {
    let mut frames = with(&[(0, 16)]);
    let _ = frames.allocate_exact(Owner::Vm(ONE), span(5, 1)).unwrap();
    frames.make_shared(ONE, pa(5)).unwrap();
    frames.share(pa(5)).unwrap();
    assert_eq!(frames.release(ONE, pa(5)), Ok(Released::Kept));
    assert_eq!(frames.release(TWO, pa(5)), Ok(Released::Freed));
    assert_eq!(frames.release(TWO, pa(5)), Err(Error::NotOwner(pa(5))));
    assert_eq!(frames.free_frames(), 16);
}

#[test]
fn sharers_are_counted_up_to_the_limit() {
    let mut frames = with(&[(0, 1)]);
    let _ = frames.allocate(Owner::Vm(ONE), 0).unwrap();
    frames.make_shared(ONE, pa(0)).unwrap();
    (1..u16::MAX).for_each(|_| frames.share(pa(0)).unwrap());
    assert_eq!(frames.share(pa(0)), Err(Error::TooManySharers(pa(0))));
    assert_eq!(frames.sharers(pa(0)), u16::MAX);
}

#[test]
fn unshared_memory_costs_no_heap_by_the_frame() {
    let mut frames = with(&[(0, 1 << 19)]);
    let _guest = frames.allocate_guest(ONE, ipa(0, 1 << 18)).unwrap();
    for _ in 0..1000 {
        let _one = frames.allocate(Owner::Vm(ONE), 0).unwrap();
    }
    assert!(frames.records.len() < 8 && frames.counts.regions() == 0);
    frames.make_shared(ONE, pa(7)).unwrap();
    assert_eq!(frames.counts.regions(), 1);
    frames.release(ONE, pa(7)).unwrap();
    assert_eq!(frames.counts.regions(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Frames are never with two owners at once, and all of them come back.
    #[test]
    fn no_frame_is_handed_out_twice(steps in prop::collection::vec((0u8..4, 0u64..64, 1u64..40), 1..200)) {
        let mut frames = with(&[(3, 60), (63, 1), (100, 61)]);
        let mut held: Vec<Span<Pa>> = Vec::new();
        for (kind, place, count) in steps {
            let owner = Owner::Vm(ONE);
            let found = match kind {
                0 => frames.allocate(owner, count as u32 % 6).ok().map(|run| vec![run.will_be_overwritten()]),
                1 => frames.allocate_exact(owner, span(place, count)).ok().map(|run| vec![run.will_be_overwritten()]),
                2 => frames.allocate_guest(ONE, ipa(place, count)).ok().map(|pieces| {
                    pieces.will_be_overwritten().iter().map(GuestSpan::frames).collect()
                }),
                _ if held.is_empty() => None,
                _ => {
                    let span = held.swap_remove(place as usize % held.len());
                    frames.free(owner, span).unwrap();
                    None
                }
            };
            for new in found.unwrap_or_default() {
                prop_assert!(held.iter().all(|old| !old.overlaps(new)));
                prop_assert!(new.pages().all(|page| (3..64).contains(&page.page_number())
                    || (100..161).contains(&page.page_number())));
                held.push(new);
            }
            let total: u64 = held.iter().map(|span| span.page_count()).sum();
            prop_assert_eq!(frames.free_frames(), 122 - total);
            prop_assert_eq!(frames.owned_frames(owner), total);
        }
        held.iter().for_each(|span| frames.free(Owner::Vm(ONE), *span).unwrap());
        prop_assert_eq!((frames.free_frames(), frames.check_returned(ONE)), (122, Ok(())));
    }
}
