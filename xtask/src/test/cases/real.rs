//! Linux and FreeRTOS: beside each other, on disks, on other boards.

use super::*;

const BOTH_READY: [&str; 3] = ["expect linux:2 CPUs online", "expect linux:linux# $", "expect freertos:freertos> $"];

/// Switches both guests of the default system off.
const BOTH_OFF: [&str; 5] = [
    "send linux:poweroff -f\\n",
    "expect tessera:linux: off",
    "send freertos:off\\n",
    "expect freertos:freertos: off",
    "expect tessera:freertos: off",
];

pub(super) fn guests() -> Vec<Case> {
    let both = || System::Named("linux-freertos");
    let mut cases = vec![under_load(both())];
    for cores in [3, 4] {
        let name = format!("linux and freertos reach their prompts on {cores} cores");
        let case = Case { cpus: Some(cores), ..Case::new(&name, both()) };
        cases.push(case.steps(&BOTH_READY).steps(&BOTH_WORK).steps(&BOTH_OFF).ends(0));
    }
    let one_off = [
        "send linux:poweroff -f\\n",
        "expect tessera:linux: off",
        "send freertos:uptime\\n",
        "expect freertos:uptime: \\d+",
        "send freertos:off\\n",
    ];
    let name = "freertos goes on when linux is switched off";
    cases.push(Case::new(name, both()).steps(&BOTH_READY).steps(&one_off).ends(0));
    cases
}

const BOTH_WORK: [&str; 5] = [
    "send linux:nproc\\n",
    "expect linux:^2$",
    "expect linux:linux# $",
    "send freertos:tasks\\n",
    // How many are lost is a matter of how much of the host the machine has.
    "expect freertos:[1-9]\\d* sent, [1-9]\\d* received, \\d+ lost",
];

/// Without a random seed of its own it would hardly move: every new process would wait for one lock.
pub(super) fn eight_cores() -> Case {
    const SYSTEM: &str = "[[vm]]\nname = \"linux\"\ncpus = 8\nmemory = \"512M\"\nimage = \"tessera:linux\"\n\
                          initrd = \"tessera:initramfs\"\ncommand-line = \"console=ttyAMA0 panic=-1\"\n";
    let steps = ["expect linux:crng init done", "expect linux:8 CPUs online", "expect linux:linux# $"];
    let load = ["send linux:load 5\\n", "expect linux:load: done [1-9]\\d* rounds", "send linux:poweroff -f\\n"];
    let case = Case::new("a linux on 8 cores stands a load", System::Inline(SYSTEM.to_owned()));
    Case { seconds: 240, ..case.steps(&steps).steps(&load).ends(0) }
}

/// Linux's root file system is on a disk, where it also writes.
pub(super) const ON_A_DISK: [&str; 8] = [
    "expect linux:linux# $",
    "send linux:cp /bin/busybox /copy && sync && echo 3 > /proc/sys/vm/drop_caches\\n",
    "expect linux:linux# $",
    "send linux:cmp /bin/busybox /copy && cat /etc/issue\\n",
    "expect linux:^on a disk",
    "expect linux:linux# $",
    "send linux:mount | grep ' on / '\\n",
    "expect linux:on / type ext4 \\(rw",
];

/// The disk is the card's second partition; the first is still there.
const ON_A_PARTITION: [&str; 5] = [
    "send linux:grep -c mmcblk0p /proc/partitions; stat -c %t:%T $(findfs LABEL=tessera)\\n",
    "expect linux:^2$",
    "expect linux:^b3:2$",
    "expect linux:linux# $",
    "expect freertos:freertos> $",
];

/// The user starts the machine anew: the guest greets a second time, and only then is it over.
pub(super) const REBOOT: [&str; 6] = [
    "expect hello:hello> $",
    "send tessera:b",
    "expect tessera:reboot at the console",
    "expect hello:hello> $",
    "send hello:off\\n",
    "expect tessera:all guests are off",
];

