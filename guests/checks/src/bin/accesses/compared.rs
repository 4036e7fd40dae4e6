//! Every class of loads and stores, run on memory and on device registers that keep what is written: both must leave
//! the same. Memory is where the processor itself says what an instruction does.

use core::arch::{asm, global_asm};

use guest_runtime::checks::Outcome;
use guest_runtime::gic::v3::{DISTRIBUTOR, distributor};
use guest_runtime::{Machine, ensure_equal, mmio, read_register, skip};

use crate::run::{Context, State};

/// Priorities of SPIs, one byte each: for accesses of 1, 2 and 4 bytes. From SPI 64 on, for a round number.
const PRIORITIES: u64 = (DISTRIBUTOR + distributor::IPRIORITYR + 96) as u64;
/// Routes of SPIs, eight bytes each: for accesses of 8 and 16 bytes.
const ROUTES: u64 = (DISTRIBUTOR + distributor::IROUTER) as u64 + 8 * 40;
/// What of a route is kept: affinities and the routing mode.
const ROUTE_MASK: u64 = 0xff_80ff_ffff;
/// The bytes of a window.
const BYTES: usize = 192;
/// Where in a window the base register points.
const MIDDLE: u64 = 64;
/// How often each instruction is run, with other values.
const ROUNDS: usize = 4;

/// What a window holds, and the memory it is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
struct Contents([u64; BYTES / 8]);

/// A table of instructions: the width of their elements, and their encoding.
struct Table(*const u32, *const u32);

impl Table {
    /// Element width in bytes, instruction.
    fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
        // SAFETY: the assembler made the table of whole pairs.
        let words = unsafe { core::slice::from_raw_parts(self.0, self.1.offset_from_unsigned(self.0)) };
        words.chunks_exact(2).map(|pair| (pair[0], pair[1]))
    }
}

macro_rules! table {
    ($start:ident, $end:ident) => {{
        unsafe extern "C" {
            static $start: u32;
            static $end: u32;
        }
        Table(&raw const $start, &raw const $end)
    }};
}

/// A xorshift generator: the same numbers every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A stretch of device registers.
struct Window {
    base: u64,
    mask: u64,
}

impl Window {
    fn of(element_bytes: u32) -> Self {
        if element_bytes >= 8 {
            return Self { base: ROUTES, mask: ROUTE_MASK };
        }
        // How many bits a priority has is the device's choice.
        mmio::write32(PRIORITIES as usize, u32::MAX);
        let kept = u64::from(mmio::read32(PRIORITIES as usize));
        Self { base: PRIORITIES, mask: kept << 32 | kept }
    }

    fn fill(&self, contents: &Contents) {
        for (index, value) in contents.0.iter().enumerate() {
            let address = self.base as usize + 8 * index;
            mmio::write32(address, *value as u32);
            mmio::write32(address + 4, (*value >> 32) as u32);
        }
    }

    fn read(&self) -> Contents {
        let word = |address| u64::from(mmio::read32(address));
        let address = |index: usize| self.base as usize + 8 * index;
        Contents(core::array::from_fn(|index| word(address(index)) | word(address(index) + 4) << 32))
    }
}

pub fn at_el1(_: &Machine) -> Outcome {
    compare(&table!(base_cases, base_cases_end), Context::Translated)
}

pub fn at_el1_untranslated(_: &Machine) -> Outcome {
    compare(&table!(base_cases, base_cases_end), Context::Untranslated)
}

pub fn at_el0(_: &Machine) -> Outcome {
    compare(&table!(base_cases, base_cases_end), Context::User)
}

/// EL0 has no access to what the runtime maps: without translation it has.
pub fn unprivileged(_: &Machine) -> Outcome {
    let table = table!(unprivileged_cases, unprivileged_cases_end);
    compare_with(Context::Untranslated, &table, Context::Untranslated)
}

pub fn atomics(_: &Machine) -> Outcome {
    if read_register!("id_aa64isar0_el1") >> 20 & 0xf < 2 {
        skip!("the processor has no atomic instructions");
    }
    for context in [Context::Translated, Context::Untranslated, Context::User] {
        compare(&table!(atomic_cases, atomic_cases_end), context)?;
    }
    Ok(())
}

pub fn release_consistent(_: &Machine) -> Outcome {
    if read_register!("id_aa64isar1_el1") >> 20 & 0xf < 2 {
        skip!("the processor has no LDAPUR");
    }
    compare(&table!(release_cases, release_cases_end), Context::Translated)
}

