//! The guests' cases: which system, what is said to it, how it must end. Only data; running them is `guests`.

use crate::bench::budget;
use crate::bench::machine::COUNTING;
use crate::bench::operation::Kind;
use crate::qemu::Board;
use crate::system::broken::{self, Broken};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is tested, in words.
    pub name: String,
    /// What runs.
    pub system: System,
    /// Cores; None for as many as the system needs.
    pub cpus: Option<usize>,
    /// RAM in MiB; None for as much as the system needs.
    pub memory_mib: Option<u64>,
    /// The board.
    pub board: Board,
    /// The GIC's version.
    pub gic: u32,
    /// Its guest uses registers that only a GICv3 has.
    pub needs_gicv3: bool,
    /// It is started from the files of a card's image.
    pub from_card: bool,
    /// What becomes of the archive on its way.
    pub archive: Archive,
    /// More arguments for QEMU.
    pub qemu: &'static [&'static str],
    /// `expect VM:REGEX` and `send VM:TEXT`, in order.
    pub steps: Vec<String>,
    /// How it must end.
    pub end: End,
    /// The longest it may take.
    pub seconds: u64,
    /// It measures time: nothing else may run.
    pub alone: bool,
    /// What must hold of the whole console's text besides; the error says what does not.
    pub verify: fn(&str) -> Result<(), String>,
}

/// What runs.
#[derive(Clone, Debug)]
pub enum System {
    /// One of guests/systems.
    Named(&'static str),
    /// A system file's text.
    Inline(String),
}

/// What becomes of the archive on its way to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// Nothing.
    AsItIs,
    /// There is none.
    Missing,
    /// It is damaged as the case of this name in `system::broken` says.
    Broken(&'static str),
}

/// How a case must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps are done; what then runs is stopped.
    Script,
    /// After all steps the machine ends by itself, with this exit status.
    Exit(i32),
}

impl Case {
    fn new(name: &str, system: System) -> Self {
        Self {
            name: name.to_owned(),
            system,
            cpus: None,
            memory_mib: None,
            board: Board::Virt,
            gic: 3,
            needs_gicv3: false,
            from_card: false,
            archive: Archive::AsItIs,
            qemu: &[],
            steps: Vec::new(),
            end: End::Script,
            seconds: 90,
            alone: false,
            verify: |_| Ok(()),
        }
    }

    fn steps(mut self, steps: &[&str]) -> Self {
        self.steps.extend(steps.iter().map(|step| (*step).to_owned()));
        self
    }

    fn ends(self, status: i32) -> Self {
        Self { end: End::Exit(status), ..self }
    }

    /// The same on a machine with a GICv2, unless it needs a GICv3.
    fn on_gicv2(&self) -> Option<Self> {
        let name = format!("{} (GICv2)", self.name);
        (!self.needs_gicv3).then(|| Self { name, gic: 2, ..self.clone() })
    }

