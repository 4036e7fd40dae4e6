//! Each kind of property that a board is made of: what is read, and what is refused with which words.
#![allow(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect"
)]

mod common;

use common::{GIC, Machine};
use tessera_platform::board::{
    Conduit, Console, EnableMethod, InterruptController, Psci, PsciVersion, Reservation, UartKind,
    find_console,
};
use tessera_platform::tree::Tree;
use tessera_platform::{BoardError, IntId, Interrupt, Span, Trigger};

fn span(start: u64, size: u64) -> Span {
    Span::new(start, size).unwrap()
}

const NOTHING: [u8; 0] = [];

// Memory.

fn memory(regions: &[u32]) -> Machine {
    Machine::new().set("/memory@40000000", "reg", regions)
}

#[test]
fn memory_is_sorted_and_merged_across_nodes() {
    let machine = memory(&[0, 0x8000_0000, 0, 0x1000, 0, 0x4000_0000, 0, 0x1000])
        .set("/memory@1", "device_type", "memory")
        .set(
            "/memory@1",
            "reg",
            [
                0_u32,
                0x4000_0800,
                0,
                0x1000,
                8,
                0,
                1,
                0,
                0,
                0x9000_0000,
                0,
                0,
            ],
        )
        .set("/memory@2", "device_type", "memory")
        .set("/memory@2", "status", "disabled")
        .set("/memory@2", "reg", [0_u32, 0, 0, 0x1000]);
    let expected = [
        span(0x4000_0000, 0x1800),
        span(0x8000_0000, 0x1000),
        span(0x8_0000_0000, 0x1_0000_0000),
    ];
    assert_eq!(machine.board().memory, expected);
}

#[test]
fn memory_that_is_missing_or_unreadable_is_refused() {
    memory(&[0, 0x4000_0000, 0, 0]).refused("/memory", "reg", "no memory");
    Machine::new()
        .without_node("memory@40000000")
        .refused("/memory", "reg", "no memory");
    memory(&[0, 0x4000_0000, 0]).refused(
        "/memory@40000000",
        "reg",
        "2-cell addresses and 2-cell sizes",
    );
    memory(&[]).refused("/memory@40000000", "reg", "2-cell addresses");
    memory(&[0, 0x4000_0000, 0xffff_ffff, 0xffff_ffff]).refused(
        "/memory@40000000",
        "reg",
        "beyond 52-bit",
    );
    memory(&[0x10_0000, 0, 0, 1]).refused("/memory@40000000", "reg", "beyond 52-bit");
}

#[test]
fn the_root_says_how_wide_addresses_are() {
    let machine = Machine::empty()
        .set("/", "#address-cells", 1_u32)
        .set("/", "#size-cells", 0_u32);
    let machine = machine
        .set("/bus", "#address-cells", 1_u32)
        .set("/bus", "ranges", NOTHING);
    let machine = machine.set("/bus/device", "reg", [0x1000_u32, 0x10]);
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(
        tree.by_path("/bus/device").unwrap().registers().unwrap(),
        [span(0x1000, 0x10)]
    );
    memory(&[])
        .set("/", "#address-cells", 3_u32)
        .refused("/", "#address-cells", "not 0, 1 or 2");
    memory(&[])
        .set("/", "#size-cells", [1_u32, 2])
        .refused("/", "#size-cells", "not 0, 1 or 2");
}

#[test]
fn reserved_memory_is_listed_with_its_kind() {
    let machine = Machine::new()
        .reserve(0x4000_0000, 0x1000)
        .reserve(0x4100_0000, 0)
        .set("/reserved-memory", "#address-cells", 2_u32)
        .set("/reserved-memory", "#size-cells", 1_u32)
        .set("/reserved-memory", "ranges", NOTHING)
        .set(
            "/reserved-memory/firmware@1",
            "reg",
            [0_u32, 0x4200_0000, 0x2000, 0, 0x4300_0000, 0x1000],
        )
        .set("/reserved-memory/firmware@1", "no-map", NOTHING)
        .set(
            "/reserved-memory/buffer",
            "reg",
            [0_u32, 0x4400_0000, 0x1000],
        )
        .set("/reserved-memory/wish", "size", 0x1000_u32)
        .set("/reserved-memory/off", "reg", [0_u32, 0x4500_0000, 0x1000])
        .set("/reserved-memory/off", "status", "disabled");
    let reservation = |start, size, no_map, name: &str| Reservation {
        span: span(start, size),
        no_map,
        name: name.into(),
    };
    let board = machine.board();
    assert_eq!(
        board.reserved,
        [
            reservation(0x4000_0000, 0x1000, false, ""),
            reservation(0x4200_0000, 0x2000, true, "firmware@1"),
            reservation(0x4300_0000, 0x1000, true, "firmware@1"),
            reservation(0x4400_0000, 0x1000, false, "buffer"),
        ]
    );
    let free = board.free_memory(&[span(0x4400_1000, 0xbff_f000)]);
    assert_eq!(
        free,
        [
            Span::between(0x4000_1000, 0x4200_0000).unwrap(),
            Span::between(0x4200_2000, 0x4300_0000).unwrap(),
            Span::between(0x4300_1000, 0x4400_0000).unwrap(),
        ]
    );
}

