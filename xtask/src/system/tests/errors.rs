//! Each way in which a file can be wrong: message, line and column, and what to change.

use super::super::SystemError;
use super::support::{Workshop, guest_vm, linux_vm};

fn error(toml: &str) -> SystemError {
    Workshop::new().compile(toml).expect_err("this file is wrong")
}

/// Expects `message` where `toml` has the first character of `mark`, and `help` in what to change.
#[track_caller]
pub(super) fn expect(toml: &str, mark: &str, message: &str, help: &str) {
    expect_in(&Workshop::new(), toml, mark, message, help);
}

/// The same of a file in `workshop`.
#[track_caller]
pub(super) fn expect_in(workshop: &Workshop, toml: &str, mark: &str, message: &str, help: &str) {
    expect_error(workshop.compile(toml).expect_err("this file is wrong"), toml, mark, message, help);
}

#[track_caller]
pub(super) fn expect_error(error: SystemError, toml: &str, mark: &str, message: &str, help: &str) {
    assert_eq!(error.message(), message);
    let offset = toml.rfind(mark).expect("the mark is in the file");
    let line = toml[..offset].matches('\n').count() + 1;
    let column = offset - toml[..offset].rfind('\n').map_or(0, |at| at + 1) + 1;
    assert_eq!(error.position(), Some((line, column)), "{error}");
    let found = error.help().unwrap_or_default();
    assert!(found.contains(help), "{found}");
}

#[test]
fn an_error_shows_file_line_column_and_what_to_change() {
    let workshop = Workshop::new();
    let error = workshop.compile(&guest_vm("imgae = \"raw.bin\"")).expect_err("misspelt");
    let path = workshop.path().join("system.toml");
    let expected = format!(
        "error: [[vm]] has no key `imgae`\n --> {}:5:1\n  |\n5 | imgae = \"raw.bin\"\n  | ^^^^^\n  |\n  = help: did you mean `image`?",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.render(true).contains("\x1b["), "colours on a terminal");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let workshop = Workshop::new();
    workshop.write("system.toml", &[0xff]);
    let error = super::super::compile(&workshop.path().join("none.toml"), &NoImages);
    let error = error.expect_err("there is none");
    assert!(error.to_string().contains("none.toml: No such file"), "{error}");
    assert_eq!(error.position(), None);
    let error = super::super::compile(&workshop.path().join("system.toml"), &NoImages);
    assert!(error.expect_err("not UTF-8").to_string().contains("system.toml: "));
}

struct NoImages;

impl super::super::ImageProvider for NoImages {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn image(&self, name: &str) -> anyhow::Result<std::path::PathBuf> {
        anyhow::bail!("no {name}")
    }
}

#[test]
fn what_is_no_toml_is_refused() {
    let error = error("[[vm]\n");
    assert!(error.message().starts_with("this is no TOML: "), "{error}");
    assert_eq!(error.position().map(|(line, _)| line), Some(1));
}

#[test]
fn unknown_keys_are_refused_with_what_was_meant() {
    expect("[machin]\n", "machin]", "a system file has no key `machin`", "did you mean `machine`?");
    expect("[machine]\ncpu = 1\n", "cpu", "[machine] has no key `cpu`", "did you mean `cpus`?");
    let toml = guest_vm("image = { path = \"raw.bin\", lod = 1 }");
    expect(&toml, "lod", "`image` has no key `lod`", "did you mean `load`?");
    let toml = guest_vm("image = \"raw.bin\"\ncolour = \"red\"");
    expect(&toml, "colour", "[[vm]] has no key `colour`", "known are: name, cpus, memory");
    let toml = guest_vm("image = \"raw.bin\"\nlayout = { rom = 0 }");
    expect(&toml, "rom", "`layout` has no key `rom`", "did you mean `ram`?");
    let toml = guest_vm("image = \"raw.bin\"\ndevices = [{ adress = 0 }]");
    expect(&toml, "adress", "a device has no key `adress`", "did you mean `address`?");
}