    /// The name as part of a file's name.
    pub fn file_name(&self) -> String {
        self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

/// The cases, the longest first: they decide when the last one ends. With a version of the GIC, all of them on that; else
/// all on a GICv3, what has to do with interrupts on a GICv2 too, and other boards.
pub fn all(gic: Option<u32>) -> Vec<Case> {
    let with_interrupts = [real_guests(), small_guests(), passthrough(), by_name(), containment(), budget()].concat();
    let others = [vec![eight_cores()], sharing(), faults(), refusals()].concat();
    match gic {
        Some(2) => with_interrupts.iter().chain(&others).filter_map(Case::on_gicv2).collect(),
        Some(_) => [with_interrupts, others].concat(),
        None => {
            let again = with_interrupts.iter().filter_map(Case::on_gicv2).collect();
            [with_interrupts, again, raspberry_pi(), others].concat()
        }
    }
}

const BOTH_READY: [&str; 3] = ["expect linux:2 CPUs online", "expect linux:linux# $", "expect freertos:freertos> $"];

/// Switches both guests of the default system off.
const BOTH_OFF: [&str; 5] = [
    "send linux:poweroff -f\\n",
    "expect tessera:linux: off",
    "send freertos:off\\n",
    "expect freertos:freertos: off",
    "expect tessera:freertos: off",
];

fn real_guests() -> Vec<Case> {
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
    "expect freertos:[1-9]\\d* sent, [1-9]\\d* received, 0 lost",
];

/// Without a random seed of its own it would hardly move: every new process would wait for one lock.
fn eight_cores() -> Case {
    const SYSTEM: &str = "[[vm]]\nname = \"linux\"\ncpus = 8\nmemory = \"512M\"\nimage = \"tessera:linux\"\n\
                          initrd = \"tessera:initramfs\"\ncommand-line = \"console=ttyAMA0 panic=-1\"\n";
    let steps = ["expect linux:crng init done", "expect linux:8 CPUs online", "expect linux:linux# $"];
    let load = ["send linux:load 5\\n", "expect linux:load: done [1-9]\\d* rounds", "send linux:poweroff -f\\n"];
    let case = Case::new("a linux on 8 cores stands a load", System::Inline(SYSTEM.to_owned()));
    Case { seconds: 240, ..case.steps(&steps).steps(&load).ends(0) }
}

/// Linux's root file system is on a disk, where it also writes.
const ON_A_DISK: [&str; 8] = [
    "expect linux:linux# $",
    "send linux:cp /bin/busybox /root/copy && sync && echo 3 > /proc/sys/vm/drop_caches\\n",
    "expect linux:linux# $",
    "send linux:cmp /bin/busybox /root/copy && cat /etc/issue\\n",
    "expect linux:^on a disk",
    "expect linux:linux# $",
    "send linux:mount | grep ' on / '\\n",
    "expect linux:on / type ext4 \\(rw",
];

/// Devices that a system names by the board's own tree.
fn by_name() -> Vec<Case> {
    let root = Case::new("linux has its root on a virtio disk, also after a reset", System::Named("linux-disk"));
    let again = ["send linux:reboot -f\\n", "expect tessera:linux: reset"];
    let off = ["send linux:poweroff -f\\n", "expect tessera:linux: off"];
    let root = root.steps(&ON_A_DISK).steps(&again).steps(&ON_A_DISK).steps(&off).ends(0);
    let all = "[[vm]]\nname = \"linux\"\ncpus = 1\nmemory = [{ base = 0x60000000, size = \"256M\", one-to-one = true }]\n\
               image = \"tessera:linux\"\ninitrd = \"tessera:initramfs\"\ncommand-line = \"console=ttyAMA0 panic=-1\"\n\
               everything-except = [\"/pl061@9030000\"]\n";
    let clock = "[[vm]]\nname = \"hello\"\ncpus = 1\nmemory = \"32M\"\nimage = \"tessera:guest/hello\"\n\
                 devices = [\"/pl031@9010000\"]\n";
    let given = [
        "expect tessera:linux: is given .*/virtio_mmio@a000000 ",
        "expect tessera:hello: is given /pl031@9010000 /apb-pclk",
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
    let everything = Case::new("a guest is given everything but another's", System::Inline(format!("{all}{clock}")));
    vec![Case { seconds: 150, ..root }, everything.steps(&given).ends(0)]
}

/// The Raspberry Pi 4, as far as QEMU has it: without firmware to call, and with.
fn raspberry_pi() -> Vec<Case> {
    let on = |board, name: &str, system| Case { board, gic: 2, seconds: 150, ..Case::new(name, system) };
    let received = ["expect freertos:[1-9]\\d* sent, [1-9]\\d* received"];
    let both = |board, name| {
        let case = on(board, name, System::Named("linux-freertos"));
        // Four emulated cores may be too slow for FreeRTOS to lose nothing.
        case.steps(&BOTH_READY).steps(&BOTH_WORK[..4]).steps(&received).steps(&BOTH_OFF).ends(0)
    };
    let interrupts = system_of(&[("interrupts", "guest/interrupts", 2)]);
    let hello = on(Board::Raspi4b, "the watchdog switches a raspi4b off", system_of(&[("hello", "guest/hello", 1)]));
    let card = on(Board::Raspi4b, "a card's image starts a raspi4b", system_of(&[("hello", "guest/hello", 1)]));
    let off = ["expect hello:hello> $", "send hello:off\\n", "expect tessera:all guests are off"];
    vec![
        both(Board::Raspi4b, "linux and freertos reach their prompts on raspi4b"),
        both(Board::Raspi4bTfa, "linux and freertos reach their prompts on raspi4b behind TF-A"),
        Case {
            qemu: &["-global", "arm_gic.has-security-extensions=on"],
            ..on(Board::Raspi4b, "interrupts on a raspi4b whose GIC has Security Extensions", interrupts)
                .steps(&["expect interrupts:^PASS: \\d+"])
                .ends(0)
        },
        Case { from_card: true, verify: speaks_at_once, ..card.steps(&off).ends(0) },
        on(Board::Raspi4b, "linux has its root on the SD card of a raspi4b", System::Named("linux-sd-card"))
            .steps(&ON_A_DISK)
            .steps(&["expect freertos:freertos> $"])
            .steps(&BOTH_OFF)
            .ends(0),
        // Without semihosting for the exit status, QEMU ends (with 0) only if the machine is reset or off.
        Case { qemu: &["-append", "tessera.exit=none"], ..hello.steps(&off).ends(0) },
    ]
}

/// What boot writes before it knows the device tree.
fn speaks_at_once(console: &str) -> Result<(), String> {
    let spoke = console.trim_start().starts_with("Tessera");
    if spoke { Ok(()) } else { Err("the image did not speak from its first instruction".to_owned()) }
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
        "expect freertos:received, 0 lost",
        "expect freertos:float registers lost: 0",
    ];
    Case { seconds: 180, alone: true, ..case.steps(&BOTH_READY).steps(&steps).steps(&BOTH_OFF).ends(0) }
}

/// Guests that share an image; the counts that EL2 gives are compared with counts of our own.
fn sharing() -> Vec<Case> {
    let linux = [
        "expect linux-a:linux# $",
        "expect linux-b:linux# $",
        "expect hello:hello> $",
        "send linux-a:md5sum /bin/busybox\\n",
        "expect linux-a:[0-9a-f]{32}  /bin/busybox",
        "send linux-a:poweroff -f\\n",
        "expect tessera:linux-a: off",
        "send linux-b:md5sum /bin/busybox\\n",
        "expect linux-b:[0-9a-f]{32}  /bin/busybox",
        "send linux-b:poweroff -f\\n",
        "expect tessera:linux-b: off",
        "send hello:still here\\n",
        "expect hello:echo: still here",
        "send hello:off\\n",
    ];
    let name = "two linux guests share their kernel";
    let linux = Case::new(name, System::Named("two-linux-shared")).steps(&linux);
    let linux = Case { seconds: 150, verify: shares_the_whole_kernel, ..linux.ends(0) };
    vec![linux, writers()]
}

/// Each shares as many pages as the kernel's file has, and copies some of them.
fn shares_the_whole_kernel(console: &str) -> Result<(), String> {
    let kernel = std::fs::metadata(crate::setup::linux::kernel()).map_err(|error| error.to_string())?;
    let pages = kernel.len() / tessera_abi::manifest::PAGE_BYTES;
    for vm in ["linux-a", "linux-b"] {
        let shared = counter(console, vm, "pages shared at first")?;
        // The last page may be whole or not.
        if shared.abs_diff(pages) > 1 {
            return Err(format!("{vm} shares {shared} pages; the kernel has {pages}"));
        }
        let copied = counter(console, vm, "pages copied")?;
        if copied == 0 || copied >= shared {
            return Err(format!("{vm} copied {copied} of {shared} pages"));
        }
    }
    Ok(())
}

/// How many more pages the first writer is told to write than the second.
const MORE_PAGES: u64 = 90;

/// Two guests from one image differ only in how many pages they write; a third has the image for itself.
fn writers() -> Case {
    let vm = |name: &str, share: bool| {
        format!(
            "[[vm]]\nname = \"{name}\"\ncpus = 1\nmemory = \"16M\"\nimage = \"tessera:guest/writer\"\nshare-image = {share}\n"
        )
    };
    let system = System::Inline(vm("many", true) + &vm("few", true) + &vm("alone", false));
    let steps = [
        "expect many:writer> $",
        "expect few:writer> $",
        "expect alone:writer> $",
        "send many:write 100\\n",
        "expect many:wrote 100 pages",
        "send few:write 10\\n",
        "expect few:wrote 10 pages",
        "send many:check\\n",
        "expect many:check ok, 100 written",
        "send few:check\\n",
        "expect few:check ok, 10 written",
        "send alone:check\\n",
        "expect alone:check ok, 0 written",
        "send many:off\\n",
        "send few:off\\n",
        "send alone:off\\n",
    ];
    let case = Case::new("writers of a shared image copy what they write", system).steps(&steps);
    Case { verify: copies_what_is_written, ..case.ends(0) }
}

fn copies_what_is_written(console: &str) -> Result<(), String> {
    let [many, few] = ["many", "few"].map(|vm| counter(console, vm, "pages copied"));
    let (many, few) = (many?, few?);
    match few.checked_add(MORE_PAGES) == Some(many) {
        true => Ok(()),
        false => Err(format!("{many} and {few} pages were copied: the difference should be {MORE_PAGES}")),
    }
}

/// A counter in EL2's last words about a VM.
fn counter(console: &str, vm: &str, name: &str) -> Result<u64, String> {
    let start = format!("[tessera] {vm}: off");
    let line = console.lines().find(|line| line.starts_with(&start)).ok_or(format!("no line `{start}`"))?;
    let value = line.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix(": "));
    let number = value.and_then(|value| value.trim().parse().ok());
    number.ok_or(format!("no `{name}` in `{line}`"))
}

/// What operations may cost: counted, so that nothing else on the host changes the figures.
fn budget() -> Vec<Case> {
    let counting = |name: &str, system, verify| {
        let case = Case::new(name, system).steps(&["expect bench:^bench: done"]).ends(0);
        Case { memory_mib: Some(2048), qemu: &COUNTING, verify, ..case }
    };
    let two = "[[vm]]\nname = \"bench\"\ncpus = 2\nmemory = \"16M\"\nimage = \"tessera:guest/bench\"\n\
               command-line = \"ops=sgi_other_vcpu\"\n";
    vec![
        counting("operations keep to the budget", System::Named("bench"), |console| {
            budget::check_console(console, Kind::Guest)
        }),
        counting("an SGI to another vCPU keeps to the budget", System::Inline(two.to_owned()), |console| {
            budget::check_console(console, Kind::Pair)
        }),
        counting("copy on write keeps to the budget", System::Named("bench-shared"), |console| {
            budget::check_console(console, Kind::Sharing)
        }),
    ]
}

/// A system file's text with VMs: (name, guest, cores).
fn system_of(vms: &[(&str, &str, usize)]) -> System {
    let vms = vms.iter().map(|(name, guest, cores)| {
        format!("[[vm]]\nname = \"{name}\"\ncpus = {cores}\nmemory = \"32M\"\nimage = \"tessera:{guest}\"\n")
    });
    System::Inline(vms.collect())
}

fn small_guests() -> Vec<Case> {
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
        let case = Case::new(&name, system_of(&[(guest, &image, cores)])).steps(&[&pass]).ends(0);
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

/// Two VMs whose vCPUs are on the same cores: each finds its registers as it left them, though the other holds the
/// opposite in all of them. In reverse order, vCPUs of different numbers share a core.
fn taking_turns(cores: [&str; 2]) -> System {
    let vm = |(odd, cores): (usize, &str)| {
        format!(
            "[[vm]]\nname = \"{}\"\ncpus = [{cores}]\nmemory = \"32M\"\nimage = \"tessera:guest/registers\"\n\
             command-line = \"odd={odd}\"\n",
            ["a", "b"][odd & 1]
        )
    };
    System::Inline(cores.into_iter().enumerate().map(vm).collect())
}

/// The machine's real-time clock shows another millennium than any emulated one, so that it is known for what it is.
fn passthrough() -> Vec<Case> {
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

/// Guests that misbehave, each beside one that must not notice.
fn containment() -> Vec<Case> {
    let beside = |guest: &str| system_of(&[(guest, &format!("guest/{guest}"), 1), ("hello", "guest/hello", 1)]);
    let unharmed =
        ["send hello:still here\\n", "expect hello:echo: still here", "send hello:off\\n", "expect hello:hello: off"];
    let reaching = ["expect hello:hello> $", "expect containment:^PASS: \\d+", "expect tessera:containment: off"];
    let crashing = ["expect hello:hello> $", "expect crash:crash: now", "expect tessera:crash: crashed"];
    vec![
        Case::new("a guest that reaches for everything gets faults", beside("containment"))
            .steps(&reaching)
            .steps(&unharmed)
            .ends(0),
        Case::new("a guest that crashes is stopped alone", beside("crash")).steps(&crashing).steps(&unharmed).ends(1),
    ]
}

/// EL2 faults by itself, on its boot core or another: it says where, and the machine stops.
fn faults() -> Vec<Case> {
    macro_rules! fault {
        ($name:literal, $message:literal, $function:literal) => {
            Case {
                qemu: &["-append", concat!("tessera.exit=semihosting tessera.selftest=", $name)],
                verify: |console| names_the_function(console, $function),
                cpus: Some(2),
                seconds: 30,
                ..Case::new(concat!("a fault of EL2: ", $name), system_of(&[("hello", "guest/hello", 2)]))
                    .steps(&[concat!("expect tessera:^fatal: EL2 ", $message), "expect tessera:^backtrace: 0x"])
                    .ends(1)
            }
        };
    }
    vec![
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
fn refusals() -> Vec<Case> {
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
    let system = hellos(&["one", "two"]);
    cases.push(Case {
        cpus: Some(1),
        system,
        ..refused("refused: a board with too few cores", "cpus: wants 1, but of")
    });
    let system = hellos(&["one", "two", "three"]);
    cases.push(Case {
        memory_mib: Some(64),
        system,
        ..refused("refused: a board with too little memory", "memory: wants")
    });
    let qemu = &["-M", "virt,virtualization=off,gic-version=3"];
    cases.push(Case { qemu, ..refused("refused: a start at EL1", "entered at EL1") });
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_also_as_files() {
        let cases = all(None);
        let files: HashSet<_> = cases.iter().map(Case::file_name).collect();
        assert_eq!(files.len(), cases.len());
    }

    #[test]
    fn each_case_can_run_on_either_gic() {
        let names = |gic| all(gic).into_iter().map(|case| case.name).collect::<Vec<_>>();
        let needing = all(Some(3)).iter().filter(|case| case.needs_gicv3).count();
        assert_eq!(names(Some(2)).len() + needing, names(Some(3)).len());
        assert!(all(Some(2)).iter().all(|case| case.gic == 2) && all(Some(3)).iter().all(|case| case.gic == 3));
        let both = names(None);
        assert!(
            both.contains(&"interrupts on 2 cores".into()) && both.contains(&"interrupts on 2 cores (GICv2)".into())
        );
    }

    #[test]
    fn every_case_waits_for_something() {
        for case in all(None) {
            assert!(case.steps.iter().any(|step| step.starts_with("expect ")), "{}", case.name);
        }
    }

    #[test]
    fn counters_are_read_from_the_last_words() {
        let console =
            "[tessera] a: 16384 KiB\r\n[a] x\r\n[tessera] a: off, pages shared at first: 12, pages copied: 3\r\n";
        assert_eq!(counter(console, "a", "pages copied"), Ok(3));
        assert_eq!(counter(console, "a", "pages shared at first"), Ok(12));
        assert!(counter(console, "b", "pages copied").is_err() && counter(console, "a", "pages lost").is_err());
    }

    #[test]
    fn wrong_counts_of_copies_are_noticed() {
        let console = |many: u64| {
            format!("[tessera] many: off, pages copied: {many}\r\n[tessera] few: off, pages copied: 15\r\n")
        };
        assert!(copies_what_is_written(&console(105)).is_ok());
        assert!(copies_what_is_written(&console(104)).is_err());
    }
}
