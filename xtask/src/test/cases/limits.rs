//! As much as `guests/SYSTEMS.md` says that there may be, on systems and boards, and one more.

use std::fmt::Write;

use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::*;

/// What has to do with interrupts, or takes most room beside them.
pub(super) fn on_either_gic() -> Vec<Case> {
    vec![
        thirty_two_vms(),
        sixty_four_vcpus_on_two_cores(),
        sixty_four_devices(),
        runs("1024 reservations that must not be mapped", |tree| reserve(tree, 1024, 0x2_0000)),
    ]
}

fn board(name: &str, tree: fn(&mut DeviceTree)) -> Case {
    let case = Case::new(name, system_of(&[("hello", "guest/hello", 1)]));
    Case { tree: Some(tree), memory_mib: Some(512), seconds: 60, ..case }
}

fn runs(name: &str, tree: fn(&mut DeviceTree)) -> Case {
    board(name, tree).steps(&["expect hello:hello> $", "send hello:off\n"]).ends(0)
}

/// Systems and boards at their limits run; beyond them they are refused.
pub(super) fn cases() -> Vec<Case> {
    let refused = |name, tree, message| board(name, tree).steps(&[message]).ends(1);
    vec![
        sixty_four_vcpus(),
        last_of_130_cores(),
        runs("200 reservations that must not be mapped", |tree| reserve(tree, 200, 1 << 20)),
        runs("1000 entries in the reservation block", |tree| list(tree, 1000)),
        runs("a device tree of two megabytes", |tree| fill(tree, 8000, 120)),
        runs("300 cores in the tree", |tree| add_cores(tree, 300)),
        refused(
            "refused: 1025 reservations",
            |tree| reserve(tree, 1025, 0x2_0000),
            "expect tessera:there are more than 1024 reservations",
        ),
        refused(
            "refused: 5000 entries in the reservation block",
            |tree| list(tree, 5000),
            "expect tessera:1024 reserv",
        ),
        refused("refused: 9000 nodes", |tree| fill(tree, 9000, 0), "expect tessera:there are more than 8192 nodes"),
        refused(
            "refused: a device tree of four megabytes",
            |tree| fill(tree, 8000, 400),
            "expect tessera:more than the 2097152 that arm64 allows",
        ),
    ]
}

/// All on one core; the last one has room too.
fn thirty_two_vms() -> Case {
    let mut text = String::new();
    for vm in 0..32 {
        let _ =
            writeln!(text, "[[vm]]\nname = \"vm{vm}\"\ncpus = [0]\nmemory = \"4M\"\nimage = \"tessera:guest/hello\"");
    }
    let steps = ["expect vm0:hello> $", "expect vm31:hello> $"];
    Case { seconds: 60, ..Case::new("32 guests on one core", System::Inline(text)).steps(&steps) }
}

/// 32 VMs have a vCPU each on either core: so many share a core at most.
fn sixty_four_vcpus_on_two_cores() -> Case {
    let vm = |vm: usize| {
        let image = "image = \"tessera:guest/crowd\"\ncommand-line = \"cores=2\"";
        format!("[[vm]]\nname = \"vm{vm}\"\ncpus = [0, 1]\nmemory = \"4M\"\n{image}\n")
    };
    let steps: Vec<_> = (0..32).map(|vm| format!("expect vm{vm}:crowd: 2 cores came and went")).collect();
    let steps: Vec<_> = steps.iter().map(String::as_str).collect();
    let text = (0..32).map(vm).collect();
    Case::new("64 vCPUs of 32 guests on two cores", System::Inline(text)).steps(&steps).ends(0)
}

/// A GICv3, as a GICv2 has room for eight.
fn sixty_four_vcpus() -> Case {
    let text = "[[vm]]\nname = \"crowd\"\ncpus = 64\nmemory = \"4M\"\nimage = \"tessera:guest/crowd\"\n\
                command-line = \"cores=64\"\n";
    let case = Case::new("64 vCPUs of one guest on 64 cores", System::Inline(text.to_owned()));
    Case { needs_gicv3: true, ..case.steps(&["expect crowd:crowd: 64 cores came and went"]).ends(0) }
}

