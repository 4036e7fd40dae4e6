//! Devices of the board's tree: what is added to a VM, and what is refused.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use dtoolkit::fdt::Fdt;
use dtoolkit::model::DeviceTree;
use tessera_platform::assignment::Kept;
use tessera_platform::board::{Board, find_console};
use tessera_platform::tree::Tree;

use super::board::facts;
use super::sample::{add, archive, blob, good, pair, remove, set};
use crate::manifest::{BoardFacts, DeviceKind, Interrupt, Manifest, Span, assign};

const BOARD: &[u8] = include_bytes!("../../../../platform/tests/blobs/virt-gicv3-2.dtb");

/// The good manifest, whose `rtos` gets these devices, on QEMU's `virt`.
fn assigned(devices: &[&str], change: impl FnOnce(&mut DeviceTree)) -> Result<Manifest, String> {
    // Aligned, as a loader gives it.
    let board = BOARD.to_vec();
    assigned_on(&board, devices, change)
}

/// The same on another board.
fn assigned_on(board: &[u8], devices: &[&str], change: impl FnOnce(&mut DeviceTree)) -> Result<Manifest, String> {
    let mut tree = good();
    // The sample's own device and its UART are not the subject.
    remove(&mut tree, "/vm@1/device@a000000");
    set(&mut tree, "/vm@1/board-devices", list(devices));
    set(&mut tree, "/vm@1/memory@0/machine", 0u64);
    change(&mut tree);
    let mut manifest = Manifest::parse(&blob(&tree), &archive()).map_err(|error| error.to_string())?;
    let tree = Tree::parse(board).expect("a real tree");
    let board = Board::from_tree(&tree, find_console(&tree)).expect("a real board");
    let spans = board.own_registers();
    let kept: Vec<_> = spans.iter().map(|span| Kept { owner: "EL2", span: *span }).collect();
    let assignments = assign(&mut manifest, &tree, &kept, &[]).map_err(|error| error.to_string())?;
    assert_eq!(assignments.len(), 2);
    assert_eq!(assignments[1].is_some(), !manifest.vms[1].board_devices.is_empty());
    Ok(manifest)
}

fn list(paths: &[&str]) -> Vec<u8> {
    paths.iter().flat_map(|path| [path.as_bytes(), &[0]].concat()).collect()
}

#[track_caller]
fn refused(devices: &[&str], change: impl FnOnce(&mut DeviceTree), message: &str) {
    let error = assigned(devices, change).expect_err("it is unsafe");
    assert!(error.contains(message) && !error.contains('\n'), "{error}");
}

fn unchanged(_: &mut DeviceTree) {}

#[test]
fn registers_are_added_in_whole_pages_with_the_interrupts() {
    let manifest = assigned(&["/virtio_mmio@a000200", "/pl031@9010000"], unchanged).expect("good");
    let added: Vec<_> = manifest.vms[1].devices.iter().filter(|device| device.machine_span().is_some()).collect();
    let spans: Vec<_> = added.iter().map(|device| (device.span(), device.machine_span())).collect();
    let page = |start| Span { start, bytes: 0x1000 };
    assert_eq!(spans, [(page(0x0901_0000), Some(page(0x0901_0000))), (page(0x0a00_0000), Some(page(0x0a00_0000)))]);
    assert!(added.iter().all(|device| matches!(device.kind, DeviceKind::Passthrough { described: false, .. })));
    assert_eq!(
        manifest.vms[1].board_devices.interrupts,
        vec![Interrupt { spi: 2, edge: false }, Interrupt { spi: 17, edge: true }]
    );
}

#[test]
fn a_device_may_have_interrupts_and_no_registers() {
    let mut board = DeviceTree::from_fdt(&Fdt::new(BOARD).expect("a real tree"));
    add(&mut board, "/alarm");
    set(&mut board, "/alarm/compatible", "test,alarm");
    set(&mut board, "/alarm/interrupts", [0u32, 77, 4]);
    // There is no RAM at 0.
    let without = |tree: &mut DeviceTree| remove(tree, "/vm@1/memory@0");
    let manifest = assigned_on(&blob(&board), &["/alarm"], without).expect("good");
    let vm = &manifest.vms[1];
    assert!(vm.devices.iter().all(|device| device.machine_span().is_none()));
    let ids: Vec<_> = vm.hardware_interrupts().map(|(_, interrupt)| interrupt.spi).collect();
    assert_eq!(ids, [77]);
    let used = |tree: &mut DeviceTree| set(tree, "/vm@1/device@9000000/interrupts", [77u32, 4]);
    let error = assigned_on(&blob(&board), &["/alarm"], used).expect_err("its UART has that interrupt");
    assert!(error.contains("board-devices: SPI 77 belongs to another device already"), "{error}");
    let facts = BoardFacts { reserved_spis: &[77], ..facts() };
    let error = manifest.validate(&facts).expect_err("EL2 has it").to_string();
    assert!(error.contains("VM `rtos`: board-devices: SPI 77 is used by EL2 itself"), "{error}");
}

