//! What devices of real boards bring along.

use super::common::blob;
use tessera_platform::assignment::{Assignment, Kept, LeftOut, Role, between, everything_except, with_kept};
use tessera_platform::board::{Board, find_console};
use tessera_platform::tree::Tree;
use tessera_platform::{IntId, Span};

const EMMC2: &str = "/emmc2bus/mmc@7e340000";

fn paths(assignment: &Assignment) -> Vec<String> {
    assignment.given().iter().map(|given| given.node.path()).collect()
}

fn given<'tree>(tree: &'tree Tree<'tree>, names: &[&str]) -> Assignment<'tree> {
    let nodes: Vec<_> = names.iter().map(|name| tree.find(name).unwrap()).collect();
    Assignment::new(tree, &nodes, &[]).unwrap()
}

#[test]
fn a_virtio_device_brings_nothing_along() {
    let tree = Tree::parse(blob("virt-gicv3-2")).unwrap();
    let disk = given(&tree, &["/virtio_mmio@a000200"]);
    assert_eq!(paths(&disk), ["/virtio_mmio@a000200"]);
    assert_eq!(disk.pages(), [Span::new(0xa00_0000, 0x1000).unwrap()]);
    let ids: Vec<_> = disk.distinct_interrupts().iter().map(|interrupt| interrupt.id.number()).collect();
    assert_eq!(ids, [32 + 0x11]);
    assert_eq!(disk.dma_masters().len(), 8, "the others in its page come along");
}

#[test]
fn the_sd_card_needs_clocks_and_the_firmware_that_switches_its_supplies() {
    let tree = Tree::parse(blob("bcm2711-rpi-4-b")).unwrap();
    let card = given(&tree, &[EMMC2]);
    let expected = [
        "/soc/cprman@7e101000",
        "/soc/mailbox@7e00b880",
        "/soc/firmware",
        "/soc/firmware/gpio",
        "/clocks/clk-osc",
        EMMC2,
        "/sd_io_1v8_reg",
        "/sd_vcc_reg",
    ];
    assert_eq!(paths(&card), expected);
    let shared: Vec<_> = card.given().iter().filter(|given| !given.exclusive).map(|given| given.node.path()).collect();
    assert_eq!(shared, ["/clocks/clk-osc"], "only what states a fact can be in two guests' trees");
    let registers: Vec<_> = card.regions().iter().map(|region| region.span.start()).collect();
    assert_eq!(registers, [0xfe10_1000, 0xfe00_b880, 0xfe34_0000], "through the ranges of two buses");
    let mailbox = tree.find("/soc/mailbox@7e00b880").unwrap();
    assert_eq!(card.cause(mailbox).path(), EMMC2);
    let why = card.explain(mailbox);
    assert!(why.starts_with("for /soc/firmware (mboxes), that to reach /soc/firmware/gpio, that for /sd_"), "{why}");
    // The clocks' parents that this board has disabled: without their names the driver does not start.
    let dsi = tree.find("/soc/dsi@7e209000").unwrap();
    assert_eq!(card.role(dsi), Role::Mentioned);
    assert_eq!(card.role(dsi.parent().unwrap()), Role::Bus);
    assert!(!card.copies(dsi, "status") && card.copies(dsi, "clock-output-names"));
}

#[test]
fn what_is_left_out_is_not_needed() {
    let tree = Tree::parse(blob("bcm2711-rpi-4-b")).unwrap();
    let node = tree.find(EMMC2).unwrap();
    let left: Vec<_> = ["vmmc-supply", "vqmmc-supply"].map(|name| LeftOut::new(node, name).unwrap()).into();
    let card = Assignment::new(&tree, &[node], &left).unwrap();
    assert_eq!(paths(&card), ["/soc/cprman@7e101000", "/clocks/clk-osc", EMMC2]);
    assert!(!card.copies(node, "vmmc-supply") && card.copies(node, "clocks"));
    let error = LeftOut::new(node, "vcc-supply").err().unwrap();
    assert!(error.to_string().contains("it has no property `vcc-supply`; it has: compatible, reg"), "{error}");
}

