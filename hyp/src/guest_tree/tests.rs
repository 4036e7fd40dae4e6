//! The tree read back with an independent reader, and with dtc where it is installed.

use std::io::Write;
use std::process::{Command, Stdio};
use std::string::String;
use std::vec;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use super::*;
use crate::manifest::{CoreRequest, Device, DeviceKind, DeviceTreeArea, GicConfig, Interrupt, Policy, Span};

fn uart(ipa: u64, spi: u32, console: bool) -> Device {
    Device {
        name: "pl011".into(),
        kind: DeviceKind::Uart { console },
        ipa,
        bytes: 0x1000,
        interrupts: vec![Interrupt { spi, edge: false }],
        compatible: vec![],
        properties: vec![],
    }
}

fn config() -> VmConfig {
    VmConfig {
        name: "linux".into(),
        cores: CoreRequest::Count(2),
        memory: vec![MemoryRegion { ipa: 0x4000_0000, bytes: 0x1000_0000, machine: None, firmware: false }],
        segments: vec![],
        entry: 0x4020_0000,
        device_tree: DeviceTreeArea { ipa: 0x4000_0000, bytes: 0x1_0000, own: None },
        initrd: Some(Span { start: 0x4f00_0000, bytes: 0x1234 }),
        command_line: "console=ttyAMA0".into(),
        gic: GicConfig {
            version: None,
            distributor: 0x0800_0000,
            cpu_interface: 0x0801_0000,
            redistributors: 0x080a_0000,
        },
        devices: vec![uart(0x0900_0000, 1, true)],
        share_image: false,
        on_reset: Policy::Restart,
        on_crash: Policy::Stop,
    }
}

fn facts(gic_version: u8) -> TreeFacts<'static> {
    TreeFacts { cpu_compatible: &["arm,cortex-a72"], gic_version, seed: None }
}

fn built(config: &VmConfig, gic_version: u8) -> Vec<u8> {
    build(config, &facts(gic_version)).expect("the tree fits")
}

fn node<'a>(blob: &'a [u8], path: &str) -> FdtNode<'a> {
    let tree = Fdt::new(blob).expect("a valid blob");
    tree.find_node(path).unwrap_or_else(|| panic!("no node {path}"))
}

fn has(blob: &[u8], path: &str) -> bool {
    Fdt::new(blob).expect("a valid blob").find_node(path).is_some()
}

fn value(blob: &[u8], path: &str, property: &str) -> Vec<u8> {
    let node = node(blob, path);
    let found = node.property(property);
    found.unwrap_or_else(|| panic!("no {property} in {path}")).value().to_vec()
}

fn words(blob: &[u8], path: &str, property: &str) -> Vec<u32> {
    let value = value(blob, path, property);
    let (words, rest) = value.as_chunks::<4>();
    assert!(rest.is_empty());
    words.iter().map(|word| u32::from_be_bytes(*word)).collect()
}

fn text(blob: &[u8], path: &str, property: &str) -> String {
    String::from_utf8(value(blob, path, property)).expect("text")
}

#[test]
fn a_linux_guest_finds_what_it_boots_with() {
    let blob = built(&config(), 3);
    assert_eq!(text(&blob, "/chosen", "bootargs"), "console=ttyAMA0\0");
    assert_eq!(text(&blob, "/chosen", "stdout-path"), "/pl011@9000000\0");
    assert_eq!(words(&blob, "/chosen", "linux,initrd-start"), [0, 0x4f00_0000]);
    assert_eq!(words(&blob, "/chosen", "linux,initrd-end"), [0, 0x4f00_1234]);
    assert_eq!(words(&blob, "/memory@40000000", "reg"), [0, 0x4000_0000, 0, 0x1000_0000]);
    assert_eq!(text(&blob, "/psci", "method"), "hvc\0");
    assert_eq!(text(&blob, "/psci", "compatible"), "arm,psci-1.0\0arm,psci-0.2\0");
    assert_eq!(words(&blob, "/cpus/cpu@1", "reg"), [1]);
    assert_eq!(text(&blob, "/cpus/cpu@1", "compatible"), "arm,cortex-a72\0");
    assert!(!has(&blob, "/cpus/cpu@2"));
    assert_eq!(words(&blob, "/pl011@9000000", "reg"), [0, 0x0900_0000, 0, 0x1000]);
    assert_eq!(words(&blob, "/pl011@9000000", "interrupts"), [0, 1, 4]);
    assert_eq!(text(&blob, "/pl011@9000000", "compatible"), "arm,pl011\0arm,primecell\0");
    assert_eq!(text(&blob, "/aliases", "serial0"), "/pl011@9000000\0");
}

#[test]
fn a_seed_is_told_where_there_is_one() {
    let without = built(&config(), 3);
    assert!(["rng-seed", "kaslr-seed"].iter().all(|name| node(&without, "/chosen").property(name).is_none()));
    let seed = Seed { rng: [0xa5; 32], kaslr: 0x1122_3344_5566_7788 };
    let blob = build(&config(), &TreeFacts { seed: Some(seed), ..facts(3) }).expect("the tree fits");
    assert_eq!(value(&blob, "/chosen", "rng-seed"), [0xa5; 32]);
    assert_eq!(words(&blob, "/chosen", "kaslr-seed"), [0x1122_3344, 0x5566_7788]);
}