/// Their redistributors lie in two regions.
fn last_of_130_cores() -> Case {
    let text = "[machine]\ncpus = 130\n[[vm]]\nname = \"crowd\"\ncpus = [0, 128, 129, 7]\nmemory = \"4M\"\n\
                image = \"tessera:guest/crowd\"\ncommand-line = \"cores=4\"\n";
    let case = Case::new("the last of 130 cores", System::Inline(text.to_owned()));
    Case { needs_gicv3: true, ..case.steps(&["expect crowd:crowd: 4 cores came and went"]).ends(0) }
}

fn sixty_four_devices() -> Case {
    let mut devices = String::new();
    for device in 0..63 {
        let (address, spi) = (0x0a00_0000 + device * 0x1000, device + 10);
        let _ = write!(devices, "{{ kind = \"pl031\", address = {address}, interrupts = [{spi}] }}, ");
    }
    let vm = "[[vm]]\nname = \"hello\"\ncpus = 1\nmemory = \"4M\"\nimage = \"tessera:guest/hello\"\n";
    let case = Case::new("64 devices of one guest", System::Inline(format!("{vm}devices = [{devices}]\n")));
    case.steps(&["expect hello:hello> $", "send hello:off\\n"]).ends(0)
}

fn node(name: String, properties: Vec<DeviceTreeProperty>) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    properties.into_iter().for_each(|property| node.add_property(property));
    node
}

/// A page that is not to be mapped in each stretch of `step` bytes, from 256 MiB of the memory on.
fn reserve(tree: &mut DeviceTree, count: u32, step: u32) {
    let property = |name: &str, cells: Vec<u32>| DeviceTreeProperty::new_unchecked(name, cells);
    let cells = |name: &str| property(name, vec![2]);
    let mut parent = node(
        "reserved-memory".to_owned(),
        vec![cells("#address-cells"), cells("#size-cells"), property("ranges", Vec::new())],
    );
    for start in (0..count).map(|index| 0x5000_0000 + index * step + 0x3000) {
        let region = vec![property("reg", vec![0, start, 0, 0x1000]), property("no-map", Vec::new())];
        parent.add_child(node(format!("region@{start:x}"), region));
    }
    tree.root.add_child(parent);
}

/// As many entries of the memory reservation block.
fn list(tree: &mut DeviceTree, count: u64) {
    let entries = (0..count).map(|index| MemoryReservation::new(0x5000_0000 + index * 0x2000, 0x1000));
    tree.memory_reservations.extend(entries);
}

/// As many nodes more, each with a property of so many bytes.
fn fill(tree: &mut DeviceTree, count: u32, bytes: usize) {
    let mut parent = node("filler".to_owned(), Vec::new());
    for index in 0..count {
        let phandle = DeviceTreeProperty::new_unchecked("phandle", 0x1_0000 + index);
        let text = DeviceTreeProperty::new_unchecked("filling", "x".repeat(bytes).as_str());
        let name = format!("device-with-a-long-name@{index:x}");
        parent.add_child(node(name, if bytes > 0 { vec![phandle, text] } else { Vec::new() }));
    }
    tree.root.add_child(parent);
}

/// Cores that QEMU does not have: the system wants none of them.
fn add_cores(tree: &mut DeviceTree, count: u32) {
    let Some(cores) = tree.find_node_mut("/cpus") else { return };
    for index in 1..count {
        let affinity = ((index / 16) << 8) | (index % 16);
        let name = format!("cpu@{affinity:x}");
        let texts = [("device_type", "cpu"), ("compatible", "arm,cortex-a72"), ("enable-method", "psci")];
        let mut properties: Vec<_> =
            texts.iter().map(|(name, text)| DeviceTreeProperty::new_unchecked(*name, *text)).collect();
        properties.push(DeviceTreeProperty::new_unchecked("reg", affinity));
        cores.add_child(node(name, properties));
    }
}
