//! How VMs share the time of cores: each value by itself.

use std::ops::RangeInclusive;

use tessera_abi::manifest as abi;

use super::super::description::{Core, Scheduling, Window};
use super::super::problem::{self, At, Problem, Result};
use super::super::table::{Table, Value};

/// The core that works for all.
pub(super) fn housekeeping(root: &Table<'_>) -> Result<Option<At<u64>>> {
    let core = root.integer("housekeeping")?;
    core.iter().try_for_each(is_core)?;
    Ok(core)
}

/// There may be machines that have this core.
pub(super) fn is_core(core: &At<u64>) -> Result<()> {
    if core.value > u64::from(u16::MAX) {
        return Err(core.problem(format!("no machine has a core {}", core.value)));
    }
    Ok(())
}

/// How a VM shares its cores.
pub(super) fn of_vm(table: &Table<'_>) -> Result<Scheduling> {
    Ok(Scheduling {
        priority: number(table, "priority", 0..=abi::MAX_PRIORITY.into())?,
        weight: number(table, "weight", 1..=abi::MAX_WEIGHT.into())?,
        budget: budget(table)?,
        dedicated: table.boolean("dedicated")?.filter(|dedicated| dedicated.value),
    })
}

fn budget(table: &Table<'_>) -> Result<Option<(At<u64>, At<u64>)>> {
    match (time(table, "budget", TIMES)?, time(table, "period", TIMES)?) {
        (None, None) => Ok(None),
        (Some(budget), None) => {
            let problem = budget.problem("a `budget` without a `period`");
            Err(problem.help("say how often there is so much time: `period = \"10ms\"`"))
        }
        (None, Some(period)) => {
            let problem = period.problem("a `period` without a `budget`");
            Err(problem.help("say how much time there is in each: `budget = \"2ms\"`"))
        }
        (Some(budget), Some(period)) if budget.value > period.value => {
            let (budget_is, period_is) = (problem::time(budget.value), problem::time(period.value));
            let problem = budget.problem(format!("a budget of {budget_is} in a period of {period_is}"));
            Err(problem.help("give at most the period, or leave both out"))
        }
        (Some(budget), Some(period)) => Ok(Some((budget, period))),
    }
}

/// A `[[core]]`.
pub(super) fn core(value: Value<'_>) -> Result<Core> {
    let table = Table::from(value, "[[core]]", &["number", "frame", "windows", "lend"])?;
    let number = table.required("number", table.integer("number")?)?;
    is_core(&number)?;
    let windows = table.array("windows")?;
    if windows.is_empty() || windows.len() > abi::MAX_WINDOWS {
        let place = table.get("windows").map_or(table.head(), |value| value.span());
        let problem = Problem::new(place, format!("a frame has 1 to {} windows", abi::MAX_WINDOWS));
        return Err(problem.help("write `windows = [{ vm = \"...\", start = \"0ms\", length = \"5ms\" }]`"));
    }
    let mut windows = windows.into_iter().map(window).collect::<Result<Vec<_>>>()?;
    windows.sort_by_key(|window| window.value.start);
    Ok(Core {
        number,
        frame: table.required("frame", time(&table, "frame", TIMES)?)?,
        windows,
        lend: table.boolean("lend")?.is_some_and(|lend| lend.value),
    })
}

fn window(value: Value<'_>) -> Result<At<Window>> {
    let table = Table::from(value, "a window", &["vm", "start", "length", "lend"])?;
    let window = Window {
        vm: table.required("vm", table.string("vm")?)?,
        start: table.required("start", time(&table, "start", 0..=abi::MAX_TIME)?)?.value,
        length: table.required("length", time(&table, "length", TIMES)?)?.value,
        lend: table.boolean("lend")?.is_some_and(|lend| lend.value),
    };
    Ok(At::new(window, value.span()))
}

/// Those of budgets, periods, frames and windows, in nanoseconds.
const TIMES: RangeInclusive<u64> = abi::MIN_TIME..=abi::MAX_TIME;

/// A time, in nanoseconds.
pub(super) fn time(table: &Table<'_>, key: &str, allowed: RangeInclusive<u64>) -> Result<Option<At<u64>>> {
    let time = table.time(key)?;
    match &time {
        Some(time) if !allowed.contains(&time.value) => {
            let (least, most) = (problem::time(*allowed.start()), problem::time(*allowed.end()));
            Err(time.problem(format!("`{key}` must be {least} to {most}, not {}", problem::time(time.value))))
        }
        _ => Ok(time),
    }
}

/// A number of so many.
pub(super) fn number(table: &Table<'_>, key: &str, allowed: RangeInclusive<u64>) -> Result<Option<At<u64>>> {
    let number = table.integer(key)?;
    match &number {
        Some(number) if !allowed.contains(&number.value) => {
            let (least, most) = (allowed.start(), allowed.end());
            Err(number.problem(format!("`{key}` must be {least} to {most}, not {}", number.value)))
        }
        _ => Ok(number),
    }
}
