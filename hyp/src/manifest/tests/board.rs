//! The VMs against the board and each other.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use dtoolkit::model::DeviceTree;

use super::sample::{add, archive, blob, good, pair, remove, set};
use crate::manifest::{BoardFacts, Manifest, Placement, Reserved, Span};

const RAM: [Span; 1] = [Span { start: 0x4000_0000, bytes: 0x4000_0000 }];
const RESERVED: [Reserved<'static>; 3] = [
    Reserved { owner: "EL2", span: Span { start: 0x4000_0000, bytes: 0x40_0000 } },
    Reserved { owner: "EL2's UART", span: Span { start: 0x0900_0000, bytes: 0x1000 } },
    Reserved { owner: "the GIC", span: Span { start: 0x0800_0000, bytes: 0x10_0000 } },
];

pub(super) fn facts() -> BoardFacts<'static> {
    BoardFacts {
        cores: 4,
        available_memory: 0x2000_0000,
        ram: &RAM,
        reserved: &RESERVED,
        gic_version: 3,
        spis: 256,
        reserved_spis: &[1],
        ipa_bits: 40,
    }
}

fn validated(facts: &BoardFacts<'_>, change: impl FnOnce(&mut DeviceTree)) -> Result<Vec<Placement>, String> {
    let mut tree = good();
    change(&mut tree);
    let manifest = Manifest::parse(&blob(&tree), &archive()).expect("good by itself");
    manifest.validate(facts).map_err(|error| error.to_string())
}

#[track_caller]
fn expect(facts: &BoardFacts<'_>, change: impl FnOnce(&mut DeviceTree), message: &str) {
    let error = validated(facts, change).expect_err("this does not fit the board");
    assert_eq!(error, std::format!("manifest: VM {message}"));
}

fn unchanged(_: &mut DeviceTree) {}

#[test]
fn counted_cores_are_the_ones_nobody_lists() {
    let placements = validated(&facts(), unchanged).expect("fits");
    let cores: Vec<_> = placements.iter().map(|placement| &placement.cores[..]).collect();
    assert_eq!(cores, [&[1, 2][..], &[0]]);
    assert!(placements.iter().all(|placement| placement.gic_version == 3));
}

#[test]
fn vms_that_list_the_same_core_share_it() {
    let both_on_core_0 = |t: &mut DeviceTree| {
        remove(t, "/vm@0/cpus");
        set(t, "/vm@0/cores", [3u32, 0]);
    };
    let placements = validated(&facts(), both_on_core_0).expect("fits");
    assert_eq!(placements[0].cores, vec![3, 0]);
    assert_eq!(placements[1].cores, vec![0]);
}

#[test]
fn cores_that_are_not_there_are_refused() {
    let two = BoardFacts { cores: 2, ..facts() };
    expect(
        &two,
        unchanged,
        "`linux`: cpus: wants 2, but of the board's 2 cores only 1 are left: give the VMs fewer or the machine more",
    );
    expect(
        &facts(),
        |t| set(t, "/vm@1/cores", [4u32]),
        "`rtos`: cores: there is no core 4: this board has cores 0 to 3",
    );
    expect(
        &facts(),
        |t| set(t, "/vm@1/cores", [u32::MAX]),
        "`rtos`: cores: there is no core 4294967295: this board has cores 0 to 3",
    );
}

#[test]
fn memory_that_is_not_there_is_refused() {
    let little = BoardFacts { available_memory: 0x1000_0000 + 0x1000, ..facts() };
    expect(
        &little,
        unchanged,
        "`rtos`: memory: wants 16388 KiB, but of the board's 262148 KiB for guests only 4 KiB are left: give the VMs less or the machine more",
    );
    let exact = BoardFacts { available_memory: 0x1000_0000 + 0x100_0000 + 0x1000, ..facts() };
    validated(&exact, unchanged).expect("exactly enough");
    let sums_overflow = |t: &mut DeviceTree| {
        set(t, "/vm@0/memory@40000000/reg", pair(0x4000_0000, 0xff_0000_0000));
    };
    let error = validated(&facts(), sums_overflow).expect_err("a terabyte");
    assert!(error.contains("wants 1069547520 KiB"), "{error}");
}

#[test]
fn machine_memory_is_ram_that_nobody_else_has() {
    let machine = "/vm@1/memory@50000000/machine";
    let place = "`rtos`: memory@50000000/machine:";
    expect(
        &facts(),
        |t| set(t, machine, 0x4000_0000u64),
        &std::format!("{place} 0x40000000..0x41000000 belongs to EL2 (0x40000000..0x40400000): choose another"),
    );
    expect(
        &facts(),
        |t| set(t, machine, 0x7f80_0000u64),
        &std::format!("{place} 0x7f800000..0x80800000 is not RAM on this board: choose another"),
    );
    expect(
        &facts(),
        |t| set(t, "/vm@0/memory@40000000/machine", 0x4800_0000u64),
        &std::format!(
            "{place} 0x50000000..0x51000000 is given to VM `linux` already (memory@40000000/machine): give it to one of them"
        ),
    );
}

#[test]
fn a_device_is_given_once_and_not_if_el2_needs_it() {
    let machine = "/vm@1/device@a000000/machine";
    let place = "`rtos`: device@a000000/machine:";
    expect(
        &facts(),
        |t| set(t, machine, 0x0900_0000u64),
        &std::format!("{place} 0x9000000..0x9001000 belongs to EL2's UART (0x9000000..0x9001000): choose another"),
    );
    expect(
        &facts(),
        |t| set(t, machine, 0x080f_f000u64),
        &std::format!("{place} 0x80ff000..0x8100000 belongs to the GIC (0x8000000..0x8100000): choose another"),
    );
    expect(
        &facts(),
        |t| set(t, machine, 0x6000_0000u64),
        &std::format!("{place} 0x60000000..0x60001000 is RAM, not a device: give it as memory"),
    );
    expect(
        &facts(),
        |t| passthrough(t, 0x0a00_3000, 50),
        &std::format!(
            "{place} 0xa003000..0xa004000 is given to VM `linux` already (device@a000000/machine): give it to one of them"
        ),
    );
}

