//! Devices that share a page: who can have them, and what of it.

use super::common::{Machine, blob};
use tessera_platform::Span;
use tessera_platform::assignment::{Assignment, Kept, between, everything_except, with_kept};
use tessera_platform::board::{Board, find_console};
use tessera_platform::tree::Tree;

const DISK: &str = "/virtio_mmio@a000000";
const NEIGHBOUR: &str = "/virtio_mmio@a000200";

fn given<'tree>(tree: &'tree Tree<'tree>, name: &str) -> Assignment<'tree> {
    Assignment::new(tree, &[tree.find(name).unwrap()], &[]).unwrap()
}

fn by_sub_page<'tree>(tree: &'tree Tree<'tree>, name: &str) -> Assignment<'tree> {
    given(tree, name).by_sub_page(&[tree.find(name).unwrap()]).unwrap()
}

fn span(start: u64, bytes: u64) -> Span {
    Span::new(start, bytes).unwrap()
}

#[test]
fn neighbours_do_not_come_along() {
    let tree = Tree::parse(blob("virt-gicv3-2")).unwrap();
    let disk = by_sub_page(&tree, DISK);
    assert_eq!((disk.pages(), disk.sub_pages()), (vec![], vec![span(0xa00_0000, 0x200)]));
    let masters: Vec<_> = disk.dma_masters().iter().map(|node| node.path()).collect();
    assert_eq!(masters, [DISK]);
    assert_eq!(disk.distinct_interrupts().len(), 1);
}

#[test]
fn two_owners_share_a_page_if_both_say_so() {
    let tree = Tree::parse(blob("virt-gicv3-2")).unwrap();
    let (disk, neighbour) = (by_sub_page(&tree, DISK), by_sub_page(&tree, NEIGHBOUR));
    assert!(between(("a", &disk), ("b", &neighbour)).is_none());
    assert!(between(("a", &disk), ("b", &by_sub_page(&tree, DISK))).is_some(), "the node itself");
    let mapped = [given(&tree, DISK), given(&tree, NEIGHBOUR)];
    for (one, other) in [(&mapped[0], &neighbour), (&disk, &mapped[1]), (&mapped[0], &mapped[1])] {
        let conflict = between(("a", one), ("b", other)).unwrap();
        assert!(conflict.problem.contains("shares a page of 4 KiB with"), "{}", conflict.problem);
        assert!(
            conflict.remedy.contains("name each as `{ device = \"PATH\", sub-page = true }`"),
            "{}",
            conflict.remedy
        );
    }
}

#[test]
fn one_owner_has_a_page_in_one_way() {
    let tree = Tree::parse(blob("virt-gicv3-2")).unwrap();
    let nodes = [DISK, NEIGHBOUR].map(|name| tree.find(name).unwrap());
    let error = Assignment::new(&tree, &nodes, &[]).unwrap().by_sub_page(&nodes[..1]).err().unwrap();
    assert_eq!((error.path(), error.property()), (NEIGHBOUR, "reg"));
    assert!(error.remedy().contains("name /virtio_mmio@a000200 with `sub-page = true` too"), "{error}");
    let both = Assignment::new(&tree, &nodes, &[]).unwrap().by_sub_page(&nodes).unwrap();
    assert_eq!(both.sub_pages(), [span(0xa00_0000, 0x400)]);
}

