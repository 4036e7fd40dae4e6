//! Where things go when the file does not say, and when it does.

use tessera::manifest::{MemoryRegion, Span, VmConfig};

use super::support::{AARCH64, Workshop, accepted, elf, guest_vm, linux_image, linux_vm};

fn placed(workshop: &Workshop, toml: &str) -> VmConfig {
    accepted(workshop, toml).1.vms.remove(0)
}

fn spans(vm: &VmConfig) -> Vec<(u64, u64)> {
    vm.segments.iter().map(|segment| (segment.ipa, segment.bytes)).collect()
}

#[test]
fn linux_lies_2_mib_behind_the_tree_and_its_initrd_at_the_top() {
    let vm = placed(&Workshop::new(), &linux_vm("initrd = \"initrd\""));
    assert_eq!(spans(&vm), [(0x4020_0000, 0x20_0000), (0x43ff_e000, 5001)]);
    assert_eq!(vm.entry, 0x4020_0000);
    assert_eq!((vm.device_tree.ipa, vm.device_tree.bytes), (0x4000_0000, 0x1_0000));
    assert_eq!(vm.initrd, Some(Span { start: 0x43ff_e000, bytes: 5001 }));
}

#[test]
fn the_text_offset_of_older_kernels_is_kept() {
    let workshop = Workshop::new();
    workshop.write("Image", &linux_image(100_000, 0x8_0000, 0x20_0000));
    assert_eq!(placed(&workshop, &linux_vm("")).entry, 0x4028_0000);
    workshop.write("Image", &linux_image(100_000, 0x1000, 0));
    let vm = placed(&workshop, &linux_vm(""));
    assert_eq!(spans(&vm), [(0x4028_0000, 100_000)], "image_size 0 means a text_offset of 0x80000");
}

#[test]
fn linux_goes_to_the_block_behind_odd_memory() {
    let toml = linux_vm("").replace("\"64M\"", "[{ base = 0x40301000, size = \"64M\" }]");
    let vm = placed(&Workshop::new(), &toml);
    assert_eq!(vm.entry, 0x4060_0000);
    assert_eq!(vm.device_tree.ipa, 0x4030_1000);
}

#[test]
fn a_tree_for_linux_crosses_no_2_mib_boundary() {
    let toml = linux_vm("").replace("\"64M\"", "[{ base = 0x403ff000, size = \"64M\" }]");
    let vm = placed(&Workshop::new(), &toml);
    let (first, last) = (vm.device_tree.ipa, vm.device_tree.ipa + vm.device_tree.bytes - 1);
    assert_eq!(first >> 21, last >> 21);
    assert_eq!(first, 0x443e_0000, "as high as possible");
}

#[test]
fn a_raw_image_lies_where_qemu_puts_it() {
    let vm = placed(&Workshop::new(), &guest_vm("image = \"raw.bin\""));
    assert_eq!(spans(&vm), [(0x4008_0000, 300)]);
    assert_eq!((vm.entry, vm.device_tree.ipa), (0x4008_0000, 0x4000_0000));
}

#[test]
fn an_image_at_the_start_of_memory_sends_the_tree_to_the_top() {
    let vm = placed(&Workshop::new(), &guest_vm("image = \"rtos.elf\""));
    assert_eq!(spans(&vm), [(0x4000_0000, 0x3000)]);
    assert_eq!(vm.segments[0].file_bytes, 5000);
    assert_eq!((vm.entry, vm.device_tree.ipa), (0x4000_0000, 0x40ff_0000));
}

#[test]
fn load_and_entry_are_obeyed() {
    let image = "image = { path = \"raw.bin\", load = 0x40100000, entry = 0x40100010 }";
    let vm = placed(&Workshop::new(), &guest_vm(image));
    assert_eq!((spans(&vm), vm.entry), (vec![(0x4010_0000, 300)], 0x4010_0010));
    let image = "image = { path = \"Image\", load = 0x40400000 }\ninitrd = { path = \"initrd\", load = 0x40800000 }";
    let vm = placed(&Workshop::new(), &guest_vm(image));
    assert_eq!(spans(&vm), [(0x4040_0000, 0x20_0000), (0x4080_0000, 5001)]);
}

#[test]
fn an_elf_file_has_a_segment_for_each_part_with_data() {
    let workshop = Workshop::new();
    let parts: [(u64, u64, &[u8], u64); 3] = [
        (0x4008_0000, 0x4008_0000, &[1; 100], 100),
        (0x4009_0000, 0x4009_0000, &[2; 200], 5000),
        (0x400a_0000, 0x400a_0000, &[], 0x1_0000),
    ];
    workshop.write("rtos.elf", &elf(AARCH64, 0x4008_0010, &parts));
    let vm = placed(&workshop, &guest_vm("image = \"rtos.elf\""));
    assert_eq!(spans(&vm), [(0x4008_0000, 100), (0x4009_0000, 5000)]);
    assert_eq!(vm.entry, 0x4008_0010);
}

