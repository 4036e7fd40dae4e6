//! Devices named by the board's tree: found by path, alias, label or name, and each mistake at its place.

use tessera::manifest::WantedDevices;

use super::super::ImageProvider;
use super::super::board_tree::BoardTree;
use super::errors::expect_in;
use super::support::{Workshop, accepted, board_tree, guest_vm};

/// A VM with memory one to one, and further lines.
fn vm(name: &str, base: u64, lines: &str) -> String {
    let memory = format!("[{{ base = {base:#x}, size = \"16M\", one-to-one = true }}]");
    format!("[[vm]]\nname = \"{name}\"\ncpus = 1\nmemory = {memory}\nimage = \"raw.bin\"\n{lines}\n")
}

fn disk(lines: &str) -> String {
    vm("disk", 0x6000_0000, lines)
}

/// The workshop of somebody with a Raspberry Pi 4.
fn pi() -> Workshop {
    let workshop = Workshop::new();
    workshop.write("board.dtb", &board_tree("bcm2711-rpi-4-b-qemu"));
    workshop
}

#[track_caller]
fn expect(toml: &str, mark: &str, message: &str, help: &str) {
    expect_in(&Workshop::new(), toml, mark, message, help);
}

#[test]
fn a_gic_that_the_board_has_not_is_refused() {
    expect_in(&pi(), &vm("a", 0x6000_0000, "gic = 3"), "3\n", "the machine has a GICv2", "leave `gic` out");
    let (system, _) = accepted(&pi(), &disk("gic = 2"));
    let fixed: Vec<_> =
        system.fixed_memory.iter().map(|memory| (memory.vm.as_str(), memory.start, memory.bytes)).collect();
    assert_eq!(fixed, [("disk", 0x6000_0000, 16 << 20)]);
}

#[test]
fn paths_are_resolved_and_more_is_written_down() {
    let (system, manifest) =
        accepted(&Workshop::new(), &disk("devices = [\"/virtio_mmio@a000000\", \"pl031@9010000\"]"));
    let named = ["/virtio_mmio@a000000", "/pl031@9010000"].map(String::from).into();
    assert_eq!(manifest.vms[0].board_devices.wanted, WantedDevices::Named(named));
    assert!(system.machine.memory >= 0x2100_0000, "QEMU's memory begins at 1 GiB: {:#x}", system.machine.memory);
    assert!(manifest.vms[0].device_tree.bytes >= 0x2_0000, "room for the board's nodes");
    let (_, manifest) = accepted(
        &pi(),
        &vm("disk", 0x1000_0000, "devices = [{ device = \"serial0\", dma = false, without = [\"clocks\"] }]"),
    );
    let devices = &manifest.vms[0].board_devices;
    assert_eq!(devices.wanted, WantedDevices::Named(vec!["/soc/serial@7e201000".into()]));
    assert_eq!(devices.without_dma, ["/soc/serial@7e201000"]);
    assert_eq!(devices.left_out, [("/soc/serial@7e201000".into(), "clocks".into())]);
    let (_, manifest) = accepted(&Workshop::new(), &disk("everything-except = [\"/pl031@9010000\"]"));
    assert_eq!(manifest.vms[0].board_devices.wanted, WantedDevices::AllExcept(vec!["/pl031@9010000".into()]));
    let (_, manifest) = accepted(&Workshop::new(), &disk("everything-except = []"));
    assert_eq!(manifest.vms[0].board_devices.wanted, WantedDevices::AllExcept(vec![]));
}

#[test]
fn a_device_that_does_not_exist() {
    let toml = disk("devices = [\"/virtio_mmio@a00000\"]");
    let message = "this board's tree has no device `/virtio_mmio@a00000`";
    expect(&toml, "\"/virtio", message, "did you mean `/virtio_mmio@a000000`?");
    let toml = disk("devices = [\"emmc2\"]");
    expect_in(
        &pi(),
        &toml,
        "\"emmc2",
        "this board's tree has no device `emmc2`",
        "did you mean `/emmc2bus/mmc@7e340000`?; this tree has no labels",
    );
    let toml = disk("devices = [\"bluetooth-uart\"]");
    let message = "this board's tree has no device `bluetooth-uart`";
    expect_in(
        &pi(),
        &toml,
        "\"bluetooth",
        message,
        "shows the board's tree (package device-tree-compiler); this tree has no labels (no /__symbols__): write a path",
    );
    let toml = disk("devices = [{ device = \"/pl031@9010000\", without = [\"dmas\"] }]");
    let message = "/pl031@9010000: it has no property `dmas`";
    expect(&toml, "\"dmas", message, "it has: clock-names, clocks, interrupts, reg, compatible");
}

