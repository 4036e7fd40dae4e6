//! Translation that makes no sense: tables at random, and control registers at random.

use super::{Actor, accesses};
use crate::leap::{UPPER, leap};
use crate::pad::{self, Run, Use, fill};
use crate::random::Random;
use crate::{gic, ground};

/// Bytes of tables of each core, at the start of scratch memory.
const ARENA: u64 = 0x1_0000;
const PAGE: u64 = 4096;
/// Descriptors changed at a time.
const CHANGES: u64 = 12;
/// Accesses through them at a time.
const ACCESSES: usize = 12;

/// This core's tables.
fn arena(actor: &Actor) -> u64 {
    ground::scratch().start + ARENA * actor.core as u64
}

/// Accesses through tables that make no sense.
pub fn burst(actor: &mut Actor) -> u64 {
    for _ in 0..CHANGES {
        change(actor);
    }
    let random = &mut actor.random;
    let start = pad::write(Use::Once, (0..ACCESSES).map(|_| accesses::some_access(random)));
    let tables = root(actor);
    let run = Run { start, length: ACCESSES as u64 };
    run.carry_out_on(actor.context, &mut actor.random, tables)
}

/// Where the walk begins: mostly in a table.
fn root(actor: &mut Actor) -> u64 {
    let arena = arena(actor);
    let identifier = actor.random.below(4) << 48;
    match actor.random.below(8) {
        0 => actor.random.address() & 0xffff_ffff_f000,
        1 => actor.random.value(),
        _ => arena + PAGE * actor.random.below(4) + identifier,
    }
}

/// Writes a descriptor, in the first entries more often, as those translate what has an address.
fn change(actor: &mut Actor) {
    let arena = arena(actor);
    let random = &mut actor.random;
    let table = arena + PAGE * random.below(8);
    let index = if random.one_in(2) { random.below(512) } else { random.below(8) };
    let descriptor = descriptor(random, arena);
    // SAFETY: in scratch memory, where no Rust object lies.
    unsafe { ((table + 8 * index) as *mut u64).write_volatile(descriptor) };
}

/// Attributes are anything. Memory is only ever named by tables and pages: a block of a gigabyte would hold this guest itself.
fn descriptor(random: &mut Random, arena: u64) -> u64 {
    const OUTPUT: u64 = 0xffff_ffff_f000;
    const PAGE_OR_TABLE: u64 = 2;
    let attributes = random.next() & !OUTPUT | u64::from(!random.one_in(16)) | u64::from(!random.one_in(8)) << 10;
    match random.below(4) {
        0 | 1 => attributes & !(0xf << 50) | (arena + PAGE * random.below(8)) | PAGE_OR_TABLE,
        2 => attributes & !(0xf << 50) | (random.pick(&ground::devices()) & OUTPUT),
        _ => attributes & !PAGE_OR_TABLE | (random.pick(&ground::EDGES[5..7]) & OUTPUT),
    }
}

/// What a control register of the translation is set to, and which one (as MSR has it), for `context.x[3]`.
enum Control {
    /// TCR_EL1's part for the lower half.
    Lower(u64),
    /// SCTLR_EL1, with the MMU on.
    System(u64),
    /// SCTLR_EL1, with the MMU off.
    Off(u64),
    /// MAIR_EL1.
    Attributes(u64),
    /// TTBR0_EL1.
    Table(u64),
}

/// A control register is set to something, an access is tried, and all is put right again.
pub fn control(actor: &mut Actor) -> u64 {
    let chosen = choose(actor);
    let (value, register, is_off) = match chosen {
        Control::Lower(value) => (value, gic::system(false, 0, 2, 0, 2, 3), false),
        Control::System(value) => (value, gic::system(false, 0, 1, 0, 0, 3), false),
        Control::Off(value) => (value, gic::system(false, 0, 1, 0, 0, 3), true),
        Control::Attributes(value) => (value, gic::system(false, 0, 10, 2, 0, 3), false),
        Control::Table(value) => (value, gic::system(false, 0, 2, 0, 0, 3), false),
    };
    const ISB: u32 = 0xd503_3fdf;
    let access = accesses::some_access(&mut actor.random);
    let start = pad::write(Use::Once, [register, ISB, access]);
    let tables = arena(actor);
    let context = &mut *actor.context;
    fill(context, &mut actor.random);
    (context.x[3], context.tables, context.breaks, context.state) = (value, tables, 1, 0x3c5);
    (context.half, context.start) = if is_off { (0, start) } else { (UPPER, ground::executable(start) + UPPER) };
    if is_off {
        // Physical: neither an alias nor, by a store, this guest itself.
        context.x[1] &= (1 << 36) - 1;
    }
    leap(context);
    3
}

fn choose(actor: &mut Actor) -> Control {
    /// SCTLR_EL1.EE and M, and what a walk of the upper half needs of TCR_EL1.
    const BIG_ENDIAN: u64 = 1 << 25;
    const MMU: u64 = 1;
    const HIGHER_HALF: u64 = 0xffff_0000 | 7 << 32 | 1 << 38 | 1 << 60 | 1 << 54 | 1 << 52;
    let now = crate::ground_control();
    let random = &mut actor.random;
    match random.below(5) {
        0 => Control::Lower(random.next() & !HIGHER_HALF | now.translation & HIGHER_HALF),
        1 => Control::System((now.system ^ random.next() & random.next()) & !BIG_ENDIAN | MMU),
        2 => Control::Off((now.system ^ random.next() & random.next()) & !(BIG_ENDIAN | MMU)),
        3 => Control::Attributes(random.next() & !0xff00 | now.attributes & 0xff00),
        _ => Control::Table(random.value()),
    }
}
