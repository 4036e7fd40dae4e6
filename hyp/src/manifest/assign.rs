//! Devices of the board's tree: who is given what, and whether that is safe. Nothing xtask reckoned is believed: all of it
//! is worked out from the tree that the machine was booted with.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;

use tessera_platform::assignment::{Assignment, Conflict, Kept, LeftOut, between, everything_except, with_kept};
use tessera_platform::tree::{DeviceNode, Tree};
use tessera_platform::{IntId, Trigger};

use super::abi::{node, property as key};
use super::{Device, DeviceKind, Interrupt, Manifest, ManifestError, VmConfig, WantedDevices, check};

type Result<T> = core::result::Result<T, ManifestError>;

/// What each VM is given of the devices in `tree`, in the order of the VMs; `None` for those that ask for none. Their
/// registers and interrupts are added to the VMs' devices. `kept` and `kept_ids` are what EL2 keeps.
///
/// # Errors
/// What is not there, disabled, or wanted twice, and what would let a guest out of its memory.
pub fn assign<'tree>(
    manifest: &mut Manifest,
    tree: &'tree Tree<'tree>,
    kept: &[Kept],
    kept_ids: &[IntId],
) -> Result<Vec<Option<Assignment<'tree>>>> {
    let mut assignments = manifest.vms.iter().map(|vm| named(vm, tree)).collect::<Result<Vec<_>>>()?;
    between_vms(&manifest.vms, &assignments)?;
    for (index, vm) in manifest.vms.iter().enumerate() {
        if let Some(all) = all_others(vm, tree, &assignments, kept, kept_ids)?
            && let Some(place) = assignments.get_mut(index)
        {
            *place = Some(all);
        }
    }
    for (vm, assignment) in manifest.vms.iter_mut().zip(&assignments) {
        if let Some(assignment) = assignment {
            refuse(vm, with_kept((&vm.name, assignment), kept, kept_ids))?;
            dma(vm, assignment, tree)?;
            add_devices(vm, assignment);
            check::vm(vm)?;
        }
    }
    Ok(assignments)
}

fn error(vm: &VmConfig, problem: impl Display) -> ManifestError {
    ManifestError::in_vm(&vm.name, key::BOARD_DEVICES, problem)
}

fn refuse(vm: &VmConfig, conflict: Option<Conflict>) -> Result<()> {
    match conflict {
        Some(conflict) => Err(error(vm, format!("{}: {}", conflict.problem, conflict.remedy))),
        None => Ok(()),
    }
}

fn find<'tree>(vm: &VmConfig, paths: &[String], tree: &'tree Tree<'tree>) -> Result<Vec<DeviceNode<'tree>>> {
    let mut found = Vec::new();
    for path in paths {
        let node = tree.by_path(path).filter(|_| path.starts_with('/'));
        let node = node.ok_or_else(|| {
            let problem = format!("`{}` is not in this board's tree: name a device that is", path.escape_default());
            error(vm, problem)
        })?;
        if found.contains(&node) {
            return Err(error(vm, format!("`{}` is listed twice: list it once", path.escape_default())));
        }
        found.push(node);
    }
    Ok(found)
}

fn named<'tree>(vm: &VmConfig, tree: &'tree Tree<'tree>) -> Result<Option<Assignment<'tree>>> {
    match &vm.board_devices.wanted {
        WantedDevices::Named(paths) if !paths.is_empty() => {
            let nodes = find(vm, paths, tree)?;
            let left_out = left_out(vm, tree)?;
            let by_sub_page = find(vm, &vm.board_devices.by_sub_page, tree)?;
            let all = Assignment::new(tree, &nodes, &left_out).and_then(|all| all.by_sub_page(&by_sub_page));
            all.map(Some).map_err(|problem| error(vm, problem))
        }
        _ => Ok(None),
    }
}

fn left_out<'tree>(vm: &VmConfig, tree: &'tree Tree<'tree>) -> Result<Vec<LeftOut<'tree>>> {
    let mut all = Vec::new();
    for (path, property) in &vm.board_devices.left_out {
        for node in find(vm, core::slice::from_ref(path), tree)? {
            all.push(LeftOut::new(node, property).map_err(|problem| error(vm, problem))?);
        }
    }
    Ok(all)
}

