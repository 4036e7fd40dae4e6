//! The interrupt controller, and the interrupts of devices.

use super::common::{GIC, Machine};
use tessera_platform::board::InterruptController;
use tessera_platform::tree::Tree;
use tessera_platform::{BoardError, IntId, Interrupt, Span, Trigger};

fn span(start: u64, size: u64) -> Span {
    Span::new(start, size).unwrap()
}

const FRAMES: [u32; 12] = [0, 0x800_0000, 0, 0x1_0000, 0, 0x900_0000, 0, 0x10_0000, 1, 0xa00_0000, 0, 0x4_0000];

#[test]
fn a_gicv3_has_its_regions_and_stride() {
    let machine = Machine::new()
        .set("/gic@8000000", "reg", FRAMES)
        .set("/gic@8000000", "#redistributor-regions", 2_u32)
        .set("/gic@8000000", "redistributor-stride", [0_u32, 0x4_0000]);
    let InterruptController::GicV3(gic) = machine.board().interrupt_controller else { panic!() };
    assert_eq!(gic.redistributors, [span(0x900_0000, 0x10_0000), span(0x1_0a00_0000, 0x4_0000)]);
    assert_eq!(gic.redistributor_stride, Some(0x4_0000));
    let one = machine.without("/gic@8000000", "#redistributor-regions");
    let one = one.set("/gic@8000000", "redistributor-stride", 0x2_0000_u32);
    let InterruptController::GicV3(gic) = one.board().interrupt_controller else { panic!() };
    assert_eq!((gic.redistributors.len(), gic.redistributor_stride), (1, Some(0x2_0000)));
}

#[test]
fn a_gicv3_with_false_regions_is_refused() {
    let machine = Machine::new().set("/gic@8000000", "reg", FRAMES);
    for count in [0_u32, 3, u32::MAX] {
        let machine = machine.clone().set("/gic@8000000", "#redistributor-regions", count);
        machine.refused("/gic@8000000", "#redistributor-regions", "does not hold that many");
    }
    for stride in [0_u32, 0x1_0000, 0x2_0001, 0x2_8000] {
        let machine = machine.clone().set("/gic@8000000", "redistributor-stride", stride);
        machine.refused("/gic@8000000", "redistributor-stride", "multiple of 64 KiB");
    }
    let small = Machine::new().set("/gic@8000000", "reg", [0_u32, 0x800_0000, 0, 0x1000, 0, 0x900_0000, 0, 0x2_0000]);
    small.refused("/gic@8000000", "reg", "distributor (GICD) of 0x10000 bytes, is missing or too small");
    let small = Machine::new().set("/gic@8000000", "reg", [0_u32, 0x800_0000, 0, 0x1_0000, 0, 0x900_0000, 0, 0x1_0000]);
    small.refused("/gic@8000000", "reg", "entry 1, the redistributor region (GICR)");
    Machine::new().without("/gic@8000000", "reg").refused(
        "/gic@8000000",
        "#redistributor-regions",
        "reg does not hold",
    );
}

#[test]
fn a_gicv2_of_any_make_has_four_regions() {
    let frames =
        [0_u32, 0x10_0000, 0, 0x1000, 0, 0x20_0000, 0, 0x2000, 0, 0x30_0000, 0, 0x2000, 0, 0x40_0000, 0, 0x2000];
    for make in ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,cortex-a9-gic"] {
        let machine = Machine::new().set("/gic@8000000", "compatible", make).set("/gic@8000000", "reg", frames);
        let InterruptController::GicV2(gic) = machine.board().interrupt_controller else { panic!() };
        assert_eq!(gic.distributor, span(0x10_0000, 0x1000));
        assert_eq!(gic.cpu_interface, span(0x20_0000, 0x2000));
        assert_eq!(gic.virtual_control, span(0x30_0000, 0x2000));
        assert_eq!(gic.virtual_cpu_interface, span(0x40_0000, 0x2000));
        let without = machine.set("/gic@8000000", "reg", &frames[..8]);
        without.refused("/gic@8000000", "reg", "virtual interface control (GICH) of 0x1000 bytes, is missing");
    }
}

