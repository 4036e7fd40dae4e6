//! The cores and how they are started.

use super::common::Machine;
use tessera_platform::board::EnableMethod;

const NOTHING: [u8; 0] = [];

#[test]
fn cores_have_affinities_of_one_or_two_cells() {
    let machine = Machine::new().core("cpu@100", [0x8100_u32]).core("cpu@101", [0x10000_u32]);
    let values: Vec<_> = machine.board().cores.iter().map(|core| core.affinity.value()).collect();
    assert_eq!(values, [0, 1, 0x8100, 0x10000]);
    let machine = Machine::new()
        .set("/cpus", "#address-cells", 2_u32)
        .core("cpu@0", [0_u32, 0x100])
        .core("cpu@1", [0x12_u32, 0x3]);
    let values: Vec<_> = machine.board().cores.iter().map(|core| core.affinity.value()).collect();
    assert_eq!(values, [0x100, 0x12_0000_0003]);
}

#[test]
fn cores_that_cannot_be_are_refused() {
    Machine::new().core("cpu@1", [0_u32]).refused("/cpus/cpu@1", "reg", "second core 0.0.0.0");
    Machine::new().core("cpu@1", [0x8000_0001_u32]).refused("/cpus/cpu@1", "reg", "0x80000001 is no core's affinity");
    Machine::new().core("cpu@1", NOTHING).refused("/cpus/cpu@1", "reg", "does not consist");
    Machine::new().without("/cpus/cpu@1", "reg").refused("/cpus/cpu@1", "reg", "does not consist");
    Machine::new().without_node("cpus").refused("/cpus", "", "no core");
    Machine::new().without_node("cpus").set("/cpus/cache", "x", 1_u32).refused("/cpus", "", "no core");
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
    let methods: Vec<_> = machine.board().cores.into_iter().map(|core| core.enable).collect();
    assert_eq!(
        methods,
        [
            EnableMethod::SpinTable { release: 0x1_0000_00d8 },
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
    let usable: Vec<_> = machine.board().cores.iter().map(|core| core.usable).collect();
    assert_eq!(usable, [true, false, true, false]);
}