fn between_vms(vms: &[VmConfig], assignments: &[Option<Assignment>]) -> Result<()> {
    let mut earlier: Vec<(&str, &Assignment)> = Vec::new();
    for (vm, assignment) in vms.iter().zip(assignments) {
        let Some(assignment) = assignment else { continue };
        let own = (vm.name.as_str(), assignment);
        refuse(vm, earlier.iter().find_map(|other| between(own, *other)))?;
        earlier.push(own);
    }
    Ok(())
}

/// What is left for a VM that wants all but some.
fn all_others<'tree>(
    vm: &VmConfig,
    tree: &'tree Tree<'tree>,
    assignments: &[Option<Assignment<'tree>>],
    kept: &[Kept],
    kept_ids: &[IntId],
) -> Result<Option<Assignment<'tree>>> {
    let WantedDevices::AllExcept(paths) = &vm.board_devices.wanted else { return Ok(None) };
    let except = find(vm, paths, tree)?;
    let others: Vec<&Assignment> = assignments.iter().flatten().collect();
    // The guest's own machine comes first where both are at the same address.
    let own = check::physical_layout(vm).into_iter().filter_map(|placed| {
        let span = tessera_platform::Span::new(placed.span.start, placed.span.bytes)?;
        Some(Kept { owner: "the guest's own machine", span })
    });
    let kept: Vec<Kept> = kept.iter().copied().chain(own).collect();
    let wanted = everything_except(tree, &except, &others, &kept, kept_ids);
    Assignment::new(tree, &wanted, &[]).map(Some).map_err(|problem| error(vm, problem))
}

/// A device that accesses memory by itself does so by machine addresses, past EL2's protection: its guest must know these,
/// and whoever wrote the system must have said so.
fn dma(vm: &VmConfig, assignment: &Assignment, tree: &Tree) -> Result<()> {
    let harmless = find(vm, &vm.board_devices.without_dma, tree)?;
    let Some(master) = assignment.dma_masters().into_iter().find(|node| !harmless.contains(node)) else {
        return Ok(());
    };
    // Memory for firmware too: an image that lies there has its data, and so what its devices are told of, there.
    let Some(elsewhere) = vm.memory.iter().find(|region| region.machine != Some(region.ipa)) else {
        let memory = vm.memory.iter().filter_map(|region| tessera_platform::Span::new(region.ipa, region.bytes));
        let unreached = assignment.out_of_reach(&vm.name, &harmless, &memory.collect::<Vec<_>>());
        return refuse(vm, unreached.map_err(|problem| error(vm, problem))?);
    };
    let problem = format!(
        "{} can access memory by itself, which no SMMU checks: only a VM whose memory is all one to one can have it, and \
         nothing then keeps that VM from reading and writing all of the machine's memory; {}@{:x} is not one to one{}",
        master.path(),
        node::MEMORY,
        elsewhere.ipa,
        if elsewhere.firmware { ": the image lies there, give it memory that is" } else { "" }
    );
    Err(error(vm, problem))
}

/// The registers, at the same addresses as in the machine, and the interrupts, which may be those of a device without
/// registers.
fn add_devices(vm: &mut VmConfig, assignment: &Assignment) {
    let interrupts = assignment.distinct_interrupts().into_iter().filter_map(|interrupt| {
        let edge = interrupt.trigger == Trigger::Edge;
        Some(Interrupt { spi: interrupt.id.number().checked_sub(32)?, edge })
    });
    vm.board_devices.interrupts = interrupts.collect();
    for (spans, by_sub_page) in [(assignment.pages(), false), (assignment.sub_pages(), true)] {
        for span in spans {
            vm.devices.push(registers(span.start(), span.size(), by_sub_page));
        }
    }
}

fn registers(machine: u64, bytes: u64, by_sub_page: bool) -> Device {
    Device {
        name: "board".into(),
        kind: DeviceKind::Passthrough { machine, described: false, by_sub_page },
        ipa: machine,
        bytes,
        interrupts: Vec::new(),
        compatible: Vec::new(),
        properties: Vec::new(),
    }
}