/// On this board the mini UART is EL2's.
#[test]
fn beside_what_the_hypervisor_uses() {
    let tree = Tree::parse(blob("bcm2711-rpi-4-b-qemu")).unwrap();
    let board = Board::from_tree(&tree, find_console(&tree)).unwrap();
    let spans = board.own_registers();
    let kept: Vec<_> = spans.iter().map(|span| Kept { owner: "EL2", span: *span }).collect();
    let node = [tree.find("/soc/aux@7e215000").unwrap()];
    let plain = Assignment::new(&tree, &node, &[]).unwrap();
    let conflict = with_kept(("a", &plain), &kept, &[]).unwrap();
    assert!(conflict.remedy.contains("or name it as `{ device = \"PATH\", sub-page = true }`"));
    let shared = plain.by_sub_page(&node).unwrap();
    assert!(with_kept(("a", &shared), &kept, &[]).is_none());
    assert_eq!(shared.sub_pages(), [span(0xfe21_5000, 8)]);
    assert!(shared.pages().contains(&span(0xfe10_1000, 0x2000)), "its clocks' pages are mapped");
    let uart = tree.find(&board.console.as_ref().unwrap().path).unwrap();
    let alone = Assignment::new(&tree, &[uart], &[]).unwrap().by_sub_page(&[uart]).err().unwrap();
    assert!(alone.remedy().contains("name /soc/aux@7e215000 with"), "its clock is in its page: {alone}");
    let uart = Assignment::new(&tree, &[uart], &[]).unwrap().by_sub_page(&[uart, node[0]]).unwrap();
    assert!(with_kept(("a", &uart), &kept, &[]).unwrap().problem.contains("belongs to EL2"));
}

#[test]
fn pages_that_it_fills_are_mapped() {
    let machine = Machine::new()
        .set("/thing@b000800", "reg", [0_u32, 0x0b00_0800, 0, 0x2400, 0, 0x0b00_3000, 0, 0x1000])
        .set("/inside@b001010", "reg", [0_u32, 0x0b00_1010, 0, 0x10])
        .set("/before@b000000", "reg", [0_u32, 0x0b00_0000, 0, 0x800])
        .set("/behind@b002c00", "reg", [0_u32, 0x0b00_2c00, 0, 0x400]);
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let thing = by_sub_page(&tree, "/thing@b000800");
    assert_eq!(thing.pages(), [span(0xb00_1000, 0x1000), span(0xb00_3000, 0x1000)]);
    assert_eq!(thing.sub_pages(), [span(0xb00_0800, 0x800), span(0xb00_2000, 0xc00)]);
    let masters: Vec<_> = thing.dma_masters().iter().map(|node| node.path()).collect();
    assert_eq!(masters, ["/thing@b000800", "/inside@b001010"], "whose registers are the same");
    for (path, allowed) in [("/before@b000000", true), ("/behind@b002c00", true), ("/inside@b001010", false)] {
        assert_eq!(between(("a", &thing), ("b", &by_sub_page(&tree, path))).is_none(), allowed, "{path}");
        assert!(between(("a", &thing), ("b", &given(&tree, path))).is_some(), "{path}");
    }
    let named = ["/thing@b000800", "/inside@b001010", "/before@b000000"].map(|path| tree.find(path).unwrap());
    let mixed = |nodes: &[_]| Assignment::new(&tree, nodes, &[]).unwrap().by_sub_page(&named[..1]).is_err();
    assert!(mixed(&[named[0], named[2]]) && !mixed(&named[..2]), "that page is mapped anyway");
}

#[test]
fn a_neighbour_that_the_board_has_disabled() {
    let tree = Tree::parse(blob("bcm2711-rpi-4-b")).unwrap();
    let node = tree.find("/soc/pwm@7e20c800").unwrap();
    let pwm = by_sub_page(&tree, "/soc/pwm@7e20c800");
    assert_eq!(pwm.sub_pages(), [span(0xfe20_c800, 0x28)]);
    assert!(pwm.regions().iter().all(|region| region.by_sub_page == (region.node == node)));
    // Whatever else needs the clocks cannot be another's all the same.
    let other = given(&tree, "/soc/i2c@7e804000");
    assert!(between(("a", &pwm), ("b", &other)).unwrap().problem.starts_with("two VMs need /soc/cprman"));
}

#[test]
fn everything_leaves_out_what_shares_a_page() {
    let tree = Tree::parse(blob("virt-gicv3-2")).unwrap();
    let disk = by_sub_page(&tree, DISK);
    let all: Vec<_> = everything_except(&tree, &[], &[&disk], &[], &[]).iter().map(|node| node.path()).collect();
    assert!(!all.iter().any(|path| path.starts_with("/virtio_mmio@a000")), "they would have its page mapped");
    assert!(all.iter().any(|path| path == "/virtio_mmio@a001000"));
}
