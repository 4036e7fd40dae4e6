//! The VMs against each other and against the machine they are to run on.

use super::Machine;
use super::description::{Cpus, Device, DeviceKind, System, Vm};
use super::layout::{AddressSpace, Claim};
use super::place::Plan;
use super::problem::{At, Problem, Result, size};
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

fn passed_through(vm: &Vm) -> impl Iterator<Item = (&At<Device>, u64)> {
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

/// Beside guests and archive: EL2, and what the loader leaves between things.
const OVERHEAD: u64 = 128 << 20;
/// Machines have round sizes.
const STEP: u64 = 256 << 20;

/// The machine that `[machine]` describes if it suffices, or one that does.
pub(super) fn machine(system: &System, plans: &[Plan], archive_bytes: u64) -> Result<Machine> {
    let cpus = cpus_needed(&system.vms);
    let memory = memory_needed(plans).max(highest_memory(&system.vms));
    if let Some(given) = &system.machine_cpus
        && given.value < cpus
    {
        let message = format!("the VMs need {cpus} cores, the machine has {}", given.value);
        return Err(given.problem(message).help("give the machine more or the VMs fewer"));
    }
    if let Some(given) = &system.machine_memory
        && given.value < memory.saturating_add(archive_bytes)
    {
        let message = format!(
            "the VMs need {} and their images {} more, the machine has {}",
            size(memory),
            size(archive_bytes.next_multiple_of(1 << 20)),
            size(given.value)
        );
        return Err(given.problem(message).help("give the machine more or the VMs less"));
    }
    let suffices = memory.saturating_add(archive_bytes).saturating_add(OVERHEAD);
    let suffices = suffices.checked_next_multiple_of(STEP).unwrap_or(suffices);
    let cpus = system.machine_cpus.as_ref().map_or(cpus, |given| given.value);
    Ok(Machine {
        cpus: usize::try_from(cpus).map_err(|_| Problem::new(system.span.clone(), "too many cores"))?,
        memory: system.machine_memory.as_ref().map_or(suffices, |given| given.value),
    })
}

/// Cores that are listed, and as many more as are counted.
fn cpus_needed(vms: &[Vm]) -> u64 {
    let mut listed: Vec<u64> = Vec::new();
    let mut counted = 0;
    for vm in vms {
        match &vm.cpus.value {
            Cpus::Count(count) => counted += count,
            Cpus::Cores(cores) => listed.extend(cores.iter().map(|core| core.value)),
        }
    }
    listed.sort_unstable();
    listed.dedup();
    let highest = listed.last().map_or(0, |core| core + 1);
    highest.max(counted + listed.len() as u64)
}

/// Where QEMU's `virt` machine has its RAM.
const RAM: u64 = 0x4000_0000;

/// Memory up to the highest machine address that a VM asks for.
fn highest_memory(vms: &[Vm]) -> u64 {
    let regions = vms.iter().flat_map(|vm| &vm.memory);
    let end = |region: &At<super::description::Memory>| Some(region.value.machine?.saturating_add(region.value.bytes));
    regions.filter_map(end).max().map_or(0, |end| end.saturating_sub(RAM))
}

fn memory_needed(plans: &[Plan]) -> u64 {
    let regions = plans.iter().flat_map(|plan| &plan.memory);
    regions.fold(0, |sum: u64, region| sum.saturating_add(region.bytes))
}
