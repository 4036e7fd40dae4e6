//! Real boards: what is discovered is what their manuals and sources say, written out by hand.

use super::common::{BLOBS, blob, with_tree};
use tessera_platform::board::{Board, Conduit, EnableMethod, InterruptController, PsciVersion, UartKind, find_console};
use tessera_platform::tree::Tree;
use tessera_platform::{Affinity, IntId, Interrupt, Span, Trigger};

fn span(start: u64, size: u64) -> Span {
    Span::new(start, size).unwrap()
}

fn level(id: Option<IntId>) -> Interrupt {
    Interrupt { id: id.unwrap(), trigger: Trigger::Level }
}

fn virt(gic: u32, cores: usize) -> Board {
    Board::discover(blob(&format!("virt-gicv{gic}-{cores}"))).unwrap()
}

#[test]
fn virt_has_the_cores_it_was_made_with() {
    for gic in [2, 3] {
        for count in [1, 2, 4, 8] {
            let board = virt(gic, count);
            let affinities: Vec<_> = board.cores.iter().map(|core| core.affinity.value()).collect();
            assert_eq!(affinities, (0..count as u64).collect::<Vec<_>>());
            assert!(board.cores.iter().all(|core| core.usable && core.compatible == "arm,cortex-a72"));
            let by_psci = board.cores.iter().filter(|core| core.enable == EnableMethod::Psci).count();
            // QEMU gives a single core no enable-method.
            assert_eq!(by_psci, if count == 1 { 0 } else { count });
        }
    }
}

#[test]
fn virt_has_its_memory_and_nothing_reserved() {
    for (name, blob) in BLOBS.iter().filter(|(name, _)| name.starts_with("virt")) {
        let board = Board::discover(blob).unwrap();
        assert_eq!(board.memory, [span(0x4000_0000, 0x4000_0000)], "{name}");
        assert!(board.reserved.is_empty(), "{name}");
        assert_eq!(board.compatible, ["linux,dummy-virt"]);
    }
}

#[test]
fn virt_has_a_gicv3() {
    let InterruptController::GicV3(gic) = virt(3, 4).interrupt_controller else { panic!() };
    assert_eq!(gic.distributor, span(0x0800_0000, 0x1_0000));
    assert_eq!(gic.redistributors, [span(0x080a_0000, 0xf6_0000)]);
    assert_eq!(gic.redistributor_stride, None);
    assert_eq!(gic.maintenance, level(IntId::ppi(9)));
}

#[test]
fn virt_has_a_gicv2() {
    let InterruptController::GicV2(gic) = virt(2, 4).interrupt_controller else { panic!() };
    assert_eq!(gic.distributor, span(0x0800_0000, 0x1_0000));
    assert_eq!(gic.cpu_interface, span(0x0801_0000, 0x1_0000));
    assert_eq!(gic.virtual_control, span(0x0803_0000, 0x1_0000));
    assert_eq!(gic.virtual_cpu_interface, span(0x0804_0000, 0x1_0000));
    assert_eq!(gic.maintenance, level(IntId::ppi(9)));
}

#[test]
fn virt_has_a_pl011_with_a_24_mhz_clock() {
    let console = virt(3, 2).console.unwrap();
    assert_eq!(console.kind, UartKind::Pl011);
    assert_eq!(console.registers, span(0x0900_0000, 0x1000));
    assert_eq!(console.interrupt, Some(level(IntId::spi(1))));
    assert_eq!((console.clock, console.baud), (Some(24_000_000), None));
    assert_eq!(console.path, "/pl011@9000000");
}

#[test]
fn virt_has_timers_and_firmware() {
    let board = virt(2, 2);
    assert_eq!(board.timer.secure_physical, Some(level(IntId::ppi(13))));
    assert_eq!(board.timer.physical, level(IntId::new(30)));
    assert_eq!(board.timer.virtual_timer, level(IntId::new(27)));
    assert_eq!(board.timer.hypervisor, level(IntId::new(26)));
    let psci = board.psci.unwrap();
    assert_eq!((psci.conduit, psci.version), (Conduit::Smc, PsciVersion::V1_0));
}

fn pi4() -> Board {
    Board::discover(blob("bcm2711-rpi-4-b-qemu")).unwrap()
}

