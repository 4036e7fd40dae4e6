//! The whole way: what a file says is what EL2 reads.

use std::io::Read;
use std::path::Path;

use tessera::archive::Archive;
use tessera::manifest::{CoreRequest, Device, DeviceKind, Interrupt, Policy};

use super::super::{ImageProvider, Machine, compile};
use super::support::{Workshop, accepted, board_tree, guest_vm, linux_vm};

#[test]
fn every_key_reaches_the_manifest() {
    let lines = r#"
        initrd = "initrd"
        command-line = "console=ttyAMA0"
        share-image = true
        gic = 3
        on-reset = "stop"
        on-crash = "restart"
        layout = { uart = 0x09100000, uart-interrupt = 5, gic-redistributors = 0x08100000 }
        devices = [
            { kind = "pl031" },
            { address = 0x0a003000, machine = 0x0a001000, size = "8K", interrupts = [47, { spi = 48, trigger = "edge" }],
              compatible = ["virtio,mmio", "x"], properties = { dma-coherent = true, cells = [1, 2], text = "t" } },
        ]"#;
    let (system, manifest) = accepted(&Workshop::new(), &linux_vm(lines));
    assert_eq!(system.vms, ["linux"]);
    let vm = &manifest.vms[0];
    assert_eq!(vm.cores, CoreRequest::Count(2));
    assert_eq!(vm.command_line, "console=ttyAMA0");
    assert!(vm.share_image && vm.segments[0].shareable);
    assert_eq!((vm.on_reset, vm.on_crash), (Policy::Stop, Policy::Restart));
    assert_eq!((vm.gic.version, vm.gic.redistributors), (Some(3), 0x0810_0000));
    let [console, clock, device] = &vm.devices[..] else { panic!("three devices") };
    assert_eq!((console.ipa, console.kind), (0x0910_0000, DeviceKind::Uart { console: true }));
    assert_eq!(console.interrupts, [Interrupt { spi: 5, edge: false }]);
    assert_eq!((clock.ipa, clock.kind), (0x0901_0000, DeviceKind::RealTimeClock));
    let properties = [
        ("cells".to_string(), vec![0, 0, 0, 1, 0, 0, 0, 2]),
        ("dma-coherent".to_string(), vec![]),
        ("text".to_string(), b"t\0".to_vec()),
    ];
    let expected = Device {
        name: "mmio".into(),
        kind: DeviceKind::Passthrough { machine: 0x0a00_1000, described: true, by_sub_page: false },
        ipa: 0x0a00_3000,
        bytes: 0x2000,
        interrupts: vec![Interrupt { spi: 47, edge: false }, Interrupt { spi: 48, edge: true }],
        compatible: vec!["virtio,mmio".into(), "x".into()],
        properties: properties.into(),
    };
    assert_eq!(device, &expected);
}

#[test]
fn defaults_are_those_of_a_virt_machine_with_a_console() {
    let (_, manifest) = accepted(&Workshop::new(), &linux_vm(""));
    let vm = &manifest.vms[0];
    assert_eq!((vm.on_reset, vm.on_crash), (Policy::Restart, Policy::Stop));
    assert!(!vm.share_image && vm.command_line.is_empty() && vm.initrd.is_none());
    let console = vm.console().expect("a console");
    assert_eq!((console.ipa, &console.name[..]), (0x0900_0000, "pl011"));
    assert_eq!((vm.gic.version, vm.gic.distributor), (None, 0x0800_0000));
    let (_, manifest) = accepted(&Workshop::new(), &linux_vm("console = false"));
    assert_eq!(manifest.vms[0].devices, []);
}

#[test]
fn memory_and_cores_can_be_asked_for_one_by_one() {
    let toml = r#"
        [[vm]]
        name = "pinned"
        cpus = [3, 1]
        memory = [
            { base = 0x40000000, size = "32M", one-to-one = true },
            { base = 0x80000000, size = 0x1000, machine = 0x50000000 },
            { base = 0x90000000, size = "1M" },
        ]
        image = "raw.bin""#;
    let (system, manifest) = accepted(&Workshop::new(), toml);
    let vm = &manifest.vms[0];
    assert_eq!(vm.cores, CoreRequest::List(vec![3, 1]));
    let machine: Vec<_> = vm.memory.iter().map(|m| (m.ipa, m.bytes, m.machine)).collect();
    let expected = [
        (0x4000_0000, 32 << 20, Some(0x4000_0000)),
        (0x8000_0000, 0x1000, Some(0x5000_0000)),
        (0x9000_0000, 1 << 20, None),
    ];
    assert_eq!(machine, expected);
    assert_eq!(system.machine.cpus, 4, "core 3 is the fourth");
}

