//! `cargo xtask bench --latency`: how late the ticks of a system with a period of one millisecond are, alone and beside
//! others. `systems` says what runs, `chart` draws.
//!
//! A tick is late by what is executed from its deadline to the first instruction of the guest's vector. On one core the
//! guest's own counter says that: QEMU counts an instruction as a tick. Cores that take turns do not have such a counter, so
//! beside a guest on another core each tick counts by what EL2 executes on the ticking core, once the interrupt is there
//! (xtask/counter); what it waits for a lock is bounded by `lock_longest`.

mod chart;
mod systems;

use anyhow::Result;

use super::figures::Figures;
use super::table::{columns, grouped};
use crate::build::Hypervisor;
use crate::progress::Step;

pub use chart::render as chart;
pub use systems::{Beside, chaos, system};

/// What a tick may be late on a core that is shared, in instructions.
const BOUND: u64 = 20_000;

/// One scenario and what it showed.
pub struct Row {
    /// What people read.
    pub label: &'static str,
    /// How late each tick was, in instructions; in one line, why it is not known.
    pub late: Result<Vec<u64>, String>,
}

/// Runs all scenarios with this version of the GIC.
pub fn measure(gic: u32, hypervisor: &Hypervisor) -> Vec<Row> {
    let run = |scenario: &systems::Scenario| {
        let step = Step::start(format!("GICv{gic}: ticks, {}", scenario.label));
        let late = systems::run(scenario, gic, hypervisor);
        match &late {
            Ok(_) => step.done(),
            Err(_) => drop(step),
        }
        Row { label: scenario.label, late }
    };
    systems::SCENARIOS.iter().map(run).collect()
}

/// Whether the guest that ticks says on the console that so many ticks came, and none too late.
pub fn check_console(console: &str, ticks: usize) -> Result<(), String> {
    let late = systems::read(console);
    let most = late.iter().max().copied().unwrap_or_default();
    match late.len() == ticks && most < BOUND {
        true => Ok(()),
        false => Err(format!("{} ticks came, one of them late by {} instructions", late.len(), grouped(most))),
    }
}

/// The least, the middle, what 99 of 100 are not above, and the most.
fn quantiles(late: &[u64]) -> Option<[u64; 4]> {
    let mut sorted = late.to_vec();
    sorted.sort_unstable();
    let Figures { min, median, max } = Figures::of(sorted.clone())?;
    let nearly_all = sorted.get(sorted.len().saturating_mul(99) / 100).copied().unwrap_or(max);
    Some([min, median, nearly_all, max])
}

/// The table people read.
pub fn render(rows: &[Row], gic: u32) -> String {
    let headings = ["", "ticks", "min", "median", "99 %", "max"].map(str::to_owned).to_vec();
    let line = |row: &Row| {
        let mut line = vec![row.label.to_owned()];
        match row.late.as_ref().map(|late| (late.len(), quantiles(late))) {
            Ok((count, Some(quantiles))) => {
                line.push(grouped(count as u64));
                line.extend(quantiles.map(grouped));
            }
            Ok((_, None)) => line.push("not measured: no tick came".to_owned()),
            Err(why) => line.push(format!("not measured: {}", why.lines().next().unwrap_or_default())),
        }
        line
    };
    let lines: Vec<_> = [headings].into_iter().chain(rows.iter().map(line)).collect();
    format!("\nTicks of a period of 1 ms, GICv{gic}: late by so many instructions\n{}", columns(&lines))
}

/// The scenarios whose worst tick is later than it may be, or is not known.
pub fn too_late(rows: &[Row]) -> Vec<String> {
    let judge = |row: &Row| match row.late.as_ref().map(|late| late.iter().max().copied()) {
        Ok(Some(most)) if most < BOUND => None,
        Ok(Some(most)) => Some(format!("{}: a tick is late by {} instructions", row.label, grouped(most))),
        Ok(None) => Some(format!("{}: no tick came", row.label)),
        Err(why) => Some(format!("{}: {why}", row.label)),
    };
    rows.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(late: Result<Vec<u64>, String>) -> Row {
        Row { label: "alone", late }
    }

    #[test]
    fn ticks_are_told_by_their_quantiles() {
        let late: Vec<u64> = (1..=1000).rev().collect();
        assert_eq!(quantiles(&late), Some([1, 501, 991, 1000]));
        assert_eq!(quantiles(&[]), None);
        assert!(render(&[row(Ok(late))], 3).contains("991"));
    }

    #[test]
    fn ticks_that_are_late_or_missing_are_noticed_on_the_console() {
        let console = |last: u64| format!("[bench] bench: late 410 187\r\n[bench] bench: late {last}\r\n");
        assert_eq!(check_console(&console(BOUND - 1), 3), Ok(()));
        assert!(check_console(&console(BOUND), 3).is_err() && check_console(&console(1), 4).is_err());
    }

    #[test]
    fn a_tick_that_is_too_late_is_named() {
        assert!(too_late(&[row(Ok(vec![1, BOUND - 1]))]).is_empty());
        assert_eq!(too_late(&[row(Ok(vec![BOUND, 1]))]), ["alone: a tick is late by 20,000 instructions"]);
        assert_eq!(too_late(&[row(Err("why".into())), row(Ok(vec![]))]), ["alone: why", "alone: no tick came"]);
    }
}
