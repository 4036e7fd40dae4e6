//! The Rust that compiles the bare-metal programs: rustup's ready-made target, or Debian's compiler building its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::link;
use crate::paths;
use crate::process;
use crate::progress::Step;

/// What the hypervisor and the small guests are compiled for: EL2 must not touch the guests' FP/SIMD registers.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// Where cargo looks for what links programs of [`TARGET`]: this program, which calls the compiler's own.
const LINKER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER";

/// How long rustup may take to fetch the target before Debian's Rust is used instead.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// The user's wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// What was chosen before; at first rustup, and Debian's Rust where rustup cannot bring the target.
    #[default]
    Auto,
    /// Try rustup again.
    Rustup,
    /// Debian's own packages.
    Debian,
}

/// A compiler for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// rustup's toolchain of that name, whose library for the target lies in `sysroot`.
    Rustup {
        /// The toolchain's name.
        name: String,
        /// The toolchain's directory.
        sysroot: PathBuf,
    },
    /// Debian's packages, with the core library built from source.
    Debian,
}

/// The toolchain chosen before, or a new choice, kept for the next time.
pub fn choose(choice: Choice) -> Result<Toolchain> {
    let note = paths::cache().join("toolchain");
    if choice == Choice::Auto
        && let Some(chosen) = fs::read_to_string(&note).ok().and_then(|text| Toolchain::parse(&text))
        && chosen.is_usable()
    {
        return Ok(chosen);
    }
    let chosen = match choice {
        Choice::Debian => Toolchain::Debian,
        Choice::Rustup => from_rustup().context("rustup cannot bring the target")?,
        Choice::Auto => from_rustup().unwrap_or(Toolchain::Debian),
    };
    keep(&note, &chosen.to_text())?;
    Ok(chosen)
}

/// Puts a new file in the place of the old one: a copy of the cache that links to it keeps its own choice.
fn keep(note: &Path, text: &str) -> Result<()> {
    let part = tempfile::NamedTempFile::new_in(note.parent().unwrap_or(Path::new(".")))?;
    fs::write(part.path(), text)?;
    part.persist(note).with_context(|| format!("cannot write {}", note.display()))?;
    Ok(())
}

/// rustup's active toolchain with the target added.
fn from_rustup() -> Result<Toolchain> {
    let active = process::output(Command::new("rustup").args(["show", "active-toolchain"]))?;
    let name = active.split_whitespace().next().context("rustup has no toolchain")?.to_owned();
    let mut print = Command::new("rustup");
    let sysroot = process::output(print.args(["run", &name, "rustc", "--print", "sysroot"]))?;
    let toolchain = Toolchain::Rustup { name: name.clone(), sysroot: sysroot.trim().into() };
    if !toolchain.is_usable() {
        add_target(&name)?;
    }
    // rustup believes its own notes, even where files are gone.
    ensure!(toolchain.is_usable(), "rustup says that the target is there, but it is not");
    Ok(toolchain)
}

fn add_target(name: &str) -> Result<()> {
    let step = Step::start(format!("Adding Rust's target {TARGET} with rustup"));
    let mut add = Command::new("rustup");
    add.args(["target", "add", "--toolchain", name, TARGET]).env("RUSTUP_MAX_RETRIES", "1");
    match process::run_within(&step, &mut add, RUSTUP_LIMIT) {
        Ok(()) => {
            step.done();
            Ok(())
        }
        Err(error) => {
            step.ended("not to be had; taking Debian's Rust");
            Err(error)
        }
    }
}

impl Toolchain {
    fn parse(text: &str) -> Option<Self> {
        match text.lines().collect::<Vec<_>>()[..] {
            ["debian"] => Some(Self::Debian),
            ["rustup", name, sysroot] => Some(Self::Rustup { name: name.to_owned(), sysroot: sysroot.into() }),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Debian => "debian\n".to_owned(),
            Self::Rustup { name, sysroot } => format!("rustup\n{name}\n{}\n", sysroot.display()),
        }
    }

