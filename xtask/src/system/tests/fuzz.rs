//! Mutated system files: an error with a place or a system that EL2's own reader accepts, never a panic.

use proptest::prelude::*;
use tessera::archive::Archive;
use tessera::manifest::Manifest;

use super::support::Workshop;

/// Every key there is; numbers are where it hurts.
const TOML: &str = r#"
housekeeping = 4
[machine]
cpus = 8
memory = "2G"
[[vm]]
name = "linux"
cpus = 2
memory = [{ base = 0x40000000, size = "64M" }, { base = 0x80000000, size = 0x1000000, machine = 0x90000000 }]
image = { path = "Image", load = 0x40200000, entry = 0x40200000 }
initrd = { path = "initrd", load = 0x43000000 }
command-line = "quiet"
device-tree = { path = "own.dtb", load = 0x41000000 }
share-image = true
files = [{ path = "raw.bin", load = 0x42000000 }, { path = "raw.bin", load = 0x10000000 }]
gic = 3
layout = { ram = 0x40000000, uart = 0x09000000, uart-interrupt = 1, gic-distributor = 0x08000000, gic-redistributors = 0x080a0000 }
devices = [{ kind = "pl031" }, { address = 0x0a000000, machine = 0x0a003000, size = "4K", interrupts = [47, { spi = 48, trigger = "edge" }], properties = { a = [1, 2] } }]
[[vm]]
name = "rtos"
cpus = [0]
memory = "16M"
image = "rtos.elf"
devices = ["/pl061@9030000", { device = "/fw-cfg@9020000", dma = false, without = ["dma-coherent"] }]
on-reset = "restart"
restart-limit = 3
restart-delay = "20ms"
priority = 20
weight = 30
budget = "2ms"
period = "10ms"
dedicated = true
[[core]]
number = 0
frame = "20ms"
lend = true
windows = [{ vm = "rtos", start = "10ms", length = "10ms", lend = true }, { vm = "rtos", start = "0ms", length = "5ms" }]
"#;

/// Where a number starts and ends in [`TOML`].
fn numbers() -> Vec<std::ops::Range<usize>> {
    let starts = |at: usize| {
        let before = TOML.as_bytes()[at - 1];
        TOML.as_bytes()[at].is_ascii_digit() && !before.is_ascii_alphanumeric()
    };
    let end = |at: usize| {
        let rest = TOML[at..].find(|c: char| !c.is_ascii_alphanumeric());
        rest.map_or(TOML.len(), |length| at + length)
    };
    (1..TOML.len()).filter(|at| starts(*at)).map(|at| at..end(at)).collect()
}

fn try_compile(toml: &str) -> Result<(), TestCaseError> {
    let workshop = Workshop::new();
    let own = dtoolkit::model::DeviceTree::new().to_dtb();
    workshop.write("own.dtb", &own);
    let system = match workshop.compile(toml) {
        Ok(system) => system,
        Err(error) => {
            prop_assert!(error.position().is_some());
            prop_assert!(!error.render(true).is_empty());
            return Ok(());
        }
    };
    let archive = Archive::parse(&system.archive).expect("EL2 reads the archive");
    let manifest = Manifest::read(&archive);
    prop_assert!(manifest.is_ok(), "{}\n{}", manifest.expect_err("not ok"), toml);
    Ok(())
}

#[test]
fn the_file_that_is_mutated_is_good() {
    let workshop = Workshop::new();
    workshop.write("own.dtb", &dtoolkit::model::DeviceTree::new().to_dtb());
    workshop.compile(TOML).unwrap_or_else(|error| panic!("{error}"));
    assert!(numbers().len() > 25);
}

fn number() -> impl Strategy<Value = String> {
    const EDGES: [u64; 16] = [
        0,
        1,
        2,
        0xfff,
        0x1000,
        0x0800_0000,
        0x4000_0000,
        0x4020_0000,
        0x43ff_f000,
        0x4400_0000,
        0xffff_ffff,
        0xffff_ffff_f000,
        0x1_0000_0000_0000,
        i64::MAX as u64,
        987,
        64,
    ];
    prop_oneof![
        prop::sample::select(&EDGES[..]).prop_map(|edge| edge.to_string()),
        any::<u64>().prop_map(|any| format!("{any:#x}")),
        (0u64..1 << 20).prop_map(|page| format!("{:#x}", page * 4096)),
        Just("-1".to_string()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn other_numbers_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), number()), 1..4)) {
        let mut toml = TOML.to_string();
        let mut places: Vec<_> = changes.iter().map(|(at, new)| (at.get(&numbers()).clone(), new)).collect();
        places.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        places.dedup_by_key(|(place, _)| place.start);
        for (place, new) in places {
            toml.replace_range(place, new);
        }
        try_compile(&toml)?;
    }

    #[test]
    fn other_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut toml = TOML.as_bytes().to_vec();
        for (at, new) in changes {
            let at = at.index(toml.len());
            toml[at] = new;
        }
        try_compile(&String::from_utf8_lossy(&toml))?;
    }

    #[test]
    fn missing_lines_never_panic(lines in prop::collection::vec(any::<prop::sample::Index>(), 1..4)) {
        let mut toml: Vec<&str> = TOML.lines().collect();
        for line in lines {
            let line = line.index(toml.len());
            toml.remove(line);
        }
        try_compile(&toml.join("\n"))?;
    }
}