/// Devices that a system names by the board's own tree.
pub(super) fn by_name() -> Vec<Case> {
    let root = Case::new("linux has its root on a virtio disk, also after a reset", System::Named("linux-disk"));
    let again = ["send linux:reboot -f\\n", "expect tessera:linux: reset"];
    let off = ["send linux:poweroff -f\\n", "expect tessera:linux: off"];
    let root = root.steps(&ON_A_DISK).steps(&again).steps(&ON_A_DISK).steps(&off).ends(0);
    let all = "[[vm]]\nname = \"linux\"\ncpus = 1\nmemory = [{ base = 0x60000000, size = \"256M\", one-to-one = true }]\n\
               image = \"tessera:linux\"\ninitrd = \"tessera:initramfs\"\ncommand-line = \"console=ttyAMA0 panic=-1\"\n\
               everything-except = [\"/pl061@9030000\"]\n";
    // Its memory may be anywhere but where the other's must be.
    let clock = "[[vm]]\nname = \"hello\"\ncpus = 1\nmemory = \"512M\"\nimage = \"tessera:guest/hello\"\n\
                 devices = [\"/pl031@9010000\"]\n";
    let given = [
        "expect tessera:hello: is given /pl031@9010000 /apb-pclk",
        "expect tessera:linux: is given .*/virtio_mmio@a000000 ",
        "expect hello:hello> $",
        "expect linux:linux# $",
        "send linux:ls /sys/bus/platform/devices | wc -l; ls -d /proc/device-tree/p*\\n",
        "expect linux:^/proc/device-tree/pcie@10000000",
        "expect linux:linux# $",
        "send linux:ls -d /proc/device-tree/pl0[36]1@*; echo done\\n",
        "expect linux:^done",
        "send linux:poweroff -f\\n",
        "expect tessera:linux: off",
        "send hello:off\\n",
    ];
    let everything = Case::new("a guest is given everything but another's", System::Inline(format!("{clock}{all}")));
    vec![Case { seconds: 150, ..root }, sub_page::linux(), everything.steps(&given).ends(0), clocks()]
}

/// A Linux whose devices need the board's clock has its own one too, or its console would be silent.
fn clocks() -> Case {
    let system = "[[vm]]\nname = \"linux\"\ncpus = 2\nmemory = \"256M\"\nimage = \"tessera:linux\"\n\
                  initrd = \"tessera:initramfs\"\ncommand-line = \"console=ttyAMA0 panic=-1\"\n\
                  devices = [\"/pl031@9010000\", \"/pl061@9030000\", \"/gpio-keys\"]\n";
    Case::new("linux has its own clock beside the board's", System::Inline(system.to_owned()))
        .steps(&["expect linux:rtc-pl031 .*registered as rtc0", "expect linux:linux# $", "send linux:poweroff -f\\n"])
        .ends(0)
}

