//! Registers behind buses.

use super::common::Machine;
use tessera_platform::tree::Tree;
use tessera_platform::{BoardError, Span};

const NOTHING: [u8; 0] = [];

fn span(start: u64, size: u64) -> Span {
    Span::new(start, size).unwrap()
}

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
        .set("/soc", "ranges", [0_u32, 0xfe00_0000, 1, 0xfe00_0000, 0x100_0000])
        .set("/soc/bus", "#address-cells", 1_u32)
        .set("/soc/bus", "#size-cells", 1_u32)
        .set("/soc/bus", "ranges", [0x1000_u32, 0, 0xfe00_9000, 0x1000, 0x7e00_0000, 0, 0xfe00_0000, 0x100_0000])
        .set("/soc/bus/device", "reg", [0x7e20_1000_u32, 0x200, 0x1ff0, 0x10])
}

#[test]
fn registers_are_translated_through_every_bus() {
    let expected = [span(0x1_fe20_1000, 0x200), span(0x1_fe00_9ff0, 0x10)];
    assert_eq!(registers(&buses(), "/soc/bus/device").unwrap(), expected);
    let plain = buses().set("/soc/bus", "ranges", NOTHING).set("/soc/bus", "#address-cells", 2_u32);
    let plain = plain.set("/soc/bus/device", "reg", [0_u32, 0xfe20_1000, 0x200]);
    assert_eq!(registers(&plain, "/soc/bus/device").unwrap(), [span(0x1_fe20_1000, 0x200)]);
}

#[test]
fn registers_outside_every_range_are_refused() {
    for (address, size) in [(0x7eff_ff00_u32, 0x200_u32), (0x7dff_ffff, 1), (0x1fff, 2), (0xffff_ffff, 0xffff_ffff)] {
        let machine = buses().set("/soc/bus/device", "reg", [address, size]);
        let error = registers(&machine, "/soc/bus/device").unwrap_err();
        assert_eq!((error.path(), error.property()), ("/soc/bus", "ranges"));
        assert!(error.problem().contains(&format!("{address:#x}")), "{error}");
    }
    let endless = buses()
        .set("/wide", "#address-cells", 2_u32)
        .set("/wide", "#size-cells", 2_u32)
        .set("/wide", "ranges", [0_u32, 0x1000, 0, 0, u32::MAX, u32::MAX])
        .set("/wide/device", "reg", [0_u32, 0x10, 0, 0x10]);
    let error = registers(&endless, "/wide/device").unwrap_err();
    assert!(error.problem().contains("no range"), "{error}");
    let closed = buses().without("/soc", "ranges");
    assert_eq!(registers(&closed, "/soc/bus/device").unwrap_err().path(), "/soc");
    let pci = buses().set("/soc/bus", "#address-cells", 3_u32);
    assert!(registers(&pci, "/soc/bus/device").unwrap_err().remedy().contains("PCI"));
}

#[test]
fn ranges_that_are_cut_short_or_empty_of_cells_end() {
    let cut = buses().set("/soc/bus", "ranges", [0x7e00_0000_u32, 0]);
    assert!(registers(&cut, "/soc/bus/device").unwrap_err().problem().contains("no range"));
    let odd = buses().set("/soc/bus", "ranges", [1_u8; 7]);
    assert!(registers(&odd, "/soc/bus/device").unwrap_err().problem().contains("no range"));
    let none = buses().set("/soc", "#address-cells", 0_u32).set("/soc/bus", "#address-cells", 0_u32).set(
        "/soc/bus",
        "#size-cells",
        0_u32,
    );
    assert!(registers(&none, "/soc/bus/device").is_err());
    let endless = Machine::empty()
        .set("/", "#address-cells", 0_u32)
        .set("/soc", "#address-cells", 0_u32)
        .set("/soc", "#size-cells", 0_u32)
        .set("/soc", "ranges", 1_u32)
        .set("/soc/bus", "#address-cells", 1_u32)
        .set("/soc/bus", "ranges", NOTHING)
        .set("/soc/bus/device", "reg", [0x1000_u32, 0x10]);
    let error = registers(&endless, "/soc/bus/device").unwrap_err();
    assert!(error.problem().contains("no range"), "{error}");
    let one = none.set("/soc/bus", "#size-cells", 1_u32);
    assert!(registers(&one, "/soc/bus/device").is_err());
    let high = buses().set("/soc", "ranges", [0_u32, 0xfe00_0000, u32::MAX, u32::MAX, 0x100_0000]);
    assert!(registers(&high, "/soc/bus/device").unwrap_err().problem().contains("no range"));
}