#[test]
fn missing_keys_are_named() {
    expect("", "", "there is no VM", "[[vm]]");
    let toml = "[[vm]]\nname = \"a\"\nmemory = \"1M\"\nimage = \"raw.bin\"\n";
    expect(toml, "[[vm]]", "[[vm]] lacks the key `cpus`", "add `cpus = ...`");
    expect(&guest_vm(""), "[[vm]]", "[[vm]] lacks the key `image`", "add `image");
    let toml = guest_vm("image = \"raw.bin\"\nfiles = [\"initrd\"]");
    expect(&toml, "\"initrd\"", "this file has no address", "load = 0x");
    let toml = guest_vm("image = \"raw.bin\"\ndevices = [{ kind = \"pl011\" }]");
    expect(&toml, "{ kind", "a device lacks the key `address`", "add `address");
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    let cases = [
        ("image = 5", "5", "`image` must be a path or a table, this is an integer"),
        ("image = \"raw.bin\"\nconsole = \"yes\"", "\"yes\"", "`console` must be true or false, this is a string"),
        ("image = \"raw.bin\"\ngic = \"3\"", "\"3\"", "`gic` must be an integer, this is a string"),
        ("image = \"raw.bin\"\ndevices = {}", "{}", "`devices` must be an array, this is a table"),
        ("image = \"raw.bin\"\ncommand-line = true", "true", "`command-line` must be a string, this is a boolean"),
        ("image = \"raw.bin\"\ncommand-line = \"a\\u0000\"", "\"a", "`command-line` must not contain a NUL"),
        ("image = { path = \"raw.bin\", load = -1 }", "-1", "`load` must be 0 or more, and have at most 64 bits"),
    ];
    for (lines, mark, message) in cases {
        expect(&guest_vm(lines), mark, message, "");
    }
}

#[test]
fn bad_sizes_are_refused() {
    for bad in ["16MB", "16 M", "lots", "-16M"] {
        let toml = guest_vm("image = \"raw.bin\"").replace("16M", bad);
        expect(&toml, &format!("\"{bad}\""), &format!("`{bad}` is no size"), "the unit K, M or G");
    }
    let toml = guest_vm("image = \"raw.bin\"").replace("\"16M\"", "0");
    expect(&toml, "0", "memory of no bytes", "at least");
    let toml = guest_vm("image = \"raw.bin\"").replace("\"16M\"", "1000");
    expect(&toml, "1000", "memory must be whole pages", "multiples of 4096");
    let region = "[{ base = 0x40000800, size = \"16M\" }]";
    let toml = guest_vm("image = \"raw.bin\"").replace("\"16M\"", region);
    expect(&toml, "{ base", "memory must be whole pages", "multiples of 4096");
}

#[test]
fn names_are_checked() {
    for bad in ["Linux", "tessera", "", "a b"] {
        let toml = linux_vm("").replace("\"linux\"", &format!("\"{bad}\""));
        let message = format!("a VM cannot be called `{bad}`");
        expect(&toml, &format!("\"{bad}\""), &message, "use 1 to 31 of a-z");
    }
    let turned = linux_vm("").replace("\"linux\"", "\"\\u202exunil\"");
    expect(&turned, "\"\\u202e", "a VM cannot be called `\\u{202e}xunil`", "use 1 to 31 of a-z");
    let toml = linux_vm("") + &linux_vm("");
    expect(&toml, "\"linux\"", "there are two VMs called `linux`", "rename one");
}

#[test]
fn cores_are_checked() {
    let with = |cpus: &str| guest_vm("image = \"raw.bin\"").replace("cpus = 1", &format!("cpus = {cpus}"));
    expect(&with("0"), "0\nmemory", "a VM has 1 to 64 cpus, not 0", "");
    expect(&with("65"), "65", "a VM has 1 to 64 cpus, not 65", "");
    expect(&with("[]"), "[]", "a VM has 1 to 64 cpus, not 0", "");
    expect(&with("[1, 2, 1]"), "1]", "core 1 is listed twice", "list another core");
    expect(&with("\"all\""), "\"all\"", "`cpus` must be a number of cores or a list of cores, this is a string", "");
    expect(&with("[70000]"), "70000", "no machine has a core 70000", "");
    let toml = format!("[machine]\ncpus = 2\n{}{}", linux_vm(""), guest_vm("image = \"raw.bin\""));
    expect(&toml, "2\n[[vm]]\nname = \"linux\"", "the VMs need 3 cores, the machine has 2", "give the machine more");
}