#[test]
fn reserved_memory_that_has_no_place_is_refused() {
    let machine = Machine::new()
        .set("/reserved-memory", "#address-cells", 2_u32)
        .set("/reserved-memory/a", "reg", [0_u32, 0x4200_0000, 0x2000]);
    machine.clone().refused(
        "/reserved-memory",
        "ranges",
        "does not say where its address 0x42000000 is",
    );
    let machine = machine.set("/reserved-memory", "ranges", NOTHING);
    machine.board();
    machine
        .set("/reserved-memory/a", "reg", [0_u32, 0x4200_0000])
        .refused("/reserved-memory/a", "reg", "does not consist");
}

// Cores.

#[test]
fn cores_have_affinities_of_one_or_two_cells() {
    let machine = Machine::new()
        .core("cpu@100", [0x8100_u32])
        .core("cpu@101", [0x10000_u32]);
    let values: Vec<_> = machine
        .board()
        .cores
        .iter()
        .map(|core| core.affinity.value())
        .collect();
    assert_eq!(values, [0, 1, 0x8100, 0x10000]);
    let machine = Machine::new()
        .set("/cpus", "#address-cells", 2_u32)
        .core("cpu@0", [0_u32, 0x100])
        .core("cpu@1", [0x12_u32, 0x3]);
    let values: Vec<_> = machine
        .board()
        .cores
        .iter()
        .map(|core| core.affinity.value())
        .collect();
    assert_eq!(values, [0x100, 0x12_0000_0003]);
}

#[test]
fn cores_that_cannot_be_are_refused() {
    Machine::new()
        .core("cpu@1", [0_u32])
        .refused("/cpus/cpu@1", "reg", "second core 0.0.0.0");
    Machine::new().core("cpu@1", [0x8000_0001_u32]).refused(
        "/cpus/cpu@1",
        "reg",
        "0x80000001 is no core's affinity",
    );
    Machine::new()
        .core("cpu@1", NOTHING)
        .refused("/cpus/cpu@1", "reg", "does not consist");
    Machine::new()
        .without("/cpus/cpu@1", "reg")
        .refused("/cpus/cpu@1", "reg", "does not consist");
    Machine::new()
        .without_node("cpus")
        .refused("/cpus", "", "no core");
    Machine::new()
        .without_node("cpus")
        .set("/cpus/cache", "x", 1_u32)
        .refused("/cpus", "", "no core");
}

#[test]
fn cores_are_started_as_they_say() {
    let machine = Machine::new()
        .set("/cpus/cpu@0", "enable-method", "spin-table")
        .set("/cpus/cpu@0", "cpu-release-addr", [0x1_u32, 0xd8])
        .core("cpu@2", 2_u32)
        .set("/cpus/cpu@2", "enable-method", "spin-table")
        .set("/cpus/cpu@2", "cpu-release-addr", 0xe0_u32)
        .core("cpu@3", 3_u32)
        .set("/cpus/cpu@3", "enable-method", "vendor,magic")
        .core("cpu@4", 4_u32)
        .without("/cpus/cpu@4", "enable-method");
    let methods: Vec<_> = machine
        .board()
        .cores
        .into_iter()
        .map(|core| core.enable)
        .collect();
    assert_eq!(
        methods,
        [
            EnableMethod::SpinTable {
                release: 0x1_0000_00d8
            },
            EnableMethod::Psci,
            EnableMethod::SpinTable { release: 0xe0 },
            EnableMethod::Unknown("vendor,magic".into()),
            EnableMethod::Unknown("".into()),
        ]
    );
    let spin = Machine::new().set("/cpus/cpu@1", "enable-method", "spin-table");
    spin.refused("/cpus/cpu@1", "cpu-release-addr", "missing");
    let none = Machine::new().without_node("psci");
    none.refused("/cpus/cpu@0", "enable-method", "no PSCI");
}

