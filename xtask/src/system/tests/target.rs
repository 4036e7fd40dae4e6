//! Systems against the machine they are to run on.

use tessera_platform::Span;

use super::super::{Machine, Target};
use super::errors::expect_error;
use super::support::{Workshop, board_tree, guest_vm, linux_vm};
use crate::qemu::virt_target;
use crate::raspberry_pi;

const VIRT: Span = Span::new(0x4000_0000, 1 << 30).expect("it exists");

#[track_caller]
fn expect(target: Target, toml: &str, mark: &str, message: &str, help: &str) {
    let error = Workshop::new().compile_for(toml, target, vec![VIRT]).expect_err("it does not fit");
    expect_error(error, toml, mark, message, help);
}

fn raw(lines: &str) -> String {
    guest_vm(&format!("image = \"raw.bin\"\n{lines}"))
}

#[test]
fn cores_that_the_machine_has_not() {
    let asked = virt_target(3, Some(2), None);
    let both = linux_vm("") + &raw("");
    let message = "with VM `guest` that makes 3 cores, but the machine has 2";
    expect(asked, &both, "1\nmemory", message, "share (`cpus = [0]`), or give the machine more by `--cpus`");
    let toml = raw("").replace("cpus = 1", "cpus = [0, 7]");
    expect(asked, &toml, "7]", "there is no core 7: the machine has cores 0 to 1", "list another core, or give");
    let shared = both.replace("cpus = 1", "cpus = [0]");
    expect(asked, &shared, "2\nmemory", "with VM `linux` that makes 3 cores, but the machine has 2", "fewer");
    let nine = raw("").replace("cpus = 1", "cpus = 9");
    let message = "with VM `guest` that makes 9 cores, but a machine with a GICv2 has 8";
    expect(virt_target(2, None, None), &nine, "9\n", message, "or run it with `--gic 3`");
    let machine = format!("[machine]\ncpus = 9\n{}", raw(""));
    expect(virt_target(2, None, None), &machine, "9\n", "a machine with a GICv2 has 8 cores at most", "fewer");
    let five = raw("").replace("cpus = 1", "cpus = 5");
    let message = "with VM `guest` that makes 5 cores, but the Raspberry Pi 4 has 4";
    expect(raspberry_pi::target(2 << 30), &five, "5\n", message, "give the VMs fewer");
}

#[test]
fn memory_that_the_machine_has_not() {
    let asked = virt_target(3, None, Some(64 << 20));
    let toml = raw("") + &linux_vm("");
    let message = "with VM `linux` that makes 80 MiB of memory and 1 MiB for the images, but the machine has 64 MiB";
    expect(asked, &toml, "\"64M\"", message, "give the VMs less, or give the machine more by `--memory`");
    let toml = raw("").replace("16M", "3G");
    let message =
        "with VM `guest` that makes 3 GiB of memory and 1 MiB for the images, but the Raspberry Pi 4 has 1972 MiB";
    expect(raspberry_pi::target(2 << 30), &toml, "\"3G\"", message, "give the VMs less");
}

#[test]
fn what_is_asked_for_is_what_the_machine_has() {
    let system = |target| {
        let toml = format!("[machine]\ncpus = 8\nmemory = \"4G\"\n{}", raw(""));
        Workshop::new().compile_for(&toml, target, vec![VIRT]).expect("it fits").machine
    };
    assert_eq!(system(virt_target(3, None, None)), Machine { cpus: 8, memory: 4 << 30 });
    assert_eq!(system(virt_target(3, Some(2), Some(1 << 30))), Machine { cpus: 2, memory: 1 << 30 });
    let pi = Target { memory: Some(0x3c00_0000), ..raspberry_pi::target(2 << 30) };
    assert_eq!(system(pi), Machine { cpus: 4, memory: 0x3c00_0000 });
}

#[test]
fn machine_addresses_are_of_the_kind_that_is_asked_for() {
    let target = virt_target(3, None, None);
    let memory =
        |base: &str| raw("").replace("\"16M\"", &format!("[{{ base = {base}, size = \"16M\", one-to-one = true }}]"));
    let there = "is not all RAM of the machine, which has it at 0x40000000 to 0x80000000";
    expect(
        target,
        &memory("0x90000000"),
        "{ base",
        &format!("0x90000000 to 0x91000000 {there}"),
        "address, or give the machine more",
    );
    expect(target, &memory("0x7ff00000"), "{ base", &format!("0x7ff00000 to 0x80f00000 {there}"), "another address");
    let device = |machine: &str| raw(&format!("devices = [{{ machine = {machine}, address = 0x0b000000 }}]"));
    let message = "0x48000000 to 0x48001000 is RAM, not a device";
    expect(target, &device("0x48000000"), "{ machine", message, "give it as memory");
    for (machine, message) in [
        (
            "0x08000000",
            "0x8000000 to 0x8001000 overlaps what EL2 keeps (0x8000000..0x8010000): its interrupt controller, UART or watchdog",
        ),
        (
            "0x09000000",
            "0x9000000 to 0x9001000 overlaps what EL2 keeps (0x9000000..0x9001000): its interrupt controller, UART or watchdog",
        ),
    ] {
        expect(target, &device(machine), "{ machine", message, "choose another address");
    }
    let fits = |toml: &str| Workshop::new().compile_for(toml, target, vec![VIRT]).is_ok();
    assert!(fits(&memory("0x7f000000")) && fits(&device("0x09010000")));
}

#[test]
fn pieces_of_ram_next_to_each_other_are_one() {
    let workshop = Workshop::new();
    workshop.write("board.dtb", &board_tree("bcm2711-rpi-4-b-qemu"));
    let toml = |base: &str| {
        raw("").replace("\"16M\"", &format!("[{{ base = {base}, size = \"128K\", one-to-one = true }}]")).replace(
            "\"raw.bin\"",
            &format!("{{ path = \"raw.bin\", load = {base} }}\ndevice-tree = {{ path = \"t\" }}"),
        )
    };
    workshop.write("t", &small_tree());
    let compile = |base: &str, memory| {
        let ram = raspberry_pi::ram_spans(memory);
        workshop.compile_for(&toml(base), raspberry_pi::target(memory), ram).map_err(|error| error.message().to_owned())
    };
    assert!(compile("0xbfff0000", 4 << 30).is_ok());
    assert!(compile("0x3b3f0000", 4 << 30).is_err_and(|error| error.contains("is not all RAM of the Raspberry Pi 4")));
    assert!(compile("0x40000000", 1 << 30).is_err_and(|error| error.contains("at 0x0 to 0x3b400000")));
    assert!(compile("0x0", 1 << 30).is_err_and(|error| error.contains("overlaps what the board keeps")));
}

fn small_tree() -> Vec<u8> {
    dtoolkit::model::DeviceTree::new().to_dtb()
}