/// `linux` has 0xa003000 to 0xa003200 of the page from 0xa003000 on by sub-page.
fn first_part(tree: &mut DeviceTree) {
    passthrough(tree, 0x0a00_3000, 50);
    set(tree, "/vm@0/device@a000000/reg", pair(0x0a00_0000, 0x200));
    set(tree, "/vm@0/device@a000000/sub-page", [0u32; 0]);
}

/// What `rtos` has is by sub-page, and of this page.
fn second_part(tree: &mut DeviceTree, offset: u64, bytes: u64) {
    set(tree, "/vm@1/device@a000000/reg", pair(0x0a00_0000 + offset, bytes));
    set(tree, "/vm@1/device@a000000/machine", 0x0a00_3000 + offset);
    set(tree, "/vm@1/device@a000000/sub-page", [0u32; 0]);
}

#[test]
fn parts_of_a_page_are_given_once_and_none_with_the_page() {
    let parts = |offset, bytes| {
        move |tree: &mut DeviceTree| {
            first_part(tree);
            second_part(tree, offset, bytes);
        }
    };
    validated(&facts(), parts(0x200, 0xe00)).expect("disjoint");
    let place = |offset| std::format!("`rtos`: device@{:x}/machine:", 0x0a00_0000 + offset);
    let given = "is given to VM `linux` already (device@a000000/machine): give it to one of them";
    expect(&facts(), parts(0x1fc, 4), &std::format!("{} 0xa0031fc..0xa003200 {given}", place(0x1fc)));
    expect(&facts(), first_part, &std::format!("{} 0xa003000..0xa004000 {given}", place(0)));
    // A device of EL2's may be in the same page, memory not.
    let kept = [Reserved { owner: "EL2's UART", span: Span { start: 0x0a00_3040, bytes: 0x40 } }];
    let beside_el2 = BoardFacts { reserved: &kept, ..facts() };
    validated(&beside_el2, |tree| second_part(tree, 0x80, 0x40)).expect("disjoint");
    let message = "0xa00307f..0xa003080 belongs to EL2's UART (0xa003040..0xa003080): choose another";
    expect(&beside_el2, |tree| second_part(tree, 0x7f, 1), &std::format!("{} {message}", place(0x7f)));
    let ram = [Span { start: 0x4000_0000, bytes: 0x4000_0000 }, Span { start: 0x0a00_3800, bytes: 0x800 }];
    let beside_ram = BoardFacts { ram: &ram, ..facts() };
    let message = "0xa003000..0xa003004 is RAM, not a device: give it as memory";
    expect(&beside_ram, |tree| second_part(tree, 0, 4), &std::format!("{} {message}", place(0)));
}

/// Gives `linux` a device, too.
fn passthrough(tree: &mut DeviceTree, machine: u64, spi: u32) {
    add(tree, "/vm@0/device@a000000");
    set(tree, "/vm@0/device@a000000/kind", "passthrough");
    set(tree, "/vm@0/device@a000000/reg", pair(0x0a00_0000, 0x1000));
    set(tree, "/vm@0/device@a000000/machine", machine);
    set(tree, "/vm@0/device@a000000/interrupts", [spi, 4]);
}

#[test]
fn an_interrupt_is_given_once_and_not_if_el2_needs_it() {
    let interrupts = "/vm@1/device@a000000/interrupts";
    let place = "`rtos`: device@a000000/interrupts:";
    expect(
        &facts(),
        |t| set(t, interrupts, [256u32, 4]),
        &std::format!("{place} SPI 256, but this board's GIC has 256"),
    );
    expect(
        &BoardFacts { reserved_spis: &[40], ..facts() },
        unchanged,
        &std::format!("{place} SPI 40 is used by EL2 itself"),
    );
    expect(
        &facts(),
        |t| passthrough(t, 0x0a01_0000, 40),
        &std::format!("{place} SPI 40 is given to VM `linux` already: give it to one of them"),
    );
    validated(&facts(), |t| passthrough(t, 0x0a01_0000, 41)).expect("another interrupt is fine");
}

#[test]
fn the_gic_is_the_boards() {
    expect(
        &facts(),
        |t| set(t, "/vm@0/gic/version", 2u32),
        "`linux`: gic/version: this board has a GICv3: ask for that or leave it out",
    );
    let old = BoardFacts { gic_version: 2, cores: 16, ..facts() };
    expect(&old, |t| set(t, "/vm@0/cpus", 9u32), "`linux`: cpus: 9 vCPUs, but a GICv2 has room for 8");
    let placements = validated(&old, unchanged).expect("fits");
    assert_eq!(placements[0].gic_version, 2);
}

#[test]
fn addresses_fit_the_boards_width() {
    let narrow = BoardFacts { ipa_bits: 32, available_memory: u64::MAX, ..facts() };
    expect(
        &narrow,
        |t| set(t, "/vm@0/memory@40000000/reg", pair(0x4000_0000, 0xc000_1000)),
        "`linux`: memory@40000000: 0x40000000..0x100001000 goes beyond this board's guest physical addresses of 32 bits: place it below 0x100000000",
    );
    let fits = |t: &mut DeviceTree| {
        set(t, "/vm@0/memory@40000000/reg", pair(0x4000_0000, 0xc000_0000));
    };
    validated(&narrow, fits).expect("up to the last address");
}