#[test]
fn cores_are_usable_if_they_can_be_started() {
    let machine = Machine::new()
        .set("/cpus/cpu@0", "status", "disabled")
        .set("/cpus/cpu@1", "status", "fail")
        .core("cpu@2", 2_u32)
        .set("/cpus/cpu@2", "status", "okay")
        .core("cpu@3", 3_u32)
        .set("/cpus/cpu@3", "status", "disabled")
        .set("/cpus/cpu@3", "enable-method", "vendor,magic");
    let usable: Vec<_> = machine
        .board()
        .cores
        .iter()
        .map(|core| core.usable)
        .collect();
    assert_eq!(usable, [true, false, true, false]);
}

// The interrupt controller.

const FRAMES: [u32; 12] = [
    0, 0x800_0000, 0, 0x1_0000, 0, 0x900_0000, 0, 0x10_0000, 1, 0xa00_0000, 0, 0x4_0000,
];

#[test]
fn a_gicv3_has_its_regions_and_stride() {
    let machine = Machine::new()
        .set("/gic@8000000", "reg", FRAMES)
        .set("/gic@8000000", "#redistributor-regions", 2_u32)
        .set("/gic@8000000", "redistributor-stride", [0_u32, 0x4_0000]);
    let InterruptController::GicV3(gic) = machine.board().interrupt_controller else {
        panic!()
    };
    assert_eq!(
        gic.redistributors,
        [span(0x900_0000, 0x10_0000), span(0x1_0a00_0000, 0x4_0000)]
    );
    assert_eq!(gic.redistributor_stride, Some(0x4_0000));
    let one = machine.without("/gic@8000000", "#redistributor-regions");
    let one = one.set("/gic@8000000", "redistributor-stride", 0x2_0000_u32);
    let InterruptController::GicV3(gic) = one.board().interrupt_controller else {
        panic!()
    };
    assert_eq!(
        (gic.redistributors.len(), gic.redistributor_stride),
        (1, Some(0x2_0000))
    );
}

#[test]
fn a_gicv3_with_false_regions_is_refused() {
    let machine = Machine::new().set("/gic@8000000", "reg", FRAMES);
    for count in [0_u32, 3, u32::MAX] {
        let machine = machine
            .clone()
            .set("/gic@8000000", "#redistributor-regions", count);
        machine.refused(
            "/gic@8000000",
            "#redistributor-regions",
            "does not hold that many",
        );
    }
    for stride in [0_u32, 0x1_0000, 0x2_0001, 0x2_8000] {
        let machine = machine
            .clone()
            .set("/gic@8000000", "redistributor-stride", stride);
        machine.refused("/gic@8000000", "redistributor-stride", "multiple of 64 KiB");
    }
    let small = Machine::new().set(
        "/gic@8000000",
        "reg",
        [0_u32, 0x800_0000, 0, 0x1000, 0, 0x900_0000, 0, 0x2_0000],
    );
    small.refused(
        "/gic@8000000",
        "reg",
        "distributor (GICD), is missing or smaller than 0x10000",
    );
    let small = Machine::new().set(
        "/gic@8000000",
        "reg",
        [0_u32, 0x800_0000, 0, 0x1_0000, 0, 0x900_0000, 0, 0x1_0000],
    );
    small.refused(
        "/gic@8000000",
        "reg",
        "entry 1, the redistributor region (GICR)",
    );
    Machine::new().without("/gic@8000000", "reg").refused(
        "/gic@8000000",
        "#redistributor-regions",
        "reg does not hold",
    );
}

