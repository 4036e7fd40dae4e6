//! What a VM did that is worth counting: told once, when it stops, rather than line by line.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a VM did that is worth counting; told once, when it stops, rather than line by line.
#[derive(Debug, Default)]
pub struct Counters {
    undefined_registers: AtomicU32,
    undefined_instructions: AtomicU32,
    unclaimed_accesses: AtomicU32,
    system_errors: AtomicU32,
    shared_pages: AtomicU64,
    copied_pages: AtomicU64,
}

impl Counters {
    /// Of a VM that shares `shared_pages` at first.
    pub fn new(shared_pages: u64) -> Self {
        Self { shared_pages: AtomicU64::new(shared_pages), ..Self::default() }
    }

    /// A page that was shared has been copied.
    pub fn copied_page(&self) {
        self.copied_pages.fetch_add(1, Ordering::Relaxed);
    }

    /// An access to a system register that is not there.
    pub fn undefined_register(&self) {
        self.undefined_registers.fetch_add(1, Ordering::Relaxed);
    }

    /// An instruction that is not there.
    pub fn undefined_instruction(&self) {
        self.undefined_instructions.fetch_add(1, Ordering::Relaxed);
    }

    /// An access to an address where nothing is.
    pub fn unclaimed_access(&self) {
        self.unclaimed_accesses.fetch_add(1, Ordering::Relaxed);
    }

    /// An SError.
    pub fn system_error(&self) {
        self.system_errors.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let counts = [
            ("accesses to nothing", u64::from(self.unclaimed_accesses.load(Ordering::Relaxed))),
            ("undefined registers", u64::from(self.undefined_registers.load(Ordering::Relaxed))),
            ("undefined instructions", u64::from(self.undefined_instructions.load(Ordering::Relaxed))),
            ("SErrors", u64::from(self.system_errors.load(Ordering::Relaxed))),
            ("pages shared at first", self.shared_pages.load(Ordering::Relaxed)),
            ("pages copied", self.copied_pages.load(Ordering::Relaxed)),
        ];
        for (name, count) in counts.iter().filter(|(_, count)| *count != 0) {
            write!(out, ", {name}: {count}")?;
        }
        Ok(())
    }
}