#[test]
fn parts_of_a_gicv2_have_pages_of_their_own_outside_of_memory() {
    let frames =
        [0_u32, 0x10_0000, 0, 0x1000, 0, 0x20_0000, 0, 0x2000, 0, 0x30_0000, 0, 0x1000, 0, 0x40_0000, 0, 0x1_0000];
    let moved = |region: usize, to: u32| {
        let mut frames = frames;
        frames[region * 4 + 1] = to;
        Machine::new().set("/gic@8000000", "compatible", "arm,gic-400").set("/gic@8000000", "reg", frames)
    };
    moved(2, 0x20_2000).board();
    for (region, to, problem) in [
        (3, 0x4100_0000, "entry 3, the virtual CPU interface (GICV) of 0x1000 bytes, is in memory"),
        (3, 0x3fff_8000, "(GICV) of 0x1000 bytes, is in memory"),
        (0, 0x4000_0000, "entry 0, the distributor (GICD) of 0x1000 bytes, is in memory"),
        (2, 0x20_1000, "(GICH) of 0x1000 bytes, overlaps an entry before it"),
        (3, 0x1f_f000, "(GICV) of 0x1000 bytes, overlaps an entry before it"),
        (3, 0x40_0100, "no multiple of 4096"),
        (1, 0x20_0002, "no multiple of 4096"),
    ] {
        moved(region, to).refused("/gic@8000000", "reg", problem);
    }
}

#[test]
fn parts_of_a_gicv3_have_pages_of_their_own_outside_of_memory() {
    let moved =
        |to: u32| Machine::new().set("/gic@8000000", "reg", [0_u32, 0x800_0000, 0, 0x1_0000, 0, to, 0, 0x4_0000]);
    moved(0x801_0000).board();
    moved(0x800_0000).refused("/gic@8000000", "reg", "(GICR) of 0x20000 bytes, overlaps an entry before it");
    moved(0x4fff_0000).refused("/gic@8000000", "reg", "(GICR) of 0x20000 bytes, is in memory");
    moved(0x900_0800).refused("/gic@8000000", "reg", "no multiple of 4096");
}

#[test]
fn without_an_interrupt_controller_or_its_interrupt_there_is_no_board() {
    Machine::new().set("/gic@8000000", "compatible", "vendor,irq").without("/uart@9000000", "interrupts").refused(
        "/",
        "",
        "no interrupt controller",
    );
    Machine::new().set("/gic@8000000", "status", "disabled").refused("/", "", "no interrupt controller");
    Machine::new().without("/gic@8000000", "interrupt-controller").refused("/", "", "no interrupt controller");
    Machine::new().without("/gic@8000000", "interrupts").refused("/gic@8000000", "interrupts", "maintenance");
    let shared = Machine::new().set("/gic@8000000", "interrupts", [0_u32, 9, 4]);
    shared.refused("/gic@8000000", "interrupts", "no private maintenance");
}

fn interrupts(machine: &Machine, path: &str) -> Result<Vec<Interrupt>, BoardError> {
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    tree.by_path(path).unwrap().interrupts()
}

fn interrupt(id: Option<IntId>, trigger: Trigger) -> Interrupt {
    Interrupt { id: id.unwrap(), trigger }
}

#[test]
fn interrupts_are_decoded_by_kind_and_trigger() {
    let cells = [0_u32, 0, 1, 0, 987, 2, 1, 15, 4, 1, 0, 0xf08, 0, 5, 0];
    let machine = Machine::new().set("/device", "interrupts", cells);
    assert_eq!(
        interrupts(&machine, "/device").unwrap(),
        [
            interrupt(IntId::spi(0), Trigger::Edge),
            interrupt(IntId::spi(987), Trigger::Edge),
            interrupt(IntId::ppi(15), Trigger::Level),
            interrupt(IntId::ppi(0), Trigger::Level),
            interrupt(IntId::spi(5), Trigger::Level),
        ]
    );
    assert_eq!(interrupts(&machine, "/chosen").unwrap(), []);
}