#[test]
fn a_gicv2_of_any_make_has_four_regions() {
    let frames = [
        0_u32, 0x10_0000, 0, 0x1000, 0, 0x20_0000, 0, 0x2000, 0, 0x30_0000, 0, 0x2000, 0,
        0x40_0000, 0, 0x2000,
    ];
    for make in [
        "arm,gic-400",
        "arm,cortex-a15-gic",
        "arm,cortex-a7-gic",
        "arm,cortex-a9-gic",
    ] {
        let machine = Machine::new().set("/gic@8000000", "compatible", make).set(
            "/gic@8000000",
            "reg",
            frames,
        );
        let InterruptController::GicV2(gic) = machine.board().interrupt_controller else {
            panic!()
        };
        assert_eq!(gic.distributor, span(0x10_0000, 0x1000));
        assert_eq!(gic.cpu_interface, span(0x20_0000, 0x2000));
        assert_eq!(gic.virtual_control, span(0x30_0000, 0x2000));
        assert_eq!(gic.virtual_cpu_interface, span(0x40_0000, 0x2000));
        let without = machine.set("/gic@8000000", "reg", &frames[..8]);
        without.refused(
            "/gic@8000000",
            "reg",
            "virtual interface control (GICH), is missing",
        );
    }
}

#[test]
fn without_an_interrupt_controller_or_its_interrupt_there_is_no_board() {
    Machine::new()
        .set("/gic@8000000", "compatible", "vendor,irq")
        .without("/uart@9000000", "interrupts")
        .refused("/", "", "no interrupt controller");
    Machine::new()
        .set("/gic@8000000", "status", "disabled")
        .refused("/", "", "no interrupt controller");
    Machine::new()
        .without("/gic@8000000", "interrupt-controller")
        .refused("/", "", "no interrupt controller");
    Machine::new()
        .without("/gic@8000000", "interrupts")
        .refused("/gic@8000000", "interrupts", "maintenance");
    let shared = Machine::new().set("/gic@8000000", "interrupts", [0_u32, 9, 4]);
    shared.refused("/gic@8000000", "interrupts", "no private maintenance");
}

// Interrupts of devices.

fn interrupts(machine: &Machine, path: &str) -> Result<Vec<Interrupt>, BoardError> {
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    tree.by_path(path).unwrap().interrupts()
}

fn interrupt(id: Option<IntId>, trigger: Trigger) -> Interrupt {
    Interrupt {
        id: id.unwrap(),
        trigger,
    }
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
    assert!(
        interrupts(&machine, "/device")
            .unwrap_err()
            .problem()
            .contains("3-cell")
    );
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
    assert_eq!(
        interrupts(&machine, "/bus/inner/device").unwrap(),
        [interrupt(IntId::spi(7), Trigger::Edge)]
    );
    assert_eq!(
        interrupts(&machine, "/gic@8000000/child").unwrap(),
        [interrupt(IntId::spi(8), Trigger::Level)]
    );
    assert_eq!(
        interrupts(&machine, "/direct").unwrap(),
        [interrupt(IntId::spi(9), Trigger::Level)]
    );
    assert!(
        interrupts(&machine, "/other/device")
            .unwrap_err()
            .problem()
            .contains("leads nowhere")
    );
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
    for (parent, problem) in [
        (2_u32, "/combiner, which is no GIC"),
        (3, "circle"),
        (9, "nowhere"),
        (5, "not 1 to 16"),
    ] {
        let machine = machine.clone().set("/device", "interrupt-parent", parent);
        let error = interrupts(&machine, "/device").unwrap_err();
        assert!(error.problem().contains(problem), "{error}");
    }
}

#[test]
fn extended_interrupts_name_their_controllers() {
    let machine = Machine::new()
        .set(
            "/device",
            "interrupts-extended",
            [GIC, 0, 7, 1, GIC, 1, 3, 4],
        )
        .set("/device", "interrupts", [0_u32, 99, 1]);
    let expected = [
        interrupt(IntId::spi(7), Trigger::Edge),
        interrupt(IntId::ppi(3), Trigger::Level),
    ];
    assert_eq!(interrupts(&machine, "/device").unwrap(), expected);
    for broken in [&[GIC, 0, 7][..], &[9, 0, 7, 1], &[GIC, 0, 7, 1, GIC]] {
        let machine = machine
            .clone()
            .set("/device", "interrupts-extended", broken);
        let error = interrupts(&machine, "/device").unwrap_err();
        assert!(error.problem().contains("cut short"), "{error}");
    }
}

// Registers behind buses.

fn registers(machine: &Machine, path: &str) -> Result<Vec<Span>, BoardError> {
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    tree.by_path(path).unwrap().registers()
}

