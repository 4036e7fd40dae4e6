//! The tree read back with an independent reader, and with dtc where it is installed.

use std::io::Write;
use std::process::{Command, Stdio};
use std::string::{String, ToString};
use std::vec;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use tessera_platform::tree::DeviceNode;

use super::*;
use crate::manifest::{
    BoardDevices, CoreRequest, Device, DeviceKind, DeviceTreeArea, GicConfig, Interrupt, Policy, Restarts, Scheduling,
    Span, WantedDevices,
};

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
        board_devices: BoardDevices {
            wanted: WantedDevices::Named(vec![]),
            without_dma: vec![],
            by_sub_page: vec![],
            left_out: vec![],
            interrupts: vec![],
        },
        share_image: false,
        on_reset: Policy::Restart,
        on_crash: Policy::Stop,
        restarts: Restarts::default(),
        scheduling: Scheduling::default(),
    }
}

fn facts(gic_version: u8) -> TreeFacts<'static> {
    TreeFacts { cpu_compatible: &["arm,cortex-a72"], gic_version, seed: None, board: None }
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
        kind: DeviceKind::Passthrough { machine: 0x0a00_3000, described: true, by_sub_page: false },
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

const VIRT: &[u8] = include_bytes!("../../../platform/tests/blobs/virt-gicv3-2.dtb");
const PI: &[u8] = include_bytes!("../../../platform/tests/blobs/bcm2711-rpi-4-b-qemu.dtb");

/// The tree of a guest that is given these devices of a board, without some properties of the first.
fn with_devices(board: &[u8], paths: &[&str], without: &[&str]) -> Vec<u8> {
    use tessera_platform::assignment::LeftOut;
    // Aligned, as a loader gives it.
    let board = board.to_vec();
    let tree = tessera_platform::tree::Tree::parse(&board).expect("a real tree");
    let nodes: Vec<_> = paths.iter().map(|path| tree.find(path).expect("there")).collect();
    let left: Vec<_> = without.iter().map(|name| LeftOut::new(nodes[0], name).expect("there")).collect();
    let given = Assignment::new(&tree, &nodes, &left).expect("good");
    let mut config = config();
    config.device_tree.bytes = 0x2_0000;
    let blob = build(&config, &TreeFacts { board: Some(&given), ..facts(3) }).expect("fits");
    // The reader that Linux's rules are nearest to.
    tessera_platform::tree::Tree::parse(&blob).expect("a valid tree");
    blob
}

#[test]
fn a_device_of_the_board_keeps_its_properties_and_finds_its_controller() {
    let blob = with_devices(VIRT, &["/virtio_mmio@a000200"], &[]);
    assert_eq!(words(&blob, "/virtio_mmio@a000200", "interrupts"), [0, 0x11, 1]);
    assert_eq!(words(&blob, "/virtio_mmio@a000200", "reg"), [0, 0x0a00_0200, 0, 0x200]);
    assert_eq!(words(&blob, "/", "interrupt-parent"), [0x8003], "the board's number");
    assert_eq!(words(&blob, "/intc@8000000", "phandle"), [0x8003]);
    assert!(!has(&blob, "/virtio_mmio@a000000") && !has(&blob, "/pl031@9010000"));
    value(&blob, "/", "dma-coherent");
}

#[test]
fn the_guests_own_nodes_make_way_for_the_boards() {
    let blob = with_devices(VIRT, &["/pl031@9010000"], &[]);
    let clock = words(&blob, "/pl031@9010000", "clocks");
    assert_eq!(words(&blob, "/apb-pclk", "phandle"), clock, "the board's clock");
    let own = words(&blob, "/tessera-uart-clock", "phandle");
    assert_ne!(own, clock);
    assert_eq!(words(&blob, "/pl011@9000000", "clocks"), [own[0], own[0]]);
}

/// Whatever a guest is given, no two nodes, phandles, clocks or aliases of its tree are called the same.
#[test]
fn nothing_of_the_boards_meets_the_guests_own() {
    use tessera_platform::tree::Tree;
    for board in [VIRT, PI] {
        let board = board.to_vec();
        let tree = Tree::parse(&board).expect("a real tree");
        let can_be_given = |node: &DeviceNode| Assignment::new(&tree, &[*node], &[]).is_ok();
        let paths = tree.nodes().filter(can_be_given).map(DeviceNode::path);
        // EL2 has it, and keeps it.
        let paths: Vec<_> = paths.filter(|path| path != "/pl011@9000000").collect();
        assert!(paths.len() > 10);
        for path in &paths {
            no_name_twice(&with_devices(&board, &[path], &[]));
        }
    }
}

