//! The tools of this machine: which are needed, which are missing, and the packages or the words that help.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::apt::{Apt, Use, run_as_root};
use super::system::System;
use super::toolchain::Toolchain;
use crate::process;
use crate::progress::Step;

/// The oldest QEMU whose emulation at EL2 is good enough.
const OLDEST_QEMU: u32 = 8;

/// A tool that is missing: Debian's package of it, and what to look for elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tool {
    package: &'static str,
    by_hand: &'static str,
}

const QEMU: Tool = Tool { package: "qemu-system-arm", by_hand: "qemu-system-aarch64, version 8 or newer" };
const CROSS_COMPILER: Tool = Tool {
    package: "gcc-aarch64-linux-gnu",
    by_hand: "aarch64-linux-gnu-gcc (a C cross compiler for arm64, version 10 or newer)",
};
const LINKER: Tool = Tool { package: "lld", by_hand: "ld.lld, version 14 or newer" };
const DEBIAN_RUST: [Tool; 4] = [
    Tool { package: "rustc-web", by_hand: "rustup with the target aarch64-unknown-none-softfloat" },
    Tool { package: "cargo-web", by_hand: "cargo" },
    Tool { package: "rust-web-src", by_hand: "the sources of Rust's core library" },
    Tool { package: "rust-web-clippy", by_hand: "cargo clippy" },
];
/// What the host tests compare device trees with.
const TREE_COMPILER: Tool = Tool { package: "device-tree-compiler", by_hand: "dtc (the device tree compiler)" };
const FORMATTER: Tool = Tool { package: "rustfmt-web", by_hand: "cargo fmt" };

/// Installs the tools that are missing; does nothing, quickly, when none is.
pub fn ensure(toolchain: &Toolchain) -> Result<()> {
    bring(|| missing(toolchain))
}

/// The same for tools that only tests need.
pub fn ensure_for_tests() -> Result<()> {
    bring(|| if process::find("dtc").is_none() { vec![TREE_COMPILER] } else { Vec::new() })
}

/// Installs what `still_missing` names.
fn bring(still_missing: impl Fn() -> Vec<Tool>) -> Result<()> {
    let missing = still_missing();
    if missing.is_empty() {
        return Ok(());
    }
    let system = System::read();
    if !system.has_apt() {
        bail!("{}", by_hand(&missing));
    }
    let names: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    let step = Step::start(format!("Installing {}", names.join(" ")));
    install(&step, &system, &missing)?;
    step.done();
    match still_missing() {
        left if left.is_empty() => Ok(()),
        left => bail!("{}", by_hand(&left)),
    }
}

fn install(step: &Step, system: &System, missing: &[Tool]) -> Result<()> {
    let apt = Apt::prepare(step, system, Use::Host)?;
    let (qemu, rest): (Vec<Tool>, Vec<Tool>) = missing.iter().partition(|tool| **tool == QEMU);
    let mut commands = Vec::new();
    if !rest.is_empty() {
        let packages: Vec<_> = rest.iter().map(|tool| tool.package).collect();
        commands.push(apt.install(&packages, None));
    }
    if !qemu.is_empty() {
        let own = apt.candidate(QEMU.package).and_then(|version| major(&version));
        let backports = format!("{}-backports", system.codename);
        let is_old = own.is_none_or(|version| version < OLDEST_QEMU);
        let release = (is_old && system.is_debian()).then_some(&*backports);
        commands.push(apt.install(&[QEMU.package], release));
    }
    run_as_root(step, commands)
}

fn missing(toolchain: &Toolchain) -> Vec<Tool> {
    let mut missing = Vec::new();
    if !has_qemu() {
        missing.push(QEMU);
    }
    if process::find("aarch64-linux-gnu-gcc").is_none() {
        missing.push(CROSS_COMPILER);
    }
    if matches!(toolchain, Toolchain::Debian) {
        if process::find("ld.lld").is_none() {
            missing.push(LINKER);
        }
        missing.extend(missing_rust());
    }
    missing
}

/// Debian's own Rust as a second compiler beside the user's, or as the only one.
fn missing_rust() -> Vec<Tool> {
    let files = ["rustc", "cargo", "", "cargo-clippy"].map(|name| match name {
        "" => Path::new("/usr/lib/rustlib/src/rust/library/core/src/lib.rs").exists(),
        program => Path::new("/usr/bin").join(program).exists(),
    });
    let pairs = DEBIAN_RUST.into_iter().zip(files);
    let mut missing: Vec<_> = pairs.filter(|(_, there)| !there).map(|(tool, _)| tool).collect();
    if process::find("cargo-fmt").is_none() {
        missing.push(FORMATTER);
    }
    missing
}

fn has_qemu() -> bool {
    if process::find("qemu-system-aarch64").is_none() {
        return false;
    }
    let version = process::output(Command::new("qemu-system-aarch64").arg("--version"));
    let major = version.ok().and_then(|text| text.split_once("version ").and_then(|(_, version)| major(version)));
    major.is_some_and(|major| major >= OLDEST_QEMU)
}

/// The first number of a version, after Debian's epoch (`1:10.0.2+ds-2` is 10).
fn major(version: &str) -> Option<u32> {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version.get(..digits)?.parse().ok()
}

fn by_hand(missing: &[Tool]) -> String {
    let lines = missing.iter().map(|tool| format!("  - {}", tool.by_hand)).collect::<Vec<_>>();
    format!(
        "these tools are missing or too old, and only Debian's package manager is known here:\n{}\n\
         Install them so that they are found on PATH, then run this again.",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_past_the_epoch() {
        assert_eq!(major("1:10.0.2+ds-2+deb13u1"), Some(10));
        assert_eq!(major("7.2.19 (Debian 1:7.2+dfsg)"), Some(7));
        assert_eq!(major("8"), Some(8));
        assert_eq!(major("unknown"), None);
    }

    #[test]
    fn the_words_for_other_systems_name_every_tool_and_version() {
        let words = by_hand(&[QEMU, LINKER]);
        assert!(words.contains("qemu-system-aarch64, version 8"));
        assert!(words.contains("ld.lld, version 14"));
    }
}
