//! Small guests, one subject each: what must work, what must be refused to them, what it may cost.

use super::*;

/// What operations may cost: counted, so that nothing else on the host changes the figures.
pub(super) fn budget() -> Vec<Case> {
    let counting = |name: &str, system, qemu, verify| {
        let case = Case::new(name, system).steps(&["expect bench:^bench: done"]).ends(0);
        Case { memory_mib: Some(2048), qemu, verify, ..case }
    };
    let two = "[[vm]]\nname = \"bench\"\ncpus = 2\nmemory = \"16M\"\nimage = \"tessera:guest/bench\"\n\
               command-line = \"ops=sgi_other_vcpu\"\n";
    vec![
        counting("operations keep to the budget", System::Named("bench"), &COUNTING, |console| {
            budget::check_console(console, Kind::Guest)
        }),
        counting(
            "an SGI to another vCPU keeps to the budget",
            System::Inline(two.to_owned()),
            &COUNTING_SEVERAL,
            |console| budget::check_console(console, Kind::Pair),
        ),
        counting("copy on write keeps to the budget", System::Named("bench-shared"), &COUNTING_SEVERAL, |console| {
            budget::check_console(console, Kind::Sharing)
        }),
    ]
}

pub(super) fn guests() -> Vec<Case> {
    let hello =
        ["expect hello:hello: 1 cores, 32 MiB", "send hello:abc\\n", "expect hello:echo: abc", "send hello:off\\n"];
    let mut cases =
        vec![Case::new("a small guest says hello", system_of(&[("hello", "guest/hello", 1)])).steps(&hello).ends(0)];
    for (guest, cores) in
        [("psci", 1), ("psci", 2), ("psci", 4), ("registers", 2), ("interrupts", 1), ("interrupts", 2), ("accesses", 1)]
    {
        let name = format!("{guest} on {cores} cores");
        let image = format!("guest/{guest}");
        let pass = format!("expect {guest}:^PASS: \\d+");
        // QEMU's own firmware has no workarounds.
        let none = ["expect psci:^workaround 1: -1", "expect psci:^workaround 2: -1", "expect psci:^workaround 3: -1"];
        let before = if guest == "psci" { &none[..] } else { &[] };
        let case = Case::new(&name, system_of(&[(guest, &image, cores)])).steps(before).steps(&[&pass]).ends(0);
        cases.push(Case { needs_gicv3: guest == "accesses", ..case });
    }
    // A processor that has atomic instructions.
    let newer = Case::new("accesses on a newer processor", system_of(&[("accesses", "guest/accesses", 1)]));
    let newer = newer.steps(&["expect accesses:^PASS: \\d+ checks$"]).ends(0);
    cases.push(Case { qemu: &["-cpu", "max"], needs_gicv3: true, ..newer });
    let both = ["expect a:^PASS: \\d+", "expect b:^PASS: \\d+"];
    for (name, cores) in
        [("two guests take turns on one core", ["0", "0"]), ("two guests take turns on two cores", ["0, 1", "1, 0"])]
    {
        cases.push(Case::new(name, taking_turns(cores)).steps(&both).ends(0));
    }
    // Processors with what nobody is offered: RAS, and all that QEMU knows.
    for (processor, qemu) in [("cortex-a76", &["-cpu", "cortex-a76"]), ("max", &["-cpu", "max"])] {
        let name = format!("two guests take turns on one core of a {processor}");
        cases.push(Case { qemu, ..Case::new(&name, taking_turns(["0", "0"])).steps(&both).ends(0) });
    }
    // WFI traps on a core that is shared; the newer processor has branch types.
    for (processor, qemu) in [("cortex-a72", &[][..]), ("max", &["-cpu", "max"][..])] {
        let name = format!("what EL2 carries out ends as on a {processor}");
        cases.push(Case { qemu, ..Case::new(&name, finishing()).steps(&both).ends(0) });
    }
    // Some of this comes after the sleeper's timer would have fired.
    let goes_on = [
        "expect sleeper:the other core sleeps",
        "expect tessera:sleeper: off",
        "send rtos:uptime\\n",
        "expect rtos:uptime: \\d+",
        "send rtos:hist\\n",
        "expect rtos:late > 1 ms",
        "send rtos:off\\n",
    ];
    let shared = "[[vm]]\nname = \"rtos\"\ncpus = [1]\nmemory = \"16M\"\nimage = \"tessera:freertos\"\n\
                  [[vm]]\nname = \"sleeper\"\ncpus = [0, 1]\nmemory = \"16M\"\nimage = \"tessera:guest/sleeper\"\n";
    let name = "a guest goes on when a sleeper on its core is switched off";
    cases.push(Case::new(name, System::Inline(shared.to_owned())).steps(&goes_on).ends(0));
    cases.push(many());
    cases.push(kept_house());
    let again = [
        "expect linux:linux# $",
        "send linux:reboot -f\\n",
        "expect tessera:linux: reset",
        "expect linux:linux# $",
        "send linux:poweroff -f\\n",
    ];
    cases.push(Case::new("a linux that reboots starts afresh", System::Named("linux")).steps(&again).ends(0));
    cases
}

/// A core without VMs takes the input, and sends what dedicated ones write.
fn kept_house() -> Case {
    let vm = |name: &str, core: usize| {
        format!(
            "[[vm]]\nname = \"{name}\"\ncpus = [{core}]\ndedicated = true\nmemory = \"4M\"\n\
             image = \"tessera:guest/{name}\"\n"
        )
    };
    let text = format!("housekeeping = 2\n[machine]\ncpus = 3\n{}{}", vm("hello", 0), vm("pl011", 1));
    let steps = [
        "expect pl011:^PASS: \\d+",
        "expect hello:hello> $",
        "send hello:abc\\n",
        "expect hello:^echo: abc",
        "send hello:off\\n",
        "expect tessera:hello: off",
    ];
    Case::new("one core keeps house for the dedicated others", System::Inline(text)).steps(&steps).ends(0)
}

