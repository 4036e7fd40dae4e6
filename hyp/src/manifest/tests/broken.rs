//! Each way in which one VM can be wrong by itself, and its message.

use dtoolkit::model::DeviceTree;

use super::sample::{add, archive, pair, refused, remove, set};
use crate::manifest::Manifest;

/// Breaks the good manifest and compares the message.
#[track_caller]
fn expect(change: impl FnOnce(&mut DeviceTree), message: &str) {
    assert_eq!(refused(change), std::format!("manifest: {message}"));
}

#[test]
fn what_is_no_device_tree_is_refused() {
    let error = Manifest::parse(&[0; 100], &archive()).expect_err("zeros are no tree");
    assert!(error.to_string().starts_with("manifest: manifest.dtb: "), "{error}");
    let error = Manifest::parse(&std::vec![0; 70_000], &archive()).expect_err("too long");
    let message = "manifest: manifest.dtb: 70000 bytes, at most 65536 are allowed";
    assert_eq!(error.to_string(), message);
}

#[test]
fn another_format_is_refused() {
    expect(|t| set(t, "/compatible", "linux,dummy-virt"), "compatible: must be `tessera,system`: this is no manifest");
    let release = "but this hypervisor reads version 1: pack the system with the xtask of the same release";
    expect(|t| set(t, "/format-version", 2u32), &std::format!("format-version: 2, {release}"));
    expect(|t| remove(t, "/format-version"), &std::format!("format-version: missing, {release}"));
}

#[test]
fn a_system_without_vms_or_with_too_many_is_refused() {
    let none = |t: &mut DeviceTree| {
        remove(t, "/vm@0");
        remove(t, "/vm@1");
    };
    expect(none, "/: there is no VM: describe at least one");
    let many = |t: &mut DeviceTree| (2..33).for_each(|n| add(t, &std::format!("/vm@{n}")));
    expect(many, "/: more than 32 nodes `vm`");
}

#[test]
fn more_parts_of_a_vm_than_there_may_be_are_refused() {
    for (part, limit) in [("memory", 16), ("segment", 64), ("device", 64)] {
        let many = |t: &mut DeviceTree| {
            (0..=limit).for_each(|n| add(t, &std::format!("/vm@0/{part}@f000{n:x}")));
        };
        expect(many, &std::format!("VM `linux`: vm@0: more than {limit} nodes `{part}`"));
    }
}

#[test]
fn what_is_not_known_is_refused() {
    expect(|t| set(t, "/colour", "red"), "colour: unknown property");
    expect(|t| set(t, "/vm@0/colour", "red"), "VM `linux`: colour: unknown property");
    expect(|t| add(t, "/vm@0/disk@0"), "VM `linux`: disk@0: unknown node");
    expect(|t| set(t, "/vm@0/gic/its", 0u64), "VM `linux`: gic/its: unknown property");
}

#[test]
fn names_are_checked() {
    let rule = "must be 1 to 31 of a-z, 0-9, `-` and `_`, begin with a letter or digit, and not be `tessera`";
    for name in ["", "tessera", "a b", "x\n[tessera] all is well"] {
        expect(|t| set(t, "/vm@0/vm-name", name), &std::format!("VM `vm@0`: vm-name: {rule}"));
    }
    expect(|t| remove(t, "/vm@0/vm-name"), "VM `vm@0`: vm-name: missing");
    expect(|t| set(t, "/vm@1/vm-name", "linux"), "VM `linux`: vm-name: two VMs have this name: rename one");
}

