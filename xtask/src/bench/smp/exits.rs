//! Why guests exited: QEMU's log of exceptions (`-d int`, with the GICs' traces of interrupts taken), counted by reason
//! between the marks on each core.
//!
//! The log has a file for each of QEMU's threads. Cores that take turns share one; then only whole exceptions alternate.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Result;

use super::console::{Device, Said};

/// What a load's guest exited for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exits {
    /// How long the load took in the run that was logged.
    pub seconds: f64,
    /// How often, by reason, on all cores.
    pub by_reason: BTreeMap<String, u64>,
}

impl Exits {
    /// How often in a second.
    pub fn per_second(&self, reason: &str) -> f64 {
        let count = self.by_reason.get(reason).copied().unwrap_or(0);
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }
}

/// Reads all files of a folder.
pub fn read(folder: &Path, said: &Said) -> Result<Vec<Exits>> {
    let seconds = said.spans.iter().map(|span| span.microseconds() as f64 / 1e6);
    let mut all: Vec<_> = seconds.map(|seconds| Exits { seconds, ..Default::default() }).collect();
    for entry in std::fs::read_dir(folder)? {
        let mut log = Log::new(&said.devices, &mut all);
        for line in BufReader::new(File::open(entry?.path())?).split(b'\n') {
            log.take(&String::from_utf8_lossy(&line?));
        }
    }
    Ok(all)
}

/// The numbers in the marks' system calls (guests/bench/src/linux).
const BEGIN: u64 = 113;
const END: u64 = 114;
/// Exception classes (Arm ARM D24.2.40, ESR_EL2).
const WAIT: u64 = 0x01;
const SVC: u64 = 0x15;
const HVC: u64 = 0x16;
const SMC: u64 = 0x17;
const SYSTEM_REGISTER: u64 = 0x18;
const INSTRUCTION_ABORT: u64 = 0x20;
const DATA_ABORT: u64 = 0x24;

/// A log while it is read.
struct Log<'a> {
    devices: &'a [Device],
    all: &'a mut Vec<Exits>,
    /// The exception whose lines come now.
    current: Exception,
    /// Cores that are at EL2 for an interrupt and have not said for which.
    interrupted: HashSet<u64>,
    /// How many loads a core has begun, and whether it is in one.
    begun: HashMap<u64, (usize, bool)>,
}

/// An exception as far as its lines have come.
#[derive(Default)]
struct Exception {
    core: u64,
    is_interrupt: bool,
    is_exit: bool,
    syndrome: u64,
}

impl<'a> Log<'a> {
    fn new(devices: &'a [Device], all: &'a mut Vec<Exits>) -> Self {
        let (interrupted, begun) = (HashSet::new(), HashMap::new());
        Self { devices, all, current: Exception::default(), interrupted, begun }
    }

    fn take(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("Taking exception ") {
            self.begin(rest);
        } else if let Some(levels) = line.strip_prefix("...from ") {
            self.levels(levels);
        } else if let Some(syndrome) = line.strip_prefix("...with ESR ") {
            self.syndrome(syndrome);
        } else if let Some(address) = line.strip_prefix("...with FAR ") {
            self.address(address);
        } else if let Some((core, interrupt)) = acknowledged(line)
            && self.interrupted.remove(&core)
        {
            self.count(core, interrupt_reason(interrupt));
        }
    }

    /// `5 [IRQ] on CPU 1`.
    fn begin(&mut self, rest: &str) {
        let core = rest.rsplit(' ').next().and_then(|core| core.parse().ok()).unwrap_or_default();
        let is_interrupt = rest.contains("[IRQ]") || rest.contains("[FIQ]");
        self.current = Exception { core, is_interrupt, is_exit: false, syndrome: 0 };
    }

    /// `EL1 to EL2`.
    fn levels(&mut self, levels: &str) {
        self.current.is_exit = matches!(levels, "EL0 to EL2" | "EL1 to EL2");
        if self.current.is_exit && self.current.is_interrupt {
            self.interrupted.insert(self.current.core);
        }
    }

    /// `0x15/0x56000072`.
    fn syndrome(&mut self, text: &str) {
        let Some(syndrome) = text.split_once('/').and_then(|(_, syndrome)| hexadecimal(syndrome)) else { return };
        self.current.syndrome = syndrome;
        let class = syndrome >> 26;
        if class == SVC && !self.current.is_interrupt {
            self.mark(syndrome & 0xffff);
        }
        let has_address = matches!(class, DATA_ABORT | INSTRUCTION_ABORT);
        if self.current.is_exit && !self.current.is_interrupt && !has_address {
            self.count(self.current.core, syndrome_reason(syndrome));
        }
    }

