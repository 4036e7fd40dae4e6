//! What is taken from the peers' consoles, and the device trees made for them.

use std::path::Path;

use dtoolkit::fdt::Fdt;
use dtoolkit::model::DeviceTree;
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use super::collected::{self, Collected};
use super::{Guest, kvm, one_line, tree, xen};
use crate::bench::figures::{self, Cell};

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn guest(gic: u32, cpus: usize) -> Guest<'static> {
    Guest::bench(Path::new("/image"), "ops=spi", gic, cpus)
}

#[test]
fn the_kvm_guests_lines_are_kept_and_the_hosts_are_not() {
    let seen = lines("[    0.1] Linux\nbench: {1}\n[note]\nbench: done\n[    0.842357] reboot: Power down");
    assert_eq!(kvm::guest_text(&guest(3, 1), &seen).expect("whole"), "bench: {1}\n[note]\nbench: done\n");
}

#[test]
fn a_kvm_run_that_failed_says_why() {
    let why = |text: &str| kvm::guest_text(&guest(3, 1), &lines(text)).expect_err("failed").to_string();
    assert_eq!(why("kvm-vmm: /dev/kvm: no such file\n[ 1.0] off"), "the VMM failed: /dev/kvm: no such file");
    assert_eq!(why("bench: {1}\n[ 1.0] Kernel panic"), "the guest did not finish; last line: [ 1.0] Kernel panic");
    assert_eq!(why(""), "the guest did not finish; last line: none");
    assert_eq!(why("not bench: done"), "the guest did not finish; last line: not bench: done");
}

#[test]
fn the_xen_guests_lines_lose_their_tag_and_grow_together() {
    let long = "x".repeat(126);
    let seen = lines(&format!(
        "(XEN) boot\n(XEN) DOM1: {long}\n(XEN) between\n(XEN) DOM1: yz\n(XEN) DOM1: bench: done\n(XEN) end"
    ));
    assert_eq!(xen::guest_text(&guest(3, 1), &seen).expect("whole"), format!("{long}yz\nbench: done\n"));
    let why =
        xen::guest_text(&guest(3, 1), &lines("(XEN) DOM1: bench: {1}\n(XEN) Panic on CPU 0:")).expect_err("not done");
    assert_eq!(why.to_string(), "the guest did not finish; last line: (XEN) Panic on CPU 0:");
}

#[test]
fn what_xen_keeps_is_what_is_neither_free_nor_the_guests() {
    let seen = lines("(XEN)     heap[20]: 886484kB free\n(XEN)     Dom heap: 1934164kB free");
    assert_eq!(xen::kept_memory(&seen), Some(31916 << 10));
    assert_eq!(xen::kept_memory(&lines("(XEN)     Dom heap: 99999999kB free")), None);
    assert_eq!(xen::kept_memory(&lines("(XEN) DOM1: Dom heap: 1kB free")), None);
}

#[test]
fn an_operations_line_is_replaced_by_another_runs() {
    let line = |op: &str, min: u32| {
        format!("bench: {{\"op\":\"{op}\",\"gic\":2,\"min\":{min},\"median\":{min},\"max\":{min}}}\n")
    };
    let first = line("spi", 1) + &line("self_sgi", 2) + &line("dir", 3) + "bench: done\n";
    let mut all = Collected::new(2, first);
    all.replace("self_sgi", Ok(line("sgi_other_vcpu", 4) + &line("self_sgi", 5)));
    all.replace("spi", Err("no \"package\"".into()));
    all.replace("eoi", Ok("bench: done\n".into()));
    all.set("image_bytes", Ok(7));
    let cells = figures::read(&all.into_text(), 2).expect("complete");
    let value = |op: &str| cells.get(op).and_then(Cell::figures).map(|figures| figures.median);
    assert_eq!((value("self_sgi"), value("dir"), value("image_bytes")), (Some(5), Some(3), Some(7)));
    assert_eq!(cells.get("spi"), Some(&Cell::Missing("no \"package\"".into())));
    assert_eq!(cells.get("eoi"), Some(&Cell::Missing("the guest did not measure it".into())));
    assert_eq!(cells.len(), 5);
}

