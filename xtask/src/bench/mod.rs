//! `cargo xtask bench`: what Tessera costs, in executed instructions, beside the plain machine and its peers.
//! The parts: `operation` (the rows), `machine` (what runs), `counter` (how it counts), `rows` (which run gives which cell),
//! `table`, `json` and `svg` (what is shown), `budget` (what may not rise), `trace` and `attribution` (where the instructions
//! go), `smp` (Linux on two cores), `systems` and `stretches` (several VMs, and EL2 at its longest), `latency` (ticks).

mod attribution;
pub mod budget;
mod counter;
mod figures;
mod image;
mod json;
pub mod latency;
mod linux;
pub mod machine;
pub mod operation;
mod peers;
mod roles;
mod rows;
mod smp;
mod stretches;
mod svg;
mod systems;
mod table;
mod trace;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build::{self, Hypervisor, Profile};
use crate::progress::Step;
use crate::setup;
use attribution::{Breakdown, PARTS};
use budget::Budget;
use operation::{Kind, Operation};
use rows::{Row, Wanted};

/// What `cargo xtask bench` was asked for.
#[derive(Clone, Debug, Default)]
pub struct BenchOptions {
    /// This version of the GIC only.
    pub gic: Option<u32>,
    /// This operation only.
    pub only: Option<String>,
    /// The peers too.
    pub peers: bool,
    /// Linux on two cores too.
    pub smp: bool,
    /// Only how late the ticks of a system with short periods are.
    pub latency: bool,
    /// Fail where a figure of ours exceeds its bound.
    pub check: bool,
    /// Make the bounds what is measured.
    pub write_budget: bool,
    /// Measure ours twice and fail where the figures differ.
    pub twice: bool,
    /// Where the results go besides, for programs.
    pub json: Option<PathBuf>,
    /// Where the chart goes.
    pub svg: Option<PathBuf>,
}

impl BenchOptions {
    fn wanted(&self) -> Result<Wanted> {
        let find = |name: &String| {
            let names: Vec<_> = operation::OPERATIONS.iter().map(|operation| operation.name).collect();
            operation::find(name).with_context(|| format!("no operation `{name}`; there are: {}", names.join(", ")))
        };
        let only = self.only.as_ref().map(find).transpose()?;
        let gics = self.gic.map_or(vec![3, 2], |gic| vec![gic]);
        Ok(Wanted { gics, only, peers: self.peers })
    }

    /// Whether only a verdict is asked for.
    fn is_verdict(&self) -> bool {
        self.check || self.twice || self.write_budget
    }
}