#[test]
fn two_owners_cannot_have_the_same_clocks_page_or_node() {
    let tree = Tree::parse(blob("bcm2711-rpi-4-b")).unwrap();
    let (card, uart, pwm) =
        (given(&tree, &[EMMC2]), given(&tree, &["/soc/i2c@7e804000"]), given(&tree, &["/clocks/clk-osc"]));
    let conflict = between(("a", &card), ("b", &uart)).unwrap();
    assert_eq!(conflict.cause.path(), EMMC2);
    assert!(conflict.problem.starts_with("two VMs need /soc/cprman@7e101000: VM `a` needs it for /emmc2bus"));
    assert!(conflict.problem.ends_with("VM `b` needs it for /soc/i2c@7e804000 (clocks)"), "{}", conflict.problem);
    let conflict = between(("a", &card), ("b", &pwm)).unwrap();
    assert!(conflict.problem.ends_with("VM `b` names it"), "{}", conflict.problem);
    let tree = Tree::parse(blob("virt-gicv3-2")).unwrap();
    let (one, other, far) = (
        given(&tree, &["/virtio_mmio@a000000"]),
        given(&tree, &["/virtio_mmio@a000e00"]),
        given(&tree, &["/virtio_mmio@a001000"]),
    );
    let conflict = between(("a", &one), ("b", &other)).unwrap();
    assert!(conflict.problem.contains("shares a page of 4 KiB with /virtio_mmio@a000e00"), "{}", conflict.problem);
    assert!(between(("a", &one), ("b", &far)).is_none());
    assert!(between(("a", &one), ("b", &one)).is_some());
}

#[test]
fn a_fact_can_be_in_two_trees() {
    let tree = Tree::parse(blob("virt-gicv3-2")).unwrap();
    let (clock, keys) = (given(&tree, &["/pl031@9010000"]), given(&tree, &["/pl061@9030000"]));
    assert_eq!(paths(&clock), ["/pl031@9010000", "/apb-pclk"]);
    assert!(between(("a", &clock), ("b", &keys)).is_none());
}

#[test]
fn what_the_hypervisor_uses_is_refused() {
    for name in ["virt-gicv3-2", "bcm2711-rpi-4-b-qemu"] {
        let tree = Tree::parse(blob(name)).unwrap();
        let board = Board::from_tree(&tree, find_console(&tree)).unwrap();
        let uart = board.console.as_ref().unwrap();
        let spans = board.own_registers();
        let kept: Vec<_> = spans.iter().map(|span| Kept { owner: "EL2", span: *span }).collect();
        let wanted = given(&tree, &[&uart.path]);
        let conflict = with_kept(("a", &wanted), &kept, &[]).unwrap();
        assert!(conflict.problem.contains("belongs to EL2"), "{}", conflict.problem);
        let id = uart.interrupt.unwrap().id;
        assert!(with_kept(("a", &wanted), &[], &[id]).unwrap().problem.contains("which EL2 uses"));
        assert!(with_kept(("a", &wanted), &[], &[IntId::spi(900).unwrap()]).is_none());
        let gic = wanted.interrupt_controller().unwrap();
        let error = Assignment::new(&tree, &[gic], &[]).err().unwrap();
        assert!(error.problem().contains("interrupt controller is EL2's"), "{error}");
    }
}

#[test]
fn everything_is_what_is_neither_excepted_nor_kept_nor_anothers() {
    let tree = Tree::parse(blob("bcm2711-rpi-4-b-qemu")).unwrap();
    let board = Board::from_tree(&tree, find_console(&tree)).unwrap();
    let spans = board.own_registers();
    let kept: Vec<_> = spans.iter().map(|span| Kept { owner: "EL2", span: *span }).collect();
    let except = [tree.find("/soc/gpio@7e200000").unwrap()];
    let other = given(&tree, &["/soc/timer@7e003000"]);
    let wanted = everything_except(&tree, &except, &[&other], &kept, &[]);
    let all = Assignment::new(&tree, &wanted, &[]).unwrap();
    let all_paths = paths(&all);
    let has = |path: &str| all_paths.iter().any(|one| one == path);
    assert!(has(EMMC2) && has("/soc/cprman@7e101000") && has("/soc/mailbox@7e00b880"));
    for path in ["/soc/gpio@7e200000", "/soc/timer@7e003000", "/soc/serial@7e215040", "/soc/watchdog@7e100000", "/leds"]
    {
        assert!(!has(path), "{path}");
    }
    assert!(!has("/soc/aux@7e215000"), "it shares a page with EL2's UART");
    assert!(between(("a", &all), ("b", &other)).is_none() && with_kept(("a", &all), &kept, &[]).is_none());
    // A bus that nobody could be given as a whole, as it has the interrupt controller.
    let wanted = everything_except(&tree, &[tree.find("/soc").unwrap()], &[], &kept, &[]);
    assert!(!wanted.is_empty() && wanted.iter().all(|node| !node.path().starts_with("/soc")));
}
