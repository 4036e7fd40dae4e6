//! Faults of EL2 itself, and systems and machines that it refuses.

use dtoolkit::ToPropertyValue;
use dtoolkit::model::DeviceTreeProperty;

use super::*;

/// EL2 faults by itself, on its boot core or another: it says where, and the machine stops.
pub(super) fn faults() -> Vec<Case> {
    macro_rules! fault {
        ($name:literal, $message:literal, $function:literal) => {
            Case {
                arguments: concat!(" tessera.selftest=", $name),
                verify: |console| names_the_function(console, $function),
                cpus: Some(2),
                seconds: 30,
                ..Case::new(concat!("a fault of EL2: ", $name), system_of(&[("hello", "guest/hello", 2)]))
                    .steps(&[concat!("expect tessera:^fatal: EL2 ", $message), "expect tessera:^backtrace: 0x"])
                    .ends(1)
            }
        };
    }
    let hello = || system_of(&[("hello", "guest/hello", 1)]);
    vec![
        Case { seconds: 30, ..Case::new("the user reboots the machine", hello()).steps(&real::REBOOT).ends(0) },
        // Each start ends in the same fault: the second shows that there was one.
        Case {
            arguments: " tessera.selftest=panic tessera.on-fault=reset",
            seconds: 30,
            ..Case::new("a fault of EL2 reboots the machine", hello())
                .steps(&["expect tessera:^fatal: EL2 panicked", "expect tessera:^backtrace: 0x"])
                .steps(&["expect tessera:^fatal: EL2 panicked"])
        },
        // The boot core's patience is for cores that do not come.
        Case {
            arguments: " tessera.selftest=dawdle@1",
            cpus: Some(2),
            seconds: 60,
            ..Case::new("a core that takes its time", system_of(&[("hello", "guest/hello", 2)]))
                .steps(&["expect tessera:^warning: selftest: core 1 goes on"])
                .steps(&["expect hello:hello> $", "send hello:off\\n"])
                .ends(0)
        },
        fault!("stack-overflow", "faulted: vector 0x200 esr 0x9600004[4-7] \\(data abort\\)", "overflow_stack"),
        fault!("stack-overflow@1", "faulted: vector 0x200 esr 0x9600004[4-7] \\(data abort\\)", "overflow_stack"),
        fault!("write-text", "faulted: vector 0x200 esr 0x9600004f \\(data abort\\)", "write_text"),
        fault!("execute-data", "faulted: vector 0x200 esr 0x8600000f \\(instruction abort\\)", "execute_data"),
        fault!("read-unmapped", "faulted: .* \\(data abort\\) .* far 0x7fffffffe000 ", "read_unmapped"),
        fault!("read-unmapped@1", "faulted: .* \\(data abort\\) .* far 0x7fffffffe000 ", "read_unmapped"),
        fault!("panic", "panicked: .*selftest.rs:.*$", "selftest::panic"),
        fault!("panic@1", "panicked: .*selftest.rs:.*$", "selftest::panic"),
    ]
}

/// The backtrace has the function with file and line, and leads to where its core began; no guest has run.
fn names_the_function(console: &str, function: &str) -> Result<(), String> {
    let mut trace = console.lines().filter(|line| line.contains("] backtrace: 0x"));
    let is_named = |line: &str| {
        let place = line.split_once(&format!("{function} (")).or(line.split_once(&format!("{function}::recurse (")));
        place.is_some_and(|(_, place)| place.contains("selftest.rs:"))
    };
    if !trace.any(is_named) {
        return Err(format!("no backtrace names {function}"));
    }
    match console.contains("[hello] ") {
        true => Err("a guest has run".to_owned()),
        false => Ok(()),
    }
}

/// Whatever is wrong is said in one line, and the machine stops with an exit status.
pub(super) fn refusals() -> Vec<Case> {
    const BROKEN: &[Broken] = &broken::CASES;
    let hellos = |names: &[&str]| system_of(&names.iter().map(|name| (*name, "guest/hello", 1)).collect::<Vec<_>>());
    let refused = |name: &str, message: &str| {
        let case = Case::new(name, hellos(&["hello"])).steps(&[&format!("expect tessera:{}", regex::escape(message))]);
        Case { seconds: 30, ..case.ends(1) }
    };
    let mut cases: Vec<_> = BROKEN
        .iter()
        .map(|broken| Case {
            archive: Archive::Broken(broken.name),
            ..refused(&format!("refused: {}", broken.name), broken.message)
        })
        .collect();
    cases.push(Case { archive: Archive::Missing, ..refused("refused: no initrd", "initrd") });
    // Smaller than what xtask was told of.
    let system = hellos(&["one", "two"]);
    cases.push(Case {
        qemu: &["-smp", "1"],
        system,
        ..refused("refused: a board with too few cores", "cpus: wants 1, but of")
    });
    let system = hellos(&["one", "two", "three"]);
    cases.push(Case {
        qemu: &["-m", "64M"],
        system,
        ..refused("refused: a board with too little memory", "memory: wants")
    });
    let qemu = &["-M", "virt,virtualization=off,gic-version=3"];
    cases.push(Case { qemu, ..refused("refused: a start at EL1", "entered at EL1") });
    // It runs its guests all the same, and nobody hears how they end.
    let unheard = Case::new("a board whose console has no driver", system_of(&[("crowd", "guest/crowd", 1)]));
    let tree: fn(&mut DeviceTree) = |tree| set(tree, "/pl011@9000000", "compatible", "acme,uart");
    cases.push(Case { tree: Some(tree), end: End::Unheard, seconds: 30, ..unheard });
    cases
}

