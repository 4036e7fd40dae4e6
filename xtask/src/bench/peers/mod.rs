//! The other hypervisors that `cargo xtask bench --peers` measures beside ours: KVM (nVHE) and Xen, each with the bench
//! guest that all get, in the same emulated machine. What belongs here is bringing them, booting them, and giving back the
//! guest's console; reading figures from it and showing them is the business of the module above.

mod collected;
mod command;
mod console;
pub mod kvm;
mod packages;
#[cfg(test)]
mod tests;
mod tree;
pub mod xen;

use std::path::Path;

use anyhow::{Result, bail};

use crate::bench::counter::Counter;
use crate::progress::Step;

/// Measures a peer: the bench guest's image, the one that writes to its own pages, the GIC's version. The result is the
/// guest's console, with more lines of the same form for what other runs told.
pub type Measure = fn(&Path, &Path, u32, &Step) -> Result<String, String>;

/// KVM and Xen, in the table's order.
pub const ALL: [(&str, Measure); 2] = [("KVM nVHE", kvm::measure), ("Xen 4.17", xen::measure)];

/// Memory of the machine that a peer runs on, in bytes.
const MACHINE_MEMORY: u64 = 2 << 30;
/// Memory of the bench guest, in bytes.
const GUEST_MEMORY: u64 = 128 << 20;
/// The bench guest's last line, and how that of Linux begins.
const DONE: &str = "bench: done";
const LINUX_DONE: &str = "bench: init at ";
/// Why a peer's scrubbing has no figure.
const NOT_APART: &str = "part of the start";

/// The guest to be measured.
#[derive(Clone, Copy)]
pub struct Guest<'a> {
    /// Its flat image, which begins with the arm64 Linux header.
    pub image: &'a Path,
    /// What it is told.
    pub command_line: &'a str,
    /// Version of the machine's GIC, and of the guest's: 2 or 3.
    pub gic: u32,
    /// The machine's cores, and as many vCPUs.
    pub cpus: usize,
    /// Its memory in bytes.
    pub memory: u64,
    /// The first file system, if it is Linux.
    pub initrd: Option<&'a Path>,
    /// What counts its instructions, if its own counter is not to.
    pub counter: Option<&'a Counter>,
}

impl<'a> Guest<'a> {
    /// The bench guest.
    pub fn bench(image: &'a Path, command_line: &'a str, gic: u32, cpus: usize) -> Self {
        Self { image, command_line, gic, cpus, memory: GUEST_MEMORY, initrd: None, counter: None }
    }

    /// The arguments for QEMU that come with the counter.
    fn counting(&self) -> Vec<String> {
        self.counter.map(Counter::arguments).unwrap_or_default()
    }

    /// Fails with the machine's last line unless the guest's text has the line that ends it.
    fn check_done(&self, text: &str, machine: &[String]) -> Result<()> {
        let end = if self.initrd.is_some() { LINUX_DONE } else { DONE };
        if text.lines().any(|line| line.starts_with(end)) {
            return Ok(());
        }
        let last = machine.iter().rev().find(|line| !line.trim().is_empty());
        bail!("the guest did not finish; last line: {}", last.map_or("none", String::as_str))
    }
}

/// An error in one line, short enough for a footnote: of a command that failed its name and the line that says why.
fn one_line(error: &anyhow::Error) -> String {
    let (whole, cause) = (format!("{error:#}"), error.root_cause().to_string());
    let Some(command) = cause.strip_prefix("failed: ") else {
        return whole.lines().next().unwrap_or_default().to_owned();
    };
    let context = whole.strip_suffix(&cause).unwrap_or_default();
    let name = command.split_whitespace().next().unwrap_or_default();
    let said: Vec<_> = command.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling = said.iter().find_map(|line| line.strip_prefix("E: ")).or(said.last().copied());
    format!("{context}{name} failed: {}", telling.unwrap_or("it does not say why"))
}
