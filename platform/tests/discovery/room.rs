//! Room in memory that is found before there is a heap.

use super::common::{BLOBS, Machine, blob};
use tessera_platform::tree::{Tree, find_room};
use tessera_platform::{Board, Span};

const MIB: u64 = 1 << 20;
const NOTHING: [u8; 0] = [];

fn span(start: u64, size: u64) -> Span {
    Span::new(start, size).unwrap()
}

/// Memory of 256 MiB from 0x4000_0000 with reservations: of the block, of nodes, and an initrd.
fn machine() -> Machine {
    Machine::new()
        .reserve(0x4fff_f000, 0x1000)
        .set("/reserved-memory", "#address-cells", 2_u32)
        .set("/reserved-memory", "#size-cells", 1_u32)
        .set("/reserved-memory", "ranges", NOTHING)
        .set("/reserved-memory/firmware@1", "reg", [0_u32, 0x4fa0_0000, 0x1000, 0, 0x4f80_0000, 0x1])
        .set("/chosen", "linux,initrd-start", 0x4f20_0000_u32)
        .set("/chosen", "linux,initrd-end", [0_u32, 0x4f3f_ffff])
}

#[test]
fn the_highest_place_that_nobody_has_is_found() {
    let blob = machine().blob();
    let find = |bytes, taken: &[Span]| find_room(&blob, bytes, 2 * MIB, taken).map(Span::start);
    assert_eq!(find(2 * MIB, &[]), Some(0x4fc0_0000), "below the reservation block's entry");
    assert_eq!(find(4 * MIB, &[]), Some(0x4f40_0000), "between the initrd and a node's second region");
    assert_eq!(find(6 * MIB, &[]), Some(0x4ec0_0000), "below the initrd");
    assert_eq!(find(6 * MIB, &[span(0x4ec0_0000, 1)]), Some(0x4e60_0000));
    assert_eq!(find(300 * MIB, &[]), None);
    assert_eq!(find_room(&blob, 2 * MIB, 16 * MIB, &[]).map(Span::start), Some(0x4f00_0000));
}

#[test]
fn memory_that_is_off_or_moved_is_no_room() {
    let find = |machine: Machine| find_room(&machine.blob(), MIB, MIB, &[]);
    assert!(find(machine()).is_some());
    assert_eq!(find(machine().set("/memory@40000000", "status", "disabled")), None);
    assert_eq!(find(machine().set("/memory@40000000", "device_type", "memories")), None);
    // Reservations that lie elsewhere than they say.
    assert_eq!(find(machine().set("/reserved-memory", "ranges", [0_u32, 0, 0, 0x1000_0000, 0x1000_0000])), None);
    assert_eq!(find(machine().set("/", "#address-cells", 7_u32)), None);
}

#[test]
fn what_is_cut_short_or_damaged_has_no_room_or_the_same() {
    let whole = machine().blob();
    let room = find_room(&whole, MIB, MIB, &[]);
    for length in 0..whole.len() {
        assert_eq!(find_room(&whole[..length], MIB, MIB, &[]), None);
    }
    // Tokens that end the walk early: a reservation behind them must not be missed.
    for word in (0..whole.len() / 4).filter(|word| whole[word * 4..][..4] == [0, 0, 0, 1]) {
        let mut damaged = whole.clone();
        damaged[word * 4 + 3] = 9;
        assert!(find_room(&damaged, MIB, MIB, &[]).is_none_or(|found| Some(found) == room));
    }
}

#[test]
fn all_that_a_board_says_is_taken_is_taken_for_every_size() {
    for (name, blob) in BLOBS {
        // The loader fills in the memory of one of them.
        let Ok(board) = Board::discover(blob) else { continue };
        let initrd = board.chosen.initrd;
        for bytes in (0..10).map(|power| MIB << power) {
            let free = board.free_memory(initrd.as_slice());
            let fits = |span: &Span| span.start().next_multiple_of(2 * MIB) + bytes <= span.end();
            let room = find_room(blob, bytes, 2 * MIB, initrd.as_slice());
            assert_eq!(room.is_some(), free.iter().any(fits), "{name}, {bytes:#x}");
            assert!(room.is_none_or(|room| free.iter().any(|free| free.covers(room))), "{name}, {room:?}");
        }
    }
}

#[test]
fn a_tree_needs_no_more_heap_than_is_foreseen() {
    for (name, blob) in BLOBS {
        let tree = Tree::parse(blob).unwrap();
        // 20 bytes for each node, rounded to a power of two.
        assert!(Tree::most_heap(blob) >= (tree.nodes().count() * 20).next_power_of_two(), "{name}");
    }
    assert_eq!(Tree::most_heap(&[]), 1);
    assert!(Tree::most_heap(blob("bcm2711-rpi-4-b")) < 256 << 10);
}