/// Sets up and builds what is missing, measures, and shows; the exit status is that of `--check` and `--twice`.
pub fn bench(options: &BenchOptions) -> Result<ExitCode> {
    let wanted = options.wanted()?;
    let toolchain = setup::ensure(setup::toolchain::Choice::Auto)?;
    let hypervisor = build::all(&toolchain, Profile::Release)?;
    build::counter()?;
    if options.latency {
        return latency(options, &wanted.gics, &hypervisor);
    }
    let rows = rows::measure(&wanted, &hypervisor)?;
    println!("{}", table::render(&rows, wanted.peers));
    if !options.is_verdict() {
        println!("{}", sections(&hypervisor)?);
        println!("{}", where_instructions_go(&wanted, &hypervisor));
    }
    let smp = options.smp.then(|| smp::measure(&wanted.gics, &hypervisor));
    if let Some(rows) = &smp {
        println!("{}", smp::show::render(rows));
    }
    write_files(options, &rows, smp.as_deref())?;
    let mut good = true;
    if options.twice {
        good &= is_repeatable(&wanted, &hypervisor, &rows)?;
    }
    if options.check || options.write_budget {
        good &= keeps_to_the_budget(options, &hypervisor, &rows)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows how late ticks are; with `--check` the exit status says whether one is too late.
fn latency(options: &BenchOptions, gics: &[u32], hypervisor: &Hypervisor) -> Result<ExitCode> {
    let mut good = true;
    for (index, gic) in gics.iter().enumerate() {
        let rows = latency::measure(*gic, hypervisor);
        println!("{}", latency::render(&rows, *gic));
        for why in latency::too_late(&rows) {
            good = false;
            println!("{why}");
        }
        if let Some(path) = options.svg.as_ref().filter(|_| index == 0) {
            fs::write(path, latency::chart(&rows, *gic)).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(if good || !options.check { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_files(options: &BenchOptions, rows: &[Row], smp: Option<&[smp::Row]>) -> Result<()> {
    let write = |path: &PathBuf, text: String| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &options.json {
        write(path, json::render(rows, smp))?;
    }
    if let (Some(path), Some(row)) = (&options.svg, rows.first()) {
        write(path, svg::render(rows, row.gic))?;
    }
    Ok(())
}

/// The image by section, as a line.
fn sections(hypervisor: &Hypervisor) -> Result<String> {
    let sections = image::sections(&hypervisor.elf)?;
    let parts: Vec<_> = sections.iter().map(|(name, bytes)| format!("{name} {}", table::grouped(*bytes))).collect();
    Ok(format!("The image in memory, bytes: {}", parts.join(", ")))
}

/// Measures our columns again; says whether they are the same, and shows what is not.
fn is_repeatable(wanted: &Wanted, hypervisor: &Hypervisor, rows: &[Row]) -> Result<bool> {
    let again = rows::measure_ours(wanted, hypervisor)?;
    let mut same = true;
    for (row, (operation, gic, cell)) in rows.iter().zip(again) {
        if row.ours != cell {
            same = false;
            println!("differs: {} on GICv{gic}: first {:?}, then {cell:?}", operation.name, row.ours);
        }
    }
    println!("{}", if same { "Both runs of Tessera gave the same figures." } else { "The runs of Tessera differ." });
    Ok(same)
}

/// Checks or rewrites the budget.
fn keeps_to_the_budget(options: &BenchOptions, hypervisor: &Hypervisor, rows: &[Row]) -> Result<bool> {
    let path = Budget::path();
    let budget = Budget::read(&path)?;
    let (figures, compiler) = (budget::ours(rows), budget::compiler(&hypervisor.elf)?);
    if options.write_budget {
        fs::write(&path, budget.written(&figures, &compiler).render())?;
        println!("Written: {}", path.display());
        return Ok(true);
    }
    let excess = budget.check(&figures, &compiler);
    match excess.is_empty() {
        true => println!("All figures are within the budget."),
        false => println!("{}", budget::render(&excess)),
    }
    Ok(excess.is_empty())
}

/// Operations whose traps are those of another one, or that have none.
const NOT_TRACED: [&str; 4] = ["vtimer_spin", "eoi", "dir", "page_first_touch"];

/// The parts of each operation's trap, and the functions that take most of it.
fn where_instructions_go(wanted: &Wanted, hypervisor: &Hypervisor) -> String {
    let mut text = String::new();
    let traced: Vec<_> = wanted.operations().filter(|operation| is_traced(operation)).collect();
    for gic in wanted.gics.iter().copied().filter(|_| !traced.is_empty()) {
        let step = Step::start(format!("GICv{gic}: where the instructions go"));
        let shown = step.shown();
        let breakdown = |operation: &&'static Operation| {
            shown(operation.label);
            (*operation, trace::operation(operation.name, gic, hypervisor))
        };
        let breakdowns: Vec<_> = traced.iter().map(breakdown).collect();
        drop(shown);
        step.done();
        text.push_str(&format!("\nWhere the instructions go, GICv{gic} (averages; the guest's own are left out)\n"));
        text.push_str(&breakdown_table(&breakdowns));
    }
    text
}

fn is_traced(operation: &Operation) -> bool {
    !matches!(operation.kind, Kind::Whole | Kind::System) && !NOT_TRACED.contains(&operation.name)
}

fn breakdown_table(breakdowns: &[(&Operation, Result<Breakdown>)]) -> String {
    const FUNCTIONS: usize = 6;
    let headings = ["", "save", "decode", "handle", "restore"].map(str::to_owned).to_vec();
    let mut lines = vec![headings];
    let mut functions = String::new();
    for (operation, breakdown) in breakdowns {
        let mut line = vec![operation.label.to_owned()];
        match breakdown {
            Ok(breakdown) => {
                let part = |part| format!("{:.0}", breakdown.parts.get(&part).copied().unwrap_or_default());
                line.extend(PARTS.map(part));
                let most = breakdown.functions.iter().take(FUNCTIONS);
                let most: Vec<_> = most.map(|(name, count)| format!("{count:.0} {name}")).collect();
                functions.push_str(&format!("  {}: {}\n", operation.label, most.join(", ")));
            }
            Err(why) => line.push(format!("not measured: {why:#}")),
        }
        lines.push(line);
    }
    format!("{}By function:\n{functions}", table::columns(&lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_operation_is_refused_with_the_known_ones() {
        let options = BenchOptions { only: Some("spy".into()), ..Default::default() };
        let error = options.wanted().expect_err("unknown").to_string();
        assert!(error.contains("`spy`") && error.contains("self_sgi"), "{error}");
        let options = BenchOptions { only: Some("spi".into()), gic: Some(2), ..Default::default() };
        let wanted = options.wanted().expect("known");
        assert_eq!((wanted.gics.as_slice(), wanted.operations().count()), ([2].as_slice(), 1));
    }

    #[test]
    fn a_breakdown_that_fails_says_so_in_its_row() {
        let spi = operation::find("spi").expect("known");
        let text = breakdown_table(&[(spi, Err(anyhow::anyhow!("no trap")))]);
        assert!(text.lines().any(|line| line.starts_with("SPI and back") && line.ends_with("not measured: no trap")));
    }
}