#[test]
fn vms_that_list_the_same_core_share_it() {
    let shared = (linux_vm("") + &guest_vm("image = \"raw.bin\""))
        .replace("cpus = 2", "cpus = [0, 1]")
        .replace("cpus = 1", "cpus = [1]");
    let system = Workshop::new().compile(&format!("[machine]\ncpus = 2\n{shared}"));
    assert_eq!(system.expect("two cores suffice").machine.cpus, 2);
}

#[test]
fn images_that_are_not_there_are_named() {
    let toml = guest_vm("image = \"none.bin\"");
    expect(
        &toml,
        "\"none.bin\"",
        "cannot read `none.bin`: No such file or directory (os error 2)",
        "relative to the system's file",
    );
    let toml = linux_vm("initrd = \"none.cpio\"");
    expect(&toml, "\"none.cpio\"", "cannot read `none.cpio`: No such file or directory (os error 2)", "looked at");
    let toml = guest_vm("image = \"tessera:guest/helo\"");
    expect(&toml, "\"tessera", "there is no image `tessera:guest/helo`", "did you mean `tessera:guest/hello`?");
    let toml = guest_vm("image = \"tessera:freertos\"");
    expect(&toml, "\"tessera", "cannot make image `tessera:freertos`: the compiler is missing", "");
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let toml = linux_vm("").replace("64M", "3M");
    expect(
        &toml,
        "\"3M\"",
        "the Linux Image occupies 0x40200000 to 0x40400000, but the VM's memory is 0x40000000 to 0x40300000",
        "more than 4 MiB",
    );
    let toml = guest_vm("image = { path = \"initrd\", kind = \"raw\", load = 0x40fff000 }");
    expect(
        &toml,
        "\"initrd\"",
        "the image (0x40fff000 to 0x41000389) does not fit into the VM's memory (0x40000000 to 0x41000000)",
        "more memory",
    );
    let toml = linux_vm("initrd = \"big\"");
    let workshop = Workshop::new();
    workshop.write("big", &vec![1; 63 << 20]);
    let error = workshop.compile(&toml).expect_err("too big");
    assert_eq!(
        error.message(),
        "no room for `big` (63 MiB) beside the rest in the VM's memory (0x40000000 to 0x44000000)"
    );
    assert_eq!(error.position(), Some((6, 10)));
}

#[test]
fn addresses_that_do_not_suit_are_refused() {
    let toml = linux_vm("").replace("\"Image\"", "{ path = \"Image\", load = 0x40280000 }");
    expect(&toml, "0x40280000", "this Linux Image must be 0x0 bytes behind a multiple of 2 MiB", "change `load`");
    let toml = guest_vm("image = { path = \"rtos.elf\", load = 0x40280000 }");
    expect(&toml, "0x40280000", "an ELF file says itself where it is loaded", "remove `load`");
    let toml = guest_vm("image = { path = \"raw.bin\", entry = 0x50000000 }");
    expect(&toml, "0x50000000", "the entry 0x50000000 is not in the VM's memory", "an address in the image");
    let toml = guest_vm("image = { path = \"raw.bin\", entry = 0x40080002 }");
    expect(&toml, "0x40080002", "the entry 0x40080002 is not a multiple of 4", "");
    let toml = guest_vm("image = { path = \"raw.bin\", load = 0xfffffffffffff000 }");
    expect(
        &toml,
        "\"raw.bin\"",
        "the image at 0xfffffffffffff000, 300 bytes long, goes beyond 0x1000000000000",
        "lower",
    );
    let toml = linux_vm("initrd = { path = \"initrd\", load = 0x30000000 }");
    expect(
        &toml,
        "0x30000000",
        "the initrd (0x30000000 to 0x30001389) does not lie in the VM's memory (0x40000000 to 0x44000000)",
        "load it elsewhere",
    );
}

