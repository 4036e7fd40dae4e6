//! Where the instructions go: QEMU names every instruction that EL2 executes, and what is between a guest's
//! instruction and its next is one trap.
//!
//! The trace has the guest's instructions too where its addresses are EL2's; QEMU's flags tell them apart.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSymbol};

use super::attribution::{Assembly, Breakdown, Shares, Symbols, break_down};
use super::machine::{LARGEST_IMAGE, LOADED, Ours};
use crate::build::Hypervisor;

/// How often an operation is repeated, but for the warm-up; what happens less often is not the operation.
const REPEATED: u64 = 1024;
/// As little as the guest runs with: EL2 scrubs it under the trace.
const GUEST_MIB: u64 = 4;
/// The same for the guest with pages to be copied.
const SHARING_MIB: u64 = 12;

/// The symbol where EL2 enters a guest, in hyp/src/arch/aarch64/vectors.rs.
const ENTRY: &str = "enter_guest_registers";

/// The breakdown of one operation.
pub fn operation(name: &str, gic: u32, hypervisor: &Hypervisor) -> Result<Breakdown> {
    let mut ours = guest(name, gic);
    let filter = format!("{LOADED:#x}+{LARGEST_IMAGE:#x}");
    let tracing = ["-accel", "tcg,one-insn-per-tb=on", "-d", "exec,nochain", "-dfilter", &filter];
    ours.name = format!("bench-trace-gic{gic}");
    ours.extra = tracing.map(str::to_owned).to_vec();
    let mut symbols = Symbols::load(&hypervisor.elf)?;
    let entry = symbol(hypervisor, ENTRY)?;
    let traps = follow(&mut ours.command(hypervisor)?, entry, &mut symbols)?;
    let shares = repeated(&traps);
    ensure!(!shares.is_empty(), "no trap was repeated as often as the operation");
    Ok(break_down(&shares, |address| symbols.function(address).map(str::to_owned)))
}

/// The system whose guest repeats this operation.
fn guest(name: &str, gic: u32) -> Ours {
    let cpus = if name == "sgi_other_vcpu" { 2 } else { 1 };
    match name {
        "cow_break" => Ours::sharing(gic, SHARING_MIB),
        _ => Ours::bench(gic, cpus, GUEST_MIB, &format!("ops={name}")),
    }
}

/// The address of a symbol of the hypervisor.
fn symbol(hypervisor: &Hypervisor, name: &str) -> Result<u64> {
    let bytes = std::fs::read(&hypervisor.elf)?;
    let file = object::File::parse(&*bytes)?;
    let found = file.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address());
    found.with_context(|| format!("the hypervisor has no symbol `{name}`"))
}

/// Runs the machine and follows its trace.
fn follow(command: &mut Command, entry: u64, symbols: &mut Symbols) -> Result<Vec<Traps>> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = child.spawn().context("cannot start QEMU")?;
    let trace = BufReader::new(child.stderr.take().context("no trace")?);
    let mut cores: BTreeMap<u64, Traps> = BTreeMap::new();
    for line in trace.split(b'\n').map_while(Result::ok) {
        if let Some((core, instruction)) = parse(&line) {
            let traps = cores.entry(core).or_insert_with(|| Traps::new(entry));
            traps.take(instruction, |address| symbols.is_rust(address));
        }
    }
    child.wait()?;
    Ok(cores.into_values().collect())
}

/// One executed instruction: its address less [`LOADED`], and QEMU's flags of the processor's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    address: u64,
    flags: u64,
}

/// The core and what it executes, from `Trace 0: 0x7f2924000900 [00000000/0000000040200000/00000461/ff022201] `.
fn parse(line: &[u8]) -> Option<(u64, Instruction)> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("Trace ")?;
    let (core, line) = line.split_once(':')?;
    let (fields, _) = line.split_once('[')?.1.split_once(']')?;
    let mut fields = fields.split('/').skip(1).map(|field| u64::from_str_radix(field, 16).ok());
    let (address, flags) = (fields.next()??, fields.next()??);
    Some((core.parse().ok()?, Instruction { address: address.checked_sub(LOADED)?, flags }))
}

/// Instructions executed, by address and place.
type Counts = BTreeMap<(u64, Assembly), u64>;