#[test]
fn a_label_of_a_tree_without_labels() {
    let toml = disk("devices = [\"i2c1\"]");
    let message = "this board's tree has no device `i2c1`";
    expect_in(&pi(), &toml, "\"i2c1", message, "did you mean one of `/soc/i2c@7e205000`, `/soc/i2c@7e804000`");
    expect_in(&pi(), &toml, "\"i2c1", message, "write a path or an alias");
}

#[test]
fn nothing_is_left_for_the_second_that_wants_everything() {
    let toml = disk("everything-except = []") + &vm("other", 0x6100_0000, "everything-except = [ ]");
    let message = "no device is left for VM `other`: EL2 and the other VMs have all others";
    expect(&toml, "[ ]", message, "except from another VM's devices");
}

#[test]
fn a_device_given_twice() {
    let toml = disk("devices = [\"/pl031@9010000\", \"pl031@9010000\"]");
    expect(&toml, "\"pl031", "`pl031@9010000` is named twice: it is /pl031@9010000", "name it once");
    let device = "devices = [\"/pl031@9010000\"]";
    let toml = disk(device) + &vm("other", 0x6100_0000, device);
    let message = "two VMs need /pl031@9010000: VM `other` names it; VM `disk` names it";
    expect(&toml, "\"/pl031", message, "give both devices to one VM");
    let described = "devices = [{ machine = 0x0901_0000, interrupts = [100] }]";
    let toml = disk(device) + &vm("other", 0x6100_0000, described);
    let message = "the machine's device `device` of VM `other` (0x9010000 to 0x9011000) overlaps \
        a device of the board that VM `disk` is given (0x9010000 to 0x9011000)";
    expect(&toml, "{ machine", message, "addresses of its own");
    let described = "devices = [{ machine = 0x0d00_0000, interrupts = [2] }]";
    let toml = disk(device) + &vm("other", 0x6100_0000, described);
    expect(&toml, "2] }", "SPI 2 is given to VM `disk` already", "give it to one of them");
    expect(
        &disk("devices = [\"/pl031@9010000\"]\neverything-except = []"),
        "\"/pl031",
        "a VM has devices by name or `everything-except`, not both",
        "remove one",
    );
}

#[test]
fn what_two_devices_share() {
    let toml = disk("devices = [\"/virtio_mmio@a000000\"]")
        + &vm("other", 0x6100_0000, "devices = [\"/virtio_mmio@a000200\"]");
    let message = "/virtio_mmio@a000200 (0xa000200..0xa000400) of VM `other` shares a page of 4 KiB with \
        /virtio_mmio@a000000 (0xa000000..0xa000200) of VM `disk`: VM `other` names it; VM `disk` names it";
    expect(&toml, "\"/virtio", message, "only pages of 4 KiB apart");
    let toml = vm("card", 0x1000_0000, "devices = [\"/emmc2bus/mmc@7e340000\"]")
        + &vm("other", 0x1100_0000, "devices = [\"/soc/i2c@7e804000\"]");
    let message = "two VMs need /soc/cprman@7e101000: VM `other` needs it for /soc/i2c@7e804000 (clocks); \
        VM `card` needs it for /emmc2bus/mmc@7e340000 (clocks)";
    expect_in(&pi(), &toml, "\"/soc", message, "give both devices to one VM");
}