#[test]
fn overlaps_are_refused() {
    let toml = linux_vm("initrd = { path = \"initrd\", load = 0x40300000 }");
    expect(
        &toml,
        "\"initrd\"",
        "the initrd (0x40300000 to 0x40301389) overlaps the image (0x40200000 to 0x40400000)",
        "addresses of its own",
    );
    let regions = "[{ base = 0x40000000, size = \"16M\" }, { base = 0x40800000, size = \"16M\" }]";
    let toml = guest_vm("image = \"raw.bin\"").replace("\"16M\"", regions);
    expect(
        &toml,
        "{ base = 0x40800000",
        "the VM's memory (0x40800000 to 0x41800000) overlaps the VM's memory (0x40000000 to 0x41000000)",
        "addresses of its own",
    );
    let toml = guest_vm("image = \"raw.bin\"\ndevices = [{ address = 0x09000000, machine = 0x09050000 }]");
    expect(
        &toml,
        "{ address",
        "the device `device` (0x9000000 to 0x9001000) overlaps the console's UART (0x9000000 to 0x9001000)",
        "addresses of its own",
    );
    let toml = guest_vm("image = { path = \"raw.bin\", load = 0x08000000 }");
    expect(
        &toml,
        "\"raw.bin\"",
        "the image (0x8000000 to 0x8001000) overlaps the GIC's distributor (0x8000000 to 0x8010000)",
        "addresses of its own",
    );
    let toml = guest_vm("image = \"raw.bin\"\nlayout = { ram = 0x08000000 }");
    expect(
        &toml,
        "{ ram",
        "the GIC's distributor (0x8000000 to 0x8010000) overlaps the VM's memory (0x8000000 to 0x9000000)",
        "addresses of its own",
    );
}

#[test]
fn a_device_tree_that_is_none_is_refused() {
    let toml = guest_vm("image = \"raw.bin\"\ndevice-tree = \"initrd\"");
    let error = error(&toml);
    assert!(error.message().starts_with("`initrd` is no device tree blob: "), "{error}");
    assert_eq!(error.position(), Some((6, 15)));
}

/// Two VMs, each with one of these devices.
fn two_with_devices(first: &str, second: &str) -> String {
    let lines = |device: &str| format!("image = \"raw.bin\"\ndevices = [{device}]");
    guest_vm(&lines(first)) + &guest_vm(&lines(second)).replace("\"guest\"", "\"other\"")
}

#[test]
fn a_device_is_given_to_one_vm() {
    let device = "{ address = 0x0a003000, interrupts = [47] }";
    expect(
        &two_with_devices(device, device),
        "{ address",
        "the machine's device `device` of VM `other` (0xa003000 to 0xa004000) overlaps the machine's device `device` of VM `guest` (0xa003000 to 0xa004000)",
        "addresses of its own",
    );
    let other = "{ address = 0x0a004000, interrupts = [47] }";
    expect(&two_with_devices(device, other), "47", "SPI 47 is given to VM `guest` already", "give it to one of them");
}

#[test]
fn machine_memory_is_given_to_one_vm() {
    let vm = guest_vm("image = \"raw.bin\"")
        .replace("\"16M\"", "[{ base = 0x40000000, size = \"16M\", one-to-one = true }]");
    let toml = vm.clone() + &vm.replace("\"guest\"", "\"other\"");
    let error = error(&toml);
    assert!(error.message().starts_with("the machine memory of VM `other`"), "{error}");
    assert_eq!(error.position(), Some((9, 11)));
    let both = vm.replace("one-to-one = true", "one-to-one = true, machine = 0x50000000");
    expect(&both, "0x50000000", "a region has `machine` or `one-to-one`, not both", "remove one");
}

#[test]
fn interrupts_are_checked() {
    let with = |device: &str| guest_vm(&format!("image = \"raw.bin\"\ndevices = [{device}]"));
    let toml = with("{ address = 0x0a003000, interrupts = [988] }");
    expect(&toml, "988", "there is no SPI 988", "0 to 987");
    let toml = with("{ address = 0x0a003000, interrupts = [1] }");
    expect(&toml, "1]", "SPI 1 belongs to another device of this VM", "uart-interrupt");
    let toml = with("{ address = 0x0a003000, interrupts = [{ spi = 5, trigger = \"low\" }] }");
    expect(&toml, "\"low\"", "`trigger` must be \"level\" or \"edge\"", "");
}

#[test]
fn devices_are_checked() {
    let with = |device: &str| guest_vm(&format!("image = \"raw.bin\"\ndevices = [{device}]"));
    let toml = with("{ kind = \"pl013\", address = 0 }");
    expect(&toml, "\"pl013\"", "there is no kind of device `pl013`", "did you mean `pl0");
    let toml = with("{ kind = \"pl031\", size = \"8K\" }");
    expect(&toml, "\"pl031\"", "an emulated device has no `size`", "remove `size`");
    let toml = with("{ address = 0x0a003200 }");
    expect(&toml, "{ address", "a device must be whole pages", "multiples of 4096");
    let toml = with("{ address = 0x0a003000, name = \"a@b\" }");
    expect(&toml, "\"a@b\"", "a node cannot be called `a@b`", "use 1 to 31");
    let toml = with("{ address = 0x0a003000, properties = { reg = 1 } }");
    expect(&toml, "reg = 1", "`reg` follows from the device's own keys", "");
    let toml = with("{ address = 0x0a003000, properties = { a = 0x100000000 } }");
    expect(&toml, "0x100000000", "a cell has 32 bits", "write two");
    let toml = with("{ address = 0x0a003000, properties = { a = 1.5 } }");
    expect(&toml, "1.5", "`a` must be true, numbers or strings, this is a float", "");
}