    /// An abort's address, virtual.
    fn address(&mut self, text: &str) {
        if !self.current.is_exit || self.current.is_interrupt {
            return;
        }
        if let Some(address) = hexadecimal(text) {
            self.count(self.current.core, access_reason(address, self.devices));
        }
    }

    fn mark(&mut self, number: u64) {
        let (loads, within) = self.begun.entry(self.current.core).or_default();
        match number {
            BEGIN => (*loads, *within) = (*loads + 1, true),
            END => *within = false,
            _ => {}
        }
    }

    fn count(&mut self, core: u64, reason: String) {
        let Some((loads, true)) = self.begun.get(&core) else { return };
        if let Some(exits) = loads.checked_sub(1).and_then(|index| self.all.get_mut(index)) {
            *exits.by_reason.entry(reason).or_default() += 1;
        }
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// The core and the interrupt that EL2 has taken: of `GICv3 ICC_IAR1 read cpu 0x0 value 0x1b` or, from a GICv2,
/// `cpu 0 acknowledged irq 27` (a guest's own begins with `vcpu`).
fn acknowledged(line: &str) -> Option<(u64, u64)> {
    if let Some((_, rest)) = line.split_once("ICC_IAR1 read cpu ") {
        let (core, value) = rest.split_once(" value ")?;
        return Some((hexadecimal(core)?, hexadecimal(value)?));
    }
    let (before, interrupt) = line.split_once(" acknowledged irq ")?;
    let mut words = before.rsplit(' ');
    let (core, kind) = (words.next()?, words.next()?);
    (kind == "cpu").then_some(())?;
    Some((core.parse().ok()?, interrupt.trim().parse().ok()?))
}

/// What an interrupt that EL2 takes is for.
fn interrupt_reason(interrupt: u64) -> String {
    match interrupt {
        0..16 => "a call from the other core".to_owned(),
        25 => "maintenance of list registers".to_owned(),
        26 => "EL2's own timer".to_owned(),
        27 => "virtual timer".to_owned(),
        33 => "UART's interrupt".to_owned(),
        1020.. => "an interrupt gone again".to_owned(),
        _ => format!("interrupt {interrupt}"),
    }
}

/// What an exit without an address is for.
fn syndrome_reason(syndrome: u64) -> String {
    match syndrome >> 26 {
        WAIT => "WFI or WFE".to_owned(),
        HVC | SMC => "PSCI call".to_owned(),
        SYSTEM_REGISTER => system_register(syndrome),
        class => format!("exception class {class:#04x}"),
    }
}

/// By the fields of the syndrome's ISS (Arm ARM D24.2.40, "MSR, MRS, or System instruction execution").
fn system_register(syndrome: u64) -> String {
    let field = |at: u32, bits: u32| (syndrome >> at) & ((1 << bits) - 1);
    let (op0, op2, op1, n, m) = (field(20, 2), field(17, 3), field(14, 3), field(10, 4), field(1, 4));
    match (op0, op1, n, m, op2) {
        (3, 0, 12, 11, 5..=7) => SGI_SENT.to_owned(),
        (3, 0, 0, _, _) => "ID register".to_owned(),
        (3, 3, 14, 2, _) => "physical timer".to_owned(),
        _ => format!("system register S{op0}_{op1}_C{n}_C{m}_{op2}"),
    }
}

const SGI_SENT: &str = "SGI sent";
/// The guest's devices (design: QEMU virt's), and GICD_SGIR in its distributor.
const DISTRIBUTOR: u64 = 0x0800_0000;
const SGI_REGISTER: u64 = DISTRIBUTOR + 0xf00;
const CPU_INTERFACE: u64 = 0x0801_0000;
const REDISTRIBUTORS: u64 = 0x080a_0000;
const UART: u64 = 0x0900_0000;

/// What an access to this virtual address is for.
fn access_reason(address: u64, devices: &[Device]) -> String {
    let Some(device) = devices.iter().find(|device| device.mapped.contains(&address)) else {
        return "memory that was not there".to_owned();
    };
    let physical = device.address + (address - device.mapped.start);
    match physical {
        SGI_REGISTER => SGI_SENT.to_owned(),
        DISTRIBUTOR..CPU_INTERFACE => "GIC's distributor".to_owned(),
        CPU_INTERFACE..REDISTRIBUTORS => "GIC's deactivation".to_owned(),
        REDISTRIBUTORS..UART => "GIC's redistributor".to_owned(),
        _ if physical & !0xfff == UART => "UART's registers".to_owned(),
        _ => format!("device at {physical:#x}"),
    }
}

/// Why an exit for this reason has to be; None where it has not.
pub fn necessity(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "virtual timer" => "its interrupt goes to EL2, which puts it into a list register; the guest ends it alone",
        SGI_SENT => "no GIC before version 4.1 sends an SGI to a vCPU by itself",
        "a call from the other core" => {
            "an SGI for a vCPU goes into a list register, which only its own core can write"
        }
        "UART's registers" => "one UART for all guests: it is emulated, a few accesses for each line or byte",
        "UART's interrupt" => "a byte typed, or room for output",
        "maintenance of list registers" => {
            "QEMU's GICv2 forgets a level that is still high: beside others, EL2 ends the timer's interrupt"
        }
        "EL2's own timer" => "a guest's unfinished line is shown after a while",
        "GIC's distributor" | "GIC's redistributor" => "emulated: an interrupt is configured",
        "GIC's deactivation" => "GICC_DIR may end an interrupt that no list register holds",
        "PSCI call" => "a core is switched on or off, or the VM",
        "ID register" => "some features are hidden",
        "physical timer" => "emulated: the hardware's is EL2's",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exits(lines: &str) -> Vec<Exits> {
        let devices = [
            Device { mapped: 0xffff_0000..0x1_0000_0000, address: DISTRIBUTOR },
            Device { mapped: 0x2_0000_0000..0x2_0000_1000, address: UART },
        ];
        let mut all = vec![Exits::default(), Exits::default()];
        let mut log = Log::new(&devices, &mut all);
        lines.lines().for_each(|line| log.take(line));
        all
    }

    fn exception(core: u64, name: &str, levels: &str, syndrome: u64, address: &str) -> String {
        let class = syndrome >> 26;
        format!(
            "Taking exception 4 [{name}] on CPU {core}\n...from {levels}\n...with ESR {class:#x}/{syndrome:#x}\n{address}"
        )
    }

    fn mark(core: u64, number: u64) -> String {
        exception(core, "SVC", "EL0 to EL1", SVC << 26 | 1 << 25 | number, "")
    }

    const INTERRUPT: &str = "Taking exception 5 [IRQ] on CPU 1\n...from EL0 to EL2\n...with ESR 0x15/0x56000071\n";

    fn counts(exits: &Exits) -> Vec<(&str, u64)> {
        exits.by_reason.iter().map(|(reason, count)| (reason.as_str(), *count)).collect()
    }

    #[test]
    fn exits_are_counted_between_the_marks_of_their_core() {
        let call = |core| exception(core, "Hypervisor Call", "EL1 to EL2", HVC << 26, "");
        let text = [mark(1, BEGIN), call(0), call(1), mark(1, END), call(1), mark(1, BEGIN), call(1), call(1)].concat();
        let all = exits(&text);
        assert_eq!((counts(&all[0]), counts(&all[1])), (vec![("PSCI call", 1)], vec![("PSCI call", 2)]));
    }

    #[test]
    fn an_interrupt_is_counted_when_el2_takes_it_and_its_stale_syndrome_is_none() {
        let timer = "gicv3_icc_iar1_read GICv3 ICC_IAR1 read cpu 0x1 value 0x1b\n";
        let other = "gicv3_icc_iar1_read GICv3 ICC_IAR1 read cpu 0x0 value 0x21\n";
        let text = [&mark(1, BEGIN), INTERRUPT, other, timer, timer].concat();
        assert_eq!(counts(&exits(&text)[0]), [("virtual timer", 1)]);
        let second = "gic_acknowledge_irq vcpu 1 acknowledged irq 27\ngic_acknowledge_irq cpu 1 acknowledged irq 3\n";
        let text = [&mark(1, BEGIN), INTERRUPT, second].concat();
        assert_eq!(counts(&exits(&text)[0]), [("a call from the other core", 1)]);
    }

    #[test]
    fn accesses_are_named_by_device_and_those_of_the_guest_itself_are_none() {
        let abort = |levels: &str, address: u64| {
            exception(0, "Data Abort", levels, DATA_ABORT << 26, &format!("...with FAR {address:#x}\n"))
        };
        let text = [
            mark(0, BEGIN),
            abort("EL1 to EL2", 0xffff_0f00),
            abort("EL1 to EL2", 0xffff_0100),
            abort("EL1 to EL2", 0x2_0000_0018),
            abort("EL0 to EL2", 0x5000),
            abort("EL0 to EL1", 0x5000),
        ];
        let expected =
            [("GIC's distributor", 1), ("SGI sent", 1), ("UART's registers", 1), ("memory that was not there", 1)];
        assert_eq!(counts(&exits(&text.concat())[0]), expected);
    }

    #[test]
    fn system_registers_are_named() {
        assert_eq!(syndrome_reason(0x623a_3016), SGI_SENT);
        assert_eq!(syndrome_reason(SYSTEM_REGISTER << 26 | 0x30_0028), "ID register");
        assert_eq!(syndrome_reason(SYSTEM_REGISTER << 26 | 0x24_0024), "system register S2_0_C0_C2_2");
    }
}
