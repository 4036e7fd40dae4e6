//! The machine that a system is to run on, and whether the system fits it.

use std::ops::Range;

use tessera_platform::Span;
use tessera_platform::board::Board;

use super::board_tree::BoardTree;
use super::conflicts::passed_through;
use super::description::{Cpus, System, Vm};
use super::place::Plan;
use super::problem::{At, Problem, Result, size};
use super::{ImageProvider, Machine};

/// How many cores a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// As many as the system says or needs, but no more than this.
    UpTo(u64),
    /// Just this.
    Exactly(u64),
}

/// What is settled of the machine before the system is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As messages name it: "the Raspberry Pi 4".
    pub name: &'static str,
    /// Cores.
    pub cpus: Amount,
    /// Bytes of RAM; None for as many as the system says or needs.
    pub memory: Option<u64>,
    /// How to get more cores, to be read after "or": empty if there is no way.
    pub more_cpus: &'static str,
    /// How to get more RAM, likewise.
    pub more_memory: &'static str,
}

impl Default for Target {
    /// A machine that grows with the system.
    fn default() -> Self {
        Self { name: "the machine", cpus: Amount::UpTo(u64::MAX), memory: None, more_cpus: "", more_memory: "" }
    }
}

/// `remedy`, or another one if there is one.
fn either(remedy: &str, other: &str) -> String {
    if other.is_empty() { remedy.to_owned() } else { format!("{remedy}, or {other}") }
}

/// Beside guests and archive: EL2, and what the loader leaves between things.
const OVERHEAD: u64 = 128 << 20;
/// Machines have round sizes.
const STEP: u64 = 256 << 20;

/// The machine to run it on: what `target` says, what `[machine]` says if that suffices, or what suffices.
pub(super) fn machine(system: &System, plans: &[Plan], archive_bytes: u64, target: &Target) -> Result<Machine> {
    let cpus = cpus(system, target)?;
    let cpus = usize::try_from(cpus).map_err(|_| Problem::new(system.span.clone(), "too many cores"))?;
    Ok(Machine { cpus, memory: memory(system, plans, archive_bytes, target)? })
}

fn cpus(system: &System, target: &Target) -> Result<u64> {
    let needed = cpus_needed(system);
    let given = system.machine_cpus.as_ref();
    match (target.cpus, given) {
        (Amount::UpTo(most), Some(given)) if given.value > most => {
            let problem = given.problem(format!("{} has {most} cores at most", target.name));
            Err(problem.help(either("give it fewer", target.more_cpus)))
        }
        (Amount::UpTo(_), Some(given)) if given.value < needed => {
            housekeeping(system, given.value, target)?;
            let message = format!("the VMs need {needed} cores, the machine has {}", given.value);
            Err(given.problem(message).help("give the machine more or the VMs fewer"))
        }
        (Amount::UpTo(_), Some(given)) => Ok(given.value),
        (Amount::UpTo(most), None) => enough_cpus(system, most, target).map(|()| needed),
        (Amount::Exactly(there), _) => enough_cpus(system, there, target).map(|()| there),
    }
}

/// Listed cores are there, and enough besides for the VMs that only count, in their order.
fn enough_cpus(system: &System, there: u64, target: &Target) -> Result<()> {
    housekeeping(system, there, target)?;
    let listed = listed(&system.vms);
    if let Some(core) = listed.iter().find(|core| core.value >= there) {
        let message =
            format!("there is no core {}: {} has cores 0 to {}", core.value, target.name, there.saturating_sub(1));
        return Err(core.problem(message).help(either("list another core", target.more_cpus)));
    }
    let mut needed = distinct(&listed);
    for vm in &system.vms {
        needed += counted(vm);
        if needed > there {
            let message =
                format!("with VM `{}` that makes {needed} cores, but {} has {there}", vm.name.value, target.name);
            let remedy = "give the VMs fewer, or list cores that they share (`cpus = [0]`)";
            return Err(vm.cpus.problem(message).help(either(remedy, target.more_cpus)));
        }
    }
    Ok(())
}

