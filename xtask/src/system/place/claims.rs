//! What of a VM's addresses is taken from the start: RAM, the interrupt controller, devices.

use tessera_abi::manifest as abi;

use super::super::description::{Cpus, Device, DeviceKind, Memory, Vm};
use super::super::layout::Claim;
use super::super::problem::At;

/// A region of RAM.
pub(in super::super) fn ram(memory: &At<Memory>) -> Claim {
    Claim {
        start: memory.value.base,
        bytes: memory.value.bytes,
        what: "the VM's memory".into(),
        span: memory.span.clone(),
    }
}

/// Devices and the interrupt controller.
pub(in super::super) fn devices(vm: &Vm) -> Vec<Claim> {
    let mut claims = interrupt_controller(vm);
    if vm.console {
        claims.push(fixed(vm, "the console's UART", vm.layout.uart, abi::PAGE_BYTES));
    }
    claims.extend(vm.devices.iter().map(device));
    claims.extend(vm.board_devices.found.registers.iter().map(board_registers));
    claims
}

/// Something that the layout places.
fn fixed(vm: &Vm, what: &str, start: u64, bytes: u64) -> Claim {
    let span = vm.layout.span.clone();
    Claim { start, bytes, what: what.into(), span }
}

/// The frames of both versions as long as the board decides which it is.
fn interrupt_controller(vm: &Vm) -> Vec<Claim> {
    let layout = &vm.layout;
    let vcpus = match &vm.cpus.value {
        Cpus::Count(count) => *count,
        Cpus::Cores(cores) => cores.len() as u64,
    };
    let redistributors = abi::GIC_REDISTRIBUTOR_BYTES * vcpus;
    let frames = [
        (None, "the GIC's distributor", layout.gic_distributor, abi::GIC_DISTRIBUTOR_BYTES),
        (Some(2), "the GIC's CPU interface", layout.gic_cpu_interface, abi::GIC_CPU_INTERFACE_BYTES),
        (Some(3), "the GIC's redistributors", layout.gic_redistributors, redistributors),
    ];
    let wanted = vm.gic_version.as_ref().map(|version| version.value);
    let there = |of: Option<u64>| of.is_none() || wanted.is_none() || of == wanted;
    let frames = frames.into_iter().filter(|(of, ..)| there(*of));
    frames.map(|(_, what, start, bytes)| fixed(vm, what, start, bytes)).collect()
}

fn board_registers(registers: &At<(u64, u64)>) -> Claim {
    let (start, bytes) = registers.value;
    Claim { start, bytes, what: "a device of the board".into(), span: registers.span.clone() }
}

fn device(device: &At<Device>) -> Claim {
    let Device { kind, address, bytes, name, .. } = &device.value;
    let what = match kind {
        DeviceKind::Passthrough { .. } => format!("the device `{name}`"),
        DeviceKind::Pl011 | DeviceKind::Pl031 => format!("the emulated {name}"),
    };
    Claim { start: *address, bytes: *bytes, what, span: device.span.clone() }
}
