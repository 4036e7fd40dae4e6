//! The VMs against each other.

use super::description::{Device, DeviceKind, System, Vm};
use super::layout::{AddressSpace, Claim};
use super::problem::{At, Result};
use tessera_abi::manifest as abi;

/// Names, devices, interrupts and machine addresses that two VMs cannot both have.
pub(super) fn check(system: &System) -> Result<()> {
    if let Some(surplus) = system.vms.get(abi::MAX_VMS) {
        return Err(surplus.name.problem(format!("more than {} VMs", abi::MAX_VMS)));
    }
    names(&system.vms)?;
    machine_addresses(&system.vms)?;
    system.vms.iter().try_for_each(interrupts_in)?;
    interrupts_between(&system.vms)
}

/// What a VM must see is what the board has, if it is known.
pub(super) fn gic(system: &System, board: Option<u64>) -> Result<()> {
    let Some(board) = board else { return Ok(()) };
    match system.vms.iter().filter_map(|vm| vm.gic_version.as_ref()).find(|wanted| wanted.value != board) {
        None => Ok(()),
        Some(wanted) => {
            let problem = wanted.problem(format!("the machine has a GICv{board}"));
            Err(problem.help("leave `gic` out and use an image for this version, or use another machine"))
        }
    }
}

fn names(vms: &[Vm]) -> Result<()> {
    for (position, vm) in vms.iter().enumerate() {
        if vms.iter().take(position).any(|earlier| earlier.name.value == vm.name.value) {
            let problem = vm.name.problem(format!("there are two VMs called `{}`", vm.name.value));
            return Err(problem.help("rename one"));
        }
    }
    Ok(())
}

/// What is asked for by machine address is given once.
fn machine_addresses(vms: &[Vm]) -> Result<()> {
    let mut machine = AddressSpace::default();
    for vm in vms {
        let name = &vm.name.value;
        for memory in &vm.memory {
            if let Some(start) = memory.value.machine {
                let what = format!("the machine memory of VM `{name}`");
                machine.claim(Claim { start, bytes: memory.value.bytes, what, span: memory.span.clone() })?;
            }
        }
        for (device, start) in passed_through(vm) {
            let what = format!("the machine's device `{}` of VM `{name}`", device.value.name);
            machine.claim(Claim { start, bytes: device.value.bytes, what, span: device.span.clone() })?;
        }
        for registers in &vm.board_devices.found.registers {
            let what = format!("a device of the board that VM `{name}` is given");
            let (start, bytes) = registers.value;
            machine.claim(Claim { start, bytes, what, span: registers.span.clone() })?;
        }
    }
    Ok(())
}

pub(super) fn passed_through(vm: &Vm) -> impl Iterator<Item = (&At<Device>, u64)> {
    vm.devices.iter().filter_map(|device| match device.value.kind {
        DeviceKind::Passthrough { machine, .. } => Some((device, machine)),
        DeviceKind::Pl011 | DeviceKind::Pl031 => None,
    })
}

/// Within a VM an interrupt belongs to one device.
fn interrupts_in(vm: &Vm) -> Result<()> {
    let mut seen: Vec<u64> = vm.console.then_some(vm.layout.uart_interrupt).into_iter().collect();
    let described = vm.devices.iter().flat_map(|device| &device.value.interrupts).map(|one| one.with(one.value.spi));
    for interrupt in described.chain(vm.board_devices.found.interrupts.iter().cloned()) {
        let spi = interrupt.value;
        if seen.contains(&spi) {
            let problem = interrupt.problem(format!("SPI {spi} belongs to another device of this VM"));
            return Err(problem.help("the console's is `layout.uart-interrupt`, 1 by default"));
        }
        seen.push(spi);
    }
    Ok(())
}

/// An interrupt of the machine goes to one VM.
fn interrupts_between(vms: &[Vm]) -> Result<()> {
    let mut given: Vec<(u64, &str)> = Vec::new();
    for vm in vms {
        let described = passed_through(vm).flat_map(|(device, _)| &device.value.interrupts);
        let described = described.map(|one| one.with(one.value.spi));
        for interrupt in described.chain(vm.board_devices.found.interrupts.iter().cloned()) {
            let spi = interrupt.value;
            if let Some((_, other)) = given.iter().find(|(number, _)| *number == spi) {
                let problem = interrupt.problem(format!("SPI {spi} is given to VM `{other}` already"));
                return Err(problem.help("give it to one of them"));
            }
            given.push((spi, &vm.name.value));
        }
    }
    Ok(())
}