#[test]
fn cores_are_checked() {
    expect(|t| set(t, "/vm@0/cpus", 0u32), "VM `linux`: cpus: 0 vCPUs: give 1 to 64");
    expect(|t| set(t, "/vm@0/cpus", 65u32), "VM `linux`: cpus: 65 vCPUs: give 1 to 64");
    expect(|t| set(t, "/vm@1/cores", [0u32; 0]), "VM `rtos`: cores: 0 vCPUs: give 1 to 64");
    expect(|t| set(t, "/vm@1/cores", [3u32, 1, 3]), "VM `rtos`: cores: core 3 is listed twice: list it once");
    expect(|t| set(t, "/vm@0/cores", [0u32]), "VM `linux`: cores: given beside `cpus`: give only one");
    expect(|t| remove(t, "/vm@0/cpus"), "VM `linux`: cpus: missing: give `cpus` or `cores`");
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    expect(|t| set(t, "/vm@0/cpus", 1u64), "VM `linux`: cpus: must be one 32-bit number");
    expect(|t| set(t, "/vm@0/entry", 1u32), "VM `linux`: entry: must be one 64-bit number");
    expect(|t| set(t, "/vm@1/cores", [0u8; 3]), "VM `rtos`: cores: must be a list of 32-bit numbers");
    expect(|t| set(t, "/vm@0/command-line", *b"ab\0c\0"), "VM `linux`: command-line: must be one string in UTF-8");
    expect(|t| set(t, "/vm@0/share-image", 1u32), "VM `linux`: share-image: must have no value");
    expect(
        |t| set(t, "/vm@0/memory@40000000/reg", 1u64),
        "VM `linux`: memory@40000000/reg: must be an address and a length, each 64-bit",
    );
    expect(
        |t| set(t, "/vm@1/device@a000000/compatible", *b"abc"),
        "VM `rtos`: device@a000000/compatible: must be text that ends with a NUL",
    );
    expect(|t| set(t, "/vm@0/on-reset", "explode"), "VM `linux`: on-reset: must be `restart` or `stop`");
}

#[test]
fn missing_parts_are_named() {
    expect(|t| remove(t, "/vm@0/entry"), "VM `linux`: entry: missing");
    expect(|t| remove(t, "/vm@0/gic"), "VM `linux`: vm@0: there is no node `gic`");
    expect(|t| remove(t, "/vm@0/device-tree"), "VM `linux`: vm@0: there is no node `device-tree`");
    expect(|t| remove(t, "/vm@0/segment@40200000/file"), "VM `linux`: segment@40200000/file: missing");
    expect(|t| remove(t, "/vm@1/device@a000000/machine"), "VM `rtos`: device@a000000/machine: missing");
}

#[test]
fn memory_is_whole_pages_at_addresses_that_exist() {
    let reg = "/vm@0/memory@40000000/reg";
    expect(
        |t| set(t, reg, pair(0x4000_0000, 0)),
        "VM `linux`: memory@40000000: memory@40000000 is empty: give it at least 0x1000 bytes",
    );
    let whole = "is not made of whole pages: make address and length multiples of 0x1000";
    expect(
        |t| set(t, reg, pair(0x4000_0800, 0x1000_0000)),
        &std::format!("VM `linux`: memory@40000800: 0x40000800..0x50000800 {whole}"),
    );
    expect(
        |t| set(t, reg, pair(0x4000_0000, 0x1000_0001)),
        &std::format!("VM `linux`: memory@40000000: 0x40000000..0x50000001 {whole}"),
    );
    expect(
        |t| set(t, reg, pair(0xffff_ffff_ffff_f000, 0x2000)),
        "VM `linux`: memory@fffffffffffff000: 0xfffffffffffff000 and 0x2000 bytes on goes beyond 0x1000000000000: place it lower",
    );
    expect(
        |t| set(t, "/vm@1/memory@50000000/machine", 0x5000_0001u64),
        &std::format!("VM `rtos`: memory@50000000/machine: 0x50000001..0x51000001 {whole}"),
    );
    let all_firmware = |t: &mut DeviceTree| {
        set(t, "/vm@0/memory@40000000/firmware", [0u32; 0]);
    };
    expect(all_firmware, "VM `linux`: memory: there is none: give the VM a region that is not `firmware`");
}

#[test]
fn overlaps_in_the_physical_layout_are_refused() {
    let second = |t: &mut DeviceTree| {
        add(t, "/vm@0/memory@4f000000");
        set(t, "/vm@0/memory@4f000000/reg", pair(0x4f00_0000, 0x200_0000));
    };
    expect(
        second,
        "VM `linux`: memory@4f000000: 0x4f000000..0x51000000 overlaps memory@40000000 at 0x40000000..0x50000000: give each addresses of its own",
    );
    expect(
        |t| set(t, "/vm@0/device@9000000/reg", pair(0x080c_0000, 0x1000)),
        "VM `linux`: gic/redistributors: 0x80a0000..0x80e0000 overlaps device@80c0000 at 0x80c0000..0x80c1000: give each addresses of its own",
    );
    expect(
        |t| set(t, "/vm@1/device@a000000/reg", pair(0x0900_0000, 0x1000)),
        "VM `rtos`: device@9000000: 0x9000000..0x9001000 overlaps device@9000000 at 0x9000000..0x9001000: give each addresses of its own",
    );
    expect(
        |t| set(t, "/vm@0/gic/distributor", 0x0800_0010u64),
        "VM `linux`: gic/cpu-interface: 0x8010000..0x8012000 overlaps gic/distributor at 0x8000010..0x8010010: give each addresses of its own",
    );
}