#[track_caller]
fn no_name_twice(blob: &[u8]) {
    let blob = blob.to_vec();
    let tree = tessera_platform::tree::Tree::parse(&blob).expect("a valid tree");
    let once = |kind: &str, mut all: Vec<String>| {
        all.sort();
        let twice = all.windows(2).find(|pair| pair[0] == pair[1]);
        assert!(twice.is_none(), "{kind}: {twice:?}");
    };
    once("nodes", tree.nodes().map(DeviceNode::path).collect());
    once("phandles", tree.nodes().filter_map(|node| Some(node.u32("phandle")?.to_string())).collect());
    once("clocks", tree.nodes().filter(|node| node.is_enabled()).flat_map(clock_names).collect());
    let aliases = tree.by_path("/aliases").expect("there is a console");
    once("aliases", aliases.properties().map(|(name, _)| name.into()).collect());
}

/// The names by which Linux knows the clocks of a node (drivers/clk/clk-fixed-rate.c).
fn clock_names(node: DeviceNode) -> Vec<String> {
    let named: Vec<String> = node.strings("clock-output-names").map(String::from).collect();
    let own = || node.name().split('@').next().map(String::from);
    match named.is_empty() && node.is_compatible(&["fixed-clock"]) {
        true => own().into_iter().collect(),
        false => named,
    }
}

#[test]
fn buses_clocks_and_supplies_come_along() {
    let blob = with_devices(PI, &["/emmc2bus/mmc@7e340000"], &["vmmc-supply"]);
    assert_eq!(words(&blob, "/emmc2bus", "dma-ranges"), [0, 0xc000_0000, 0, 0, 0x4000_0000]);
    let clocks = words(&blob, "/soc/cprman@7e101000", "phandle");
    assert_eq!(words(&blob, "/emmc2bus/mmc@7e340000", "clocks")[0], clocks[0]);
    assert!(node(&blob, "/emmc2bus/mmc@7e340000").property("vmmc-supply").is_none());
    assert!(has(&blob, "/sd_io_1v8_reg") && !has(&blob, "/sd_vcc_reg") && !has(&blob, "/soc/usb@7e980000"));
    assert_eq!(value(&blob, "/soc/dsi@7e209000", "status"), b"disabled\0", "only its name is of interest");
    assert!(node(&blob, "/").property("dma-coherent").is_none(), "the board's DMA sees no caches");
    assert_eq!(words(&blob, "/", "#size-cells"), [2]);
}

/// The Raspberry Pi's root has sizes of one cell.
#[test]
fn addresses_at_the_root_are_widened() {
    use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
    let mut board = DeviceTree::from_fdt(&Fdt::new_unchecked(PI));
    let mut gadget = DeviceTreeNode::new_unchecked("gadget@fd800000");
    let mut set = |name: &str, cells: &[u32]| {
        gadget.add_property(DeviceTreeProperty::new_unchecked(name, cells.to_vec()));
    };
    set("reg", &[0, 0xfd80_0000, 0x100, 1, 2, 3]);
    set("#address-cells", &[1]);
    set("#size-cells", &[1]);
    set("ranges", &[5, 0, 0xfd80_0000, 6, 7, 1, 2, 8]);
    board.root.add_child(gadget);
    let blob = with_devices(&board.to_dtb(), &["/gadget@fd800000"], &[]);
    assert_eq!(words(&blob, "/gadget@fd800000", "reg"), [0, 0xfd80_0000, 0, 0x100, 1, 2, 0, 3]);
    assert_eq!(words(&blob, "/gadget@fd800000", "ranges"), [5, 0, 0xfd80_0000, 6, 7, 1, 2, 8], "two cells already");
}

/// Whatever is wrong with the board's tree, what a guest is given is a tree, or nothing is.
#[test]
fn damaged_boards_make_whole_trees() {
    use tessera_platform::tree::Tree;
    let mut seed = 7_u64;
    let mut random = |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % limit
    };
    let mut built = 0;
    for round in 0..300 {
        let mut board = if round % 2 == 0 { VIRT.to_vec() } else { PI.to_vec() };
        for _ in 0..=random(3) {
            let (from, to) = (random(board.len() / 4 - 16) + 16, random(board.len() / 4 - 16) + 16);
            match random(3) {
                0 => board[to * 4 + 3] ^= 1 << random(8),
                1 => board[to * 4..to * 4 + 4].fill(0xff),
                _ => board.copy_within(from * 4..from * 4 + 4, to * 4),
            }
        }
        let Ok(tree) = Tree::parse(&board) else { continue };
        for node in tree.nodes() {
            let Ok(given) = Assignment::new(&tree, &[node], &[]) else { continue };
            let mut config = config();
            config.device_tree.bytes = 0x2_0000;
            let blob =
                build(&config, &TreeFacts { board: Some(&given), ..facts(2) }).expect("no more than the board's");
            assert!(Tree::parse(&blob).is_ok(), "{}", node.path());
            built += 1;
        }
    }
    assert!(built > 5000, "only {built}");
}
