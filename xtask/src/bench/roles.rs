//! What is special about Tessera's instructions, for the counter: found by the functions they belong to.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection};

use super::attribution::Symbols;

/// Functions that fill memory: with zeros, with copies, past the caches.
const FILLERS: [&str; 5] = ["zero_pages", "clean_to_coherency", "copy_to_guest", "memcpy", "memset"];

/// Instructions of the locks (crate `spin`, ticket locks): STXR of a ticket, LDAR of the one that is served, STLR of the
/// next one. Mask and value of the encoding, what the function's path has in it, and the role.
const LOCKS: [(u32, u32, [&str; 2], &str); 3] = [
    (0xffe0_fc00, 0xc800_7c00, ["TicketMutex<", "::lock"], "ticket"),
    (0xffff_fc00, 0xc8df_fc00, ["TicketMutex<", "::lock"], "look"),
    (0xffff_fc00, 0xc89f_fc00, ["TicketMutexGuard<", "::drop"], "release"),
];

/// Roles of the instructions that fill memory.
pub fn fillers(elf: &Path) -> Result<String> {
    let role = |_, functions: &[String]| {
        functions.iter().any(|function| FILLERS.iter().any(|filler| function.ends_with(filler))).then_some("skip")
    };
    roles(elf, |_| true, role)
}

/// Roles of the instructions that take and release locks.
pub fn locks(elf: &Path) -> Result<String> {
    let text = lock_roles(elf)?;
    let all = LOCKS.iter().all(|(.., role)| text.lines().any(|line| line.starts_with(role)));
    ensure!(all, "the hypervisor's locks are not those that the bench knows");
    Ok(text)
}

fn lock_roles(elf: &Path) -> Result<String> {
    let lock = |word: u32| LOCKS.iter().find(move |(mask, value, ..)| word & mask == *value);
    let role = |word, functions: &[String]| {
        let (_, _, of, role) = lock(word)?;
        let is_lock = functions.iter().any(|function| of.iter().all(|part| function.contains(part)));
        // The compiler may give the ends of several branches one release, which then belongs to nobody's source.
        let is_nobodys = !functions.iter().any(|function| function.contains("atomic"));
        (is_lock || is_nobodys).then_some(*role)
    };
    roles(elf, |word| lock(word).is_some(), role)
}

/// The roles of instructions by their encoding and the functions they belong to, inlined ones first. Only for encodings
/// that are `wanted` functions are looked for.
fn roles(
    elf: &Path,
    wanted: impl Fn(u32) -> bool,
    role: impl Fn(u32, &[String]) -> Option<&'static str>,
) -> Result<String> {
    let symbols = Symbols::load(elf)?;
    let bytes = std::fs::read(elf)?;
    let file = object::File::parse(&*bytes)?;
    let code = file.section_by_name(".text").context("no .text in the hypervisor")?;
    let addresses = (code.address()..).step_by(4);
    let mut text = String::new();
    for (address, word) in addresses.zip(code.data()?.chunks_exact(4)) {
        let word = u32::from_le_bytes(word.try_into().unwrap_or_default());
        if let Some(role) = wanted(word).then(|| role(word, &symbols.functions(address))).flatten() {
            writeln!(text, "{role} {address:x}")?;
        }
    }
    ensure!(!text.is_empty(), "the hypervisor has no such instructions");
    Ok(text)
}
