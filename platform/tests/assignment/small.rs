//! Small trees, each with one thing to see.

use super::common::{GIC, Machine};
use tessera_platform::assignment::{Assignment, Role, between};
use tessera_platform::tree::Tree;

/// A machine with a device `/thing@a000000` that has these cells.
fn machine(properties: &[(&str, &[u32])]) -> Machine {
    let machine = Machine::new().set("/thing@a000000", "compatible", "test,thing").set(
        "/thing@a000000",
        "reg",
        [0_u32, 0x0a00_0000, 0, 0x100],
    );
    properties.iter().fold(machine, |machine, (name, cells)| machine.set("/thing@a000000", name, cells.to_vec()))
}

/// The paths that come with the node at `path`, or the error.
fn given(machine: &Machine, path: &str) -> Result<Vec<String>, String> {
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let given = Assignment::new(&tree, &[tree.find(path).unwrap()], &[]).map_err(|error| error.to_string())?;
    Ok(given.given().iter().map(|given| given.node.path()).collect())
}

#[track_caller]
fn refused(machine: &Machine, path: &str, why: &str) {
    let error = given(machine, path).unwrap_err();
    assert!(error.contains(why) && !error.contains('\n'), "{error}");
}

const THING: &str = "/thing@a000000";

/// A guest's machine has its own: the board's beside it would be a second node of the name.
#[test]
fn disabled_parts_of_the_machine_are_not_even_mentioned() {
    let machine = machine(&[("cooling-device", &[7, 0, 0, 8, 0, 0])])
        .set("/cpus/cpu@9", "phandle", 7_u32)
        .set("/fan", "phandle", 8_u32);
    let machine = ["/cpus/cpu@9", "/fan"]
        .into_iter()
        .fold(machine, |machine, path| machine.set(path, "#cooling-cells", 2_u32).set(path, "status", "disabled"));
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let given = Assignment::new(&tree, &[tree.find(THING).unwrap()], &[]).unwrap();
    let role = |path| given.role(tree.find(path).unwrap());
    assert_eq!([role("/cpus"), role("/cpus/cpu@9"), role("/fan")], [Role::Absent, Role::Absent, Role::Mentioned]);
}

#[test]
fn every_kind_of_reference_is_followed() {
    let plain = ["vmmc-supply", "pinctrl-0", "phy-handle", "mmc-pwrseq"];
    let lists = [
        ("clocks", "#clock-cells"),
        ("resets", "#reset-cells"),
        ("power-domains", "#power-domain-cells"),
        ("dmas", "#dma-cells"),
        ("mboxes", "#mbox-cells"),
        ("phys", "#phy-cells"),
        ("pwms", "#pwm-cells"),
        ("cd-gpios", "#gpio-cells"),
        ("gpio", "#gpio-cells"),
    ];
    for name in plain {
        let machine = machine(&[(name, &[7])]).set("/provider", "compatible", "x").set("/provider", "phandle", 7_u32);
        assert_eq!(given(&machine, THING).unwrap(), [THING, "/provider"], "{name}");
    }
    for (name, cells) in lists {
        let machine = machine(&[(name, &[0, 7, 1, 2, 7, 3, 4])])
            .set("/provider", "compatible", "x")
            .set("/provider", "phandle", 7_u32)
            .set("/provider", cells, 2_u32);
        assert_eq!(given(&machine, THING).unwrap(), [THING, "/provider"], "{name}");
    }
    assert_eq!(given(&machine(&[("nr-gpios", &[7]), ("some-number", &[7])]), THING).unwrap(), [THING]);
}

#[test]
fn references_that_cannot_be_followed_are_errors() {
    refused(&machine(&[("clocks", &[99])]), THING, "property clocks: it refers to phandle 0x63, which no node has");
    let provider = |cells: u32| {
        let machine = machine(&[("clocks", &[7, 1])]).set("/provider", "phandle", 7_u32);
        machine.set("/provider", "#clock-cells", cells)
    };
    refused(&provider(2), THING, "an entry is cut short");
    refused(&provider(17), THING, "node /provider, property #clock-cells: it is missing or above 16");
    refused(&machine(&[("vmmc-supply", &[GIC])]), THING, "the interrupt controller is EL2's");
    refused(&machine(&[("memory-region", &[8])]).set("/memory@40000000", "phandle", 8_u32), THING, "each guest has");
    refused(&machine(&[("interrupts", &[1, 5, 4])]), THING, "PPI 5 (INTID 21) is private to each core");
    refused(&machine(&[("interrupts", &[0, 5])]), THING, "it is no whole number of 3-cell entries");
    refused(&machine(&[]).set(THING, "status", "disabled"), THING, "this board does not have it");
    refused(&machine(&[]), "/", "use `everything-except`");
    refused(&machine(&[]), "/cpus/cpu@0", "each guest has its own");
}

