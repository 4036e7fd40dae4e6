//! The nodes of devices: emulated, passed through, and the interrupt controller.

use alloc::string::String;
use alloc::vec::Vec;

use tessera_abi::manifest as abi;

use super::Phandles;
use super::blob::{Writer, unit_name};
use crate::manifest::{Device, DeviceKind, VmConfig};

/// The path of the device's node.
pub(super) fn path(device: &Device) -> String {
    ["/", &node_name(device)].concat()
}

fn node_name(device: &Device) -> String {
    unit_name(&device.name, device.ipa)
}

/// What the node of a device passed through has from its addresses and interrupts, whatever else the manifest says.
const GIVEN: [&str; 3] = ["interrupts", "reg", "compatible"];

/// The node of any device but the interrupt controller.
pub(super) fn node<'a>(root: &mut Writer<'a>, device: &'a Device, phandles: Phandles) {
    if matches!(device.kind, DeviceKind::Passthrough { described: false, .. }) {
        return;
    }
    root.node(&node_name(device), |node| {
        match device.kind {
            DeviceKind::Uart { .. } => {
                node.strings("clock-names", &["uartclk", "apb_pclk"]);
                node.cells("clocks", &[phandles.clock, phandles.clock]);
            }
            DeviceKind::RealTimeClock => {
                node.string("clock-names", "apb_pclk");
                node.u32("clocks", phandles.clock);
            }
            DeviceKind::Passthrough { .. } => {}
        }
        if !device.interrupts.is_empty() {
            node.cells("interrupts", &interrupts(device));
        }
        node.double_cells("reg", &[device.ipa, device.bytes]);
        compatible(node, device);
        for (name, value) in device.properties.iter().filter(|(name, _)| !GIVEN.contains(&name.as_str())) {
            node.bytes(name, value);
        }
    });
}

fn compatible(node: &mut Writer, device: &Device) {
    match device.kind {
        DeviceKind::Uart { .. } => node.strings("compatible", &["arm,pl011", "arm,primecell"]),
        DeviceKind::RealTimeClock => node.strings("compatible", &["arm,pl031", "arm,primecell"]),
        DeviceKind::Passthrough { .. } if device.compatible.is_empty() => {}
        DeviceKind::Passthrough { .. } => {
            let names: Vec<&str> = device.compatible.iter().map(String::as_str).collect();
            node.strings("compatible", &names);
        }
    }
}

/// Three cells each: 0 for an SPI, its number, its trigger.
fn interrupts(device: &Device) -> Vec<u32> {
    let trigger = |edge| {
        if edge { abi::TRIGGER_EDGE } else { abi::TRIGGER_LEVEL }
    };
    device.interrupts.iter().flat_map(|one| [0, one.spi, trigger(one.edge)]).collect()
}

/// The interrupt controller, without what we do not offer: no ITS and no GICv2m, so no MSIs.
pub(super) fn gic(root: &mut Writer, config: &VmConfig, version: u8, phandles: Phandles) {
    let gic = config.gic;
    let redistributors = abi::GIC_REDISTRIBUTOR_BYTES.saturating_mul(config.vcpus() as u64);
    let (compatible, frame, bytes) = match version {
        2 => ("arm,cortex-a15-gic", gic.cpu_interface, abi::GIC_CPU_INTERFACE_BYTES),
        _ => ("arm,gic-v3", gic.redistributors, redistributors),
    };
    root.node(&unit_name("intc", gic.distributor), |node| {
        node.u32("phandle", phandles.gic);
        if version != 2 {
            node.u32("#redistributor-regions", 1);
        }
        node.double_cells("reg", &[gic.distributor, abi::GIC_DISTRIBUTOR_BYTES, frame, bytes]);
        node.string("compatible", compatible);
        node.flag("ranges");
        node.u32("#size-cells", 2);
        node.u32("#address-cells", 2);
        node.flag("interrupt-controller");
        node.u32("#interrupt-cells", 3);
    });
}

/// The clock of UART and real-time clock, as QEMU has it, but for `clock-output-names`: see [`Phandles::clock_name`].
pub(super) fn clock(root: &mut Writer, phandles: Phandles) {
    root.node(phandles.clock_name, |clock| {
        clock.u32("phandle", phandles.clock);
        clock.u32("clock-frequency", 24_000_000);
        clock.u32("#clock-cells", 0);
        clock.string("compatible", "fixed-clock");
    });
}
