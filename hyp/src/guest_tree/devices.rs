//! The nodes of devices: emulated, passed through, and the interrupt controller.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::model::DeviceTreeNode;
use tessera_abi::manifest as abi;

use super::node::{Builder, cells};
use super::{CLOCK_PHANDLE, GIC_PHANDLE};
use crate::manifest::{Device, DeviceKind, VmConfig};

/// The path of the device's node.
pub(super) fn path(device: &Device) -> String {
    format!("/{}", node_name(device))
}

fn node_name(device: &Device) -> String {
    format!("{}@{:x}", device.name, device.ipa)
}

/// The node of any device but the interrupt controller.
pub(super) fn node(device: &Device) -> DeviceTreeNode {
    let mut node = Builder::new(&node_name(device));
    match device.kind {
        DeviceKind::Uart { .. } => {
            node = node
                .strings("clock-names", &["uartclk", "apb_pclk"])
                .property("clocks", [CLOCK_PHANDLE, CLOCK_PHANDLE]);
        }
        DeviceKind::RealTimeClock => {
            node = node.string("clock-names", "apb_pclk").u32("clocks", CLOCK_PHANDLE);
        }
        DeviceKind::Passthrough { .. } => {}
    }
    if !device.interrupts.is_empty() {
        node = node.property("interrupts", interrupts(device));
    }
    node = node.property("reg", cells(&[device.ipa, device.bytes]));
    let compatible: Vec<&str> = compatible(device);
    if !compatible.is_empty() {
        node = node.strings("compatible", &compatible);
    }
    for (name, value) in &device.properties {
        node = node.property(name, value.as_slice());
    }
    node.build()
}

fn compatible(device: &Device) -> Vec<&str> {
    match device.kind {
        DeviceKind::Uart { .. } => ["arm,pl011", "arm,primecell"].into(),
        DeviceKind::RealTimeClock => ["arm,pl031", "arm,primecell"].into(),
        DeviceKind::Passthrough { .. } => device.compatible.iter().map(String::as_str).collect(),
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
pub(super) fn gic(config: &VmConfig, version: u8) -> DeviceTreeNode {
    let gic = config.gic;
    let redistributors = abi::GIC_REDISTRIBUTOR_BYTES.saturating_mul(config.vcpus() as u64);
    let node = Builder::new(&format!("intc@{:x}", gic.distributor)).u32("phandle", GIC_PHANDLE);
    let (compatible, frame, bytes) = match version {
        2 => ("arm,cortex-a15-gic", gic.cpu_interface, abi::GIC_CPU_INTERFACE_BYTES),
        _ => ("arm,gic-v3", gic.redistributors, redistributors),
    };
    let reg = cells(&[gic.distributor, abi::GIC_DISTRIBUTOR_BYTES, frame, bytes]);
    let node = match version {
        2 => node,
        _ => node.u32("#redistributor-regions", 1),
    };
    node.property("reg", reg)
        .string("compatible", compatible)
        .flag("ranges")
        .u32("#size-cells", 2)
        .u32("#address-cells", 2)
        .flag("interrupt-controller")
        .u32("#interrupt-cells", 3)
        .build()
}

/// The clock of UART and real-time clock, as QEMU has it.
pub(super) fn clock() -> DeviceTreeNode {
    Builder::new("apb-pclk")
        .u32("phandle", CLOCK_PHANDLE)
        .string("clock-output-names", "clk24mhz")
        .u32("clock-frequency", 24_000_000)
        .u32("#clock-cells", 0)
        .string("compatible", "fixed-clock")
        .build()
}