#[test]
fn other_keys_are_checked() {
    let with = |line: &str| guest_vm(&format!("image = \"raw.bin\"\n{line}"));
    expect(&with("gic = 4"), "4", "there is no GICv4 for guests", "write 2 or 3");
    expect(&with("layout = \"pi\""), "\"pi\"", "there is no layout `pi`", "qemu-virt");
    expect(&with("on-crash = \"restrat\""), "\"restrat\"", "`on-crash` cannot be `restrat`", "did you mean `restart`?");
    let long = "x".repeat(2048);
    let toml = with(&format!("command-line = \"{long}\""));
    expect(&toml, "\"xxx", "a command line of 2048 bytes; Linux reads 2047", "");
    let toml = guest_vm("image = { path = \"raw.bin\", kind = \"efl\" }");
    expect(&toml, "\"efl\"", "there is no kind of image `efl`", "did you mean `elf`?");
}

#[test]
fn a_machine_with_too_little_memory_is_refused() {
    let toml = format!("[machine]\nmemory = \"64M\"\n{}", linux_vm(""));
    expect(
        &toml,
        "\"64M\"\n[[vm]]",
        "the VMs need 64 MiB and their images 1 MiB more, the machine has 64 MiB",
        "give the machine more",
    );
}

#[test]
fn what_el2_would_refuse_is_refused_here() {
    let with = |line: &str| guest_vm(&format!("image = \"raw.bin\"\n{line}"));
    let toml = with("layout = { uart = 0x09000010 }");
    expect(&toml, "0x09000010", "`uart` must be at a page", "multiple of 4096");
    let interrupts = vec!["5"; 65].join(", ");
    let toml = with(&format!("devices = [{{ address = 0, interrupts = [{interrupts}] }}]"));
    expect(&toml, "{ address", "65 interrupts, at most 64 are possible", "shorten");
    let many = vec!["{ base = 0x40000000, size = \"1M\" }"; 17].join(", ");
    let toml = with("").replace("\"16M\"", &format!("[{many}]"));
    expect(&toml, "[{", "a VM has 1 to 16 regions of memory", "");
    let vms: String = (0..33).map(|n| with("").replace("\"guest\"", &format!("\"g{n}\""))).collect();
    expect(&vms, "\"g32\"", "more than 32 VMs", "");
}

#[test]
fn more_parts_of_a_vm_than_el2_takes_are_refused() {
    let with = |line: &str| guest_vm(&format!("image = \"raw.bin\"\n{line}"));
    let devices = |count: u64| {
        let clock = |number: u64| {
            let (address, spi) = (0x0a00_0000 + number * 0x1000, number + 10);
            format!("{{ kind = \"pl031\", address = {address}, interrupts = [{spi}] }}")
        };
        with(&format!("devices = [{}]", (0..count).map(clock).collect::<Vec<_>>().join(", ")))
    };
    Workshop::new().compile(&devices(63)).expect("with the console's they are 64");
    expect(&devices(64), "\"guest\"", "65 devices, at most 64 are possible", "fewer");
    let files = |count: u64| {
        let file = |number: u64| format!("{{ path = \"raw.bin\", load = {} }}", 0x4020_0000 + number * 0x1000);
        with(&format!("files = [{}]", (0..count).map(file).collect::<Vec<_>>().join(", ")))
    };
    Workshop::new().compile(&files(63)).expect("with the image they are 64");
    expect(&files(64), "\"guest\"", "65 files and image segments, at most 64 are possible", "fewer");
}

#[test]
fn columns_are_counted_in_characters() {
    let error = error(&guest_vm("image = { path = \"\u{e4}\", lod = 1 }"));
    assert_eq!(error.position(), Some((5, 23)));
}
