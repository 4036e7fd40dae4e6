//! Which memory a device reaches by itself.

use super::common::{Machine, blob};
use tessera_platform::Span;
use tessera_platform::assignment::Assignment;
use tessera_platform::tree::Tree;

const GIB: u64 = 1 << 30;

fn span(start: u64, end: u64) -> Span {
    Span::between(start, end).unwrap()
}

fn reach(blob: &[u8], path: &str) -> Result<Vec<Span>, String> {
    let tree = Tree::parse(blob).unwrap();
    tree.find(path).unwrap().dma_reach().map_err(|error| error.to_string())
}

#[test]
fn buses_of_real_boards() {
    let pi = blob("bcm2711-rpi-4-b");
    for (path, reached) in [
        ("/soc/dma@7e007000", GIB),
        ("/emmc2bus/mmc@7e340000", GIB),
        ("/scb/pcie@7d500000", 3 * GIB),
        ("/scb/ethernet@7d580000", 1 << 52),
        ("/soc/firmware/gpio", GIB),
    ] {
        assert_eq!(reach(pi, path).unwrap(), [span(0, reached)], "{path}");
    }
    assert_eq!(reach(blob("virt-gicv3-2"), "/virtio_mmio@a000000").unwrap(), [span(0, 1 << 52)]);
    assert_eq!(reach(blob("virt-gicv3-2"), "/pcie@10000000").unwrap(), [span(0, 1 << 52)]);
}

/// A device on two buses that have these `dma-ranges`: the inner one of 1-cell addresses, the outer one of 2-cell ones.
fn machine(inner: Option<&[u32]>, outer: Option<&[u32]>) -> Machine {
    let mut machine = Machine::new()
        .set("/bus", "#address-cells", 2_u32)
        .set("/bus", "#size-cells", 2_u32)
        .set("/bus", "ranges", [0_u8; 0])
        .set("/bus/bus", "#address-cells", 1_u32)
        .set("/bus/bus", "#size-cells", 1_u32)
        .set("/bus/bus", "ranges", [0_u32, 0, 0, 0xffff_ffff])
        .set("/bus/bus/thing@a000000", "reg", [0x0a00_0000_u32, 0x1000])
        .set("/bus/bus/thing@a000000", "compatible", "test,thing");
    for (path, ranges) in [("/bus/bus", inner), ("/bus", outer)] {
        if let Some(ranges) = ranges {
            machine = machine.set(path, "dma-ranges", ranges.to_vec());
        }
    }
    machine
}

#[test]
fn ranges_are_followed_outwards() {
    let of = |inner, outer| reach(&machine(inner, outer).blob(), "/bus/bus/thing@a000000");
    assert_eq!(of(None, None).unwrap(), [span(0, 1 << 52)], "no bus says anything");
    assert_eq!(of(Some(&[]), None).unwrap(), [span(0, 1 << 52)]);
    let half: &[u32] = &[0x8000_0000, 0, 0x4000_0000, 0x2000_0000];
    assert_eq!(of(Some(half), None).unwrap(), [span(0x4000_0000, 0x6000_0000)]);
    // What leaves the inner bus at 1 GiB to 1.5 GiB is passed on from 1.25 GiB only, 4 GiB higher.
    let quarter: &[u32] = &[0, 0x5000_0000, 1, 0x5000_0000, 0, 0x4000_0000];
    assert_eq!(of(Some(half), Some(quarter)).unwrap(), [span(0x1_5000_0000, 0x1_6000_0000)]);
    assert_eq!(of(Some(half), Some(&[0, 0, 0, 0, 0, 0x4000_0000])).unwrap(), [], "nothing in common");
    let two: &[u32] = &[0, 0, 0x1000, 0x1000, 0x9000_0000, 0, 0x2000, 0x1000];
    assert_eq!(of(Some(two), None).unwrap(), [span(0x1000, 0x3000)]);
    // The highest addresses there are.
    let top: &[u32] = &[0, 0, 0xffff_ffff, 0xffff_0000, 0xffff_ffff, 0xffff_ffff];
    assert_eq!(of(None, Some(top)).unwrap(), [], "no machine has them");
    assert_eq!(of(Some(&[0, 0, 0, 0]), None).unwrap(), [], "an empty range");
}

#[test]
fn ranges_that_cannot_be_read_are_errors() {
    let of = |machine: Machine| reach(&machine.blob(), "/bus/bus/thing@a000000").unwrap_err();
    for cells in [&[0_u32, 0, 0][..], &[1; 4 * 65]] {
        let error = of(machine(Some(cells), None));
        assert!(error.contains("node /bus/bus, property dma-ranges: an entry is cut short, or there"), "{error}");
    }
    let endless =
        machine(Some(&[0; 4]), None).set("/bus/bus", "#address-cells", 0_u32).set("/bus/bus", "#size-cells", 0_u32);
    assert!(of(endless).contains("too many"));
}

#[test]
fn a_guest_needs_some_memory_that_is_reached() {
    let pi = Tree::parse(blob("bcm2711-rpi-4-b-qemu")).unwrap();
    let card = pi.find("/emmc2bus/mmc@7e340000").unwrap();
    let given = Assignment::new(&pi, &[card], &[]).unwrap();
    let (low, high) = (span(0x1000_0000, 0x1400_0000), span(GIB, 2 * GIB));
    assert!(given.out_of_reach("a", &[], &[high, low]).unwrap().is_none(), "a part suffices");
    let conflict = given.out_of_reach("a", &[], &[high]).unwrap().unwrap();
    assert_eq!(conflict.cause.path(), card.path());
    let wanted = "/soc/mailbox@7e00b880 accesses memory by itself, and reaches [0x0..0x40000000] (dma-ranges)";
    assert!(conflict.problem.starts_with(wanted), "{}", conflict.problem);
    let mailboxes: Vec<_> = given.dma_masters();
    assert!(given.out_of_reach("a", &mailboxes, &[high]).unwrap().is_none(), "somebody vouches for them");
}
