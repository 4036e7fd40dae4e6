//! Devices of the board's tree: what is added to a VM, and what is refused.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use dtoolkit::model::DeviceTree;
use tessera_platform::assignment::Kept;
use tessera_platform::board::{Board, find_console};
use tessera_platform::tree::Tree;

use super::sample::{archive, blob, good, remove, set};
use crate::manifest::{DeviceKind, Interrupt, Manifest, Span, assign};

const BOARD: &[u8] = include_bytes!("../../../../platform/tests/blobs/virt-gicv3-2.dtb");

/// The good manifest, whose `rtos` gets these devices, on QEMU's `virt`.
fn assigned(devices: &[&str], change: impl FnOnce(&mut DeviceTree)) -> Result<Manifest, String> {
    let mut tree = good();
    // The sample's own device and its UART are not the subject.
    remove(&mut tree, "/vm@1/device@a000000");
    set(&mut tree, "/vm@1/board-devices", list(devices));
    set(&mut tree, "/vm@1/memory@0/machine", 0u64);
    change(&mut tree);
    let mut manifest = Manifest::parse(&blob(&tree), &archive()).map_err(|error| error.to_string())?;
    // Aligned, as a loader gives it.
    let board = BOARD.to_vec();
    let tree = Tree::parse(&board).expect("a real tree");
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
    let interrupts: Vec<_> = added.iter().flat_map(|device| device.interrupts.clone()).collect();
    assert_eq!(interrupts, vec![Interrupt { spi: 2, edge: false }, Interrupt { spi: 17, edge: true }]);
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