/// A bus on a bus: 1-cell addresses 0x7e00_0000 are 0x1_fe00_0000.
fn buses() -> Machine {
    Machine::new()
        .set("/soc", "#address-cells", 2_u32)
        .set("/soc", "#size-cells", 1_u32)
        .set(
            "/soc",
            "ranges",
            [0_u32, 0xfe00_0000, 1, 0xfe00_0000, 0x100_0000],
        )
        .set("/soc/bus", "#address-cells", 1_u32)
        .set("/soc/bus", "#size-cells", 1_u32)
        .set(
            "/soc/bus",
            "ranges",
            [
                0x1000_u32,
                0,
                0xfe00_9000,
                0x1000,
                0x7e00_0000,
                0,
                0xfe00_0000,
                0x100_0000,
            ],
        )
        .set(
            "/soc/bus/device",
            "reg",
            [0x7e20_1000_u32, 0x200, 0x1ff0, 0x10],
        )
}

#[test]
fn registers_are_translated_through_every_bus() {
    let expected = [span(0x1_fe20_1000, 0x200), span(0x1_fe00_9ff0, 0x10)];
    assert_eq!(registers(&buses(), "/soc/bus/device").unwrap(), expected);
    let plain = buses()
        .set("/soc/bus", "ranges", NOTHING)
        .set("/soc/bus", "#address-cells", 2_u32);
    let plain = plain.set("/soc/bus/device", "reg", [0_u32, 0xfe20_1000, 0x200]);
    assert_eq!(
        registers(&plain, "/soc/bus/device").unwrap(),
        [span(0x1_fe20_1000, 0x200)]
    );
}

#[test]
fn registers_outside_every_range_are_refused() {
    for (address, size) in [
        (0x7eff_ff00_u32, 0x200_u32),
        (0x7dff_ffff, 1),
        (0x1fff, 2),
        (0xffff_ffff, 0xffff_ffff),
    ] {
        let machine = buses().set("/soc/bus/device", "reg", [address, size]);
        let error = registers(&machine, "/soc/bus/device").unwrap_err();
        assert_eq!((error.path(), error.property()), ("/soc/bus", "ranges"));
        assert!(
            error.problem().contains(&format!("{address:#x}")),
            "{error}"
        );
    }
    let closed = buses().without("/soc", "ranges");
    assert_eq!(
        registers(&closed, "/soc/bus/device").unwrap_err().path(),
        "/soc"
    );
    let pci = buses().set("/soc/bus", "#address-cells", 3_u32);
    assert!(
        registers(&pci, "/soc/bus/device")
            .unwrap_err()
            .remedy()
            .contains("PCI")
    );
}

#[test]
fn ranges_that_are_cut_short_or_empty_of_cells_end() {
    let cut = buses().set("/soc/bus", "ranges", [0x7e00_0000_u32, 0]);
    assert!(
        registers(&cut, "/soc/bus/device")
            .unwrap_err()
            .problem()
            .contains("no range")
    );
    let odd = buses().set("/soc/bus", "ranges", [1_u8; 7]);
    assert!(
        registers(&odd, "/soc/bus/device")
            .unwrap_err()
            .problem()
            .contains("no range")
    );
    let none = buses()
        .set("/soc", "#address-cells", 0_u32)
        .set("/soc/bus", "#address-cells", 0_u32)
        .set("/soc/bus", "#size-cells", 0_u32);
    assert!(registers(&none, "/soc/bus/device").is_err());
    let one = none.set("/soc/bus", "#size-cells", 1_u32);
    assert!(registers(&one, "/soc/bus/device").is_err());
    let high = buses().set(
        "/soc",
        "ranges",
        [0_u32, 0xfe00_0000, u32::MAX, u32::MAX, 0x100_0000],
    );
    assert!(
        registers(&high, "/soc/bus/device")
            .unwrap_err()
            .problem()
            .contains("no range")
    );
}

// The console.

fn console(machine: &Machine) -> Console {
    let console = machine.board().console.unwrap();
    assert_eq!(find_console(&machine.blob()).as_ref(), Some(&console));
    console
}