#[test]
fn references_lead_to_the_nodes_they_name() {
    let blob = built(&config(), 3);
    let gic = words(&blob, "/intc@8000000", "phandle");
    assert_eq!(words(&blob, "/", "interrupt-parent"), gic);
    let clock = words(&blob, "/apb-pclk", "phandle");
    assert_eq!(words(&blob, "/pl011@9000000", "clocks"), [clock[0], clock[0]]);
    assert_eq!(words(&blob, "/apb-pclk", "clock-frequency"), [24_000_000]);
}

#[test]
fn each_gic_has_its_own_frames_and_ppi_cells() {
    let three = built(&config(), 3);
    assert_eq!(text(&three, "/intc@8000000", "compatible"), "arm,gic-v3\0");
    let reg = [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x4_0000];
    assert_eq!(words(&three, "/intc@8000000", "reg"), reg);
    assert_eq!(words(&three, "/timer", "interrupts"), [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
    let two = built(&config(), 2);
    assert_eq!(text(&two, "/intc@8000000", "compatible"), "arm,cortex-a15-gic\0");
    let reg = [0, 0x0800_0000, 0, 0x1_0000, 0, 0x0801_0000, 0, 0x2000];
    assert_eq!(words(&two, "/intc@8000000", "reg"), reg);
    assert_eq!(words(&two, "/timer", "interrupts")[..6], [1, 13, 0x304, 1, 14, 0x304]);
}

#[test]
fn seventeen_vcpus_make_two_clusters() {
    let mut config = config();
    config.cores = CoreRequest::Count(17);
    let blob = built(&config, 3);
    assert_eq!(words(&blob, "/cpus/cpu@f", "reg"), [0xf]);
    assert_eq!(words(&blob, "/cpus/cpu@100", "reg"), [0x100]);
    assert_eq!(node(&blob, "/cpus").children().count(), 17);
}

#[test]
fn firmware_is_not_told_of_and_a_vm_without_console_has_none() {
    let mut config = config();
    config.memory.push(MemoryRegion { ipa: 0, bytes: 0x1000, machine: None, firmware: true });
    config.devices.clear();
    config.initrd = None;
    config.command_line.clear();
    let blob = built(&config, 3);
    assert!(!has(&blob, "/memory@0"));
    assert!(!has(&blob, "/aliases"));
    assert_eq!(node(&blob, "/chosen").properties().count(), 0);
}

fn passed_through() -> Device {
    Device {
        name: "virtio_mmio".into(),
        kind: DeviceKind::Passthrough { machine: 0x0a00_3000 },
        ipa: 0x0a00_0000,
        bytes: 0x1000,
        interrupts: vec![Interrupt { spi: 40, edge: true }, Interrupt { spi: 41, edge: false }],
        compatible: vec!["virtio,mmio".into(), "test,other".into()],
        properties: vec![("clock-frequency".into(), vec![0, 0, 1, 2]), ("dma-coherent".into(), vec![])],
    }
}

#[test]
fn a_device_passed_through_is_described_as_the_manifest_says() {
    let mut config = config();
    config.devices.push(passed_through());
    let blob = built(&config, 3);
    let path = "/virtio_mmio@a000000";
    assert_eq!(words(&blob, path, "reg"), [0, 0x0a00_0000, 0, 0x1000]);
    assert_eq!(words(&blob, path, "interrupts"), [0, 40, 1, 0, 41, 4]);
    assert_eq!(text(&blob, path, "compatible"), "virtio,mmio\0test,other\0");
    assert_eq!(words(&blob, path, "clock-frequency"), [0x102]);
    assert_eq!(value(&blob, path, "dma-coherent"), []);
}

#[test]
fn a_tree_larger_than_its_room_is_refused() {
    let mut config = config();
    config.device_tree.bytes = 256;
    let error = build(&config, &facts(3)).expect_err("256 bytes are too few");
    assert_eq!(error.room, 256);
    assert!(error.needed > 1000, "{error}");
}

#[test]
fn the_largest_vm_fits_the_room_that_xtask_keeps() {
    let mut config = config();
    config.cores = CoreRequest::Count(abi::MAX_VCPUS);
    config.command_line = "x".repeat(abi::MAX_COMMAND_LINE);
    assert!(built(&config, 3).len() < 0x1_0000);
}

/// What dtc has to say about the blob: its source and its warnings.
fn dtc(blob: &[u8]) -> (String, String) {
    let mut dtc = Command::new("dtc")
        .args(["-I", "dtb", "-O", "dts"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dtc is installed (package device-tree-compiler)");
    let mut input = dtc.stdin.take().expect("piped");
    input.write_all(blob).expect("dtc reads its input");
    drop(input);
    let output = dtc.wait_with_output().expect("dtc ends");
    assert!(output.status.success());
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

#[test]
fn dtc_finds_nothing_to_complain_about() {
    for gic_version in [2, 3] {
        let mut config = config();
        config.devices.push(passed_through());
        config.devices.push(Device {
            name: "pl031".into(),
            kind: DeviceKind::RealTimeClock,
            ..uart(0x0901_0000, 2, false)
        });
        let (source, warnings) = dtc(&built(&config, gic_version));
        assert_eq!(warnings, "");
        assert!(source.contains("pl031@9010000"), "{source}");
    }
}