    /// Debian's can be installed when need be; rustup's must still have the target.
    fn is_usable(&self) -> bool {
        match self {
            Self::Debian => true,
            Self::Rustup { sysroot, .. } => sysroot.join("lib/rustlib").join(TARGET).is_dir(),
        }
    }

    /// An error if a program of it is missing in spite of everything.
    pub fn check(&self) -> Result<()> {
        let program = self.cargo("build");
        if matches!(self, Self::Debian) && !Path::new(program.get_program()).exists() {
            bail!("no {} after installing it", program.get_program().display());
        }
        Ok(())
    }

    /// `cargo SUBCOMMAND` by this toolchain; [`Self::target_arguments`] go after it.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self {
            Self::Rustup { name, .. } => {
                let mut command = Command::new("rustup");
                command.args(["run", name, "cargo", subcommand]);
                command
            }
            Self::Debian => debian_cargo(subcommand),
        };
        // Left by the cargo (of perhaps another toolchain) that started this program.
        for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
            command.env_remove(variable);
        }
        if matches!(self, Self::Debian) {
            command.env("CARGO", "/usr/bin/cargo");
        }
        let linker = if matches!(self, Self::Debian) { "ld.lld" } else { "rust-lld" };
        if let Ok(program) = env::current_exe() {
            command.env(LINKER, program).env(link::VARIABLE, linker);
        }
        command.current_dir(paths::workspace());
        command.arg("--target-dir").arg(paths::bare_metal());
        command
    }

    /// cargo's arguments that select the target.
    pub fn target_arguments(&self) -> &'static [&'static str] {
        const WITH_CORE: [&str; 4] =
            ["--target", TARGET, "-Zbuild-std=core,alloc", "-Zbuild-std-features=compiler-builtins-mem"];
        match self {
            Self::Rustup { .. } => &WITH_CORE[..2],
            Self::Debian => &WITH_CORE,
        }
    }
}

/// Debian's cargo by its full path: rustup's proxies come first on many paths.
fn debian_cargo(subcommand: &str) -> Command {
    let program = match subcommand {
        "clippy" => "/usr/bin/cargo-clippy",
        _ => "/usr/bin/cargo",
    };
    let mut command = Command::new(program);
    command.arg(subcommand);
    // The core library of a stable compiler can be built only with its unstable options unlocked.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", "/usr/bin/rustc");
    command.env("RUSTDOC", "/usr/bin/rustdoc");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_choice_leaves_a_linked_copy_as_it_was() {
        let folder = tempfile::tempdir().expect("temporary");
        let (note, copy) = (folder.path().join("note"), folder.path().join("copy"));
        keep(&note, "one").expect("kept");
        fs::hard_link(&note, &copy).expect("linked");
        keep(&note, "two").expect("kept");
        assert_eq!(fs::read_to_string(note).expect("there"), "two");
        assert_eq!(fs::read_to_string(copy).expect("there"), "one");
    }

    #[test]
    fn the_note_of_the_choice_is_read_back() {
        let rustup = Toolchain::Rustup { name: "stable-x".into(), sysroot: "/s y/t".into() };
        for toolchain in [rustup, Toolchain::Debian] {
            assert_eq!(Toolchain::parse(&toolchain.to_text()), Some(toolchain));
        }
        assert_eq!(Toolchain::parse("rustup\nonly-a-name\n"), None);
        assert_eq!(Toolchain::parse(""), None);
    }

    #[test]
    fn only_debians_rust_builds_the_core_library() {
        let rustup = Toolchain::Rustup { name: "stable".into(), sysroot: "/none".into() };
        assert_eq!(rustup.target_arguments(), ["--target", TARGET]);
        assert!(Toolchain::Debian.target_arguments().contains(&"-Zbuild-std=core,alloc"));
        assert!(!rustup.is_usable());
    }
}