fn compare(table: &Table, context: Context) -> Outcome {
    compare_with(Context::Translated, table, context)
}

/// Compares what the instructions do with devices in `context` with what they do with memory in `on_memory`.
fn compare_with(on_memory: Context, table: &Table, context: Context) -> Outcome {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for (element_bytes, instruction) in table.entries() {
        let window = Window::of(element_bytes);
        for round in 0..ROUNDS {
            let contents = Contents(core::array::from_fn(|_| numbers.next() & window.mask));
            let mut start = State::random(|| numbers.next());
            // Every other time CAS finds what it looks for.
            if round % 2 == 0 {
                start.expect(&contents, element_bytes);
            }
            compare_one(&window, &contents, &start, instruction, (on_memory, context))?;
        }
    }
    Ok(())
}

/// Takes the memory out of the caches: it is accessed past them too.
fn flush(memory: &Contents) {
    for word in &memory.0 {
        // SAFETY: changes no contents.
        unsafe { asm!("dc civac, {}", "dsb sy", in(reg) word, options(nostack)) };
    }
}

fn compare_one(
    window: &Window,
    contents: &Contents,
    start: &State,
    instruction: u32,
    (on_memory, context): (Context, Context),
) -> Outcome {
    let mut memory = contents.clone();
    let memory_base = &raw mut memory as u64;
    flush(&memory);
    let by_processor = start.run_from(memory_base, instruction, on_memory);
    flush(&memory);
    window.fill(contents);
    let by_hypervisor = start.run_from(window.base, instruction, context);
    let (by_processor, by_hypervisor) = (by_processor?, by_hypervisor?);
    for index in 0..30 {
        ensure_equal!(
            by_hypervisor.x[index],
            by_processor.x[index],
            "x{index} after {instruction:#010x} in {context:?}"
        );
    }
    for index in 0..32 {
        ensure_equal!(
            by_hypervisor.v[index],
            by_processor.v[index],
            "v{index} after {instruction:#010x} in {context:?}"
        );
    }
    ensure_equal!(by_hypervisor.sp, by_processor.sp, "sp after {instruction:#010x} in {context:?}");
    // SAFETY: the instruction wrote it behind the compiler's back.
    let mut memory = unsafe { core::ptr::read_volatile(&raw const memory) };
    memory.0.iter_mut().for_each(|word| *word &= window.mask);
    ensure_equal!(window.read(), memory, "registers after {instruction:#010x} in {context:?}");
    Ok(())
}

impl State {
    /// Makes x10 and x11 what is in the middle of the window.
    fn expect(&mut self, contents: &Contents, element_bytes: u32) {
        let (low, high) = (contents.0[MIDDLE as usize / 8], contents.0[MIDDLE as usize / 8 + 1]);
        let whole = u128::from(high) << 64 | u128::from(low);
        (self.x[10], self.x[11]) = (low, (whole >> (8 * element_bytes.min(8))) as u64);
    }

    /// Runs `instruction` with x1 in the middle of the window at `base`, and the stack pointer too if it is the base. What
    /// is an address afterwards counts from `base`.
    fn run_from(&self, base: u64, instruction: u32, context: Context) -> Result<Self, guest_runtime::checks::Failure> {
        let mut state = self.clone();
        let is_on_stack = instruction >> 5 & 31 == 31;
        state.x[1] = base + MIDDLE;
        // Offsets: 16; -16 and 16 in the lower half; -32.
        (state.x[3], state.x[8], state.x[9]) = (16, 0x1234_5678_ffff_fff0, 0x8765_4321_0000_0010);
        state.x[14] = -32_i64 as u64;
        if is_on_stack {
            state.sp = base + MIDDLE;
        }
        if context == Context::User && !is_on_stack {
            // `run_at_user` gives EL0 a stack.
            state.sp = crate::run::user_stack();
        }
        state.run(instruction, context).map_err(|fault| {
            guest_runtime::checks::Failure::failed(format_args!("{instruction:#010x} in {context:?}: {fault}"))
        })?;
        let distance = state.x[1].wrapping_sub(base);
        if distance.wrapping_add(MIDDLE) < 2 * BYTES as u64 {
            state.x[1] = distance;
        }
        state.sp = if is_on_stack { state.sp.wrapping_sub(base) } else { 0 };
        Ok(state)
    }
}

