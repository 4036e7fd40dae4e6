//! The generic timer (Linux binding timer/arm,arch_timer.yaml).

use super::first_of;
use crate::interrupt_id::Interrupt;
use crate::tree::{BoardError, DeviceNode};

/// The private interrupts of the generic timer, and its frequency where the tree overrides CNTFRQ_EL0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Of the secure EL1 physical timer; not ours to use.
    pub secure_physical: Option<Interrupt>,
    /// Of the non-secure EL1 physical timer (CNTP).
    pub physical: Interrupt,
    /// Of the virtual timer (CNTV).
    pub virtual_timer: Interrupt,
    /// Of the EL2 physical timer (CNTHP).
    pub hypervisor: Interrupt,
    /// Frequency in Hz, where CNTFRQ_EL0 cannot be believed.
    pub frequency: Option<u32>,
}

/// The timers in the order that the binding gives them where it does not name them.
const NAMES: [&str; 4] = ["sec-phys", "phys", "virt", "hyp-phys"];

/// `compatible` of the generic timer.
pub(super) const MODELS: &[&str] = &["arm,armv8-timer", "arm,armv7-timer"];

/// The tree's timer node.
pub(super) fn find(parts: &[DeviceNode]) -> Result<Timer, BoardError> {
    let node = first_of(parts, MODELS).ok_or_else(|| {
        BoardError::new("/timer", "", "there is no generic timer", "add a node compatible with arm,armv8-timer")
    })?;
    let interrupts = node.interrupts()?;
    let interrupt = |which: usize| interrupts.get(position(node, which)?).copied().filter(|each| each.id.is_private());
    let needed = |which: usize| {
        interrupt(which).ok_or_else(|| {
            node.error("interrupts", "a timer's private interrupt is missing", "list sec-phys, phys, virt and hyp-phys")
        })
    };
    let frequency = node.u32("clock-frequency").filter(|&frequency| frequency > 0);
    Ok(Timer {
        secure_physical: interrupt(0),
        physical: needed(1)?,
        virtual_timer: needed(2)?,
        hypervisor: needed(3)?,
        frequency,
    })
}

/// Which entry of `interrupts` is timer number `which` of [`NAMES`].
fn position(node: DeviceNode, which: usize) -> Option<usize> {
    if node.property("interrupt-names").is_none() {
        return Some(which);
    }
    let name = NAMES.get(which)?;
    node.strings("interrupt-names").position(|each| each == *name)
}