/// A Raspberry Pi that does not start: the last words say why.
pub(super) fn raspberry_pi() -> Vec<Case> {
    let hello = || system_of(&[("hello", "guest/hello", 2)]);
    let on = |board, name: &str| Case { board, gic: 2, seconds: 60, ..Case::new(name, hello()).ends(1) };
    vec![
        Case {
            tree: Some(|tree| set(tree, "/cpus/cpu@1", "cpu-release-addr", vec![0_u32, 0x1000])),
            ..on(Board::Raspi4b, "refused: a core that does not come").steps(&["expect tessera:core 1 does not start"])
        },
        Case {
            tree: Some(|tree| {
                set(tree, "/chosen", "linux,initrd-start", 0x21_0000_u32);
                set(tree, "/chosen", "linux,initrd-end", 0x22_0000_u32);
            }),
            ..on(Board::Raspi4bTfa, "refused: an initrd over EL2")
                .steps(&["expect tessera:initrd at 0x210000..0x220000 overlaps EL2"])
        },
        Case {
            from_card: Some(Uart::Pl011),
            tree: Some(|tree| {
                set(tree, "/chosen", "stdout-path", "/soc/rng@7e104000:115200n8");
                set(tree, "/timer", "interrupts", vec![1_u32, 13, 4, 1, 14, 4, 1, 11, 4, 1, 5, 4]);
            }),
            ..on(Board::Raspi4b, "refused: a console without a driver and a timer's false interrupt").steps(&[
                "expect tessera:stdout-path names no UART that there is a driver for: the console is /soc/serial@7e201000",
                "expect tessera:its hyp-phys interrupt is 21 \\(PPI 5\\)",
            ])
        },
        // While the tree is still read: the machine ends all the same.
        Case {
            tree: Some(|tree| {
                let regions = vec![0x4004_1000_u32, 0x1000, 0x4004_2000, 0x2000, 0x4004_3000, 0x2000, 0x4004_6000, 0x2000];
                set(tree, "/soc/interrupt-controller@40041000", "reg", regions);
            }),
            ..on(Board::Raspi4b, "refused: parts of the GIC that overlap")
                .steps(&["expect tessera:\\(GICH\\) of 0x1000 bytes, overlaps an entry before it"])
        },
        // Nor is there another: who fails is still heard where the first instructions spoke.
        Case {
            from_card: Some(Uart::Pl011),
            tree: Some(without_known_uarts),
            arguments: " tessera.selftest=panic",
            verify: |console| match console.contains("there is no driver for the console") && console.contains("panic") {
                true => Ok(()),
                false => Err("a panic without a console is not said on the early one".to_owned()),
            },
            ..on(Board::Raspi4b, "a card's image says why it fails though there is no driver for its console")
        },
        // The console is a line that nobody hears.
        Case {
            from_card: Some(Uart::Pl011),
            tree: Some(|tree| set(tree, "/chosen", "stdout-path", "serial1:115200n8")),
            arguments: " tessera.selftest=panic",
            end: End::Unheard,
            verify: |console| match console.contains("Tessera\r\nthe console is /soc/serial@7e215040") {
                true => Ok(()),
                false => Err("it is not said where the console is".to_owned()),
            },
            ..on(Board::Raspi4b, "a card's image says when the console is another line")
        },
    ]
}

fn without_known_uarts(tree: &mut DeviceTree) {
    for uart in [
        "serial@7e201000",
        "serial@7e201400",
        "serial@7e201600",
        "serial@7e201800",
        "serial@7e201a00",
        "serial@7e215040",
    ] {
        set(tree, &format!("/soc/{uart}"), "compatible", "acme,uart");
    }
}

fn set<T: ToPropertyValue>(tree: &mut DeviceTree, path: &str, name: &str, value: T) {
    if let Some(node) = tree.find_node_mut(path) {
        node.add_property(DeviceTreeProperty::new_unchecked(name, value));
    }
}