#[test]
fn beginnings_are_read() {
    assert_eq!(collected::began("x\nbench: first instruction at CNTPCT 41583489, CNTVCT 2\n"), Ok(41_583_489));
    assert!(collected::began("bench: first instruction at CNTPCT ?").is_err());
}

#[test]
fn an_error_becomes_one_line() {
    let told = |text: &'static str| one_line(&anyhow::anyhow!(text).context("cannot fetch xen"));
    let apt = "failed: apt-get -o a=b download xen\n\n  Ign:1 http://somewhere\n  E: nothing there\nE: more";
    assert_eq!(told(apt), "cannot fetch xen: apt-get failed: nothing there");
    assert_eq!(
        told("failed: gcc -O2 x.c\nx.c: In function\nx.c:1: error: y"),
        "cannot fetch xen: gcc failed: x.c:1: error: y"
    );
    assert_eq!(told("failed: gcc x.c"), "cannot fetch xen: gcc failed: it does not say why");
    assert_eq!(
        told("the VMM failed: /dev/kvm: no such file"),
        "cannot fetch xen: the VMM failed: /dev/kvm: no such file"
    );
    assert_eq!(told("no such file\nmore"), "cannot fetch xen: no such file");
}

#[test]
fn the_kvm_guests_tree_describes_the_vmms_machine() {
    for (gic, compatible, second) in [(2, "arm,cortex-a15-gic", 0x0801_0000), (3, "arm,gic-v3", 0x080a_0000)] {
        let blob = tree::kvm_guest(&guest(gic, 2), Some(5)).to_dtb();
        let fdt = Fdt::new(&blob).expect("valid");
        let node = |path: &str| fdt.find_node(path).expect(path);
        let address = |path: &str, index| {
            let mut ranges = node(path).reg().expect("reg").expect("some");
            ranges.nth(index).expect("range").address::<u64>().expect("64 bits")
        };
        assert!(node("/intc@8000000").is_compatible(compatible));
        assert_eq!((address("/intc@8000000", 0), address("/intc@8000000", 1)), (0x0800_0000, second));
        assert_eq!((address("/memory@40000000", 0), address("/pl011@9000000", 0)), (0x4000_0000, 0x0900_0000));
        assert_eq!(fdt.cpus().expect("cpus").cpus().count(), 2);
        let mask = node("/timer").property("interrupts").expect("interrupts").value()[10];
        assert_eq!(mask, if gic == 2 { 3 } else { 0 });
        let text = |name: &str| node("/chosen").property(name).expect("there").value().to_vec();
        assert_eq!(text("bootargs"), b"ops=spi\0");
        assert_eq!(text("linux,initrd-end"), 0x4400_0005u64.to_be_bytes());
    }
}

#[test]
fn the_domain_is_added_where_xen_looks_for_it() {
    let mut tree = DeviceTree::new();
    assert!(tree::add_domain(&mut tree, &guest(3, 1), [0, 0], None).is_err(), "no /chosen");
    tree.root.add_child(dtoolkit::model::DeviceTreeNode::new_unchecked("chosen"));
    tree::add_domain(&mut tree, &guest(3, 1), [0x5000_0000, 0x1234], Some([0x5800_0000, 0x56])).expect("added");
    let blob = tree.to_dtb();
    let fdt = Fdt::new(&blob).expect("valid");
    let node = |path: &str| fdt.find_node(path).expect(path);
    assert!(node("/chosen/domU1").is_compatible("xen,domain"));
    let value = |path: &str, name: &str| node(path).property(name).expect("there").value().to_vec();
    assert_eq!(value("/chosen/domU1", "memory"), (128u64 << 10).to_be_bytes());
    let module = "/chosen/domU1/module@50000000";
    assert!(node(module).is_compatible("multiboot,kernel"));
    assert_eq!(value(module, "reg"), [0x5000_0000u64.to_be_bytes(), 0x1234u64.to_be_bytes()].concat());
    assert_eq!(value(module, "bootargs"), b"ops=spi\0");
    let ramdisk = "/chosen/domU1/module@58000000";
    assert!(node(ramdisk).is_compatible("multiboot,ramdisk"));
    assert_eq!(value(ramdisk, "reg"), [0x5800_0000u64.to_be_bytes(), 0x56u64.to_be_bytes()].concat());
}
