//! Devices of the machine that share a page: of two guests, of a guest and EL2, and one that refuses what it is asked.

use super::*;

/// A guest with `devices`, that is told what it has.
fn vm(name: &str, arguments: &str, devices: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = 1\nmemory = \"16M\"\nimage = \"tessera:guest/sub_page\"\n\
         command-line = \"{arguments}\"\ndevices = [{devices}]\n"
    )
}

/// What `sub_page` finds of a virtio transport: its first register is a magic number.
fn transport(name: &str, own: u64, other: u64) -> String {
    let arguments = format!("own={own} bytes=512 other={other} value={}", 0x7472_6976);
    vm(name, &arguments, &format!("{{ device = \"/virtio_mmio@{own:x}\", dma = false, sub-page = true }}"))
}

fn case(name: &str, system: String, guests: &[&str]) -> Case {
    let passes = guests.iter().map(|guest| format!("expect {guest}:^PASS: \\d+"));
    let case = Case::new(name, System::Inline(system)).ends(0);
    Case { steps: passes.collect(), ..case }
}

/// On QEMU's `virt`.
pub(super) fn cases() -> Vec<Case> {
    let transports = transport("a", 0x0a00_0000, 0x0a00_0200) + &transport("b", 0x0a00_0200, 0x0a00_0000);
    // The data of the GPIO controller (PL061) are one guest's, and directions to interrupt masks the other's.
    let part = |name, own: u64, bytes: u64, other: u64, more: &str| {
        let arguments = format!("own={own} bytes={bytes} other={other} {more}");
        vm(name, &arguments, &format!("{{ machine = {own:#x}, size = {bytes:#x}, sub-page = true }}"))
    };
    let halves =
        part("a", 0x0903_0000, 0x400, 0x0903_0400, "value=0") + &part("b", 0x0903_0400, 0x14, 0x0903_0000, "scratch=0");
    let configuration = vm(
        "configuration",
        "own=151126016 bytes=24 other=151126048 selector=8",
        "{ device = \"/fw-cfg@9020000\", dma = false, sub-page = true }",
    );
    vec![
        case("two guests have devices in one page", transports, &["a", "b"]),
        case("two guests have parts of one device", halves, &["a", "b"]),
        case("what a device refuses is no fault of EL2", configuration, &["configuration"]),
    ]
}

/// Linux on a disk whose page has another guest's device.
pub(super) fn linux() -> Case {
    let linux = "[machine]\ndisks = [\"tessera:disk\"]\n[[vm]]\nname = \"linux\"\ncpus = 1\n\
                 memory = [{ base = 0x60000000, size = \"256M\", one-to-one = true }]\nimage = \"tessera:linux\"\n\
                 initrd = \"tessera:initramfs-disk\"\ncommand-line = \"console=ttyAMA0 panic=-1 root=/dev/vda\"\n\
                 devices = [{ device = \"/virtio_mmio@a000000\", sub-page = true }]\n";
    let system = linux.to_owned() + &transport("other", 0x0a00_0200, 0x0a00_0000);
    let case = Case::new("linux has its root on a disk that shares its page", System::Inline(system));
    let off = ["send linux:poweroff -f\\n", "expect tessera:linux: off"];
    case.steps(&["expect other:^PASS: \\d+"]).steps(&real::ON_A_DISK).steps(&off).ends(0)
}

/// The Raspberry Pi's switch of the small UARTs and SPIs lies in the page of the UART that is EL2's.
pub(super) fn beside_el2() -> Case {
    let (own, other) = (0xfe21_5000_u64, 0xfe21_5054_u64);
    let system = vm(
        "switch",
        &format!("own={own} bytes=8 other={other} at=4 value=1"),
        "{ device = \"/soc/aux@7e215000\", sub-page = true }",
    );
    let case = case("a device in the page of EL2's UART, on raspi4b", system, &["switch"]);
    Case { board: Board::Raspi4b, gic: 2, ..case }
}