#[test]
fn nothing_is_put_into_an_elf_files_uninitialized_data() {
    let workshop = Workshop::new();
    let image = elf(
        AARCH64,
        0x4008_0000,
        &[(0x4008_0000, 0x4008_0000, &[1; 100], 100), (0x40ff_0000, 0x40ff_0000, &[], 0x1_0000)],
    );
    workshop.write("rtos.elf", &image);
    let vm = placed(&workshop, &guest_vm("image = \"rtos.elf\"\ninitrd = \"initrd\""));
    assert_eq!(vm.initrd.map(|initrd| initrd.start), Some(0x40fe_e000));
}

#[test]
fn a_virtual_entry_is_translated() {
    let workshop = Workshop::new();
    let high = 0xffff_0000_0008_0000;
    workshop.write("rtos.elf", &elf(AARCH64, high + 8, &[(high, 0x4008_0000, &[1; 100], 100)]));
    assert_eq!(placed(&workshop, &guest_vm("image = \"rtos.elf\"")).entry, 0x4008_0008);
}

#[test]
fn firmware_outside_ram_gets_memory_of_its_own() {
    let image = "image = { path = \"initrd\", kind = \"raw\", load = 0 }";
    let vm = placed(&Workshop::new(), &guest_vm(image));
    let firmware = MemoryRegion { ipa: 0, bytes: 0x2000, machine: None, firmware: true };
    assert_eq!(vm.memory[1], firmware);
    assert_eq!((vm.entry, vm.device_tree.ipa), (0, 0x4000_0000));
}

#[test]
fn parts_in_the_same_pages_outside_ram_share_a_region() {
    let workshop = Workshop::new();
    let image = elf(
        AARCH64,
        0x100,
        &[(0x100, 0x100, &[1; 100], 100), (0x800, 0x800, &[2; 100], 0x1000), (0x10_0000, 0x10_0000, &[3; 100], 100)],
    );
    workshop.write("rtos.elf", &image);
    let vm = placed(&workshop, &guest_vm("image = \"rtos.elf\""));
    let regions: Vec<_> = vm.memory.iter().map(|region| (region.ipa, region.bytes)).collect();
    assert_eq!(regions, [(0x4000_0000, 16 << 20), (0, 0x2000), (0x10_0000, 0x1000)]);
}

#[test]
fn further_files_go_where_they_are_told() {
    let lines = "image = \"raw.bin\"\nfiles = [{ path = \"initrd\", load = 0x40200000 }]";
    let vm = placed(&Workshop::new(), &guest_vm(lines));
    assert_eq!(spans(&vm), [(0x4008_0000, 300), (0x4020_0000, 5001)]);
}

#[test]
fn an_initrd_stays_within_a_gibibyte_of_the_kernel() {
    let toml = linux_vm("initrd = \"initrd\"").replace("64M", "4G");
    let vm = placed(&Workshop::new(), &toml);
    assert_eq!(vm.initrd.map(|initrd| initrd.start), Some(0x7fff_e000));
}

#[test]
fn a_tree_of_ones_own_is_given_command_line_and_initrd() {
    use dtoolkit::fdt::Fdt;
    use dtoolkit::model::DeviceTree;
    use dtoolkit::{Node, Property};

    let workshop = Workshop::new();
    workshop.write("own.dtb", &DeviceTree::new().to_dtb());
    let plain = placed(&workshop, &linux_vm("device-tree = \"own.dtb\""));
    let own = plain.device_tree.own.expect("its own");
    assert_eq!((own.file_bytes, plain.device_tree.bytes), (DeviceTree::new().to_dtb().len(), 72));

    let lines = "device-tree = \"own.dtb\"\ncommand-line = \"quiet\"\ninitrd = \"initrd\"";
    let (system, manifest) = accepted(&workshop, &linux_vm(lines));
    let own = manifest.vms[0].device_tree.own.clone().expect("its own");
    let blob = &system.archive[own.archive_offset..][..own.file_bytes];
    let tree = Fdt::new(blob).expect("still a tree");
    let chosen = tree.find_node("/chosen").expect("made");
    let value = |name| chosen.property(name).expect("set").value().to_vec();
    assert_eq!(value("bootargs"), b"quiet\0");
    assert_eq!(value("linux,initrd-start"), 0x43ff_e000u64.to_be_bytes());
    assert_eq!(value("linux,initrd-end"), (0x43ff_e000u64 + 5001).to_be_bytes());
}