#[test]
fn what_is_loaded_lies_in_memory_without_overlaps() {
    let outside = "does not lie in one region of the VM's memory: move it or add memory";
    expect(
        |t| set(t, "/vm@0/segment@40200000/reg", pair(0x4ff0_1000, 0x10_0000)),
        &std::format!("VM `linux`: segment@4ff01000: 0x4ff01000..0x50001000 {outside}"),
    );
    expect(
        |t| set(t, "/vm@0/segment@48000000/reg", pair(0x4000_f000, 0x1000)),
        "VM `linux`: device-tree: 0x40000000..0x40010000 overlaps segment@4000f000 at 0x4000f000..0x40010000: give each addresses of its own",
    );
    expect(
        |t| set(t, "/vm@0/segment@40200000/reg", pair(0x4020_0000, 4999)),
        "VM `linux`: segment@40200000/reg: 0x1387 bytes, but its file `linux` has 0x1388",
    );
    expect(
        |t| set(t, "/vm@0/initrd", pair(0x5000_0000, 16)),
        &std::format!("VM `linux`: initrd: 0x50000000..0x50000010 {outside}"),
    );
    expect(
        |t| set(t, "/vm@0/segment@40200000/file", "vmlinux"),
        "VM `linux`: segment@40200000/file: there is no file `vmlinux` in the archive",
    );
}

#[test]
fn the_entry_is_an_instruction_in_memory() {
    expect(
        |t| set(t, "/vm@0/entry", 0x3fff_fffcu64),
        "VM `linux`: entry: 0x3ffffffc..0x40000000 does not lie in one region of the VM's memory: move it or add memory",
    );
    expect(|t| set(t, "/vm@0/entry", 0x4020_0002u64), "VM `linux`: entry: 0x40200002 is not a multiple of 4");
}

#[test]
fn the_device_tree_is_aligned_and_fits() {
    expect(
        |t| set(t, "/vm@0/device-tree/reg", pair(0x4000_0004, 0x1_0000)),
        "VM `linux`: device-tree: 0x40000004 is not a multiple of 8",
    );
    let message = refused(|t| set(t, "/vm@1/device-tree/reg", pair(0x5080_0000, 8)));
    assert!(message.ends_with("bytes, only 0x8 are kept for it"), "{message}");
    expect(
        |t| set(t, "/vm@1/device-tree/file", "linux"),
        "VM `rtos`: device-tree/file: `linux` is no device tree blob",
    );
}

#[test]
fn devices_are_of_a_known_kind() {
    let device = "VM `rtos`: device@a000000";
    expect(
        |t| set(t, "/vm@1/device@a000000/kind", "floppy"),
        &std::format!("{device}/kind: must be `pl011`, `pl031` or `passthrough`"),
    );
    expect(
        |t| set(t, "/vm@1/device@a000000/kind", "pl031"),
        &std::format!("{device}/machine: an emulated device has no machine address"),
    );
    expect(
        |t| set(t, "/vm@1/device@a000000/console", [0u32; 0]),
        &std::format!("{device}/console: only a `pl011` can be the console"),
    );
    expect(
        |t| set(t, "/vm@1/device@a000000/node-name", "a@b"),
        &std::format!("{device}/node-name: must be 1 to 31 of a-z, A-Z, 0-9 and `,._+-`"),
    );
    expect(
        |t| set(t, "/vm@0/device@9000000/reg", pair(0x0900_0000, 0x2000)),
        "VM `linux`: device@9000000/reg: an emulated device has 0x1000 bytes",
    );
    let two_consoles = |t: &mut DeviceTree| {
        remove(t, "/vm@1/device@a000000/machine");
        set(t, "/vm@1/device@a000000/kind", "pl011");
        set(t, "/vm@1/device@a000000/console", [0u32; 0]);
    };
    expect(two_consoles, &std::format!("{device}/console: another device is the console already"));
}