/// Two VMs whose vCPUs are on the same cores: each finds its registers as it left them, though the other holds the
/// opposite in all of them. In reverse order, vCPUs of different numbers share a core.
pub(super) fn taking_turns(cores: [&str; 2]) -> System {
    let vm = |(odd, cores): (usize, &str)| {
        format!(
            "[[vm]]\nname = \"{}\"\ncpus = [{cores}]\nmemory = \"32M\"\nimage = \"tessera:guest/registers\"\n\
             command-line = \"odd={odd}\"\n",
            ["a", "b"][odd & 1]
        )
    };
    System::Inline(cores.into_iter().enumerate().map(vm).collect())
}

/// Two VMs on one core that look at what is left of an instruction that trapped.
fn finishing() -> System {
    let vm =
        |name| format!("[[vm]]\nname = \"{name}\"\ncpus = [0]\nmemory = \"16M\"\nimage = \"tessera:guest/finish\"\n");
    System::Inline(["a", "b"].map(vm).concat())
}

/// The machine's real-time clock shows another millennium than any emulated one, so that it is known for what it is.
pub(super) fn passthrough() -> Vec<Case> {
    const CLOCK: u64 = 978_307_200;
    const CLOCK_ARGUMENTS: [&str; 2] = ["-rtc", "base=2001-01-01T00:00:00"];
    const ELSEWHERE: u64 = 0x0b00_0000;
    let vm = |name: &str, cores: &str, line: &str, device: &str| {
        format!(
            "[[vm]]\nname = \"{name}\"\ncpus = {cores}\nmemory = \"16M\"\nimage = \"tessera:guest/passthrough\"\n\
             command-line = \"{line}\"\n{device}\n"
        )
    };
    let clock = |address: u64| {
        format!(
            "devices = [{{ machine = 0x9010000, address = {address:#x}, interrupts = [2], compatible = \"arm,pl031\" }}]"
        )
    };
    let case = |name: &str, owner: &str, other: &str, address: u64| {
        let owner = vm("owner", owner, &format!("at={address} clock={CLOCK}"), &clock(address));
        let other = vm("other", other, &format!("owner=0 stay=3 at={address}"), "");
        let both = ["expect owner:^PASS: \\d+", "expect other:^PASS: \\d+"];
        let case = Case::new(name, System::Inline(owner + &other)).steps(&both);
        Case { qemu: &CLOCK_ARGUMENTS, ..case.ends(0) }
    };
    let reset = Case::new(
        "a device's interrupt outlives the guest's reset",
        System::Inline(vm("owner", "1", &format!("resets=1 clock={CLOCK}"), &clock(0x0901_0000))),
    );
    let reset = reset.steps(&["expect owner:after a reset: Some\\(34\\)", "expect owner:^PASS: \\d+"]);
    vec![
        Case { qemu: &CLOCK_ARGUMENTS, ..reset.ends(0) },
        case("a device and its interrupt belong to one guest", "2", "1", 0x0901_0000),
        case("a device of a guest that shares its core", "[0]", "[0]", 0x0901_0000),
        case("a device at another address, of two cores that are shared", "[0, 1]", "[1, 0]", ELSEWHERE),
    ]
}

const REACHING: &str = "a guest that reaches for everything gets faults";

/// No guest's semihosting has made a file where QEMU runs.
fn nothing_is_written(_: &str) -> Result<(), String> {
    let file = std::path::Path::new("written-by-a-guest");
    if file.exists() { Err(format!("a guest has written {} on the host", file.display())) } else { Ok(()) }
}

/// Guests that misbehave, each beside one that must not notice.
pub(super) fn containment() -> Vec<Case> {
    let beside = |guest: &str| system_of(&[(guest, &format!("guest/{guest}"), 1), ("hello", "guest/hello", 1)]);
    let unharmed =
        ["send hello:still here\\n", "expect hello:echo: still here", "send hello:off\\n", "expect hello:hello: off"];
    let reaching = ["expect hello:hello> $", "expect containment:^PASS: \\d+", "expect tessera:containment: off"];
    let crashing = ["expect hello:hello> $", "expect crash:crash: now", "expect tessera:crash: crashed"];
    let case = |name, guest: &str, steps: &[&str]| Case::new(name, beside(guest)).steps(steps).steps(&unharmed);
    vec![
        Case { verify: nothing_is_written, ..case(REACHING, "containment", &reaching).ends(0) },
        // It says before that all went well.
        case("a guest that crashes is stopped alone", "crash", &crashing).ends(1),
    ]
}

/// EL2's heap grows with the number of VMs.
fn many() -> Case {
    let vm = |number: usize| {
        format!(
            "[[vm]]\nname = \"hello{number}\"\ncpus = [{}]\nmemory = \"8M\"\nimage = \"tessera:guest/hello\"\n",
            number % 2
        )
    };
    let steps = [
        "expect hello0:hello: 1 cores, 8 MiB",
        "expect hello11:hello: 1 cores, 8 MiB",
        "send hello0:off\\n",
        "expect tessera:hello0: off",
    ];
    Case::new("twelve guests share two cores", System::Inline((0..12).map(vm).collect())).steps(&steps)
}
