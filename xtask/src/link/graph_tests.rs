//! The graph of objects made here, of a few functions each.

use object::elf::{R_AARCH64_ABS64, R_AARCH64_ADR_PREL_PG_HI21};
use object::write::{Object as Made, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use super::*;

/// An object in the making.
struct Program(Made<'static>);

/// A section, and the symbol at its beginning.
#[derive(Clone, Copy)]
struct Part(SectionId, SymbolId);

impl Program {
    /// One with the section that has to be there.
    fn new() -> (Self, Part) {
        let mut program = Self(Made::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little));
        let staying = program.part(STAYING, SectionKind::Text);
        (program, staying)
    }

    fn part(&mut self, section: &str, kind: SectionKind) -> Part {
        let id = self.0.add_section(Vec::new(), section.into(), kind);
        self.0.append_section_data(id, &[0; 64], 8);
        let symbol = Symbol {
            name: section.trim_start_matches('.').into(),
            value: 0,
            size: 64,
            kind: if kind == SectionKind::Text { SymbolKind::Text } else { SymbolKind::Data },
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(id),
            flags: SymbolFlags::None,
        };
        Part(id, self.0.add_symbol(symbol))
    }

    fn function(&mut self, name: &str) -> Part {
        self.part(&format!(".text.{name}"), SectionKind::Text)
    }

    /// `from` names `to` in this way.
    fn refer(&mut self, from: Part, to: Part, r_type: RelocationType) {
        let relocation = Relocation { offset: 8, symbol: to.1, addend: 0, flags: RelocationFlags::Elf { r_type } };
        self.0.add_relocation(from.0, relocation).expect("a relocation that there is");
    }

    fn call(&mut self, from: Part, to: Part) {
        self.refer(from, to, R_AARCH64_CALL26);
    }

    fn only_boot(&self) -> Vec<String> {
        let names = only_boot(&self.0.write().expect("an object")).expect("an object with all that is needed");
        names.into_iter().map(|name| name.trim_start_matches(".text.").to_owned()).collect()
    }
}

#[test]
fn what_stays_keeps_what_it_calls() {
    let (mut program, staying) = Program::new();
    let [called, called_by_that, by_boot] = ["called", "called_by_that", "by_boot"].map(|name| program.function(name));
    let boot = program.function("boot");
    program.call(staying, called);
    program.call(called, called_by_that);
    // A circle has an end.
    program.call(called_by_that, called);
    program.call(boot, by_boot);
    program.call(boot, called);
    assert_eq!(program.only_boot(), ["boot", "by_boot"]);
}

#[test]
fn each_jump_is_a_call() {
    for kind in [R_AARCH64_CALL26, R_AARCH64_JUMP26, R_AARCH64_CONDBR19, R_AARCH64_TSTBR14] {
        let (mut program, staying) = Program::new();
        let [boot, target, other] = ["boot", "target", "other"].map(|name| program.function(name));
        program.refer(staying, target, kind);
        program.refer(boot, other, kind);
        assert_eq!(program.only_boot(), ["boot", "other"], "{kind:?}");
    }
}

#[test]
fn a_function_whose_address_is_taken_stays() {
    let (mut program, _) = Program::new();
    let [boot, handed, listed, below] = ["boot", "handed", "listed", "below"].map(|name| program.function(name));
    let table = program.part(".data.rel.ro.vtable", SectionKind::ReadOnlyDataWithRel);
    program.refer(boot, handed, R_AARCH64_ADR_PREL_PG_HI21);
    program.refer(table, listed, R_AARCH64_ABS64);
    program.call(listed, below);
    assert_eq!(program.only_boot(), ["boot"]);
}

#[test]
fn what_is_not_linked_keeps_nothing() {
    let (mut program, _) = Program::new();
    let boot = program.function("boot");
    let unwinding = program.part(UNWINDING, SectionKind::ReadOnlyData);
    let debug = program.part(".debug_info", SectionKind::Debug);
    program.refer(unwinding, boot, R_AARCH64_ABS64);
    program.refer(debug, boot, R_AARCH64_ABS64);
    assert_eq!(program.only_boot(), ["boot"]);
}

#[test]
fn assembly_stays_and_does_not_come_back_to_boot() {
    let (mut program, _) = Program::new();
    let start = program.part(".text", SectionKind::Text);
    let [entry, secondary, rest, handler] =
        ["tessera_boot", "tessera_secondary", "rest", "handler"].map(|name| program.function(name));
    program.call(start, entry);
    program.call(start, secondary);
    program.call(start, handler);
    program.call(entry, rest);
    assert_eq!(program.only_boot(), ["rest", "tessera_boot", "tessera_secondary"]);
}

#[test]
fn of_two_of_one_name_neither_goes() {
    let (mut program, staying) = Program::new();
    let stays = program.function("twice");
    program.function("twice");
    program.function("once");
    program.call(staying, stays);
    assert_eq!(program.only_boot(), ["once"]);
}

#[test]
fn a_program_that_never_leaves_boot_is_refused() {
    let nothing = Made::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little).write().expect("an object");
    let error = only_boot(&nothing).expect_err("nothing stays");
    assert!(error.to_string().contains(STAYING), "{error}");
    assert!(only_boot(b"no object").is_err());
}