/// The core that works for all is there, and VMs that have cores for themselves leave it.
fn housekeeping(system: &System, there: u64, target: &Target) -> Result<()> {
    let Some(core) = &system.housekeeping else { return Ok(()) };
    if core.value >= there {
        let message =
            format!("there is no core {}: {} has cores 0 to {}", core.value, target.name, there.saturating_sub(1));
        return Err(core.problem(message).help(either("choose another core", target.more_cpus)));
    }
    let listed = listed(&system.vms);
    let counted: u64 = system.vms.iter().map(counted).sum();
    let is_nobodys = listed.iter().all(|one| one.value != core.value);
    if is_nobodys && distinct(&listed) + counted == there {
        let message = format!("core {} is needed by a VM that has its cores for itself", core.value);
        let help =
            format!("list cores (`cpus = [{}]`) for a VM that can share it, or leave `housekeeping` out", core.value);
        return Err(core.problem(message).help(either(&help, target.more_cpus)));
    }
    Ok(())
}

/// How many cores a VM has for itself, wherever they are.
fn counted(vm: &Vm) -> u64 {
    if let Cpus::Count(count) = vm.cpus.value { count } else { 0 }
}

/// The cores that VMs list.
fn listed(vms: &[Vm]) -> Vec<&At<u64>> {
    let lists = vms.iter().filter_map(|vm| match &vm.cpus.value {
        Cpus::Cores(cores) => Some(cores),
        Cpus::Count(_) => None,
    });
    lists.flatten().collect()
}

fn distinct(cores: &[&At<u64>]) -> u64 {
    cores.iter().map(|core| core.value).collect::<std::collections::BTreeSet<_>>().len() as u64
}

/// Cores that are listed or work for all, and as many more as are counted.
fn cpus_needed(system: &System) -> u64 {
    let mut named = listed(&system.vms);
    named.extend(&system.housekeeping);
    let highest = named.iter().map(|core| core.value + 1).max().unwrap_or(0);
    highest.max(system.vms.iter().map(counted).sum::<u64>() + distinct(&named))
}

fn memory(system: &System, plans: &[Plan], archive_bytes: u64, target: &Target) -> Result<u64> {
    let needed = memory_needed(plans).max(highest_memory(&system.vms)).saturating_add(archive_bytes);
    match (target.memory, &system.machine_memory) {
        (None, Some(given)) if given.value < needed => {
            let message = format!(
                "the VMs need {} and their images {} more, the machine has {}",
                size(needed - archive_bytes),
                size(archive_bytes.next_multiple_of(1 << 20)),
                size(given.value)
            );
            Err(given.problem(message).help("give the machine more or the VMs less"))
        }
        (None, Some(given)) => Ok(given.value),
        (None, None) => {
            let suffices = needed.saturating_add(OVERHEAD);
            Ok(suffices.checked_next_multiple_of(STEP).unwrap_or(suffices))
        }
        (Some(there), _) => enough_memory(&system.vms, plans, archive_bytes, there, target).map(|()| there),
    }
}

/// All memory together, in the order of the VMs, is no more than there is.
fn enough_memory(vms: &[Vm], plans: &[Plan], archive_bytes: u64, there: u64, target: &Target) -> Result<()> {
    let mut needed = archive_bytes;
    for (vm, plan) in vms.iter().zip(plans) {
        needed = needed.saturating_add(memory_needed(std::slice::from_ref(plan)));
        if needed > there {
            let message = format!(
                "with VM `{}` that makes {} of memory and {} for the images, but {} has {}",
                vm.name.value,
                size(needed - archive_bytes),
                size(archive_bytes.next_multiple_of(1 << 20)),
                target.name,
                size(there)
            );
            let place = vm.memory.first().map_or(&vm.name.span, |memory| &memory.span);
            let problem = Problem::new(place.clone(), message);
            return Err(problem.help(either("give the VMs less", target.more_memory)));
        }
    }
    Ok(())
}

/// Where QEMU's `virt` machine has its RAM.
pub const VIRT_RAM: u64 = 0x4000_0000;