#[test]
fn the_machine_is_what_the_file_says_or_one_that_suffices() {
    let two = linux_vm("") + &guest_vm("image = \"raw.bin\"");
    let (system, _) = accepted(&Workshop::new(), &two);
    assert_eq!(system.machine, Machine { cpus: 3, memory: 256 << 20 });
    let given = format!("[machine]\ncpus = 4\nmemory = \"2G\"\n{two}");
    let (system, _) = accepted(&Workshop::new(), &given);
    assert_eq!(system.machine, Machine { cpus: 4, memory: 2 << 30 });
    assert_eq!(system.description, "");
}

/// The archive as the independent crate `cpio` reads it: names and contents.
fn listed(mut archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    loop {
        let mut reader = cpio::NewcReader::new(archive).expect("a cpio entry");
        if reader.entry().is_trailer() {
            return files;
        }
        let name = reader.entry().name().trim_end_matches('\0').to_string();
        let mut data = Vec::new();
        reader.read_to_end(&mut data).expect("its data");
        files.push((name, data));
        archive = reader.finish().expect("the next entry");
    }
}

#[test]
fn the_archive_is_a_cpio_with_the_manifest_first_and_every_image_once() {
    let second = linux_vm("initrd = \"initrd\"").replace("\"linux\"", "\"other\"");
    let toml = linux_vm("initrd = \"initrd\"") + &second + &guest_vm("image = \"raw.bin\"");
    let (system, manifest) = accepted(&Workshop::new(), &toml);
    let files = listed(&system.archive);
    let names: Vec<_> = files.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["manifest.dtb", "Image", "initrd", "raw.bin"]);
    assert_eq!(files[3].1, [2; 300]);
    assert_eq!(manifest.vms[0].segments[0].archive_offset, manifest.vms[1].segments[0].archive_offset);
    for segment in manifest.vms.iter().flat_map(|vm| &vm.segments) {
        assert!(segment.archive_offset.is_multiple_of(4096));
    }
    let archive = Archive::parse(&system.archive).expect("EL2 reads it");
    let ours: Vec<_> = archive.files().iter().map(|f| (f.name.to_string(), f.data.to_vec())).collect();
    assert_eq!(files, ours);
}

#[test]
fn the_same_system_gives_the_same_bytes() {
    let workshop = Workshop::new();
    let compile = || workshop.compile(&linux_vm("initrd = \"initrd\"")).expect("good").archive;
    assert_eq!(compile(), compile());
}

#[test]
fn images_can_be_xtasks_own() {
    let toml = linux_vm("").replace("\"Image\"", "\"tessera:linux\"") + &guest_vm("image = \"tessera:guest/hello\"");
    let (_, manifest) = accepted(&Workshop::new(), &toml);
    assert_eq!(manifest.vms[1].segments[0].file, "hello");
}

/// Gives the made-up Linux Image for every name there is.
struct AnyImage(std::path::PathBuf, &'static str);

impl ImageProvider for AnyImage {
    fn names(&self) -> Vec<String> {
        crate::images::Images::new(3, crate::qemu::Board::Virt).names()
    }

    fn image(&self, _: &str) -> anyhow::Result<std::path::PathBuf> {
        Ok(self.0.join("raw.bin"))
    }

    fn board_tree(&self) -> anyhow::Result<Vec<u8>> {
        Ok(board_tree(self.1))
    }
}

#[test]
fn the_systems_of_this_repository_compile() {
    let workshop = Workshop::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/systems");
    let mut count = 0;
    for file in std::fs::read_dir(directory).expect("there are systems") {
        let path = file.expect("a file").path();
        let is_for_the_pi = path.display().to_string().contains("sd-card");
        let board = if is_for_the_pi { "bcm2711-rpi-4-b-qemu" } else { "virt-gicv3-2" };
        let images = AnyImage(workshop.path().to_path_buf(), board);
        let system = compile(&path, &images).unwrap_or_else(|error| panic!("{error}"));
        assert!(!system.description.is_empty(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 5);
}