#[test]
fn a_page_is_shared_by_sub_page() {
    let shared = |name: &str| format!("devices = [{{ device = \"{name}\", sub-page = true }}]");
    let other = |lines: &str| vm("other", 0x6100_0000, lines);
    let toml = disk(&shared("/virtio_mmio@a000000")) + &other(&shared("/virtio_mmio@a000200"));
    let (_, manifest) = accepted(&Workshop::new(), &toml);
    assert_eq!(manifest.vms[0].board_devices.by_sub_page, ["/virtio_mmio@a000000"]);
    let toml = disk(&shared("/virtio_mmio@a000000")) + &other("devices = [\"/virtio_mmio@a000200\"]");
    let message = "/virtio_mmio@a000200 (0xa000200..0xa000400) of VM `other` shares a page of 4 KiB with \
        /virtio_mmio@a000000 (0xa000000..0xa000200) of VM `disk`: VM `other` names it; VM `disk` names it";
    expect(&toml, "\"/virtio_mmio@a000200", message, "name each as `{ device = \"PATH\", sub-page = true }`");
    let toml = disk("devices = [{ device = \"/virtio_mmio@a000000\", sub-page = true }, \"/virtio_mmio@a000200\"]");
    let message = "/virtio_mmio@a000200, reg: /virtio_mmio@a000200 (0xa000200..0xa000400) lies in a page of which the \
        same VM has another device by sub-page";
    expect(&toml, "\"/virtio_mmio@a000200", message, "name /virtio_mmio@a000200 with `sub-page = true` too");
    // Neighbours of a part do not come along.
    let alone = "image = \"raw.bin\"\ndevices = [{ device = \"/virtio_mmio@a000000\", dma = false, sub-page = true }]";
    accepted(&Workshop::new(), &guest_vm(alone));
    let uart = vm("uart", 0x1000_0000, &shared("/soc/aux@7e215000"));
    accepted(&pi(), &uart);
}

#[test]
fn a_described_part_of_a_page() {
    let part = |address: u64, machine: u64, size: u64| {
        format!("devices = [{{ address = {address:#x}, machine = {machine:#x}, size = {size:#x}, sub-page = true }}]")
    };
    let toml =
        disk(&part(0x0b00_0200, 0x0a00_0200, 0x200)) + &vm("other", 0x6100_0000, &part(0x0a00_0400, 0x0a00_0400, 4));
    let (_, manifest) = accepted(&Workshop::new(), &toml);
    let part_of = |vm: usize| manifest.vms[vm].devices.iter().find_map(|device| device.sub_page_span());
    assert_eq!(part_of(0).map(|span| (span.start, span.bytes)), Some((0x0a00_0200, 0x200)));
    let toml =
        disk(&part(0x0a00_0200, 0x0a00_0200, 0x200)) + &vm("other", 0x6100_0000, &part(0x0a00_03ff, 0x0a00_03ff, 1));
    let message = "the machine's device `device` of VM `other` (0xa0003ff to 0xa000400) overlaps the machine's device \
        `device` of VM `disk` (0xa000200 to 0xa000400)";
    expect(&toml, "{ address = 0xa0003ff", message, "addresses of its own");
    let toml = disk(&part(0x0a00_0200, 0x0a00_0204, 4));
    let message = "a device with `sub-page` must lie as far from the start of a page as in the machine";
    expect(&toml, "{ address", message, "differ by a multiple of 4096");
    let toml = disk("devices = [{ machine = 0xa000200 }]");
    expect(&toml, "{ machine", "a device must be whole pages", "or write `sub-page = true`");
    let toml = disk("devices = [{ kind = \"pl031\", sub-page = true }]");
    expect(&toml, "\"pl031", "an emulated device has no `sub-page`", "remove `sub-page`");
}

#[test]
fn dma_that_reaches_none_of_the_guests_memory() {
    let high = vm("high", 0x4000_0000, "devices = [\"/soc/dma@7e007000\"]");
    let message = "/soc/dma@7e007000 accesses memory by itself, and reaches [0x0..0x40000000] (dma-ranges), where the VM has \
        none; VM `high` names it";
    expect_in(&pi(), &high, "\"/soc", message, "give the VM some memory there, `{ base = ADDRESS");
    accepted(&pi(), &high.replace("\"/soc/dma@7e007000\"", "{ device = \"/soc/dma@7e007000\", dma = false }"));
    let both = "memory = [{ base = 0x40000000, size = \"16M\", one-to-one = true }, \
        { base = 0x10000000, size = \"1M\", one-to-one = true }]";
    let memory = "memory = [{ base = 0x40000000, size = \"16M\", one-to-one = true }]";
    accepted(&pi(), &high.replace(memory, both));
}