/// Memory up to the highest machine address that a VM asks for.
fn highest_memory(vms: &[Vm]) -> u64 {
    let regions = vms.iter().flat_map(|vm| &vm.memory);
    let end = |region: &At<super::description::Memory>| Some(region.value.machine?.saturating_add(region.value.bytes));
    regions.filter_map(end).max().map_or(0, |end| end.saturating_sub(VIRT_RAM))
}

fn memory_needed(plans: &[Plan]) -> u64 {
    let regions = plans.iter().flat_map(|plan| &plan.memory);
    regions.fold(0, |sum: u64, region| sum.saturating_add(region.bytes))
}

/// Machine addresses that a VM asks for, and where in the file.
struct Wanted {
    span: Span,
    place: Range<usize>,
    is_memory: bool,
}

impl Wanted {
    fn new(start: u64, bytes: u64, place: &Range<usize>, is_memory: bool) -> Option<Self> {
        Some(Self { span: Span::new(start, bytes)?, place: place.clone(), is_memory })
    }

    fn problem(&self, message: impl std::fmt::Display) -> Problem {
        Problem::new(self.place.clone(), format!("{:#x} to {:#x} {message}", self.span.start(), self.span.end()))
    }
}

fn wanted(vm: &Vm) -> impl Iterator<Item = Wanted> {
    let memory = vm
        .memory
        .iter()
        .filter_map(|region| Wanted::new(region.value.machine?, region.value.bytes, &region.span, true));
    let devices =
        passed_through(vm).filter_map(|(device, start)| Wanted::new(start, device.value.bytes, &device.span, false));
    memory.chain(devices)
}

/// Memory that is asked for by address is RAM of the machine, devices are not, and EL2 needs none of it itself. What the
/// loader puts into RAM is not known here.
pub(super) fn addresses(
    system: &System,
    machine: Machine,
    provider: &dyn ImageProvider,
    board: &BoardTree<'_>,
) -> Result<()> {
    let wanted: Vec<_> = system.vms.iter().flat_map(wanted).collect();
    let ram = provider.ram(machine.memory);
    let Some(first) = wanted.first().filter(|_| !ram.is_empty()) else { return Ok(()) };
    let board = board.read(&first.place)?.board;
    let target = provider.target();
    wanted.iter().try_for_each(|wanted| in_ram(wanted, &ram, &target).and_then(|()| free(wanted, &board)))
}

fn in_ram(wanted: &Wanted, ram: &[Span], target: &Target) -> Result<()> {
    let within =
        |piece: &Span| wanted.span.end().min(piece.end()).saturating_sub(wanted.span.start().max(piece.start()));
    // Pieces next to each other are one.
    let bytes: u64 = ram.iter().map(within).sum();
    if wanted.is_memory && bytes != wanted.span.size() {
        let pieces: Vec<_> = ram.iter().map(|piece| format!("{:#x} to {:#x}", piece.start(), piece.end())).collect();
        let problem =
            wanted.problem(format!("is not all RAM of {}, which has it at {}", target.name, pieces.join(" and ")));
        return Err(problem.help(either("choose another address", target.more_memory)));
    }
    if !wanted.is_memory && bytes != 0 {
        let help = "give it as memory: `memory = [{ base = ADDRESS, size = SIZE, machine = ADDRESS }]`";
        return Err(wanted.problem("is RAM, not a device").help(help));
    }
    Ok(())
}

fn free(wanted: &Wanted, board: &Board) -> Result<()> {
    let own = board.own_registers();
    if let Some(kept) = own.iter().find(|kept| kept.overlaps(wanted.span)) {
        let message = format!("overlaps what EL2 keeps ({kept}): its interrupt controller, UART or watchdog");
        return Err(wanted.problem(message).help("choose another address"));
    }
    match board.reserved.iter().find(|reserved| reserved.span.overlaps(wanted.span)) {
        Some(reserved) => {
            let message = format!("overlaps what the board keeps ({} {})", reserved.span, reserved.name);
            Err(wanted.problem(message).help("choose another address"))
        }
        None => Ok(()),
    }
}