#[test]
fn the_console_is_named_by_path_or_alias_with_options() {
    let machine = Machine::new()
        .set("/aliases", "serial0", "/uart@9000000")
        .set("/serial@a000000", "compatible", "brcm,bcm2835-aux-uart")
        .set("/serial@a000000", "reg", [0_u32, 0xa00_0000, 0, 0x40])
        .set("/aliases", "serial1", "/serial@a000000");
    for (name, path, baud) in [
        ("/uart@9000000:115200n8", "/uart@9000000", Some(115_200)),
        ("serial0", "/uart@9000000", None),
        ("serial1:9600", "/serial@a000000", Some(9600)),
        ("serial1:", "/serial@a000000", None),
        ("serial1:n8", "/serial@a000000", None),
        ("serial1:99999999999", "/serial@a000000", None),
        ("serial0:0", "/uart@9000000", None),
    ] {
        let machine = machine.clone().set("/chosen", "stdout-path", name);
        assert_eq!(
            (console(&machine).path.as_str(), console(&machine).baud),
            (path, baud),
            "{name}"
        );
        let old =
            machine
                .without("/chosen", "stdout-path")
                .set("/chosen", "linux,stdout-path", name);
        assert_eq!(console(&old).path, path, "{name}");
    }
}

#[test]
fn the_console_falls_back_to_the_first_pl011_that_is_on() {
    let two = Machine::new()
        .set("/uart@9000000", "status", "disabled")
        .set("/uart@9040000", "compatible", "arm,pl011")
        .set("/uart@9040000", "reg", [0_u32, 0x904_0000, 0, 0x1000]);
    for name in ["", "serial9", "/nowhere", "/chosen", ":115200"] {
        let machine = two.clone().set("/chosen", "stdout-path", name);
        assert_eq!(console(&machine).path, "/uart@9040000", "{name}");
    }
    assert_eq!(console(&two.without_node("chosen")).path, "/uart@9040000");
    let none = Machine::new().without_node("uart@9000000");
    assert_eq!(none.board().console, None);
}

#[test]
fn the_kind_of_the_console_is_told() {
    for (compatible, kind) in [
        (&["arm,pl011", "arm,primecell"][..], UartKind::Pl011),
        (&["arm,sbsa-uart"], UartKind::SbsaUart),
        (
            &["brcm,bcm2711-aux-uart", "brcm,bcm2835-aux-uart"],
            UartKind::BcmMiniUart,
        ),
        (
            &["snps,dw-apb-uart"],
            UartKind::Unsupported("snps,dw-apb-uart".into()),
        ),
    ] {
        let machine = Machine::new().set("/uart@9000000", "compatible", compatible);
        assert_eq!(console(&machine).kind, kind);
    }
    let silent = Machine::new().without("/uart@9000000", "interrupts");
    assert_eq!(console(&silent).interrupt, None);
}

#[test]
fn the_clock_of_the_console_is_told_if_it_is_fixed() {
    let machine = Machine::new()
        .set("/uart@9000000", "clocks", [5_u32, 6])
        .set("/clock", "phandle", 5_u32)
        .set("/clock", "compatible", "fixed-clock")
        .set("/clock", "clock-frequency", 48_000_000_u32);
    assert_eq!(console(&machine).clock, Some(48_000_000));
    let clever = machine.clone().set("/clock", "compatible", "vendor,clock");
    assert_eq!(console(&clever).clock, None);
    assert_eq!(
        console(&clever.set("/uart@9000000", "clock-frequency", 7_u32)).clock,
        Some(7)
    );
    assert_eq!(
        console(&machine.set("/uart@9000000", "clocks", 99_u32)).clock,
        None
    );
}

// Timer, firmware, boot loader.

#[test]
fn timers_are_found_by_order_or_by_name() {
    let timer = Machine::new().board().timer;
    let numbers =
        [timer.physical, timer.virtual_timer, timer.hypervisor].map(|each| each.id.number());
    assert_eq!(
        (
            timer.secure_physical.unwrap().id.number(),
            numbers,
            timer.frequency
        ),
        (29, [30, 27, 26], None)
    );
    let named = Machine::new()
        .set("/timer", "interrupts", [1_u32, 11, 8, 1, 10, 1, 1, 14, 4])
        .set(
            "/timer",
            "interrupt-names",
            &["virt", "hyp-phys", "phys"][..],
        )
        .set("/timer", "clock-frequency", 54_000_000_u32);
    let timer = named.board().timer;
    let numbers =
        [timer.physical, timer.virtual_timer, timer.hypervisor].map(|each| each.id.number());
    assert_eq!(
        (timer.secure_physical, numbers, timer.frequency),
        (None, [30, 27, 26], Some(54_000_000))
    );
    assert_eq!(
        (timer.virtual_timer.trigger, timer.hypervisor.trigger),
        (Trigger::Level, Trigger::Edge)
    );
}

