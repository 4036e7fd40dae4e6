//! A good manifest is read as written; each broken kind is refused with its message; mutated ones never panic.

mod assigned;
mod board;
mod broken;
mod fuzz;
mod sample;
mod sharing;

use std::vec;

use super::*;
use sample::{archive, blob, good};

#[test]
fn a_good_manifest_is_read_as_it_is_written() {
    let manifest = Manifest::parse(&blob(&good()), &archive()).expect("a good manifest");
    assert_eq!(manifest.description, "Two guests");
    let [linux, rtos] = &manifest.vms[..] else { panic!("two VMs") };
    assert_eq!((&linux.name[..], &rtos.name[..]), ("linux", "rtos"));
    assert_eq!(linux.cores, CoreRequest::Count(2));
    assert_eq!(rtos.cores, CoreRequest::List(vec![0]));
    assert_eq!((linux.entry, rtos.entry), (0x4020_0000, 0x5000_0000));
    assert_eq!(linux.command_line, "console=ttyAMA0");
    assert_eq!(linux.initrd, Some(Span { start: 0x4800_0000, bytes: 0x10 }));
    assert_eq!((linux.share_image, rtos.share_image), (true, false));
    assert_eq!((linux.on_reset, linux.on_crash), (Policy::Restart, Policy::Stop));
    assert_eq!((rtos.on_reset, rtos.on_crash), (Policy::Stop, Policy::Restart));
    assert_eq!(linux.gic.version, None);
    assert_eq!(linux.gic.redistributors, 0x080a_0000);
}

#[test]
fn segments_point_at_their_files_data() {
    let archive = archive();
    let manifest = Manifest::parse(&blob(&good()), &archive).expect("a good manifest");
    let linux = &manifest.vms[0];
    let image = Segment {
        file: "linux".into(),
        archive_offset: archive.file("linux").expect("packed").offset,
        file_bytes: 5000,
        ipa: 0x4020_0000,
        bytes: 0x10_0000,
        shareable: true,
    };
    assert_eq!(linux.segments[0], image);
    assert!(!linux.segments[1].shareable, "the initrd is not part of the image");
    let own = linux.device_tree.own.as_ref();
    assert_eq!(own, None);
    let rtos = &manifest.vms[1];
    assert!(!rtos.segments[0].shareable, "rtos does not share");
    assert_eq!(rtos.device_tree.own.as_ref().map(|own| &own.file[..]), Some("own.dtb"));
}

#[test]
fn memory_and_devices_keep_their_machine_addresses() {
    let manifest = Manifest::parse(&blob(&good()), &archive()).expect("a good manifest");
    let rtos = &manifest.vms[1];
    let memory = MemoryRegion { ipa: 0x5000_0000, bytes: 0x100_0000, machine: Some(0x5000_0000), firmware: false };
    assert_eq!(rtos.memory[0], memory);
    assert!(rtos.memory[1].firmware);
    let [uart, device] = &rtos.devices[..] else { panic!("two devices") };
    assert_eq!(uart.kind, DeviceKind::Uart { console: true });
    assert_eq!(rtos.console(), Some(uart));
    assert_eq!(device.kind, DeviceKind::Passthrough { machine: 0x0a00_3000, described: true, by_sub_page: false });
    assert_eq!(device.name, "virtio_mmio");
    assert_eq!(device.compatible, ["virtio,mmio"]);
    assert_eq!(device.interrupts, [Interrupt { spi: 40, edge: true }]);
    assert_eq!(device.properties, [("dma-coherent".into(), vec![])]);
}
