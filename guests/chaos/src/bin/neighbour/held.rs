//! What the neighbour holds: memory and registers with values that only it knows.

use alloc::format;
use alloc::string::String;
use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::{read_register, write_register};

extern crate alloc;

/// Words of memory, and how many are looked at each time.
const WORDS: usize = 1 << 17;
const EACH: usize = 256;

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u64; WORDS]>);

// SAFETY: this guest has one core.
unsafe impl Sync for Memory {}

#[unsafe(link_section = ".uninitialized")]
static MEMORY: Memory = Memory(UnsafeCell::new([0; WORDS]));

/// The vector registers, as a pair of words each.
type Vectors = [u64; 64];

/// Memory and registers that hold values of their own.
pub struct Held {
    seed: u64,
}

impl Held {
    /// Writes all of it.
    pub fn new(seed: u64) -> Self {
        let held = Self { seed };
        // SAFETY: inside the memory, by the range.
        (0..WORDS).for_each(|index| unsafe { word(index).write_volatile(held.value(index)) });
        write_register!("tpidr_el0", held.value(1));
        write_register!("tpidrro_el0", held.value(2));
        write_register!("tpidr_el1", held.value(3));
        write_register!("contextidr_el1", held.value(4) & 0xffff_ffff);
        write_register!("sp_el0", held.value(5));
        load(&held.vectors());
        held
    }

    fn value(&self, index: usize) -> u64 {
        (self.seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }

    fn vectors(&self) -> Vectors {
        core::array::from_fn(|index| self.value(1000 + index))
    }

    /// Looks at the registers and at the next part of memory.
    pub fn look(&self, number: usize) -> Result<(), String> {
        self.check_registers()?;
        let first = number * EACH % WORDS;
        for index in first..first + EACH {
            // SAFETY: inside the memory, whose size is a multiple of each part's.
            let found = unsafe { word(index).read_volatile() };
            if found != self.value(index) {
                // SAFETY: as above.
                unsafe { word(index).write_volatile(self.value(index)) };
                return Err(format!("word {index} of memory is {found:#x}, not {:#x}", self.value(index)));
            }
        }
        Ok(())
    }

    fn check_registers(&self) -> Result<(), String> {
        let found = [
            ("tpidr_el0", read_register!("tpidr_el0"), self.value(1)),
            ("tpidrro_el0", read_register!("tpidrro_el0"), self.value(2)),
            ("tpidr_el1", read_register!("tpidr_el1"), self.value(3)),
            ("contextidr_el1", read_register!("contextidr_el1"), self.value(4) & 0xffff_ffff),
            ("sp_el0", read_register!("sp_el0"), self.value(5)),
        ];
        if let Some((name, found, right)) = found.into_iter().find(|(_, found, right)| found != right) {
            return Err(format!("{name} is {found:#x}, not {right:#x}"));
        }
        let vectors = self.vectors();
        if store() != vectors {
            load(&vectors);
            return Err(String::from("a vector register has changed"));
        }
        Ok(())
    }
}

fn word(index: usize) -> *mut u64 {
    MEMORY.0.get().cast::<u64>().wrapping_add(index)
}

macro_rules! vectors {
    ($instruction:literal, $address:expr) => {
        // The compiler uses no vector registers for this target, so they stay what they are between two calls.
        // SAFETY: the memory is as large as all vector registers.
        unsafe {
            asm!(
                ".arch_extension fp",
                concat!($instruction, " q0, q1, [{0}]"), concat!($instruction, " q2, q3, [{0}, #32]"),
                concat!($instruction, " q4, q5, [{0}, #64]"), concat!($instruction, " q6, q7, [{0}, #96]"),
                concat!($instruction, " q8, q9, [{0}, #128]"), concat!($instruction, " q10, q11, [{0}, #160]"),
                concat!($instruction, " q12, q13, [{0}, #192]"), concat!($instruction, " q14, q15, [{0}, #224]"),
                concat!($instruction, " q16, q17, [{0}, #256]"), concat!($instruction, " q18, q19, [{0}, #288]"),
                concat!($instruction, " q20, q21, [{0}, #320]"), concat!($instruction, " q22, q23, [{0}, #352]"),
                concat!($instruction, " q24, q25, [{0}, #384]"), concat!($instruction, " q26, q27, [{0}, #416]"),
                concat!($instruction, " q28, q29, [{0}, #448]"), concat!($instruction, " q30, q31, [{0}, #480]"),
                in(reg) $address, options(nostack)
            )
        }
    };
}

fn load(values: &Vectors) {
    // CPACR_EL1.FPEN: vector registers are not trapped.
    write_register!("cpacr_el1", 3 << 20);
    vectors!("ldp", values.as_ptr());
}

fn store() -> Vectors {
    let mut values = [0; 64];
    vectors!("stp", values.as_mut_ptr());
    values
}