#[test]
fn everything_but_some() {
    let everything = |except: &[&str]| {
        let except = list(except);
        assigned(&[], |tree| {
            remove(tree, "/vm@1/board-devices");
            set(tree, "/vm@1/board-devices-except", except);
        })
    };
    let has = |manifest: &Manifest, start| {
        let span = Span { start, bytes: 1 };
        manifest.vms[1].devices.iter().filter_map(super::Device::machine_span).any(|device| device.contains(&span))
    };
    let manifest = everything(&["/pl031@9010000"]).expect("good");
    assert!(has(&manifest, 0x0a00_0000) && has(&manifest, 0x0903_0000) && has(&manifest, 0x0902_0000));
    assert!(!has(&manifest, 0x0901_0000), "it is excepted");
    assert!(!has(&manifest, 0x0900_0000) && !has(&manifest, 0x0800_0000), "EL2's own");
    assert!(has(&everything(&[]).expect("good"), 0x0901_0000));
}

#[test]
fn what_is_not_there_or_not_free_is_refused() {
    refused(&["/virtio_mmio@b000000"], unchanged, "VM `rtos`: board-devices: `/virtio_mmio@b000000` is not in this");
    refused(&["serial0"], unchanged, "is not in this board's tree");
    refused(&["/pl031@9010000", "/pl031@9010000"], unchanged, "`/pl031@9010000` is listed twice");
    refused(&["/pl011@9000000"], unchanged, "belongs to EL2 (0x9000000..0x9001000)");
    refused(&["/intc@8000000"], unchanged, "the interrupt controller is EL2's");
    let both = |tree: &mut DeviceTree| set(tree, "/vm@0/board-devices", list(&["/pl031@9010000"]));
    refused(&["/pl031@9010000"], both, "two VMs need /pl031@9010000");
    let neighbour = |tree: &mut DeviceTree| {
        set(tree, "/vm@0/board-devices", list(&["/virtio_mmio@a000e00"]));
        set(tree, "/vm@0/board-devices-without-dma", list(&["/virtio_mmio@a000e00"]));
    };
    refused(&["/virtio_mmio@a000000"], neighbour, "shares a page of 4 KiB with /virtio_mmio@a000e00");
    let twice = |tree: &mut DeviceTree| set(tree, "/vm@1/board-devices-except", list(&["/pl031@9010000"]));
    refused(&["/pl031@9010000"], twice, "given beside `board-devices`");
    let odd = |tree: &mut DeviceTree| set(tree, "/vm@1/board-devices-left-out", list(&["/pl031@9010000"]));
    refused(&["/pl031@9010000"], odd, "must be pairs of a path and a property");
    let none = |tree: &mut DeviceTree| set(tree, "/vm@1/board-devices-left-out", list(&["/pl031@9010000", "x"]));
    refused(&["/pl031@9010000"], none, "it has no property `x`");
    for (name, words) in [("by-sub-page", &["/pl031@9010000"][..]), ("left-out", &["/pl031@9010000", "clocks"])] {
        for rest in [Some("board-devices-except"), None] {
            let beside_none = |tree: &mut DeviceTree| {
                remove(tree, "/vm@1/board-devices");
                set(tree, &std::format!("/vm@1/board-devices-{name}"), list(words));
                rest.into_iter().for_each(|rest| set(tree, &std::format!("/vm@1/{rest}"), list(&[])));
            };
            refused(&[], beside_none, &std::format!("board-devices-{name}: only beside `board-devices`"));
        }
    }
}

