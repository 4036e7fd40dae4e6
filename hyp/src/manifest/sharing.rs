//! Whether what VMs want of the time of cores fits together.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::abi::{node, property as key};
use super::{CoreFrame, FrameWindow, Manifest, ManifestError, TimeBudget};

type Result<T> = core::result::Result<T, ManifestError>;

/// Each core has one frame, with windows one after another.
pub(super) fn frames(frames: &[CoreFrame]) -> Result<()> {
    for (position, frame) in frames.iter().enumerate() {
        if frames.iter().take(position).any(|earlier| earlier.core == frame.core) {
            return Err(at(frame, key::CORE, "this core has a frame already: give it one"));
        }
        windows(frame)?;
    }
    Ok(())
}

fn windows(frame: &CoreFrame) -> Result<()> {
    if frame.windows.is_empty() {
        return Err(at(frame, node::WINDOW, "there is none: describe at least one, or remove the frame"));
    }
    let mut earlier: Option<&FrameWindow> = None;
    for window in &frame.windows {
        if earlier.is_some_and(|earlier| window.start < earlier.end()) {
            return Err(at_window(frame, window, key::START, "begins before the window in front of it ends: move it"));
        }
        if window.end() > frame.length {
            return Err(at_window(frame, window, key::LENGTH, "goes beyond the frame: shorten it or move it"));
        }
        earlier = Some(window);
    }
    Ok(())
}

/// All VMs, whose vCPUs have these `cores`, against each other.
pub(super) fn check(manifest: &Manifest, cores: &[Vec<usize>]) -> Result<()> {
    alone(manifest, cores)?;
    budgets(manifest, cores)?;
    manifest.frames.iter().try_for_each(|frame| owners(manifest, frame, cores))
}

/// Whether the VM at `index` has a vCPU on `core`.
fn is_on(cores: &[Vec<usize>], index: usize, core: usize) -> bool {
    cores.get(index).is_some_and(|own| own.contains(&core))
}

/// On the cores of a VM that wants them for itself there is nobody else.
fn alone(manifest: &Manifest, cores: &[Vec<usize>]) -> Result<()> {
    for (index, (vm, own)) in manifest.vms.iter().zip(cores).enumerate().filter(|(_, (vm, _))| vm.scheduling.dedicated)
    {
        let error = |problem| Err(ManifestError::in_vm(&vm.name, key::DEDICATED, problem));
        if let Some(core) = manifest.housekeeping.filter(|core| own.contains(core)) {
            return error(format!("core {core} is the `{}` core: choose another", key::HOUSEKEEPING));
        }
        for (other, config) in manifest.vms.iter().enumerate().filter(|(other, _)| *other != index) {
            if let Some(core) = own.iter().find(|core| is_on(cores, other, **core)) {
                return error(format!("VM `{}` is on core {core} too: give it another", config.name));
            }
        }
    }
    Ok(())
}

/// What VMs are promised of a core is no more than there is.
fn budgets(manifest: &Manifest, cores: &[Vec<usize>]) -> Result<()> {
    for (index, (vm, own)) in manifest.vms.iter().zip(cores).enumerate() {
        let Some(budget) = vm.scheduling.budget else { continue };
        for core in own {
            let earlier = manifest.vms.iter().enumerate().take(index).filter(|(other, _)| is_on(cores, *other, *core));
            let promised: u128 = earlier.filter_map(|(_, other)| other.scheduling.budget).map(share).sum();
            if promised + share(budget) > WHOLE {
                let problem = format!("with those before it that makes more than all of core {core}: give them less");
                return Err(ManifestError::in_vm(&vm.name, key::BUDGET, problem));
            }
        }
    }
    Ok(())
}

/// All of a core's time.
const WHOLE: u128 = 1 << 64;

/// The part of a core, rounded down: three thirds are no more than one. Less than `WHOLE` times the longest period in
/// nanoseconds, which has 34 bits.
fn share(TimeBudget { time, period }: TimeBudget) -> u128 {
    (time.as_nanos() << 64) / period.as_nanos().max(1)
}

/// Who has windows is on this core, and who is on this core has time.
fn owners(manifest: &Manifest, frame: &CoreFrame, cores: &[Vec<usize>]) -> Result<()> {
    for window in &frame.windows {
        if !is_on(cores, window.vm, frame.core) {
            let problem = format!("this VM has no vCPU on core {}: list that core among its `cores`", frame.core);
            return Err(at_window(frame, window, key::VM, problem));
        }
    }
    let lends = frame.lends || frame.windows.iter().any(|window| window.lends);
    let has_time = |index: usize| lends || frame.windows.iter().any(|window| window.vm == index);
    for (index, vm) in manifest.vms.iter().enumerate() {
        if is_on(cores, index, frame.core) && !has_time(index) {
            let problem = format!("VM `{}` has no window and nothing is lent, so it never runs: do either", vm.name);
            return Err(at(frame, node::WINDOW, problem));
        }
    }
    Ok(())
}

fn at(frame: &CoreFrame, place: &str, problem: impl Into<String>) -> ManifestError {
    ManifestError::in_system(format_args!("{}@{:x}/{place}", node::CORE, frame.core), problem.into())
}

fn at_window(frame: &CoreFrame, window: &FrameWindow, property: &str, problem: impl Into<String>) -> ManifestError {
    let place = format!("{}@{:x}/{property}", node::WINDOW, window.start.as_nanos());
    at(frame, &place, problem)
}
