//! What a running guest causes allocates nothing: counted by this test program's own allocator.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tessera_memory::frames::NoneShared;
use tessera_memory::physmap::Outcome;
use tessera_memory::vmid::VmidBits;
use tessera_memory::{
    Attributes, Context, FaultKind, Frames, Geometry, GuestFault, Ipa, Owner, Pa, PhysMap, PhysicalMemory, Reservation,
    Span, TlbMaintenance, Va, VmId, VmidAllocator,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator, which keeps the contract; a count beside it changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` used the heap.
fn heap_uses<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.get();
    let result = work();
    (ALLOCATIONS.get() - before, result)
}

const FRAMES: u64 = 0x4000;
/// The archive's image: three blocks of 2 MiB and some pages more.
const IMAGE: u64 = 3 * 512 + 9;
const ARCHIVE: u64 = 0x200;
const RAM: u64 = 0x1000;
const SHARED_AT: u64 = 0x4_0000;
const GUESTS: u16 = 5;

/// Memory and nothing else: TLBs are another test's.
struct Flat(Vec<u64>);

impl Flat {
    fn words(&mut self, frames: Span<Pa>) -> &mut [u64] {
        &mut self.0[frames.start().get() as usize / 8..][..frames.bytes() as usize / 8]
    }
}

impl PhysicalMemory for Flat {
    fn read(&self, address: Pa) -> u64 {
        self.0[address.get() as usize / 8]
    }

    fn write(&mut self, address: Pa, value: u64) {
        self.0[address.get() as usize / 8] = value;
    }

    fn publish(&mut self) {}

    fn zero(&mut self, frames: Span<Pa>) {
        self.words(frames).fill(0);
    }

    fn copy_page(&mut self, from: Pa, to: Pa) {
        let from = from.get() as usize / 8;
        self.0.copy_within(from..from + 512, to.get() as usize / 8);
    }
}

impl TlbMaintenance for Flat {
    fn invalidate_ipa(&mut self, _: Context, _: Ipa) {}
    fn invalidate_stage_1(&mut self, _: Context) {}
    fn invalidate_all(&mut self, _: Context) {}
    fn complete(&mut self) {}
    fn synchronize(&mut self) {}
}

struct Guest {
    map: PhysMap,
    reservation: Reservation,
}

struct Machine {
    memory: Flat,
    frames: Frames,
    guests: Vec<Guest>,
}

fn span(first: u64, count: u64) -> Span<Pa> {
    Span::new(Pa::new(first << 12), count << 12).unwrap()
}

fn page(number: u64) -> Ipa {
    Ipa::new((SHARED_AT + number) << 12)
}

impl Machine {
    fn new() -> Self {
        let mut frames = Frames::new();
        frames.add_memory(span(RAM, FRAMES - RAM)).unwrap();
        frames.adopt(span(ARCHIVE, IMAGE), Owner::Archive).unwrap();
        let mut memory = Flat(vec![0; FRAMES as usize * 512]);
        (0..IMAGE).for_each(|page| memory.words(span(ARCHIVE + page, 1)).fill(!page));
        let mut vmids = VmidAllocator::new(VmidBits::Eight);
        let mut machine = Self { memory, frames, guests: Vec::new() };
        (0..GUESTS).for_each(|index| machine.add(VmId(index), &mut vmids));
        machine
    }

    /// As the hypervisor does it: the image by blocks, and frames set aside for all of it.
    fn add(&mut self, vm: VmId, vmids: &mut VmidAllocator) {
        let geometry = Geometry::new(40, 5).unwrap();
        let tables = &mut self.frames.tables(vm);
        let mut map = PhysMap::new(geometry, vmids.allocate().unwrap(), tables, &mut self.memory).unwrap();
        let image = Span::new(page(0), IMAGE << 12).unwrap();
        map.map(image, Pa::new(ARCHIVE << 12), Attributes::ARCHIVE, tables, &mut self.memory).unwrap();
        let reserved = IMAGE + map.tables_for_pages(image, &self.memory);
        self.guests.push(Guest { map, reservation: self.frames.reserve(vm, reserved).unwrap() });
    }

    /// A guest writes a page: copied if it was shared.
    fn write(&mut self, guest: usize, number: u64, value: u64) {
        let Guest { map, reservation } = &mut self.guests[guest];
        let fault = GuestFault { page: page(number), kind: FaultKind::Write, va: Va::new(0) };
        let outcome = map.resolve(&fault, Some(reservation), &mut NoneShared, &mut self.memory).unwrap();
        assert!(matches!(outcome, Outcome::Copied { .. } | Outcome::Allowed));
        let frame = self.frame(guest, number);
        self.memory.words(span(frame, 1))[7] = value;
    }

    /// A guest starts again.
    fn restart(&mut self, guest: usize) {
        let Guest { map, reservation } = &mut self.guests[guest];
        let mut number = 0;
        while number < IMAGE {
            let pa = Pa::new((ARCHIVE + number) << 12);
            number += map.share_again(page(number), pa, reservation, &mut self.memory).unwrap() >> 12;
        }
    }

    fn frame(&self, guest: usize, number: u64) -> u64 {
        let mapping = self.guests[guest].map.translate(page(number), &self.memory).unwrap();
        mapping.pa_of(page(number)).unwrap().page_number()
    }
}

#[test]
fn sharers_that_write_everything_never_fail_and_use_no_heap() {
    let mut machine = Machine::new();
    let before = machine.frames.free_frames();
    let (uses, ()) = heap_uses(|| {
        // Backwards, and in turns.
        for number in (0..IMAGE).rev() {
            (0..usize::from(GUESTS)).for_each(|guest| machine.write(guest, number, guest as u64));
        }
    });
    assert_eq!((uses, machine.frames.free_frames()), (0, before));
    for guest in 0..usize::from(GUESTS) {
        assert_eq!(machine.guests[guest].reservation.left(), 0);
        for number in 0..IMAGE {
            let frame = machine.frame(guest, number);
            let words = machine.memory.words(span(frame, 1));
            assert_eq!((words[6], words[7], words[511]), (!number, guest as u64, !number));
        }
    }
}

#[test]
fn a_hundred_restarts_lose_no_frame_and_use_no_heap() {
    let mut machine = Machine::new();
    let free = machine.frames.free_frames();
    let sizes: Vec<u64> = machine.guests.iter().map(|guest| guest.reservation.size()).collect();
    let (uses, ()) = heap_uses(|| {
        for round in 0..100 {
            let guest = round % usize::from(GUESTS);
            // Other pages each time; the tables of blocks that were split once stay.
            (0..IMAGE)
                .filter(|number| (number * 7 + round as u64) % 5 < 3)
                .for_each(|number| machine.write(guest, number, 1));
            machine.restart(guest);
            assert!((0..IMAGE).all(|number| machine.frame(guest, number) == ARCHIVE + number));
            assert!(machine.guests[guest].reservation.left() >= sizes[guest] - 3);
        }
    });
    assert_eq!((uses, machine.frames.free_frames()), (0, free));
    assert!((0..IMAGE).all(|page| machine.memory.words(span(ARCHIVE + page, 1)).iter().all(|word| *word == !page)));
    // And afterwards everything can still be written.
    (0..IMAGE).for_each(|number| machine.write(0, number, 1));
    assert_eq!(machine.guests[0].reservation.left(), 0);
}
