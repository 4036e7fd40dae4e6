//! apt with sources, lists and caches of its own under the cache, so that the user's configuration stays untouched.
//! The mirrors are those the user's own apt is configured with; nothing here names one.

use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::system::System;
use crate::paths;
use crate::process;
use crate::progress::Step;

/// Names a Debian mirror where the user's apt knows none (on a system that is like Debian but is not).
pub const MIRROR_VARIABLE: &str = "TESSERA_DEBIAN_MIRROR";

/// The Debian release whose guests are taken where the system itself is no Debian.
const FALLBACK_RELEASE: &str = "bookworm";

/// A private apt for one architecture's packages.
pub struct Apt {
    options: Vec<String>,
    directory: PathBuf,
}

/// Which packages an [`Apt`] is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Packages to install on this machine.
    Host,
    /// Debian's arm64 packages, to be downloaded and unpacked only.
    Guests,
    /// Firmware of boards, to be downloaded and unpacked only: Debian's, which is not free.
    Firmware,
}

/// The component that has boards' firmware.
const FIRMWARE_COMPONENT: &str = "non-free-firmware";

impl Apt {
    /// Prepares the private directories and sources, and fetches the package lists.
    pub fn prepare(step: &Step, system: &System, purpose: Use) -> Result<Self> {
        let sources = sources(system, purpose)?;
        let name = match purpose {
            Use::Host => "host",
            Use::Guests => "guests",
            Use::Firmware => "firmware",
        };
        let directory = paths::cache().join("apt").join(name);
        for part in ["lists/partial", "archives/partial", "sources.d"] {
            fs::create_dir_all(directory.join(part))?;
        }
        fs::write(directory.join("sources.list"), sources)?;
        let apt = Self { options: options(&directory, purpose), directory };
        // One unreachable source is no reason to stop: what is then missing fails by name.
        if let Err(error) = process::run(step, apt.command("apt-get").arg("update")) {
            step.shown()(&error.to_string());
        }
        Ok(apt)
    }

    /// `apt-get` or `apt-cache` on the private state.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command
    }

    /// The version that would be installed, from `release` if given.
    pub fn candidate(&self, package: &str) -> Option<String> {
        let policy = process::output(self.command("apt-cache").args(["policy", package])).ok()?;
        let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        (version != "(none)").then(|| version.to_owned())
    }

    /// The command that installs packages on this machine, from `release` if given, and removes none.
    pub fn install(&self, packages: &[&str], release: Option<&str>) -> Command {
        let mut install = self.command("apt-get");
        install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]);
        if let Some(release) = release {
            install.args(["-t", release]);
        }
        install.args(packages);
        install
    }

    /// Downloads packages (without what they depend on) and unpacks them into `into`.
    pub fn unpack(&self, step: &Step, packages: &[&str], into: &std::path::Path) -> Result<()> {
        let downloads = tempfile::tempdir_in(&self.directory)?;
        let mut download = self.command("apt-get");
        download.arg("download").args(packages).current_dir(downloads.path());
        process::run(step, &mut download)?;
        fs::create_dir_all(into)?;
        for entry in fs::read_dir(downloads.path())? {
            let mut unpack = Command::new("dpkg-deb");
            process::run(step, unpack.arg("-x").arg(entry?.path()).arg(into))?;
        }
        Ok(())
    }
}

/// apt options that keep everything but the installed packages' status to `directory`.
fn options(directory: &std::path::Path, purpose: Use) -> Vec<String> {
    let at = |part: &str| directory.join(part).display().to_string();
    let mut settings = vec![
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        format!("Dir::Etc::sourceparts={}", at("sources.d")),
        format!("Dir::State::Lists={}", at("lists")),
        format!("Dir::Cache::archives={}", at("archives")),
        "Dir::Cache::pkgcache=".to_owned(),
        "Dir::Cache::srcpkgcache=".to_owned(),
        // The download user cannot read a directory of the user's home.
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::Retries=3".to_owned(),
        "DPkg::Lock::Timeout=120".to_owned(),
    ];
    if purpose != Use::Host {
        settings.push("APT::Architecture=arm64".to_owned());
        settings.push("APT::Architectures=arm64".to_owned());
        settings.push("Dir::State::status=/dev/null".to_owned());
    }
    settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect()
}

/// Runs commands as root, through sudo if need be; where neither is possible, an error that shows what to type.
pub fn run_as_root(step: &Step, commands: Vec<Command>) -> Result<()> {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root && process::find("sudo").is_none() {
        let lines: Vec<_> = commands.iter().map(|command| format!("  {}", process::describe(command))).collect();
        bail!("packages are missing; as root, run:\n{}", lines.join("\n"));
    }
    for command in commands {
        process::run(step, &mut if is_root { command } else { by_sudo(&command) })?;
    }
    Ok(())
}

fn by_sudo(command: &Command) -> Command {
    let mut sudo = Command::new("sudo");
    if !std::io::stdin().is_terminal() {
        sudo.arg("--non-interactive");
    }
    sudo.args(["env", "DEBIAN_FRONTEND=noninteractive"]);
    sudo.arg(command.get_program()).args(command.get_args());
    sudo
}

/// One package source of the user's apt: where, which release, which component.
type Source = (String, String, String);

