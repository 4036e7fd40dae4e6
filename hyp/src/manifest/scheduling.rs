//! How VMs share the time of cores, and how often they start again: what the manifest says, each value by itself.
//! Whether they fit together is for `sharing`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::abi::{self, node, property as key};
use super::fields::Fields;
use super::parse::index;
use super::{ManifestError, VmConfig};

type Result<T> = core::result::Result<T, ManifestError>;

/// How the vCPUs of a VM share their cores with those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduling {
    /// Who is more urgent runs at once: 0 to [`abi::MAX_PRIORITY`], higher is more urgent.
    pub priority: u8,
    /// Among equals: how long a slice is, in units of [`abi::SLICE_PER_WEIGHT`]; 1 to [`abi::MAX_WEIGHT`].
    pub weight: u8,
    /// How long each of them runs at most in each period, if that is bounded.
    pub budget: Option<TimeBudget>,
    /// Whether nobody else may be on its cores, not even EL2's work for all.
    pub dedicated: bool,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self { priority: abi::DEFAULT_PRIORITY, weight: abi::DEFAULT_WEIGHT, budget: None, dedicated: false }
    }
}

/// Time in each period. Both are [`abi::MIN_TIME`] to [`abi::MAX_TIME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBudget {
    /// At most the period.
    pub time: Duration,
    /// Periods follow each other from the core's start on.
    pub period: Duration,
}

/// How often a VM starts again, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarts {
    /// How often in all; `None`: any number of times.
    pub limit: Option<u32>,
    /// What the second restart in a row waits for; the first waits for nothing, further ones twice as long each.
    pub delay: Duration,
}

impl Default for Restarts {
    fn default() -> Self {
        Self { limit: None, delay: Duration::from_nanos(abi::DEFAULT_RESTART_DELAY) }
    }
}

/// What repeats for ever on a core, from its start on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreFrame {
    /// Which core.
    pub core: usize,
    /// How long the frame is.
    pub length: Duration,
    /// In their order, without overlap, within the length; at least one.
    pub windows: Vec<FrameWindow>,
    /// Time in no window is anybody's; else it is nobody's.
    pub lends: bool,
}

/// Time in a frame for one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameWindow {
    /// Whose it is: an index into [`super::Manifest::vms`].
    pub vm: usize,
    /// Where it begins in the frame.
    pub start: Duration,
    /// How long it is.
    pub length: Duration,
    /// While none of the VM's vCPUs can run, others may; else the core is idle.
    pub lends: bool,
}

impl FrameWindow {
    /// Where it ends in the frame.
    pub fn end(&self) -> Duration {
        self.start.saturating_add(self.length)
    }
}

/// How a VM shares its cores.
pub(super) fn of_vm(fields: &Fields<'_>) -> Result<Scheduling> {
    Ok(Scheduling {
        priority: number(fields, key::PRIORITY, 0..=abi::MAX_PRIORITY)?.unwrap_or(abi::DEFAULT_PRIORITY),
        weight: number(fields, key::WEIGHT, 1..=abi::MAX_WEIGHT)?.unwrap_or(abi::DEFAULT_WEIGHT),
        budget: budget(fields)?,
        dedicated: fields.flag(key::DEDICATED)?,
    })
}

/// How often a VM starts again.
pub(super) fn restarts(fields: &Fields<'_>) -> Result<Restarts> {
    let delay = time(fields, key::RESTART_DELAY, 0..=abi::MAX_TIME)?;
    Ok(Restarts { limit: fields.u32(key::RESTART_LIMIT)?, delay: delay.unwrap_or(Restarts::default().delay) })
}

/// The frames of cores, for `vms`.
pub(super) fn frames(root: &Fields<'_>, vms: &[VmConfig]) -> Result<Vec<CoreFrame>> {
    let cores = root.children_called(node::CORE, abi::MAX_FRAMES)?;
    cores.iter().map(|fields| frame(fields, vms)).collect()
}

fn frame(fields: &Fields<'_>, vms: &[VmConfig]) -> Result<CoreFrame> {
    fields.expect_only(&[key::CORE, key::FRAME, key::LEND], &[node::WINDOW])?;
    let windows = fields.children_called(node::WINDOW, abi::MAX_WINDOWS)?;
    Ok(CoreFrame {
        core: index(given(fields, key::CORE, fields.u32(key::CORE)?)?),
        length: given(fields, key::FRAME, time(fields, key::FRAME, TIMES)?)?,
        windows: windows.iter().map(|fields| window(fields, vms)).collect::<Result<_>>()?,
        lends: fields.flag(key::LEND)?,
    })
}

fn window(fields: &Fields<'_>, vms: &[VmConfig]) -> Result<FrameWindow> {
    fields.expect_only(&[key::VM, key::START, key::LENGTH, key::LEND], &[])?;
    let name = fields.required_str(key::VM)?;
    let vm = vms.iter().position(|vm| vm.name == name).ok_or_else(|| {
        let problem = format!("there is no VM `{}`: name one that there is", name.escape_default());
        fields.error_at(key::VM, problem)
    })?;
    Ok(FrameWindow {
        vm,
        start: given(fields, key::START, time(fields, key::START, 0..=abi::MAX_TIME)?)?,
        length: given(fields, key::LENGTH, time(fields, key::LENGTH, TIMES)?)?,
        lends: fields.flag(key::LEND)?,
    })
}

fn budget(fields: &Fields<'_>) -> Result<Option<TimeBudget>> {
    match (time(fields, key::BUDGET, TIMES)?, time(fields, key::PERIOD, TIMES)?) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(fields.error_at(key::BUDGET, "given without `period`: give both or none")),
        (None, Some(_)) => Err(fields.error_at(key::PERIOD, "given without `budget`: give both or none")),
        (Some(time), Some(period)) if time > period => {
            Err(fields.error_at(key::BUDGET, "longer than `period`: give at most that"))
        }
        (Some(time), Some(period)) => Ok(Some(TimeBudget { time, period })),
    }
}

/// Those of budgets, periods, frames and windows, in nanoseconds.
const TIMES: RangeInclusive<u64> = abi::MIN_TIME..=abi::MAX_TIME;

fn time(fields: &Fields<'_>, property: &str, allowed: RangeInclusive<u64>) -> Result<Option<Duration>> {
    match fields.u64(property)? {
        Some(time) if !allowed.contains(&time) => {
            let problem = format!("{time} ns: give {} to {} ns", allowed.start(), allowed.end());
            Err(fields.error_at(property, problem))
        }
        time => Ok(time.map(Duration::from_nanos)),
    }
}

fn number(fields: &Fields<'_>, property: &str, allowed: RangeInclusive<u8>) -> Result<Option<u8>> {
    let Some(number) = fields.u32(property)? else { return Ok(None) };
    let fitting = u8::try_from(number).ok().filter(|number| allowed.contains(number));
    let problem = || -> String { format!("{number}: give {} to {}", allowed.start(), allowed.end()) };
    fitting.map(Some).ok_or_else(|| fields.error_at(property, problem()))
}

fn given<T>(fields: &Fields<'_>, property: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| fields.error_at(property, "missing"))
}