#[test]
fn interrupts_that_no_gic_has_are_refused() {
    for (cells, shown) in [
        ([0_u32, 988, 4], "<0x0 0x3dc 0x4>"),
        ([1, 16, 4], "<0x1 0x10 0x4>"),
        ([2, 0, 4], "<0x2 0x0 0x4>"),
        ([0, u32::MAX, 4], "0xffffffff"),
        ([0, 1, 3], "<0x0 0x1 0x3>"),
    ] {
        let machine = Machine::new().set("/device", "interrupts", cells);
        let error = interrupts(&machine, "/device").unwrap_err();
        assert!(error.problem().contains(shown), "{error}");
        assert_eq!((error.path(), error.property()), ("/device", "interrupts"));
    }
    let machine = Machine::new().set("/device", "interrupts", [0_u32, 1, 4, 0]);
    assert!(interrupts(&machine, "/device").unwrap_err().problem().contains("3-cell"));
}

#[test]
fn interrupt_parents_are_inherited_up_to_the_controller() {
    let machine = Machine::new()
        .without("/", "interrupt-parent")
        .set("/bus", "interrupt-parent", GIC)
        .set("/bus/inner/device", "interrupts", [0_u32, 7, 1])
        .set("/other/device", "interrupts", [0_u32, 7, 1])
        .set("/gic@8000000/child", "interrupts", [0_u32, 8, 4])
        .set("/direct", "interrupt-parent", GIC)
        .set("/direct", "interrupts", [0_u32, 9, 4]);
    assert_eq!(interrupts(&machine, "/bus/inner/device").unwrap(), [interrupt(IntId::spi(7), Trigger::Edge)]);
    assert_eq!(interrupts(&machine, "/gic@8000000/child").unwrap(), [interrupt(IntId::spi(8), Trigger::Level)]);
    assert_eq!(interrupts(&machine, "/direct").unwrap(), [interrupt(IntId::spi(9), Trigger::Level)]);
    assert!(interrupts(&machine, "/other/device").unwrap_err().problem().contains("leads nowhere"));
}

#[test]
fn interrupt_parents_that_lead_to_no_gic_are_refused() {
    let machine = Machine::new()
        .set("/device", "interrupts", [0_u32, 7, 1])
        .set("/combiner", "phandle", 2_u32)
        .set("/combiner", "#interrupt-cells", 1_u32)
        .set("/combiner", "compatible", "vendor,combiner")
        .set("/ring", "phandle", 3_u32)
        .set("/ring", "interrupt-parent", 4_u32)
        .set("/ring2", "phandle", 4_u32)
        .set("/ring2", "interrupt-parent", 3_u32)
        .set("/bare", "phandle", 5_u32)
        .set("/bare", "#interrupt-cells", 0_u32);
    for (parent, problem) in [(2_u32, "/combiner, which is no GIC"), (3, "circle"), (9, "nowhere"), (5, "not 1 to 16")]
    {
        let machine = machine.clone().set("/device", "interrupt-parent", parent);
        let error = interrupts(&machine, "/device").unwrap_err();
        assert!(error.problem().contains(problem), "{error}");
    }
}

#[test]
fn extended_interrupts_name_their_controllers() {
    let machine = Machine::new().set("/device", "interrupts-extended", [GIC, 0, 7, 1, GIC, 1, 3, 4]).set(
        "/device",
        "interrupts",
        [0_u32, 99, 1],
    );
    let expected = [interrupt(IntId::spi(7), Trigger::Edge), interrupt(IntId::ppi(3), Trigger::Level)];
    assert_eq!(interrupts(&machine, "/device").unwrap(), expected);
    for broken in [&[GIC, 0, 7][..], &[9, 0, 7, 1], &[GIC, 0, 7, 1, GIC]] {
        let machine = machine.clone().set("/device", "interrupts-extended", broken);
        let error = interrupts(&machine, "/device").unwrap_err();
        assert!(error.problem().contains("cut short"), "{error}");
    }
}
