//! Xen, unmodified from Debian's package, without a dom0: it starts the guest by itself, as its device tree says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::collected::{self, Collected};
use super::command::Machine;
use super::console::{self, Next};
use super::{DONE, GUEST_MEMORY, Guest, LINUX_DONE, MACHINE_MEMORY, NOT_APART, one_line, packages, tree};
use crate::bench;
use crate::progress::Step;

/// The longest a run may take; a busy machine needs a tenth of it.
const LIMIT: Duration = Duration::from_secs(180);
/// Where QEMU leaves the guest's image for Xen, and its first file system.
const MODULE: u64 = 0x5000_0000;
const RAMDISK: u64 = 0x5800_0000;
/// How Xen's lines begin, and those of its first domain among them.
const XEN_TAG: &str = "(XEN) ";
const GUEST_TAG: &str = "(XEN) DOM1: ";
/// Xen ends a guest's line after so many bytes by itself (SBSA_UART_OUT_BUF_SIZE in xen/arch/arm/include/asm/vpl011.h).
const LONGEST_LINE: usize = 126;
/// The key at which Xen's console says what memory is left, and the last line it says then.
const MEMORY_KEY: &str = "m";
const FREE_MEMORY: &str = "Dom heap: ";

/// All figures of Xen; in one line why there are none.
pub fn measure(image: &Path, _writer: &Path, gic: u32, step: &Step) -> Result<String, String> {
    let (console, kept) = run(&Guest::bench(image, "", gic, 1), step)?;
    let began = collected::began(&console);
    let image_bytes = packages::xen(step).and_then(|kernel| Ok(fs::metadata(kernel)?.len()));
    let pair = run(&Guest::bench(image, "ops=sgi_other_vcpu", gic, 2), step);
    let mut all = Collected::new(gic, console);
    all.replace("sgi_other_vcpu", pair.map(|(console, _)| console));
    all.set("cow_break", Err("no page sharing, no dom0".to_owned()));
    all.set("boot_to_guest", began);
    all.set("el2_memory_bytes", kept.ok_or_else(|| "Xen does not tell".to_owned()));
    all.set("image_bytes", image_bytes.map_err(|error| one_line(&error)));
    all.set("scrub_128_mib", Err(NOT_APART.to_owned()));
    all.set("linux_to_init", bench::linux::under_xen(gic, step));
    Ok(all.into_text())
}

/// Runs the guest under Xen: its console's text and the memory that Xen keeps, or in one line why there is none.
pub fn run(guest: &Guest, step: &Step) -> Result<(String, Option<u64>), String> {
    let result = boot(guest, step).and_then(|lines| Ok((guest_text(guest, &lines)?, kept_memory(&lines))));
    result.map_err(|error| one_line(&error))
}

fn boot(guest: &Guest, step: &Step) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let machine = machine(guest, packages::xen(step)?, folder.path(), step)?;
    step.shown()(&format!("running the guest under Xen, GICv{}", guest.gic));
    let mut command = machine.command();
    for (file, address) in [(Some(guest.image), MODULE), (guest.initrd, RAMDISK)] {
        // A comma in a value is written twice.
        let file = file.map(|file| file.display().to_string().replace(',', ",,"));
        let loader = file.map(|file| format!("loader,file={file},addr={address:#x},force-raw=on"));
        command.args(loader.into_iter().flat_map(|loader| ["-device".to_owned(), loader]));
    }
    command.args(guest.counting());
    console::watch(command, LIMIT, next)
}

fn machine(guest: &Guest, kernel: PathBuf, place: &Path, step: &Step) -> Result<Machine> {
    let bytes = |file: &Path| anyhow::Ok(fs::metadata(file).with_context(|| file.display().to_string())?.len());
    let ramdisk = guest.initrd.map(bytes).transpose()?.map(|bytes| [RAMDISK, bytes]);
    let mut tree = tree::machine(step, guest, place)?;
    tree::add_domain(&mut tree, guest, [MODULE, bytes(guest.image)?], ramdisk)?;
    let file = place.join("xen.dtb");
    fs::write(&file, tree.to_dtb())?;
    Ok(Machine { gic: guest.gic, cpus: guest.cpus, tree: file, kernel })
}

/// Without a dom0 nothing ends the machine: Xen is asked for its memory when the guest is done, and stopped then.
fn next(line: &str) -> Next {
    let fatal = |line: &str| line.starts_with("Panic on CPU") || line.contains("Reboot in five seconds");
    match line.strip_prefix(GUEST_TAG) {
        Some(DONE) => Next::Type(MEMORY_KEY),
        Some(line) if line.starts_with(LINUX_DONE) => Next::Stop,
        Some(_) => Next::Wait,
        None if free_kilobytes(line).is_some() => Next::Stop,
        None if line.strip_prefix(XEN_TAG).is_some_and(fatal) => Next::Stop,
        None => Next::Wait,
    }
}

/// The number in `(XEN)     Dom heap: 1934164kB free`.
fn free_kilobytes(line: &str) -> Option<u64> {
    let text = line.strip_prefix(XEN_TAG)?.trim_start().strip_prefix(FREE_MEMORY)?;
    text.strip_suffix("kB free")?.parse().ok()
}

/// The machine's memory less the guest's and what is free, in bytes.
pub(super) fn kept_memory(lines: &[String]) -> Option<u64> {
    let free = lines.iter().rev().find_map(|line| free_kilobytes(line))?.checked_mul(1 << 10)?;
    MACHINE_MEMORY.checked_sub(GUEST_MEMORY)?.checked_sub(free)
}

/// The guest's lines among all of the machine's, with those that Xen has split put together again.
pub(super) fn guest_text(guest: &Guest, lines: &[String]) -> Result<String> {
    let mut text = String::new();
    for line in lines.iter().filter_map(|line| line.strip_prefix(GUEST_TAG)) {
        text.push_str(line);
        if line.len() < LONGEST_LINE {
            text.push('\n');
        }
    }
    guest.check_done(&text, lines)?;
    Ok(text)
}