#[test]
fn interrupts_exist_once_and_have_a_trigger() {
    let property = "/vm@1/device@a000000/interrupts";
    let place = "VM `rtos`: device@a000000/interrupts";
    expect(|t| set(t, property, [988u32, 4]), &std::format!("{place}: SPI 988, but there are only 0 to 987"));
    expect(|t| set(t, property, [40u32, 2]), &std::format!("{place}: a trigger must be 1 (edge) or 4 (level)"));
    expect(|t| set(t, property, [40u32, 4, 41]), &std::format!("{place}: must be pairs of an SPI and its trigger"));
    expect(|t| set(t, property, [1u32, 4]), &std::format!("{place}: SPI 1 belongs to another device already"));
    expect(
        |t| set(t, "/vm@0/device@9000000/interrupts", [1u32, 4, 2, 4]),
        "VM `linux`: device@9000000/interrupts: an emulated device has one interrupt",
    );
}

#[test]
fn the_gic_is_version_2_or_3_at_a_page() {
    expect(|t| set(t, "/vm@0/gic/version", 4u32), "VM `linux`: gic/version: must be 2 or 3");
    expect(
        |t| set(t, "/vm@0/gic/distributor", 0x0700_0010u64),
        "VM `linux`: gic/distributor: 0x7000010..0x7010010 is not made of whole pages: make address and length multiples of 0x1000",
    );
}

#[test]
fn a_long_command_line_is_refused() {
    let long = "x".repeat(2048);
    expect(
        |t| set(t, "/vm@0/command-line", &*long),
        "VM `linux`: command-line: 2048 bytes, at most 2047 are allowed: shorten it",
    );
}

#[test]
fn lists_that_would_fill_the_heap_are_refused() {
    let device = "VM `rtos`: device@a000000";
    expect(|t| set(t, "/vm@1/cores", [0u32; 129]), "VM `rtos`: cores: more than 128 numbers: shorten the list");
    expect(
        |t| set(t, "/vm@1/device@a000000/compatible", [0u8; 17]),
        &std::format!("{device}/compatible: more than 16 strings: shorten the list"),
    );
    let properties = |t: &mut DeviceTree| {
        (0..32).for_each(|n| set(t, &std::format!("/vm@1/device@a000000/properties/p{n}"), 1u32));
    };
    expect(properties, "VM `rtos`: properties: more than 32 properties: remove some");
}

#[test]
fn a_part_of_a_page_lies_where_it_does_in_the_machine() {
    let part = |ipa: u64, machine: u64, bytes: u64| {
        move |tree: &mut DeviceTree| {
            set(tree, "/vm@1/device@a000000/reg", pair(ipa, bytes));
            set(tree, "/vm@1/device@a000000/machine", machine);
            set(tree, "/vm@1/device@a000000/sub-page", [0u32; 0]);
        }
    };
    let why = |span, machine| {
        std::format!(
            "VM `rtos`: device@a000000: {span} is empty, or elsewhere in its page than {machine}: make it lie at the same \
             offset"
        )
    };
    expect(part(0x0a00_0000, 0x0a00_3004, 4), &why("0xa000000..0xa000004", "0xa003004..0xa003008"));
    expect(
        part(0x0a00_0000, 0x0a00_3000, 0),
        "VM `rtos`: device@a000000: device@a000000 is empty: give it at least 0x1000 bytes",
    );
    let high = "VM `rtos`: device@a000000: 0xfffffffff000..0x1000000001000 goes beyond 0x1000000000000: place it lower";
    expect(part(0x0a00_0008, 0xffff_ffff_fff8 - 0xff0, 0x1000), &high.replace("device@a000000", "device@a000008"));
    expect(
        |tree| set(tree, "/vm@1/device@9000000/sub-page", [0u32; 0]),
        "VM `rtos`: device@9000000/sub-page: only a `passthrough` device can have it",
    );
    // Beside other devices of the guest's, but not in their pages.
    expect(
        part(0x0900_0ff8, 0x0a00_3ff8, 8),
        "VM `rtos`: device@9000ff8: 0x9000ff8..0x9001000 overlaps device@9000000 at 0x9000000..0x9001000: give each addresses of its own",
    );
}