#[test]
fn what_el2_needs_itself() {
    let message = "/pl011@9000000 (0x9000000..0x9001000) belongs to EL2 (0x9000000..0x9001000); VM `disk` names it";
    expect(&disk("devices = [\"/pl011@9000000\"]"), "\"/pl011", message, "leave the device out");
    let message = "/intc@8000000: the interrupt controller is EL2's; each guest has one of its own";
    expect(&disk("devices = [\"/intc@8000000\"]"), "\"/intc", message, "name another device");
    let error = pi().compile(&disk("devices = [\"/soc/aux@7e215000\"]")).expect_err("EL2's UART is in that page");
    assert!(error.message().contains("shares a page of 4 KiB with what belongs to EL2"), "{error}");
}

#[test]
fn dma_without_one_to_one_memory() {
    let toml = guest_vm("image = \"raw.bin\"\ndevices = [\"/virtio_mmio@a000000\"]");
    let message = "/virtio_mmio@a000000 can access memory by itself (DMA), which no SMMU checks";
    expect(&toml, "\"/virtio", message, "one-to-one = true");
    expect(&toml, "\"/virtio", message, "nothing then keeps this VM from having the device read and write all");
    let toml = guest_vm("image = \"raw.bin\"\ndevices = [{ device = \"/virtio_mmio@a000000\", dma = false }]");
    let message =
        "/virtio_mmio@a000200, in a page that comes along, can access memory by itself (DMA), which no SMMU checks";
    expect(&toml, "\"/virtio", message, "one-to-one = true");
    let toml = guest_vm("image = \"raw.bin\"\ndevices = [{ device = \"/fw-cfg@9020000\", dma = false }]");
    accepted(&Workshop::new(), &toml);
}

/// Memory that an image gets by itself is not where it is in the machine.
#[test]
fn an_image_outside_the_memory_that_dma_reaches() {
    let workshop = Workshop::new();
    let elf = |toml: String| toml.replace("\"raw.bin\"", "\"rtos.elf\"");
    let message = "the image (0x40000000 to 0x40003000) lies outside the VM's memory, but /virtio_mmio@a000000 can access \
        memory by itself (DMA), which no SMMU checks";
    let toml = elf(disk("devices = [\"/virtio_mmio@a000000\"]"));
    expect_in(&workshop, &toml, "\"rtos.elf", message, "{ base = ADDRESS, size = SIZE, one-to-one = true }");
    accepted(&workshop, &elf(disk("devices = [\"/pl031@9010000\"]")));
    let there = "{ base = 0x40000000, size = \"1M\", one-to-one = true }]\n";
    accepted(&workshop, &toml.replacen("true }]\n", &format!("true }}, {there}"), 1));
}

#[test]
fn a_device_over_the_guests_own() {
    let toml = disk("devices = [\"/pl031@9010000\"]\nlayout = { uart = 0x0901_0000 }");
    let message = "a device of the board (0x9010000 to 0x9011000) overlaps \
        the console's UART (0x9010000 to 0x9011000)";
    expect(&toml, "\"/pl031", message, "addresses of its own");
}

#[test]
fn a_board_that_is_not_known() {
    let workshop = Workshop::new();
    workshop.write("board.dtb", b"no tree");
    let error = workshop.compile(&disk("devices = [\"/pl031@9010000\"]")).expect_err("no tree");
    assert!(error.message().starts_with("the board's device tree: the blob is shorter"), "{error}");
}

/// The tree of `virt`, and how often it was asked for.
#[derive(Default)]
struct Asked(std::cell::Cell<usize>);

impl ImageProvider for Asked {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn image(&self, _: &str) -> anyhow::Result<std::path::PathBuf> {
        anyhow::bail!("there is none")
    }

    fn board_tree(&self) -> anyhow::Result<Vec<u8>> {
        self.0.set(self.0.get() + 1);
        Ok(board_tree("virt-gicv3-2"))
    }
}

#[test]
fn the_tree_is_asked_for_once_and_only_if_it_is_read() {
    let asked = Asked::default();
    let tree = BoardTree::new(&asked);
    assert_eq!(asked.0.get(), 0);
    let bytes = [0..1, 1..2].map(|place| tree.read(&place).unwrap_or_else(|_| panic!("a tree")).bytes);
    assert_eq!((bytes, asked.0.get()), ([board_tree("virt-gicv3-2").len() as u64; 2], 1));
}