/// The Raspberry Pi 4, as far as QEMU has it: without firmware to call, and with.
pub(super) fn raspberry_pi() -> Vec<Case> {
    let on = |board, name: &str, system| Case { board, gic: 2, seconds: 150, ..Case::new(name, system) };
    let received = ["expect freertos:[1-9]\\d* sent, [1-9]\\d* received"];
    let both = |board, name| {
        let case = on(board, name, System::Named("linux-freertos"));
        // Four emulated cores may be too slow for FreeRTOS to lose nothing.
        case.steps(&BOTH_READY).steps(&BOTH_WORK[..4]).steps(&received).steps(&BOTH_OFF).ends(0)
    };
    let interrupts = system_of(&[("interrupts", "guest/interrupts", 2)]);
    let hello = on(Board::Raspi4b, "the watchdog switches a raspi4b off", system_of(&[("hello", "guest/hello", 1)]));
    let card = |uart, name| Case {
        from_card: Some(uart),
        verify: speaks_at_once,
        ..on(Board::Raspi4b, name, system_of(&[("hello", "guest/hello", 1)]))
    };
    let reboot = on(Board::Raspi4b, "the watchdog reboots a raspi4b", system_of(&[("hello", "guest/hello", 1)]));
    let off = ["expect hello:hello> $", "send hello:off\\n", "expect tessera:all guests are off"];
    let turns = |name| on(Board::Raspi4bTfa, name, small::taking_turns(["0", "0"]));
    let passed = ["expect a:^PASS: \\d+", "expect b:^PASS: \\d+"];
    let called = |name, verify| Case { qemu: &["-d", "int"], verify, ..turns(name) };
    let switches =
        called("two guests take turns on a core that firmware hardens", |console| calls_firmware(console, 20));
    let exits = called("two guests take turns whose exits firmware hardens", |console| calls_firmware(console, 10_000));
    vec![
        both(Board::Raspi4b, "linux and freertos reach their prompts on raspi4b"),
        both(Board::Raspi4bTfa, "linux and freertos reach their prompts on raspi4b behind TF-A"),
        on(
            Board::Raspi4bTfa,
            "a guest is offered the workarounds that TF-A has",
            system_of(&[("psci", "guest/psci", 2)]),
        )
        .steps(&["expect psci:^workaround 1: 0", "expect psci:^workaround 2: -2", "expect psci:^workaround 3: 0"])
        .steps(&["expect psci:^PASS: \\d+"])
        .ends(0),
        switches.steps(&passed).ends(0),
        Case { arguments: " tessera.harden=exits", ..exits.steps(&["expect tessera:exits are hardened"]) }
            .steps(&passed)
            .ends(0),
        Case {
            qemu: &["-global", "arm_gic.has-security-extensions=on"],
            ..on(Board::Raspi4b, "interrupts on a raspi4b whose GIC has Security Extensions", interrupts)
                .steps(&["expect interrupts:^PASS: \\d+"])
                .ends(0)
        },
        card(Uart::Mini, "a card's image starts a raspi4b").steps(&off).ends(0),
        // QEMU's PL011 is off at first, as firmware may leave it, and QEMU says so if one that is off is written to.
        Case {
            qemu: &["-d", "guest_errors"],
            verify: |console| match console.contains("disabled UART") {
                true => Err("the image did not switch its UART on".to_owned()),
                false => speaks_at_once(console),
            },
            ..card(Uart::Pl011, "a card's image starts a raspi4b whose console is the PL011").steps(&off).ends(0)
        },
        Case {
            from_card: Some(Uart::Mini),
            ..on(Board::Raspi4b, "linux has its root on the card that a raspi4b boots", System::Named("linux-sd-card"))
        }
        .steps(&ON_A_DISK)
        .steps(&ON_A_PARTITION)
        .steps(&BOTH_OFF)
        .ends(0),
        reboot.steps(&REBOOT).ends(0),
        sub_page::beside_el2(),
        on(Board::Raspi4b, "linux has its root on the SD card of a raspi4b", System::Named("linux-sd-card"))
            .steps(&ON_A_DISK)
            .steps(&["expect freertos:freertos> $"])
            .steps(&BOTH_OFF)
            .ends(0),
        hello.steps(&off).ends(0),
    ]
}

/// What boot writes before it knows the device tree.
fn speaks_at_once(console: &str) -> Result<(), String> {
    let spoke = console.trim_start().starts_with("Tessera");
    if spoke { Ok(()) } else { Err("the image did not speak from its first instruction".to_owned()) }
}

/// QEMU's trace of exceptions has at least so many calls of firmware.
fn calls_firmware(console: &str, least: usize) -> Result<(), String> {
    let calls = console.lines().filter(|line| line.contains("[Secure Monitor Call]")).count();
    if calls >= least { Ok(()) } else { Err(format!("firmware is called {calls} times, not {least} or more")) }
}

/// The median period is the time's truth; the extremes are those of a shared host.
fn under_load(system: System) -> Case {
    let case = Case::new("freertos keeps its period beside a linux under load", system);
    let steps = [
        "send freertos:reset\\n",
        "expect freertos:freertos> $",
        "send linux:load 20\\n",
        "expect linux:load: done [1-9]\\d* rounds",
        "send freertos:hist\\n",
        "expect freertos:period: \\d{3,} samples, min/median/max \\d+/(99\\d\\d|100\\d\\d)/\\d+ us",
        "send freertos:tasks\\n",
        "expect freertos:received, \\d+ lost",
        "expect freertos:float registers lost: 0",
    ];
    Case { seconds: 180, alone: true, ..case.steps(&BOTH_READY).steps(&steps).steps(&BOTH_OFF).ends(0) }
}