/// The private sources file's text.
fn sources(system: &System, purpose: Use) -> Result<String> {
    let release = &system.codename;
    let mut sources = match purpose {
        Use::Guests | Use::Firmware if !system.is_debian() => debian_elsewhere()?,
        _ => own_sources(&index_targets()?, release),
    };
    if purpose == Use::Firmware {
        sources = of_component(&sources, FIRMWARE_COMPONENT);
    }
    if purpose == Use::Host && system.is_debian() {
        sources.extend(backports(&sources, release));
    }
    if sources.is_empty() {
        bail!("apt knows no source of {} {release}: see `apt-get indextargets`", system.id);
    }
    Ok(sources.iter().map(line).collect())
}

/// What the user's apt would fetch, a `|`-separated line each. Who made it is known only of what has been fetched, but a
/// fresh system has fetched nothing: so everything is asked for twice.
fn index_targets() -> Result<String> {
    let format = "$(SITE)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(IDENTIFIER)";
    let list = |options: &[&str]| {
        let mut list = Command::new("apt-get");
        process::output(list.args(["indextargets", "--format", format]).args(options))
    };
    Ok(list(&[])? + &list(&["--no-release-info"])?)
}

/// The release's own sources among the user's, as [`index_targets`] lists them.
fn own_sources(targets: &str, release: &str) -> BTreeSet<Source> {
    let parts = ["", "-updates", "-security", "/updates"];
    let is_own =
        |name: &str| [release, "stable"].iter().any(|base| parts.iter().any(|part| name == format!("{base}{part}")));
    let is_ours = |origin: &str| origin.starts_with('$') || ["", "Debian", "Ubuntu"].contains(&origin);
    let mut sources = BTreeSet::new();
    let mut others = BTreeSet::new();
    for line in targets.lines() {
        let [site, name, component, origin, "Packages"] = line.split('|').collect::<Vec<_>>()[..] else { continue };
        if is_own(name) && ["main", "universe"].contains(&component) {
            let kind = if is_ours(origin) { &mut sources } else { &mut others };
            kind.insert((site.to_owned(), name.to_owned(), component.to_owned()));
        }
    }
    sources.difference(&others).cloned().collect()
}

/// The backports beside the release itself.
fn backports(sources: &BTreeSet<Source>, release: &str) -> Option<Source> {
    let itself = |source: &&Source| source.1 == release || source.1 == "stable";
    let (site, _, component) = sources.iter().find(itself)?;
    Some((site.clone(), format!("{release}-backports"), component.clone()))
}

/// The same archives' other component.
fn of_component(sources: &BTreeSet<Source>, component: &str) -> BTreeSet<Source> {
    sources.iter().map(|(site, release, _)| (site.clone(), release.clone(), component.to_owned())).collect()
}

fn debian_elsewhere() -> Result<BTreeSet<Source>> {
    let site = std::env::var(MIRROR_VARIABLE).ok().with_context(|| {
        format!("this is no Debian: set {MIRROR_VARIABLE} to a Debian mirror's address (it ends in /debian), and have debian-archive-keyring installed")
    })?;
    Ok([(site, FALLBACK_RELEASE.to_owned(), "main".to_owned())].into())
}

fn line((site, release, component): &Source) -> String {
    let distributor = if component == "universe" || site.contains("ubuntu") { "ubuntu" } else { "debian" };
    let keyring = format!("/usr/share/keyrings/{distributor}-archive-keyring.gpg");
    let option = match std::path::Path::new(&keyring).exists() {
        true => format!("[signed-by={keyring}] "),
        false => String::new(),
    };
    format!("deb {option}{site} {release} {component}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
        scheme:/debian|bookworm|main|Debian|Packages\n\
        scheme:/debian|bookworm|main|Debian|DEP-11\n\
        scheme:/debian|bookworm|contrib|Debian|Packages\n\
        scheme:/debian|bookworm-updates|main|$(ORIGIN)|Packages\n\
        scheme:/security|bookworm-security|main||Packages\n\
        scheme:/other|bookworm|main|Somebody|Packages\n\
        scheme:/other|bookworm|main|$(ORIGIN)|Packages\n\
        scheme:/tools|nodistro|main|$(ORIGIN)|Packages\n";

    #[test]
    fn only_the_distributions_own_sources_are_taken() {
        let sources = own_sources(TARGETS, "bookworm");
        let releases: Vec<_> = sources.iter().map(|source| (&*source.0, &*source.1)).collect();
        assert_eq!(
            releases,
            [
                ("scheme:/debian", "bookworm"),
                ("scheme:/debian", "bookworm-updates"),
                ("scheme:/security", "bookworm-security"),
            ]
        );
    }

    #[test]
    fn backports_come_from_where_the_release_comes_from() {
        let sources = own_sources(TARGETS, "bookworm");
        let expected = ("scheme:/debian".into(), "bookworm-backports".into(), "main".into());
        assert_eq!(backports(&sources, "bookworm"), Some(expected));
        assert_eq!(backports(&BTreeSet::new(), "bookworm"), None);
    }

    #[test]
    fn firmware_comes_from_the_same_archives() {
        let sources = of_component(&own_sources(TARGETS, "bookworm"), FIRMWARE_COMPONENT);
        let lines: String = sources.iter().map(line).collect();
        assert!(lines.contains("scheme:/debian bookworm non-free-firmware\n") && !lines.contains(" main\n"), "{lines}");
    }

    #[test]
    fn guests_packages_are_arm64_and_never_installed_here() {
        let options = options(std::path::Path::new("/x"), Use::Guests);
        assert!(options.contains(&"APT::Architecture=arm64".to_owned()));
        assert!(options.contains(&"Dir::State::status=/dev/null".to_owned()));
        assert!(options.contains(&"Dir::State::Lists=/x/lists".to_owned()));
    }
}