#[test]
fn pi4_cores_wait_in_a_spin_table() {
    let board = pi4();
    assert_eq!(board.compatible, ["raspberrypi,4-model-b", "brcm,bcm2711"]);
    assert_eq!(board.model, "Raspberry Pi 4 Model B");
    assert_eq!(board.psci, None);
    let found: Vec<_> = board.cores.iter().map(|core| (core.affinity, core.enable.clone())).collect();
    let expected: Vec<_> = (0..4)
        .map(|core| (Affinity::new(core).unwrap(), EnableMethod::SpinTable { release: 0xd8 + 8 * core }))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn pi4_addresses_are_translated_from_the_bus() {
    let board = pi4();
    let InterruptController::GicV2(gic) = board.interrupt_controller else { panic!() };
    assert_eq!(gic.distributor, span(0xff84_1000, 0x1000));
    assert_eq!(gic.cpu_interface, span(0xff84_2000, 0x2000));
    assert_eq!(gic.virtual_control, span(0xff84_4000, 0x2000));
    assert_eq!(gic.virtual_cpu_interface, span(0xff84_6000, 0x2000));
    let console = board.console.unwrap();
    assert_eq!(console.kind, UartKind::BcmMiniUart);
    assert_eq!(console.registers, span(0xfe21_5040, 0x40));
    assert_eq!(console.interrupt, Some(level(IntId::spi(93))));
    assert_eq!((console.clock, console.baud), (None, Some(115_200)));
}

#[test]
fn pi4_keeps_the_spin_table_page() {
    let board = pi4();
    assert_eq!(board.memory, [span(0, 0x3c00_0000)]);
    let reserved: Vec<_> = board.reserved.iter().map(|each| each.span).collect();
    assert_eq!(reserved, [span(0, 0x1000)], "the CMA pool has no place, the nvram node is disabled");
    assert_eq!(
        board.free_memory(&[span(0x8_0000, 0x10_0000)]),
        [span(0x1000, 0x7_f000), Span::between(0x18_0000, 0x3c00_0000).unwrap()]
    );
}

#[test]
fn pi4_before_its_firmware_has_no_memory_but_a_console() {
    let blob = blob("bcm2711-rpi-4-b");
    let error = Board::discover(blob).unwrap_err();
    assert_eq!(error.property(), "reg");
    assert!(error.to_string().contains("no memory"), "{error}");
    assert_eq!(with_tree(blob, find_console).unwrap().path, "/soc/serial@7e215040");
}

#[test]
fn pi4_devices_can_be_asked_for() {
    let tree = Tree::parse(blob("bcm2711-rpi-4-b")).unwrap();
    let uart = tree.find("serial0").unwrap();
    assert_eq!(uart.path(), "/soc/serial@7e201000");
    assert_eq!(uart.registers().unwrap(), [span(0xfe20_1000, 0x200)]);
    assert_eq!(uart.interrupts().unwrap(), [level(IntId::spi(121))]);
    let emmc2 = tree.find("/emmc2bus/mmc@7e340000").unwrap();
    assert_eq!(emmc2.registers().unwrap()[0].start(), 0xfe34_0000);
    let ethernet = tree.find("ethernet0").unwrap();
    assert_eq!(ethernet.registers().unwrap(), [span(0xfd58_0000, 0x1_0000)]);
    assert_eq!(ethernet.interrupts().unwrap(), [level(IntId::spi(157)), level(IntId::spi(158))]);
    let timer = tree.find("/soc/timer").unwrap();
    assert_eq!(timer.interrupts().unwrap(), [64, 65, 66, 67].map(|number| level(IntId::spi(number))));
    // Its interrupts go to a controller behind the GIC.
    let error = tree.find("/soc/hdmi@7ef00700").unwrap().interrupts().unwrap_err();
    assert!(error.problem().contains("/soc/interrupt-controller@7ef00100"), "{error}");
    // PCI is no memory bus.
    let pcie = tree.find("pcie0").unwrap();
    assert_eq!(pcie.registers().unwrap(), [span(0xfd50_0000, 0x9310)]);
    assert!(pcie.children().next().is_none_or(|below| below.registers().is_err()));
}

#[test]
fn a_board_is_shown_in_lines() {
    let shown = virt(3, 2).to_string();
    assert!(shown.starts_with("linux,dummy-virt\n2 cores, GICv3 at 0x8000000, PSCI\n"), "{shown}");
    assert!(shown.contains("memory 0x40000000..0x80000000\n"), "{shown}");
    assert!(shown.ends_with("console /pl011@9000000 (PL011) at 0x9000000"), "{shown}");
}
