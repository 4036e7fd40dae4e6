//! The console, the timers, the firmware and what the boot loader hands over.

use super::common::{Machine, with_tree};
use tessera_platform::board::{Conduit, Console, Psci, PsciVersion, UartKind, find_console, find_exit};
use tessera_platform::{Span, Trigger};

fn span(start: u64, size: u64) -> Span {
    Span::new(start, size).unwrap()
}

fn console(machine: &Machine) -> Console {
    let console = machine.board().console.unwrap();
    assert_eq!(with_tree(&machine.blob(), find_console).as_ref(), Some(&console));
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
        assert_eq!((console(&machine).path.as_str(), console(&machine).baud), (path, baud), "{name}");
        let old = machine.without("/chosen", "stdout-path").set("/chosen", "linux,stdout-path", name);
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
fn a_console_without_a_driver_is_replaced_by_one_that_has_one_and_says_so() {
    let clock = Machine::new()
        .set("/clock@9010000", "compatible", "arm,pl031")
        .set("/clock@9010000", "reg", [0_u32, 0x901_0000, 0, 0x1000])
        .set("/cut@9020000", "compatible", "arm,pl011")
        .set("/cut@9020000", "reg", [0_u32, 0x902_0000, 0, 0x3c])
        .set("/odd@9030000", "compatible", "arm,pl011")
        .set("/odd@9030000", "reg", [0_u32, 0x903_0002, 0, 0x1000]);
    for name in ["/clock@9010000:115200", "/cut@9020000", "/odd@9030000", "/nowhere"] {
        let machine = clock.clone().set("/chosen", "stdout-path", name);
        let console = console(&machine);
        assert_eq!((console.path.as_str(), console.baud), ("/uart@9000000", None), "{name}");
        assert!(console.is_replacement, "{name}");
    }
    assert!(!console(&Machine::new()).is_replacement, "it is the one that is named");
    assert!(!console(&clock.clone().without_node("chosen")).is_replacement, "none is named");
    let clock = clock.set("/chosen", "stdout-path", "/clock@9010000");
    for compatible in ["arm,sbsa-uart", "brcm,bcm2835-aux-uart"] {
        assert_eq!(console(&clock.clone().set("/uart@9000000", "compatible", compatible)).path, "/uart@9000000");
    }
    let off = clock.set("/uart@9000000", "status", "disabled");
    assert_eq!(console(&off).path, "/clock@9010000", "rather that than one that is off, cut short, or not aligned");
}

#[test]
fn the_kind_of_the_console_is_told() {
    for (compatible, kind) in [
        (&["arm,pl011", "arm,primecell"][..], UartKind::Pl011),
        (&["arm,sbsa-uart"], UartKind::SbsaUart),
        (&["brcm,bcm2711-aux-uart", "brcm,bcm2835-aux-uart"], UartKind::BcmMiniUart),
        (&["snps,dw-apb-uart"], UartKind::Unsupported("snps,dw-apb-uart".into())),
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
    assert_eq!(console(&clever.set("/uart@9000000", "clock-frequency", 7_u32)).clock, Some(7));
    assert_eq!(console(&machine.set("/uart@9000000", "clocks", 99_u32)).clock, None);
}

#[test]
fn timers_are_found_by_order_or_by_name() {
    let timer = Machine::new().board().timer;
    let numbers = [timer.physical, timer.virtual_timer, timer.hypervisor].map(|each| each.id.number());
    assert_eq!((timer.secure_physical.unwrap().id.number(), numbers, timer.frequency), (29, [30, 27, 26], None));
    let named = Machine::new()
        .set("/timer", "interrupts", [1_u32, 11, 8, 1, 10, 1, 1, 14, 4])
        .set("/timer", "interrupt-names", &["virt", "hyp-phys", "phys"][..])
        .set("/timer", "clock-frequency", 54_000_000_u32);
    let timer = named.board().timer;
    let numbers = [timer.physical, timer.virtual_timer, timer.hypervisor].map(|each| each.id.number());
    assert_eq!((timer.secure_physical, numbers, timer.frequency), (None, [30, 27, 26], Some(54_000_000)));
    assert_eq!((timer.virtual_timer.trigger, timer.hypervisor.trigger), (Trigger::Level, Trigger::Edge));
}

#[test]
fn timers_that_are_missing_are_refused() {
    Machine::new().without_node("timer").refused("/timer", "", "no generic timer");
    let three = Machine::new().set("/timer", "interrupts", [1_u32, 13, 4, 1, 14, 4, 1, 11, 4]);
    three.refused("/timer", "interrupts", "private interrupt is missing");
    let shared = Machine::new().set("/timer", "interrupts", [1_u32, 13, 4, 1, 14, 4, 1, 11, 4, 0, 10, 4]);
    shared.refused("/timer", "interrupts", "private interrupt is missing");
    let unnamed = Machine::new().set("/timer", "interrupt-names", &["phys", "virt"][..]);
    unnamed.refused("/timer", "interrupts", "private interrupt is missing");
}

#[test]
fn firmware_is_as_old_as_it_says() {
    let with = |compatible: &[&str], method: &str| {
        Machine::new().set("/psci", "compatible", compatible).set("/psci", "method", method).board().psci
    };
    let psci = |conduit, version| Some(Psci { conduit, version });
    assert_eq!(with(&["arm,psci-1.0"], "smc"), psci(Conduit::Smc, PsciVersion::V1_0));
    assert_eq!(with(&["arm,psci-0.2", "arm,psci"], "smc"), psci(Conduit::Smc, PsciVersion::V0_2));
    let old = Machine::new().set("/psci", "compatible", "arm,psci").set("/psci", "cpu_on", 0x95c1_ba60_u32);
    let version = PsciVersion::V0_1 { cpu_on: Some(0x95c1_ba60), cpu_off: None };
    assert_eq!(old.board().psci, psci(Conduit::Smc, version));
}

/// What switches the machine off, whatever is wrong with its tree.
fn exit(machine: &Machine) -> (Option<Psci>, Option<Span>) {
    with_tree(&machine.blob(), |tree| Some(find_exit(tree))).unwrap()
}

#[test]
fn firmware_is_found_though_the_tree_is_wrong_elsewhere() {
    let broken = Machine::new().without_node("timer");
    assert!(broken.discover().is_err());
    assert_eq!(exit(&broken).0, Machine::new().board().psci);
    assert_eq!(exit(&broken.without_node("psci")), (None, None));
}

#[test]
fn a_watchdog_is_found_though_the_tree_is_wrong_elsewhere() {
    let broken = Machine::new()
        .without_node("timer")
        .set("/watchdog@a100000", "compatible", "brcm,bcm2835-pm-wdt")
        .set("/watchdog@a100000", "reg", [0_u32, 0xa10_0000, 0, 0x114]);
    assert!(broken.discover().is_err());
    assert_eq!(exit(&broken).1, Some(span(0xa10_0000, 0x114)));
    let off = broken.set("/watchdog@a100000", "status", "disabled");
    assert_eq!(exit(&off).1, None);
}

#[test]
fn firmware_without_a_way_to_call_it_is_refused() {
    Machine::new().set("/psci", "method", "svc").refused("/psci", "method", "unknown");
    Machine::new().without("/psci", "method").refused("/psci", "method", "missing");
    let own = Machine::new().set("/psci", "method", "hvc");
    own.refused("/psci", "method", "calls EL2, which is where this runs");
    // Below EL2 it is right.
    assert_eq!(exit(&own).0, Some(Psci { conduit: Conduit::Hvc, version: PsciVersion::V1_0 }));
    let off = Machine::new().set("/psci", "status", "disabled");
    off.refused("/cpus/cpu@0", "enable-method", "no PSCI");
}

#[test]
fn the_boot_loader_hands_over_arguments_and_an_initrd() {
    let machine = Machine::new().set("/chosen", "bootargs", "verbose quiet");
    let chosen = machine.board().chosen;
    assert_eq!((chosen.bootargs.as_deref(), chosen.initrd), (Some("verbose quiet"), None));
    let machine = machine.set("/chosen", "linux,initrd-start", 0x4800_0000_u32);
    let narrow = machine.clone().set("/chosen", "linux,initrd-end", 0x4800_1234_u32);
    assert_eq!(narrow.board().chosen.initrd, Some(span(0x4800_0000, 0x1234)));
    let wide = machine.set("/chosen", "linux,initrd-start", [8_u32, 0]).set("/chosen", "linux,initrd-end", [8_u32, 16]);
    assert_eq!(wide.board().chosen.initrd, Some(span(0x8_0000_0000, 16)));
    assert_eq!(Machine::new().without_node("chosen").board().chosen.bootargs, None);
}

#[test]
fn both_seeds_of_the_boot_loader_are_kept() {
    assert!(Machine::new().board().chosen.seed.is_empty());
    let machine = Machine::new().set("/chosen", "kaslr-seed", [3_u32, 4]);
    assert_eq!(machine.board().chosen.seed, [0, 0, 0, 3, 0, 0, 0, 4]);
    let machine = machine.set("/chosen", "rng-seed", 0x0102_0304_u32);
    assert_eq!(machine.board().chosen.seed, [1, 2, 3, 4, 0, 0, 0, 3, 0, 0, 0, 4]);
}

#[test]
fn an_initrd_that_ends_before_it_starts_is_refused() {
    let machine = Machine::new().set("/chosen", "linux,initrd-start", 0x4800_0000_u32);
    machine.refused("/chosen", "linux,initrd-start", "no run of addresses");
    let backwards = machine.clone().set("/chosen", "linux,initrd-end", 0x47ff_ffff_u32);
    backwards.refused("/chosen", "linux,initrd-start", "no run of addresses");
    let three = machine.clone().set("/chosen", "linux,initrd-end", [0_u32, 0, 0x4900_0000]);
    three.refused("/chosen", "linux,initrd-start", "no run of addresses");
    let empty = machine.set("/chosen", "linux,initrd-end", 0x4800_0000_u32);
    assert_eq!(empty.board().chosen.initrd, None);
}