global_asm!(
    r#"
.arch armv8.4-a
.section .rodata.accesses, "a"

.macro case bytes, instruction:vararg
    .word   \bytes
    \instruction
.endm

// Forms of one load or store with elements of \bytes.
.macro single bytes, name, register
    case    \bytes, \name \register, [x1]
    case    \bytes, \name \register, [x1, #(4 * \bytes)]
    case    \bytes, \name \register, [x1], #\bytes
    case    \bytes, \name \register, [x1], #-48
    case    \bytes, \name \register, [x1, #\bytes]!
    case    \bytes, \name \register, [x1, #-16]!
    case    \bytes, \name \register, [sp]
    case    \bytes, \name \register, [sp, #\bytes]
    case    \bytes, \name \register, [sp], #16
    case    \bytes, \name \register, [sp, #-32]!
    case    \bytes, \name \register, [x1, x3]
    case    \bytes, \name \register, [x1, w8, sxtw]
    case    \bytes, \name \register, [x1, w9, uxtw]
    case    \bytes, \name \register, [x1, x14, sxtx]
.endm

.macro unscaled bytes, name, register
    case    \bytes, \name \register, [x1]
    case    \bytes, \name \register, [x1, #-16]
    case    \bytes, \name \register, [sp, #16]
.endm

.macro pairs bytes, load, store, first, second
    .irp name, \load, \store
    case    \bytes, \name \first, \second, [x1]
    case    \bytes, \name \first, \second, [x1, #(-2 * \bytes)]
    case    \bytes, \name \first, \second, [x1], #(3 * \bytes)
    case    \bytes, \name \first, \second, [x1, #(-1 * \bytes)]!
    case    \bytes, \name \first, \second, [sp], #(4 * \bytes)
    case    \bytes, \name \first, \second, [sp, #(-4 * \bytes)]!
    .endr
.endm

.balign 4
base_cases:
    single  1, ldrb, w5
    single  1, ldrb, wzr
    single  1, strb, w5
    single  1, strb, wzr
    single  2, ldrh, w0
    single  2, strh, w29
    single  4, ldr, w5
    single  4, str, w5
    single  8, ldr, x5
    single  8, str, x5
    single  1, ldrsb, x5
    single  1, ldrsb, w5
    single  2, ldrsh, x5
    single  2, ldrsh, w5
    single  4, ldrsw, x5
    single  1, ldr, b5
    single  1, str, b31
    single  2, ldr, h5
    single  2, str, h5
    single  4, ldr, s0
    single  4, str, s5
    single  8, ldr, d5
    single  8, str, d5
    single  16, ldr, q31
    single  16, str, q5
    case    4, ldr w5, [x1, x3, lsl #2]
    case    8, ldr x5, [x1, w8, sxtw #0]
    case    2, strh w5, [x1, w9, uxtw #1]
    case    16, ldr q5, [x1, xzr, lsl #4]
    case    4, ldr w1, [x1]
    case    8, ldp x2, x1, [x1]
    .irp name, ldur, stur
    unscaled 1, \name\()b, w6
    unscaled 2, \name\()h, w6
    unscaled 4, \name, w6
    unscaled 8, \name, x6
    .endr
    unscaled 1, ldursb, w6
    unscaled 1, ldursb, x6
    unscaled 2, ldursh, w6
    unscaled 2, ldursh, x6
    unscaled 4, ldursw, x6
    .irp name, ldur, stur
    unscaled 1, \name, b6
    unscaled 2, \name, h6
    unscaled 4, \name, s6
    unscaled 8, \name, d6
    unscaled 16, \name, q6
    .endr
    pairs   4, ldp, stp, w6, w7
    pairs   8, ldp, stp, x6, x7
    pairs   8, ldp, stp, xzr, x0
    pairs   4, ldp, stp, s6, s7
    pairs   8, ldp, stp, d6, d7
    pairs   16, ldp, stp, q6, q31
    pairs   4, ldpsw, ldpsw, x6, x7
    .irp name, ldnp, stnp
    case    4, \name w6, w7, [x1, #-8]
    case    8, \name x6, x7, [x1, #16]
    case    16, \name q6, q7, [sp, #32]
    case    8, \name d6, d7, [x1]
    .endr
    .irp name, ldar, stlr
    case    1, \name\()b w6, [x1]
    case    2, \name\()h w6, [sp]
    case    4, \name w6, [x1]
    case    8, \name x6, [sp]
    .endr
    .irp name, ld1, st1
    case    1, \name {{v6.8b}}, [x1]
    case    1, \name {{v6.16b, v7.16b}}, [x1]
    case    2, \name {{v6.4h, v7.4h, v8.4h}}, [x1], x3
    case    4, \name {{v6.4s, v7.4s, v8.4s, v9.4s}}, [x1], #64
    case    8, \name {{v6.1d}}, [sp]
    case    8, \name {{v30.2d, v31.2d, v0.2d, v1.2d}}, [sp], #64
    case    1, \name {{v6.b}}[13], [x1]
    case    2, \name {{v6.h}}[5], [x1], #2
    case    4, \name {{v6.s}}[3], [x1], x3
    case    8, \name {{v6.d}}[1], [sp], #8
    .endr
    .irp name, ld2, st2
    case    1, \name {{v6.16b, v7.16b}}, [x1]
    case    2, \name {{v6.4h, v7.4h}}, [x1], #16
    case    8, \name {{v31.2d, v0.2d}}, [x1], x3
    case    1, \name {{v6.b, v7.b}}[7], [x1]
    case    4, \name {{v6.s, v7.s}}[1], [sp], #8
    .endr
    .irp name, ld3, st3
    case    1, \name {{v6.8b, v7.8b, v8.8b}}, [x1]
    case    4, \name {{v6.4s, v7.4s, v8.4s}}, [x1], #48
    case    2, \name {{v30.h, v31.h, v0.h}}[7], [x1], #6
    case    8, \name {{v6.d, v7.d, v8.d}}[0], [x1]
    .endr
    .irp name, ld4, st4
    case    1, \name {{v6.16b, v7.16b, v8.16b, v9.16b}}, [x1], #64
    case    2, \name {{v6.8h, v7.8h, v8.8h, v9.8h}}, [sp]
    case    8, \name {{v6.2d, v7.2d, v8.2d, v9.2d}}, [x1]
    case    4, \name {{v6.s, v7.s, v8.s, v9.s}}[2], [x1], x3
    .endr
    case    1, ld1r {{v6.16b}}, [x1]
    case    4, ld1r {{v6.2s}}, [x1], #4
    case    2, ld2r {{v6.8h, v7.8h}}, [x1], x3
    case    8, ld3r {{v6.1d, v7.1d, v8.1d}}, [x1]
    case    8, ld4r {{v6.2d, v7.2d, v8.2d, v9.2d}}, [sp], #32
base_cases_end:

unprivileged_cases:
    .irp name, ldtr, sttr
    unscaled 1, \name\()b, w6
    unscaled 2, \name\()h, w6
    unscaled 4, \name, w6
    unscaled 8, \name, x6
    .endr
    unscaled 1, ldtrsb, w6
    unscaled 1, ldtrsb, x6
    unscaled 2, ldtrsh, w6
    unscaled 2, ldtrsh, x6
    unscaled 4, ldtrsw, x6
unprivileged_cases_end:

atomic_cases:
    .irp name, ldadd, ldclr, ldeor, ldset, ldsmax, ldsmin, ldumax, ldumin, swp
    case    1, \name\()b w6, w7, [x1]
    case    2, \name\()alh w6, w7, [x1]
    case    4, \name\()a w6, w7, [sp]
    case    8, \name\()l x6, x7, [x1]
    case    8, \name\()al x6, x6, [x1]
    case    4, \name w6, wzr, [x1]
    .endr
    case    1, casb w10, w12, [x1]
    case    2, casah w10, w12, [x1]
    case    4, casl w10, w12, [sp]
    case    8, casal x10, x12, [x1]
    case    4, casp w10, w11, w12, w13, [x1]
    case    8, caspal x10, x11, x12, x13, [x1]
atomic_cases_end:

release_cases:
    case    1, ldaprb w6, [x1]
    case    8, ldapr x6, [sp]
    case    1, ldapurb w6, [x1, #-1]
    case    1, ldapursb x6, [x1, #3]
    case    2, ldapursh w6, [x1, #-2]
    case    4, ldapur w6, [x1, #16]
    case    4, ldapursw x6, [x1, #-16]
    case    8, ldapur x6, [sp, #8]
    case    1, stlurb w6, [x1, #-1]
    case    2, stlurh w6, [x1, #2]
    case    4, stlur w6, [x1, #4]
    case    8, stlur x6, [sp, #-16]
release_cases_end:
"#
);
