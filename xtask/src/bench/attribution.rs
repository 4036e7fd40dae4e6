//! From instructions' addresses to parts of a trap: saving, decoding, handling, restoring; by function where it is
//! handled. Where the addresses come from is `trace`'s business.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Result, anyhow};

/// A part of a trap, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Assembly before the first Rust instruction.
    Save,
    /// Finding out what it is: the loop around the guest and the decoding of the syndrome.
    Decode,
    /// Everything for this operation.
    Handle,
    /// Assembly after the last Rust instruction.
    Restore,
}

/// All parts.
pub const PARTS: [Part; 4] = [Part::Save, Part::Decode, Part::Handle, Part::Restore];

/// Functions that decode, as parts of their paths.
const DECODERS: [&str; 3] = ["exit::syndrome", "exit::handlers::synchronous", "::scheduler::"];

/// Assembly that Rust calls as functions.
const LIBRARY: [&str; 2] = ["memcpy", "memset"];

/// Instructions that an operation executes, by address and place: averages of many samples.
pub type Shares = BTreeMap<(u64, Assembly), f64>;

/// Where in a trap an instruction was executed, if it is assembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assembly {
    /// Before any Rust.
    Before,
    /// After some Rust.
    After,
}

/// The hypervisor's symbols: what function an address belongs to.
pub struct Symbols {
    loader: addr2line::Loader,
    known: HashMap<u64, Option<String>>,
}

impl Symbols {
    /// Those of the hypervisor's ELF, which is linked at address 0.
    pub fn load(elf: &Path) -> Result<Self> {
        let loader =
            addr2line::Loader::new(elf).map_err(|error| anyhow!("no symbols in {}: {error}", elf.display()))?;
        Ok(Self { loader, known: HashMap::new() })
    }

    /// The path of the innermost function of our own at `address`, whatever was inlined into it; None for assembly of
    /// traps.
    pub fn function(&mut self, address: u64) -> Option<&str> {
        let loader = &self.loader;
        self.known.entry(address).or_insert_with(|| own_function(loader, address)).as_deref()
    }

    /// The functions of an address: the innermost inlined one first, then those into which it was inlined; assembly's by
    /// its symbol.
    pub fn functions(&self, address: u64) -> Vec<String> {
        let mut names = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                names.extend(frame.function.and_then(|function| Some(function.demangle().ok()?.into_owned())));
            }
        }
        names.extend(self.loader.find_symbol(address).map(str::to_owned));
        names
    }

    /// Whether the instruction is Rust's.
    pub fn is_rust(&mut self, address: u64) -> bool {
        self.function(address).is_some()
    }
}

fn own_function(loader: &addr2line::Loader, address: u64) -> Option<String> {
    let mut frames = loader.find_frames(address).ok()?;
    let mut last = None;
    while let Ok(Some(frame)) = frames.next() {
        let Some(function) = frame.function.and_then(|function| Some(function.demangle().ok()?.into_owned())) else {
            continue;
        };
        let own = function.contains("tessera");
        last = Some(function);
        if own {
            break;
        }
    }
    last.or_else(|| loader.find_symbol(address).filter(|name| LIBRARY.contains(name)).map(str::to_owned))
}

/// Instructions of one operation, by part, and by function in the part that handles it; averages of many samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Breakdown {
    /// By part.
    pub parts: BTreeMap<Part, f64>,
    /// By function's path, the most first.
    pub functions: Vec<(String, f64)>,
}

/// The part of an instruction by its function.
fn part(function: Option<&str>, assembly: Assembly) -> Part {
    match (function, assembly) {
        (None, Assembly::Before) => Part::Save,
        (None, Assembly::After) => Part::Restore,
        (Some(function), _) if DECODERS.iter().any(|decoder| function.contains(decoder)) => Part::Decode,
        (Some(_), _) => Part::Handle,
    }
}

/// Sums the shares up; `name` gives the function of an address.
pub fn break_down(shares: &Shares, mut name: impl FnMut(u64) -> Option<String>) -> Breakdown {
    let mut breakdown = Breakdown::default();
    let mut functions: BTreeMap<String, f64> = BTreeMap::new();
    for (&(address, assembly), &share) in shares {
        let function = name(address);
        *breakdown.parts.entry(part(function.as_deref(), assembly)).or_default() += share;
        if let Some(function) = function {
            *functions.entry(shortened(&function)).or_default() += share;
        }
    }
    breakdown.functions = functions.into_iter().collect();
    breakdown.functions.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    breakdown
}

/// A path without what tells instances apart: the crate's disambiguator, generic arguments.
fn shortened(path: &str) -> String {
    let mut depth = 0_u32;
    let mut text = String::new();
    for c in path.chars() {
        match c {
            '<' | '[' => depth = depth.saturating_add(1),
            '>' | ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 => text.push(c),
            _ => {}
        }
    }
    let short = text.trim_matches(':').replace("::::", "::");
    if short.is_empty() { path.to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_told_apart_by_place_and_function() {
        assert_eq!(part(None, Assembly::Before), Part::Save);
        assert_eq!(part(None, Assembly::After), Part::Restore);
        assert_eq!(part(Some("tessera::exit::syndrome::Exit::decode"), Assembly::After), Part::Decode);
        assert_eq!(part(Some("tessera::exit::psci::version"), Assembly::After), Part::Handle);
    }

    #[test]
    fn shares_add_up() {
        let name = |address| match address {
            0x10..0x20 => Some("tessera[1a2b]::vgic::Vgic<T>::read".to_owned()),
            _ => None,
        };
        let shares = Shares::from([
            ((0, Assembly::Before), 2.0),
            ((0x10, Assembly::After), 1.0),
            ((0x14, Assembly::After), 0.5),
            ((4, Assembly::After), 1.0),
        ]);
        let breakdown = break_down(&shares, name);
        assert_eq!(breakdown.parts, BTreeMap::from([(Part::Save, 2.0), (Part::Handle, 1.5), (Part::Restore, 1.0)]));
        assert_eq!(breakdown.functions, [("tessera::vgic::Vgic::read".to_owned(), 1.5)]);
    }
}