#[test]
fn a_device_on_a_driven_bus_needs_the_bus() {
    let machine = machine(&[("#address-cells", &[1]), ("#size-cells", &[0])])
        .set("/thing@a000000/chip@50", "compatible", "test,chip")
        .set("/thing@a000000/chip@50", "reg", 0x50_u32);
    assert_eq!(given(&machine, "/thing@a000000/chip@50").unwrap(), [THING, "/thing@a000000/chip@50"]);
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let chip = Assignment::new(&tree, &[tree.find("/thing@a000000/chip@50").unwrap()], &[]).unwrap();
    assert_eq!(chip.pages().len(), 1, "an address on that bus is none of the machine's");
}

/// A combiner of interrupts, and a nexus before the GIC.
#[test]
fn interrupts_are_followed_to_the_gic() {
    let combined = machine(&[("interrupt-parent", &[9]), ("interrupts", &[3])])
        .set("/combiner", "compatible", "test,combiner")
        .set("/combiner", "phandle", 9_u32)
        .set("/combiner", "interrupt-controller", [0_u8; 0])
        .set("/combiner", "#interrupt-cells", 1_u32)
        .set("/combiner", "interrupts-extended", [GIC, 0, 40, 4, GIC, 0, 41, 1]);
    let mapped = machine(&[("#interrupt-cells", &[1]), ("#address-cells", &[1])])
        .set(THING, "interrupt-map", [0_u32, 1, GIC, 0, 40, 4, 0, 2, GIC, 0, 41, 1])
        .set(THING, "ranges", [0_u8; 0]);
    for machine in [combined, mapped] {
        let blob = machine.blob();
        let tree = Tree::parse(&blob).unwrap();
        let given = Assignment::new(&tree, &[tree.find(THING).unwrap()], &[]).unwrap();
        let ids: Vec<_> = given.distinct_interrupts().iter().map(|interrupt| interrupt.id.number()).collect();
        assert_eq!(ids, [72, 73]);
    }
}

#[test]
fn shared_interrupts_are_a_conflict() {
    let machine = machine(&[("interrupts", &[0, 40, 4])])
        .set("/other@b000000", "reg", [0_u32, 0x0b00_0000, 0, 0x1000])
        .set("/other@b000000", "interrupts", [0_u32, 40, 4]);
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let of = |path| Assignment::new(&tree, &[tree.find(path).unwrap()], &[]).unwrap();
    let conflict = between(("a", &of(THING)), ("b", &of("/other@b000000"))).unwrap();
    assert!(conflict.problem.contains("share SPI 40 (INTID 72)"), "{}", conflict.problem);
}

#[test]
fn who_may_access_memory_is_known_or_assumed() {
    let masters = |machine: &Machine, path: &str| {
        let blob = machine.blob();
        let tree = Tree::parse(&blob).unwrap();
        let given = Assignment::new(&tree, &[tree.find(path).unwrap()], &[]).unwrap();
        given.dma_masters().iter().map(|node| node.path()).collect::<Vec<_>>()
    };
    assert_eq!(masters(&machine(&[]), THING), [THING], "unknown: so it may");
    let serial = Machine::new().set("/serial@b000000", "reg", [0_u32, 0x0b00_0000, 0, 0x1000]);
    assert!(masters(&serial, "/serial@b000000").is_empty());
    let serial = serial.set("/serial@b000000", "dma-coherent", [0_u8; 0]);
    assert_eq!(masters(&serial, "/serial@b000000"), ["/serial@b000000"]);
    let dma = Machine::new()
        .set("/serial@b000000", "reg", [0_u32, 0x0b00_0000, 0, 0x1000])
        .set("/serial@b000000", "dmas", [7_u32])
        .set("/dma@c000000", "reg", [0_u32, 0x0c00_0000, 0, 0x1000])
        .set("/dma@c000000", "#dma-cells", 0_u32)
        .set("/dma@c000000", "phandle", 7_u32);
    assert_eq!(masters(&dma, "/serial@b000000"), ["/dma@c000000"]);
    let neighbour = Machine::new()
        .set("/serial@b000000", "reg", [0_u32, 0x0b00_0000, 0, 0x100])
        .set("/thing@b000800", "reg", [0_u32, 0x0b00_0800, 0, 0x100])
        .set("/thing@b000800", "status", "disabled")
        .set("/thing@b001000", "reg", [0_u32, 0x0b00_1000, 0, 0x100]);
    assert_eq!(masters(&neighbour, "/serial@b000000"), ["/thing@b000800"], "whoever has its page can use it");
}
