//! Whether what VMs want of the time of cores fits together.

use tessera_abi::manifest as abi;

use super::description::{Core, Cpus, System, Vm};
use super::problem::{At, Result, one_of, time};

/// Cores for one VM alone, budgets, and frames with their windows. Whether the machine has these cores is for `target`.
pub(super) fn check(system: &System) -> Result<()> {
    system.vms.iter().try_for_each(|vm| alone(vm, system))?;
    budgets(&system.vms)?;
    frames(system)
}

/// The cores that a VM lists.
fn listed(vm: &Vm) -> &[At<u64>] {
    match &vm.cpus.value {
        Cpus::Cores(cores) => cores,
        Cpus::Count(_) => &[],
    }
}

fn lists(vm: &Vm, core: u64) -> bool {
    listed(vm).iter().any(|listed| listed.value == core)
}

/// Nobody else is on the cores of a VM that wants them for itself.
fn alone(vm: &Vm, system: &System) -> Result<()> {
    let Some(dedicated) = &vm.scheduling.dedicated else { return Ok(()) };
    if let Some(core) = system.housekeeping.as_ref().filter(|core| lists(vm, core.value)) {
        let problem = core.problem(format!("core {} is VM `{}`'s alone", core.value, vm.name.value));
        return Err(problem.help("choose another core, or remove the VM's `dedicated`"));
    }
    let others = system.vms.iter().filter(|other| other.name.value != vm.name.value);
    for other in others {
        if let Some(core) = listed(vm).iter().find(|core| lists(other, core.value)) {
            let problem = dedicated.problem(format!("VM `{}` is on core {} too", other.name.value, core.value));
            return Err(problem.help("give it another core, or remove `dedicated`"));
        }
    }
    Ok(())
}

/// What VMs are promised of a core is no more than there is.
fn budgets(vms: &[Vm]) -> Result<()> {
    let mut promised = std::collections::BTreeMap::<u64, u128>::new();
    for vm in vms {
        let Some((budget, period)) = &vm.scheduling.budget else { continue };
        for core in listed(vm) {
            let sum = promised.entry(core.value).or_default();
            *sum += share(budget.value, period.value);
            if *sum > share(1, 1) {
                let message = format!("with the VMs before it, that makes more than all of core {}", core.value);
                return Err(budget.problem(message).help("give them less, or longer periods"));
            }
        }
    }
    Ok(())
}

/// The part of a core, rounded down: three thirds are no more than one.
fn share(budget: u64, period: u64) -> u128 {
    (u128::from(budget) << 64) / u128::from(period)
}

fn frames(system: &System) -> Result<()> {
    if let Some(surplus) = system.cores.get(abi::MAX_FRAMES) {
        return Err(surplus.number.problem(format!("more than {} cores with a frame", abi::MAX_FRAMES)));
    }
    for (position, core) in system.cores.iter().enumerate() {
        if system.cores.iter().take(position).any(|earlier| earlier.number.value == core.number.value) {
            let problem = core.number.problem(format!("core {} has a frame already", core.number.value));
            return Err(problem.help("put all its windows into one"));
        }
        windows(core)?;
        owners(core, &system.vms)?;
        everybody_runs(core, &system.vms)?;
    }
    Ok(())
}

/// One after another, within the frame.
fn windows(core: &Core) -> Result<()> {
    let mut free = 0;
    for window in &core.windows {
        let (start, end) = (window.value.start, window.value.end());
        if start < free {
            let message =
                format!("this window begins at {}, the one in front of it ends at {}", time(start), time(free));
            return Err(window.problem(message).help("move or shorten one of them"));
        }
        if end > core.frame.value {
            let message = format!("this window ends at {}, the frame at {}", time(end), time(core.frame.value));
            return Err(window.problem(message).help("make the frame longer, or the window shorter"));
        }
        free = end;
    }
    Ok(())
}

/// Who has windows is on this core.
fn owners(core: &Core, vms: &[Vm]) -> Result<()> {
    let number = core.number.value;
    for name in core.windows.iter().map(|window| &window.value.vm) {
        let Some(vm) = vms.iter().find(|vm| vm.name.value == name.value) else {
            let known = vms.iter().map(|vm| vm.name.value.clone());
            return Err(name.problem(format!("there is no VM `{}`", name.value)).help(one_of(&name.value, known)));
        };
        if !lists(vm, number) {
            let problem = name.problem(format!("VM `{}` is not on core {number}", name.value));
            return Err(problem.help(format!("list the core in the VM's `cpus`, such as `cpus = [{number}]`")));
        }
    }
    Ok(())
}

/// Who is on this core has a window, or time that is lent.
fn everybody_runs(core: &Core, vms: &[Vm]) -> Result<()> {
    if core.lend || core.windows.iter().any(|window| window.value.lend) {
        return Ok(());
    }
    let has_window = |vm: &Vm| core.windows.iter().any(|window| window.value.vm.value == vm.name.value);
    match vms.iter().find(|vm| lists(vm, core.number.value) && !has_window(vm)) {
        None => Ok(()),
        Some(vm) => {
            let message = format!("VM `{}` is on this core, and would never run", vm.name.value);
            let help = "give it a window, or write `lend = true` for a window or for the time that is in none";
            Err(core.number.problem(message).help(help))
        }
    }
}