#[test]
fn a_device_by_sub_page_is_added_byte_by_byte() {
    let disk = |tree: &mut DeviceTree| {
        set(tree, "/vm@1/board-devices-by-sub-page", list(&["/virtio_mmio@a000200"]));
    };
    let manifest = assigned(&["/virtio_mmio@a000200"], disk).expect("good");
    let [device] = &manifest.vms[1].devices[1..] else { panic!("one beside the UART") };
    let span = Span { start: 0x0a00_0200, bytes: 0x200 };
    assert_eq!((device.span(), device.machine_span(), device.sub_page_span()), (span, Some(span), Some(span)));
    assert_eq!(manifest.vms[1].board_devices.interrupts, [Interrupt { spi: 17, edge: true }]);
    // Its neighbours are anybody's, also as described ones, but not the page as a whole.
    let both = |tree: &mut DeviceTree| {
        disk(tree);
        for name in ["board-devices", "board-devices-by-sub-page", "board-devices-without-dma"] {
            set(tree, &std::format!("/vm@0/{name}"), list(&["/virtio_mmio@a000000"]));
        }
    };
    assigned(&["/virtio_mmio@a000200"], both).expect("each has its own");
    let mapped = |tree: &mut DeviceTree| {
        both(tree);
        remove(tree, "/vm@0/board-devices-by-sub-page");
    };
    refused(&["/virtio_mmio@a000200"], mapped, "name each as `{ device = \"PATH\", sub-page = true }`");
    refused(
        &["/virtio_mmio@a000200", "/virtio_mmio@a000400"],
        disk,
        "name /virtio_mmio@a000400 with `sub-page = true`",
    );
    let unknown = |tree: &mut DeviceTree| set(tree, "/vm@1/board-devices-by-sub-page", list(&["/virtio"]));
    refused(&["/virtio_mmio@a000200"], unknown, "`/virtio` is not in this board's tree");
}

#[test]
fn what_dma_reaches_must_have_memory_of_the_guest() {
    const PI: &[u8] = include_bytes!("../../../../platform/tests/blobs/bcm2711-rpi-4-b-qemu.dtb");
    let pi = PI.to_vec();
    let dma = |change: fn(&mut DeviceTree)| {
        assigned_on(&pi, &["/soc/dma@7e007000"], |tree| {
            remove(tree, "/vm@1/memory@0");
            change(tree);
        })
    };
    let error = dma(unchanged).expect_err("its memory is above 1 GiB");
    let message =
        "/soc/dma@7e007000 accesses memory by itself, and reaches [0x0..0x40000000] (dma-ranges), where the VM";
    assert!(error.contains(message) && error.contains("some memory there"), "{error}");
    dma(|tree| {
        add(tree, "/vm@1/memory@3f000000");
        set(tree, "/vm@1/memory@3f000000/reg", pair(0x3f00_0000, 0x1000));
        set(tree, "/vm@1/memory@3f000000/machine", 0x3f00_0000u64);
    })
    .expect("it reaches some of it");
    dma(|tree| set(tree, "/vm@1/board-devices-without-dma", list(&["/soc/dma@7e007000"]))).expect("it does no DMA");
}

#[test]
fn a_device_over_the_guests_own_is_refused() {
    let elsewhere = |tree: &mut DeviceTree| set(tree, "/vm@1/gic/cpu-interface", 0x0901_0000u64);
    refused(&["/pl031@9010000"], elsewhere, "overlaps");
}

#[test]
fn dma_takes_memory_one_to_one() {
    let moved = |tree: &mut DeviceTree| set(tree, "/vm@1/memory@50000000/machine", 0x5800_0000u64);
    refused(&["/virtio_mmio@a000000"], moved, "/virtio_mmio@a000000 can access memory by itself");
    refused(&["/virtio_mmio@a000000"], |tree| remove(tree, "/vm@1/memory@50000000/machine"), "one to one");
    let firmware = |tree: &mut DeviceTree| remove(tree, "/vm@1/memory@0/machine");
    refused(&["/virtio_mmio@a000000"], firmware, "memory@0 is not one to one: the image lies there, give it memory");
    refused(&["/fw-cfg@9020000"], moved, "/fw-cfg@9020000 can access memory by itself");
    let harmless = |tree: &mut DeviceTree| {
        moved(tree);
        set(tree, "/vm@1/board-devices-without-dma", list(&["/fw-cfg@9020000", "/virtio_mmio@a000000"]));
    };
    assigned(&["/fw-cfg@9020000"], harmless).expect("somebody vouches for it");
    // Its page has more devices, of which nobody said anything.
    refused(&["/virtio_mmio@a000000"], harmless, "/virtio_mmio@a000200 can access memory by itself");
    assigned(&["/pl031@9010000"], moved).expect("it never does that");
}
