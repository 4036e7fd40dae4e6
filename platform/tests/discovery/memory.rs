//! Memory and what of it is reserved.

use super::common::Machine;
use tessera_platform::Span;
use tessera_platform::board::Reservation;
use tessera_platform::tree::Tree;

const NOTHING: [u8; 0] = [];

fn span(start: u64, size: u64) -> Span {
    Span::new(start, size).unwrap()
}

fn memory(regions: &[u32]) -> Machine {
    Machine::new().set("/memory@40000000", "reg", regions)
}

#[test]
fn memory_is_sorted_and_merged_across_nodes() {
    let machine = memory(&[0, 0x8000_0000, 0, 0x1000, 0, 0x4000_0000, 0, 0x1000])
        .set("/memory@1", "device_type", "memory")
        .set("/memory@1", "reg", [0_u32, 0x4000_0800, 0, 0x1000, 8, 0, 1, 0, 0, 0x9000_0000, 0, 0])
        .set("/memory@2", "device_type", "memory")
        .set("/memory@2", "status", "disabled")
        .set("/memory@2", "reg", [0_u32, 0, 0, 0x1000]);
    let expected = [span(0x4000_0000, 0x1800), span(0x8000_0000, 0x1000), span(0x8_0000_0000, 0x1_0000_0000)];
    assert_eq!(machine.board().memory, expected);
}

#[test]
fn memory_that_is_missing_or_unreadable_is_refused() {
    memory(&[0, 0x4000_0000, 0, 0]).refused("/memory", "reg", "no memory");
    Machine::new().without_node("memory@40000000").refused("/memory", "reg", "no memory");
    memory(&[0, 0x4000_0000, 0]).refused("/memory@40000000", "reg", "2-cell addresses and 2-cell sizes");
    memory(&[]).refused("/memory@40000000", "reg", "2-cell addresses");
    memory(&[0, 0x4000_0000, 0xffff_ffff, 0xffff_ffff]).refused("/memory@40000000", "reg", "beyond 52-bit");
    memory(&[0x10_0000, 0, 0, 1]).refused("/memory@40000000", "reg", "beyond 52-bit");
}

#[test]
fn the_root_says_how_wide_addresses_are() {
    let machine = Machine::empty().set("/", "#address-cells", 1_u32).set("/", "#size-cells", 0_u32);
    let machine = machine.set("/bus", "#address-cells", 1_u32).set("/bus", "ranges", NOTHING);
    let machine = machine.set("/bus/device", "reg", [0x1000_u32, 0x10]);
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(tree.by_path("/bus/device").unwrap().registers().unwrap(), [span(0x1000, 0x10)]);
    memory(&[]).set("/", "#address-cells", 3_u32).refused("/", "#address-cells", "not 0, 1 or 2");
    memory(&[]).set("/", "#size-cells", [1_u32, 2]).refused("/", "#size-cells", "not 0, 1 or 2");
}

#[test]
fn reserved_memory_is_listed_with_its_kind() {
    let machine = Machine::new()
        .reserve(0x4000_0000, 0x1000)
        .reserve(0x4100_0000, 0)
        .set("/reserved-memory", "#address-cells", 2_u32)
        .set("/reserved-memory", "#size-cells", 1_u32)
        .set("/reserved-memory", "ranges", NOTHING)
        .set("/reserved-memory/firmware@1", "reg", [0_u32, 0x4200_0000, 0x2000, 0, 0x4300_0000, 0x1000])
        .set("/reserved-memory/firmware@1", "no-map", NOTHING)
        .set("/reserved-memory/buffer", "reg", [0_u32, 0x4400_0000, 0x1000])
        .set("/reserved-memory/wish", "size", 0x1000_u32)
        .set("/reserved-memory/off", "reg", [0_u32, 0x4500_0000, 0x1000])
        .set("/reserved-memory/off", "status", "disabled");
    let reservation =
        |start, size, no_map, name: &str| Reservation { span: span(start, size), no_map, name: name.into() };
    let board = machine.board();
    assert_eq!(
        board.reserved,
        [
            reservation(0x4000_0000, 0x1000, false, ""),
            reservation(0x4200_0000, 0x2000, true, "firmware@1"),
            reservation(0x4300_0000, 0x1000, true, "firmware@1"),
            reservation(0x4400_0000, 0x1000, false, "buffer"),
        ]
    );
    let free = board.free_memory(&[span(0x4400_1000, 0xbff_f000)]);
    assert_eq!(
        free,
        [
            Span::between(0x4000_1000, 0x4200_0000).unwrap(),
            Span::between(0x4200_2000, 0x4300_0000).unwrap(),
            Span::between(0x4300_1000, 0x4400_0000).unwrap(),
        ]
    );
}

#[test]
fn reserved_memory_that_has_no_place_is_refused() {
    let machine = Machine::new().set("/reserved-memory", "#address-cells", 2_u32).set(
        "/reserved-memory/a",
        "reg",
        [0_u32, 0x4200_0000, 0x2000],
    );
    machine.clone().refused("/reserved-memory", "ranges", "does not say where its address 0x42000000 is");
    let machine = machine.set("/reserved-memory", "ranges", NOTHING);
    machine.board();
    machine.set("/reserved-memory/a", "reg", [0_u32, 0x4200_0000]).refused(
        "/reserved-memory/a",
        "reg",
        "does not consist",
    );
}

#[test]
fn what_is_loaded_lies_in_memory_that_may_be_mapped() {
    let board = memory(&[0, 0x4000_0000, 0, 0x1000_0000, 0, 0x5000_0000, 0, 0x1000])
        .reserve(0x4800_0000, 0x10_0000)
        .set("/reserved-memory", "#address-cells", 2_u32)
        .set("/reserved-memory", "#size-cells", 1_u32)
        .set("/reserved-memory", "ranges", NOTHING)
        .set("/reserved-memory/buffer", "reg", [0_u32, 0x4400_0000, 0x1000])
        .set("/reserved-memory/secure@1", "reg", [0_u32, 0x4200_0000, 0x2000])
        .set("/reserved-memory/secure@1", "no-map", NOTHING)
        .board();
    let check = |start, size| board.check_in_memory("the initrd", span(start, size));
    // The loader's own reservations protect what it loaded; the two memories touch.
    for (start, size) in [(0x4000_0000, 0x1000), (0x4800_0000, 0x10_0000), (0x4400_0800, 0x1000), (0x4fff_f000, 0x2000)]
    {
        assert_eq!(check(start, size), Ok(()), "{start:#x}");
    }
    for (start, size) in [(0x3fff_f000, 0x2000), (0x5000_0000, 0x2000), (0x6000_0000, 0x1000)] {
        let error = check(start, size).unwrap_err();
        assert_eq!((error.path(), error.property()), ("/memory", "reg"), "{error}");
        assert!(error.problem().contains("the initrd at 0x") && error.problem().contains(" is not in it"), "{error}");
    }
    for (start, size) in [(0x4200_0000, 0x1000), (0x41ff_f000, 0x1001), (0x4100_0000, 0x200_0000)] {
        let error = check(start, size).unwrap_err();
        assert_eq!((error.path(), error.property()), ("/reserved-memory/secure@1", "no-map"), "{error}");
        assert!(error.problem().contains("the initrd at 0x") && error.problem().contains(" overlaps it"), "{error}");
    }
    assert_eq!((check(0x41ff_f000, 0x1000), check(0x4200_2000, 0x1000)), (Ok(()), Ok(())));
}
