//! Which functions of an object are reached by boot alone: by its relocations, which name all that code and constants refer
//! to. Each function is a section of its own.
//!
//! What stays: the functions that say so ([`STAYING`]), assembly, each function whose address is taken anywhere (in a
//! vtable, say, or by boot, which may have handed it to somebody who calls it later), and whatever these call.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Result, ensure};
use object::elf::{
    R_AARCH64_CALL26, R_AARCH64_CONDBR19, R_AARCH64_JUMP26, R_AARCH64_TSTBR14, RelocationType, SHF_ALLOC,
    SHF_EXECINSTR, SectionFlags as Flags,
};
use object::{
    File, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags, SectionIndex,
};

/// The section of the functions that boot ends in.
const STAYING: &str = ".text.staying";
/// Tables for unwinding name all functions; they are not linked.
const UNWINDING: &str = ".eh_frame";
/// Where assembly enters boot: what stays calls them no more.
const BOOT: [&str; 2] = [".text.tessera_boot", ".text.tessera_secondary"];

/// The names of the sections of functions that only boot executes.
pub fn only_boot(object: &[u8]) -> Result<BTreeSet<String>> {
    let file = File::parse(object)?;
    let functions: Vec<_> = file.sections().filter(|section| has(section.flags(), SHF_EXECINSTR)).collect();
    let is_function = |name: &str| name.starts_with(".text.") && name != STAYING;
    let mut staying: Vec<SectionIndex> = Vec::new();
    for section in file.sections().filter(|section| has(section.flags(), SHF_ALLOC)) {
        if section.name()? == UNWINDING {
            continue;
        }
        let is_root = !is_function(section.name()?);
        staying.extend(is_root.then_some(section.index()));
        let calls = |flags| is_call(flags) && has(section.flags(), SHF_EXECINSTR);
        for (_, relocation) in section.relocations().filter(|(_, relocation)| !calls(relocation.flags())) {
            staying.extend(target(&file, relocation.target()));
        }
    }
    ensure!(file.section_by_name(STAYING).is_some(), "there is no section {STAYING}");
    let reached = reached(&file, staying)?;
    let mut only_boot = BTreeSet::new();
    for section in functions.iter().filter(|section| !reached.contains(&section.index())) {
        only_boot.insert(section.name()?.to_owned());
    }
    // A name that stands for two functions tells nothing of either.
    for section in functions.iter().filter(|section| reached.contains(&section.index())) {
        only_boot.remove(section.name()?);
    }
    Ok(only_boot)
}

/// All sections to which calls lead from these.
fn reached(file: &File, mut open: Vec<SectionIndex>) -> Result<HashSet<SectionIndex>> {
    let mut reached = HashSet::new();
    while let Some(index) = open.pop() {
        let section = file.section_by_index(index)?;
        if !has(section.flags(), SHF_EXECINSTR) || BOOT.contains(&section.name()?) || !reached.insert(index) {
            continue;
        }
        let targets = section.relocations().map(|(_, relocation)| target(file, relocation.target()));
        open.extend(targets.flatten());
    }
    Ok(reached)
}

/// The section that a relocation refers to; None if it is of another object.
fn target(file: &File, target: RelocationTarget) -> Option<SectionIndex> {
    match target {
        RelocationTarget::Symbol(symbol) => file.symbol_by_index(symbol).ok()?.section_index(),
        RelocationTarget::Section(section) => Some(section),
        _ => None,
    }
}

/// Whether a relocation is of an instruction that jumps there: others make an address.
fn is_call(flags: RelocationFlags) -> bool {
    const CALLS: [RelocationType; 4] = [R_AARCH64_CALL26, R_AARCH64_JUMP26, R_AARCH64_CONDBR19, R_AARCH64_TSTBR14];
    matches!(flags, RelocationFlags::Elf { r_type } if CALLS.contains(&r_type))
}

fn has(flags: SectionFlags, flag: Flags) -> bool {
    matches!(flags, SectionFlags::Elf { sh_flags, .. } if sh_flags.0 & flag.0 != 0)
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
