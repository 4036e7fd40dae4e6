//! The cores and how to start them (Devicetree Specification 0.4, 3.8; Linux binding arm/cpus.yaml).

use crate::affinity::Affinity;
use crate::tree::{BoardError, DeviceNode, Tree};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How a core is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnableMethod {
    /// By a firmware call, PSCI CPU_ON.
    Psci,
    /// By writing the entry address to machine address `release`, then SEV.
    SpinTable {
        /// Where the core, in WFE, looks for its entry address (64 bits).
        release: u64,
    },
    /// In a way that is not known here (or, empty, not said): only the boot core can be so.
    Unknown(String),
}

/// A core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its name in hardware.
    pub affinity: Affinity,
    /// How it is started.
    pub enable: EnableMethod,
    /// Whether it may be used: its `status` is not `fail` (or, without a method to start it, `disabled`).
    pub usable: bool,
    /// What it is, as `arm,cortex-a72`; empty if not said.
    pub compatible: String,
}

/// The cores in tree order. `has_psci`: whether there is firmware to call.
pub(super) fn find(tree: &Tree, has_psci: bool) -> Result<Vec<Core>, BoardError> {
    let missing = || BoardError::new("/cpus", "", "there is no core", "add a cpu node with reg = its MPIDR affinity");
    let parent = tree.by_path("/cpus").ok_or_else(missing)?;
    let mut cores: Vec<Core> = Vec::new();
    for node in parent.children().filter(|node| node.string("device_type") == Some("cpu")) {
        let core = read(node, has_psci)?;
        if cores.iter().any(|other| other.affinity == core.affinity) {
            let problem = format!("there is a second core {}", core.affinity);
            return Err(node.error("reg", problem, "give each core its own MPIDR affinity"));
        }
        cores.push(core);
    }
    if cores.is_empty() { Err(missing()) } else { Ok(cores) }
}

fn read(node: DeviceNode, has_psci: bool) -> Result<Core, BoardError> {
    let value = node.bare_address()?;
    let affinity = Affinity::new(value).ok_or_else(|| {
        node.error("reg", format!("{value:#x} is no core's affinity"), "write MPIDR_EL1 bits 39..32 and 23..0 only")
    })?;
    let enable = enable_method(node, has_psci)?;
    let usable = match node.string("status") {
        // For a core, disabled means stopped until started (Devicetree Specification 0.4, 3.8.1).
        Some("disabled") => !matches!(enable, EnableMethod::Unknown(_)),
        Some(status) => matches!(status, "okay" | "ok"),
        None => node.property("status").is_none(),
    };
    Ok(Core { affinity, enable, usable, compatible: node.string("compatible").unwrap_or("").into() })
}

fn enable_method(node: DeviceNode, has_psci: bool) -> Result<EnableMethod, BoardError> {
    match node.string("enable-method") {
        Some("psci") if has_psci => Ok(EnableMethod::Psci),
        Some("psci") => {
            Err(node.error("enable-method", "the tree describes no PSCI", "add a psci node or use spin-table"))
        }
        Some("spin-table") => match node.u64("cpu-release-addr") {
            Some(release) => Ok(EnableMethod::SpinTable { release }),
            None => Err(node.error("cpu-release-addr", "it is missing or no address", "add the spin table's address")),
        },
        other => Ok(EnableMethod::Unknown(other.unwrap_or("").into())),
    }
}
