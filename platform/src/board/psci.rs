//! Whether there is PSCI firmware and how to call it (Linux binding arm/psci.yaml).

use super::first_of;
use crate::tree::{BoardError, DeviceNode};
use alloc::string::String;

/// The instruction that calls the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// SMC: the firmware is at EL3.
    Smc,
    /// HVC: it is at EL2, so that we are at EL1.
    Hvc,
}

/// Which PSCI the firmware says it is; it may be newer than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciVersion {
    /// 0.1: the tree gives the function numbers.
    V0_1 {
        /// Number of CPU_ON, if there is one.
        cpu_on: Option<u32>,
        /// Number of CPU_OFF, if there is one.
        cpu_off: Option<u32>,
    },
    /// 0.2: function numbers of the SMC calling convention.
    V0_2,
    /// 1.0 or newer.
    V1_0,
}

/// PSCI firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Psci {
    /// How to call it.
    pub conduit: Conduit,
    /// How old it is.
    pub version: PsciVersion,
}

/// `compatible` of PSCI firmware.
pub(super) const MODELS: &[&str] = &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"];

/// The tree's PSCI node, if it has one.
pub(super) fn find(parts: &[DeviceNode]) -> Result<Option<Psci>, BoardError> {
    first_of(parts, MODELS).map(read).transpose()
}

/// The same, for a hypervisor: HVC would call itself.
pub(super) fn find_for_el2(parts: &[DeviceNode]) -> Result<Option<Psci>, BoardError> {
    match find(parts)? {
        Some(Psci { conduit: Conduit::Hvc, .. }) => Err(BoardError::new(
            first_of(parts, MODELS).map_or_else(String::new, DeviceNode::path),
            "method",
            "it is hvc, but that calls EL2, which is where this runs",
            "write \"smc\" if the firmware is at EL3, or take the node out and use spin-table",
        )),
        found => Ok(found),
    }
}

fn read(node: DeviceNode) -> Result<Psci, BoardError> {
    let conduit = match node.string("method") {
        Some("smc") => Conduit::Smc,
        Some("hvc") => Conduit::Hvc,
        _ => {
            return Err(node.error("method", "it is missing or unknown", "write \"smc\" or \"hvc\""));
        }
    };
    let version = if node.is_compatible(&["arm,psci-1.0"]) {
        PsciVersion::V1_0
    } else if node.is_compatible(&["arm,psci-0.2"]) {
        PsciVersion::V0_2
    } else {
        PsciVersion::V0_1 { cpu_on: node.u32("cpu_on"), cpu_off: node.u32("cpu_off") }
    };
    Ok(Psci { conduit, version })
}
