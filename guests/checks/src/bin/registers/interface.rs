//! The GICv3 CPU interface of this core, while other guests have it: its controls, and what is active and pending there.

use guest_runtime::checks::Outcome;
use guest_runtime::gic::v3;
use guest_runtime::machine::GicVersion;
use guest_runtime::register::{encode, mask_interrupts, read_encoded, write_encoded};
use guest_runtime::{Machine, ensure, ensure_equal, gic, read_register, skip};

use crate::{failed_read, hold, is_odd, read};

/// A control of the interface, and what the even and the odd guest hold in it.
struct Control {
    name: &'static str,
    encoding: u32,
    values: [u64; 2],
}

const fn control(name: &'static str, encoding: u32, even: u64, odd: u64) -> Control {
    Control { name, encoding, values: [even, odd] }
}

/// Five bits of priority, as much as every implementation has (IHI 0069 4.8). The group-1 binary point is above the other.
const CONTROLS: [Control; 6] = [
    control("ICC_PMR_EL1", encode(3, 0, 4, 6, 0), 0xf0, 0x88),
    control("ICC_BPR0_EL1", encode(3, 0, 12, 8, 3), 3, 4),
    control("ICC_BPR1_EL1", encode(3, 0, 12, 12, 3), 6, 5),
    control("ICC_CTLR_EL1", encode(3, 0, 12, 12, 4), 0, 2),
    control("ICC_IGRPEN0_EL1", encode(3, 0, 12, 12, 6), 1, 0),
    control("ICC_IGRPEN1_EL1", encode(3, 0, 12, 12, 7), 0, 1),
];

fn write(control: &Control, value: u64) -> Outcome {
    write_encoded(control.encoding, value).map_err(|fault| failed_read(control.encoding, fault))
}

/// Only what can be written: ICC_CTLR_EL1 tells other things too.
fn written(control: &Control) -> Result<u64, guest_runtime::checks::Failure> {
    Ok(read(control.encoding)? & if control.name == "ICC_CTLR_EL1" { 0b11 } else { 0xff })
}

pub fn interface_survives(machine: &Machine) -> Outcome {
    if machine.gic != GicVersion::V3 {
        skip!("a GICv2 has another interface");
    }
    mask_interrupts();
    for round in 0..2 {
        let index = usize::from(is_odd()) ^ round;
        for control in &CONTROLS {
            write(control, control.values[index])?;
        }
        hold();
        for control in &CONTROLS {
            ensure_equal!(written(control)?, control.values[index], "{}", control.name);
        }
    }
    // Group 0 stays off, and the rest is as every check finds it.
    write_encoded(CONTROLS[4].encoding, 0).map_err(|fault| failed_read(CONTROLS[4].encoding, fault))?;
    v3::init_cpu_interface();
    Ok(())
}

/// One SGI is active and another pending, of other numbers and priorities in each guest: so they are after a while.
pub fn active_interrupt_survives(machine: &Machine) -> Outcome {
    if machine.gic != GicVersion::V3 {
        skip!("a GICv2 has another interface");
    }
    mask_interrupts();
    let (active, pending, priority) = if is_odd() { (3, 9, 0x40) } else { (11, 2, 0x68) };
    gic::start_core(machine);
    for sgi in [active, pending] {
        v3::set_priority(sgi, if sgi == active { priority } else { 0xa0 });
        v3::enable(sgi);
    }
    v3::send_sgi(active, guest_runtime::register::core_index());
    ensure_equal!(gic::acknowledge(machine), Some(active), "the first SGI");
    v3::send_sgi(pending, guest_runtime::register::core_index());
    let before = active_priorities()?;
    hold();
    ensure_equal!(read_register!("icc_rpr_el1") & 0xff, u64::from(priority), "the running priority");
    ensure_equal!(active_priorities()?, before, "ICC_AP1R0_EL1");
    ensure!(before != 0, "no priority is active");
    // The pending one is less urgent than the active one: it comes only when that has ended.
    ensure_equal!(gic::acknowledge(machine), None, "beside the active SGI");
    v3::end(active);
    ensure_equal!(gic::acknowledge(machine), Some(pending), "the second SGI");
    v3::end(pending);
    ensure_equal!(gic::acknowledge(machine), None, "after both SGIs");
    Ok(())
}

/// ICC_AP1R0_EL1: a bit for each group-1 priority that is active.
fn active_priorities() -> Result<u64, guest_runtime::checks::Failure> {
    let encoding = encode(3, 0, 12, 9, 0);
    read_encoded(encoding).map_err(|fault| failed_read(encoding, fault))
}