/// A core's traps by the guest's instruction before them.
struct Traps {
    /// The instruction that enters guests: EL2's, when it comes first.
    entry: u64,
    /// The flags of EL2, once it is about to enter a guest.
    el2: Option<u64>,
    /// The guest's latest instruction.
    guest: u64,
    /// The trap under way.
    current: Vec<(u64, Assembly)>,
    /// How often traps came from an instruction, and what they executed.
    by_origin: HashMap<u64, (u64, Counts)>,
}

impl Traps {
    fn new(entry: u64) -> Self {
        Self { entry, el2: None, guest: 0, current: Vec::new(), by_origin: HashMap::new() }
    }

    fn take(&mut self, instruction: Instruction, is_rust: impl FnOnce(u64) -> bool) {
        if self.el2.is_none() && instruction.address == self.entry {
            self.el2 = Some(instruction.flags);
        }
        match self.el2 {
            Some(flags) if flags == instruction.flags => {
                let after = self.current.last().is_some_and(|(_, place)| *place == Assembly::After);
                let after = after || is_rust(instruction.address);
                let place = if after { Assembly::After } else { Assembly::Before };
                self.current.push((instruction.address, place));
            }
            Some(_) => {
                self.end_trap();
                self.guest = instruction.address;
            }
            None => {}
        }
    }

    fn end_trap(&mut self) {
        if self.current.is_empty() {
            return;
        }
        let (times, counts) = self.by_origin.entry(self.guest).or_default();
        *times = times.saturating_add(1);
        for key in self.current.drain(..) {
            let count = counts.entry(key).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// What the operation's traps execute on all cores: those whose origin came up often enough, averaged.
///
/// An origin may be two places in the program (the warm-up's apart), or come up twice in each sample.
fn repeated(cores: &[Traps]) -> Shares {
    let mut shares = Shares::new();
    for (times, counts) in cores.iter().flat_map(|traps| traps.by_origin.values()) {
        let in_each_sample = times / REPEATED;
        if (1..=2).contains(&in_each_sample) {
            for (key, count) in counts {
                let share = count.saturating_mul(in_each_sample) as f64 / *times as f64;
                *shares.entry(*key).or_default() += share;
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hypervisor_enters_guests_where_the_trace_expects_it() {
        let source = crate::paths::workspace().join("hyp/src/arch/aarch64/vectors.rs");
        let text = std::fs::read_to_string(source).expect("readable");
        assert!(text.contains(&format!("\n{ENTRY}:\n")));
    }

    #[test]
    fn lines_of_the_trace_are_read() {
        let line = b"Trace 0: 0x7f2924000900 [00000000/0000000040200fc0/00000461/ff022201] ";
        assert_eq!(parse(line), Some((0, Instruction { address: 0xfc0, flags: 0x461 })));
        assert_eq!(parse(b"Trace 0: 0x7f2924000900 [00000000/0000000000000040/00000461/ff022201] "), None);
        assert_eq!(parse(b"qemu-system-aarch64: warning"), None);
    }

    #[test]
    fn traps_are_kept_by_their_origin_and_only_repeated_ones_count() {
        const EL2: u64 = 0x61;
        const GUEST: u64 = 0x121;
        let mut traps = Traps::new(0xfc0);
        let mut run = |address, flags| traps.take(Instruction { address, flags }, |address| address == 0x200);
        // Before the first entry: EL2 with its MMU off, then on; none of it is a trap.
        run(0x0, 0x461);
        run(0xfc0, EL2);
        run(0x5000, GUEST);
        for sample in 0..2 * REPEATED {
            run(0x5100, GUEST);
            [0x400, 0x200, 0xfc0].into_iter().for_each(|address| run(address, EL2));
            run(0x5104, GUEST);
            if sample % 2 == 0 {
                run(0x408, EL2);
            }
        }
        run(0x5200, GUEST);
        run(0x404, EL2);
        run(0x5204, GUEST);
        let expected = [
            ((0x200, Assembly::After), 2.0),
            ((0x400, Assembly::Before), 2.0),
            ((0x408, Assembly::Before), 1.0),
            ((0xfc0, Assembly::After), 2.0),
        ];
        assert_eq!(repeated(&[traps]), Shares::from(expected));
    }
}