#[test]
fn timers_that_are_missing_are_refused() {
    Machine::new()
        .without_node("timer")
        .refused("/timer", "", "no generic timer");
    let three = Machine::new().set("/timer", "interrupts", [1_u32, 13, 4, 1, 14, 4, 1, 11, 4]);
    three.refused("/timer", "interrupts", "private interrupt is missing");
    let shared = Machine::new().set(
        "/timer",
        "interrupts",
        [1_u32, 13, 4, 1, 14, 4, 1, 11, 4, 0, 10, 4],
    );
    shared.refused("/timer", "interrupts", "private interrupt is missing");
    let unnamed = Machine::new().set("/timer", "interrupt-names", &["phys", "virt"][..]);
    unnamed.refused("/timer", "interrupts", "private interrupt is missing");
}

#[test]
fn firmware_is_as_old_as_it_says() {
    let with = |compatible: &[&str], method: &str| {
        Machine::new()
            .set("/psci", "compatible", compatible)
            .set("/psci", "method", method)
            .board()
            .psci
    };
    let psci = |conduit, version| Some(Psci { conduit, version });
    assert_eq!(
        with(&["arm,psci-1.0"], "hvc"),
        psci(Conduit::Hvc, PsciVersion::V1_0)
    );
    assert_eq!(
        with(&["arm,psci-0.2", "arm,psci"], "smc"),
        psci(Conduit::Smc, PsciVersion::V0_2)
    );
    let old = Machine::new().set("/psci", "compatible", "arm,psci").set(
        "/psci",
        "cpu_on",
        0x95c1_ba60_u32,
    );
    let version = PsciVersion::V0_1 {
        cpu_on: Some(0x95c1_ba60),
        cpu_off: None,
    };
    assert_eq!(old.board().psci, psci(Conduit::Smc, version));
}

#[test]
fn firmware_without_a_way_to_call_it_is_refused() {
    Machine::new()
        .set("/psci", "method", "svc")
        .refused("/psci", "method", "unknown");
    Machine::new()
        .without("/psci", "method")
        .refused("/psci", "method", "missing");
    let off = Machine::new().set("/psci", "status", "disabled");
    off.refused("/cpus/cpu@0", "enable-method", "no PSCI");
}

#[test]
fn the_boot_loader_hands_over_arguments_and_an_initrd() {
    let machine = Machine::new().set("/chosen", "bootargs", "verbose quiet");
    let chosen = machine.board().chosen;
    assert_eq!(
        (chosen.bootargs.as_deref(), chosen.initrd),
        (Some("verbose quiet"), None)
    );
    let machine = machine.set("/chosen", "linux,initrd-start", 0x4800_0000_u32);
    let narrow = machine
        .clone()
        .set("/chosen", "linux,initrd-end", 0x4800_1234_u32);
    assert_eq!(
        narrow.board().chosen.initrd,
        Some(span(0x4800_0000, 0x1234))
    );
    let wide = machine
        .set("/chosen", "linux,initrd-start", [8_u32, 0])
        .set("/chosen", "linux,initrd-end", [8_u32, 16]);
    assert_eq!(wide.board().chosen.initrd, Some(span(0x8_0000_0000, 16)));
    assert_eq!(
        Machine::new()
            .without_node("chosen")
            .board()
            .chosen
            .bootargs,
        None
    );
}

#[test]
fn an_initrd_that_ends_before_it_starts_is_refused() {
    let machine = Machine::new().set("/chosen", "linux,initrd-start", 0x4800_0000_u32);
    machine.refused("/chosen", "linux,initrd-start", "no run of addresses");
    let backwards = machine
        .clone()
        .set("/chosen", "linux,initrd-end", 0x47ff_ffff_u32);
    backwards.refused("/chosen", "linux,initrd-start", "no run of addresses");
    let three = machine
        .clone()
        .set("/chosen", "linux,initrd-end", [0_u32, 0, 0x4900_0000]);
    three.refused("/chosen", "linux,initrd-start", "no run of addresses");
    let empty = machine.set("/chosen", "linux,initrd-end", 0x4800_0000_u32);
    assert_eq!(empty.board().chosen.initrd, None);
}
