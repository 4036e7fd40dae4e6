//! The budget: what each figure of ours may be. `xtask/budget.toml` holds it; a figure above its bound is a regression.
//!
//! Counts are exact for one compiler. Another compiler's code may be longer by [`FOREIGN_PERCENT`] before that counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::figures::{self, Cell, Figures};
use super::operation::{self, Kind, OPERATIONS};
use super::rows::Row;
use super::table::{columns, grouped};
use crate::build;
use crate::paths;

/// By how much a figure may exceed its bound when another compiler than the budget's built the hypervisor.
const FOREIGN_PERCENT: u64 = 25;
/// Linux's figure in the budget: what it takes more than on the plain machine, in millionths. Kernels differ.
const LINUX: &str = "linux_to_init";

/// The bounds of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// For the median.
    pub median: u64,
    /// For the most.
    pub max: u64,
}

/// All bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The version of rustc that built what was measured.
    pub compiler: String,
    /// `gic2` and `gic3`: bounds by operation.
    #[serde(flatten)]
    pub gics: BTreeMap<String, BTreeMap<String, Bound>>,
}

/// One of our figures, as the budget has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// The operation's name.
    pub name: &'static str,
    /// The GIC's version.
    pub gic: u32,
    /// The figures.
    pub cell: Cell,
}

/// The figures of rows as the budget has them.
pub fn ours(rows: &[Row]) -> Vec<Ours> {
    let ours = |row: &Row| Ours {
        name: row.operation.name,
        gic: row.gic,
        cell: if row.operation.name == LINUX { overhead(&row.floor, &row.ours) } else { row.ours.clone() },
    };
    rows.iter().map(ours).collect()
}

/// What `ours` takes more than `floor`, in millionths.
fn overhead(floor: &Cell, ours: &Cell) -> Cell {
    let (Some(plain), Some(figures)) = (floor.figures(), ours.figures()) else {
        return if floor.figures().is_none() { floor.clone() } else { ours.clone() };
    };
    let more = figures.median.saturating_sub(plain.median);
    Cell::Measured(Figures::single(more.saturating_mul(1_000_000) / plain.median.max(1)))
}

/// A figure that is not within its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    name: &'static str,
    gic: u32,
    bound: Option<Bound>,
    cell: Cell,
}

impl Budget {
    /// The budget file.
    pub fn path() -> PathBuf {
        paths::workspace().join("xtask/budget.toml")
    }

    /// Reads the budget file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is no budget", path.display()))
    }

    /// The bound of a figure.
    fn bound(&self, gic: u32, name: &str) -> Option<Bound> {
        self.gics.get(&section(gic))?.get(name).copied()
    }

    /// The figures that are not within their bounds, when `compiler` built what was measured: those that rose, those
    /// that have a bound but could not be measured, and those that have no bound yet.
    pub fn check(&self, figures: &[Ours], compiler: &str) -> Vec<Excess> {
        let percent = if compiler == self.compiler { 0 } else { FOREIGN_PERCENT };
        let allowed = |bound: u64| bound.saturating_add(bound.saturating_mul(percent) / 100);
        let judge = |ours: &Ours| {
            let bound = self.bound(ours.gic, ours.name);
            let good = match (&ours.cell, bound) {
                (Cell::Measured(figures), Some(bound)) => {
                    figures.median <= allowed(bound.median) && figures.max <= allowed(bound.max)
                }
                (Cell::Measured(_), None) | (Cell::Missing(_) | Cell::Inapplicable, Some(_)) => false,
                (Cell::Missing(_) | Cell::Inapplicable, None) => true,
            };
            (!good).then(|| Excess { name: ours.name, gic: ours.gic, bound, cell: ours.cell.clone() })
        };
        figures.iter().filter_map(judge).collect()
    }

    /// The bounds that these figures just meet; figures not among them keep the bounds they have.
    pub fn written(&self, figures: &[Ours], compiler: &str) -> Self {
        let mut budget = Self { compiler: compiler.to_owned(), ..self.clone() };
        for ours in figures {
            if let Cell::Measured(figures) = ours.cell {
                let max = operation::allowance(ours.name).map_or(figures.max, |allowance| figures.max.max(allowance));
                let bound = Bound { median: figures.median, max };
                budget.gics.entry(section(ours.gic)).or_default().insert(ours.name.to_owned(), bound);
            }
        }
        budget
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = format!(
            "# What our figures may be, in executed instructions (bytes for sizes; for {LINUX} the millionths by which\n\
             # it exceeds the plain machine). `cargo xtask bench --check` and `cargo xtask test` fail above a bound.\n\
             # To lower or raise bounds deliberately: `cargo xtask bench --write-budget`, and say why in the commit.\n\
             compiler = \"{}\"\n",
            self.compiler
        );
        for (gic, bounds) in &self.gics {
            let _ = writeln!(text, "\n[{gic}]");
            let in_order = OPERATIONS.iter().filter_map(|operation| bounds.get_key_value(operation.name));
            for (name, Bound { median, max }) in in_order {
                let open = operation::goal(name).filter(|goal| goal < median);
                let open = open.map_or(String::new(), |goal| format!(" # to be less than {goal}"));
                let _ = writeln!(text, "{name} = {{ median = {median}, max = {max} }}{open}");
            }
        }
        text
    }
}

fn section(gic: u32) -> String {
    format!("gic{gic}")
}

/// A table of what rose, and what can be done about it.
pub fn render(excess: &[Excess]) -> String {
    let headings = ["", "", "bound", "median", "bound", "max"].map(str::to_owned).to_vec();
    let line = |excess: &Excess| {
        let name = vec![excess.name.to_owned(), format!("GICv{}", excess.gic)];
        let bound = |pick: fn(Bound) -> u64| excess.bound.map_or("none yet".to_owned(), |bound| grouped(pick(bound)));
        let found = |pick: fn(Figures) -> u64| match &excess.cell {
            Cell::Measured(figures) => grouped(pick(*figures)),
            Cell::Missing(why) => format!("not measured: {why}"),
            Cell::Inapplicable => "-".to_owned(),
        };
        let of_median = [bound(|bound| bound.median), found(|figures| figures.median)];
        let of_max = [bound(|bound| bound.max), found(|figures| figures.max)];
        [name, of_median.to_vec(), of_max.to_vec()].concat()
    };
    let lines: Vec<_> = [headings].into_iter().chain(excess.iter().map(line)).collect();
    format!(
        "Not within the budget (xtask/budget.toml):\n{}If that is meant: cargo xtask bench --write-budget\n",
        columns(&lines)
    )
}

/// The version of the rustc that built a program, as its debug information says.
pub fn compiler(elf: &Path) -> Result<String> {
    const MARK: &[u8] = b"rustc version ";
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let at =
        bytes.windows(MARK.len()).position(|window| window == MARK).context("no compiler in its debug information")?;
    let version = bytes.iter().skip(at.saturating_add(MARK.len())).take_while(|byte| !matches!(byte, b' ' | b')' | 0));
    Ok(version.map(|byte| char::from(*byte)).collect())
}

/// Whether a console of the bench guest is within the budget, for all operations of a kind: for `cargo xtask test`.
pub fn check_console(console: &str, kind: Kind) -> Result<(), String> {
    let text = |error: anyhow::Error| format!("{error:#}");
    let budget = Budget::read(&Budget::path()).map_err(text)?;
    let elf = build::hypervisor_elf(build::Profile::Release);
    check_console_with(&budget, console, kind, &compiler(&elf).map_err(text)?)
}

fn check_console_with(budget: &Budget, console: &str, kind: Kind, compiler: &str) -> Result<(), String> {
    let gic = if console.contains("bench: GICv2") { 2 } else { 3 };
    let cells = figures::read(console, gic).map_err(|why| why.to_string())?;
    let of_kind = OPERATIONS.iter().filter(|operation| operation.kind == kind);
    let cell = |name: &str| cells.get(name).cloned().unwrap_or(Cell::Inapplicable);
    let figures = of_kind.map(|operation| Ours { name: operation.name, gic, cell: cell(operation.name) });
    let excess = budget.check(&figures.collect::<Vec<_>>(), compiler);
    if excess.is_empty() { Ok(()) } else { Err(render(&excess)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        let text = "compiler = \"1.96.0\"\n[gic3]\nspi = { median = 100, max = 200 }\neoi = { median = 1, max = 1 }\n";
        toml::from_str(text).expect("a budget")
    }

    fn ours(name: &'static str, gic: u32, median: u64, max: u64) -> Ours {
        Ours { name, gic, cell: Cell::Measured(Figures { min: 1, median, max }) }
    }

    fn names(figures: &[Ours], compiler: &str) -> Vec<&'static str> {
        budget().check(figures, compiler).into_iter().map(|excess| excess.name).collect()
    }

    #[test]
    fn what_rose_is_found_by_median_and_by_max() {
        assert!(names(&[ours("spi", 3, 100, 200)], "1.96.0").is_empty());
        assert_eq!(names(&[ours("spi", 3, 101, 101)], "1.96.0"), ["spi"]);
        assert_eq!(names(&[ours("spi", 3, 99, 201)], "1.96.0"), ["spi"]);
    }

    #[test]
    fn another_compiler_has_a_quarter_more() {
        assert!(names(&[ours("spi", 3, 125, 250)], "1.90.0").is_empty());
        assert_eq!(names(&[ours("spi", 3, 126, 126)], "1.90.0"), ["spi"]);
    }

    #[test]
    fn what_has_a_bound_must_be_measured_and_what_is_measured_must_have_one() {
        let missing = |gic| Ours { name: "spi", gic, cell: Cell::Missing("why".into()) };
        assert_eq!(names(&[missing(3), missing(2)], "1.96.0"), ["spi"]);
        assert_eq!(names(&[ours("spi", 2, 1, 1)], "1.96.0"), ["spi"]);
        let table = render(&budget().check(&[missing(3), ours("spi", 2, 1, 1)], "1.96.0"));
        assert!(table.contains("not measured: why") && table.contains("none yet"), "{table}");
    }

    #[test]
    fn a_written_budget_is_just_met_and_keeps_other_bounds() {
        let figures = [ours("spi", 3, 300, 400), ours("self_sgi", 2, 7, 8)];
        let written = budget().written(&figures, "1.97.0");
        assert!(written.check(&figures, "1.97.0").is_empty());
        assert_eq!(written.bound(3, "eoi"), Some(Bound { median: 1, max: 1 }));
        assert_eq!(toml::from_str::<Budget>(&written.render()).expect("a budget"), written);
    }

    #[test]
    fn linux_counts_by_what_it_takes_more() {
        let cell = |value| Cell::Measured(Figures::single(value));
        assert_eq!(overhead(&cell(1_000_000), &cell(1_012_000)), cell(12_000));
        assert_eq!(overhead(&cell(10), &cell(9)), cell(0));
        assert_eq!(overhead(&cell(10), &Cell::Missing("x".into())), Cell::Missing("x".into()));
    }

    #[test]
    fn a_console_is_checked_for_all_operations_of_its_kind() {
        let line = |op: &str, median: u64| {
            format!(
                "bench: {{\"op\":\"{op}\",\"gic\":3,\"min\":1,\"median\":{median},\"max\":{median},\"samples\":9}}\n"
            )
        };
        let check = |console: &str| check_console_with(&budget(), console, Kind::Guest, "1.96.0");
        let good = [&line("spi", 100), &line("eoi", 1), "bench: done\n"].concat();
        assert_eq!(check(&good), Ok(()));
        assert!(check(&good.replace(":100", ":101")).expect_err("rose").contains("spi"));
        assert!(check(&good.replace("spi", "xyz")).expect_err("lost").contains("spi"));
        assert!(check("bench: done\n").is_err() && check(&good.replace("done", "")).is_err());
    }

    #[test]
    fn the_repositorys_budget_is_as_xtask_writes_it() {
        let text = fs::read_to_string(Budget::path()).expect("readable");
        assert_eq!(Budget::read(&Budget::path()).expect("a budget").render(), text);
    }

    /// This test's own program stands for the hypervisor.
    #[test]
    fn the_compiler_is_found_in_a_program() {
        let own = std::env::current_exe().expect("a file");
        let version = compiler(&own).expect("debug information");
        assert!(version.starts_with("1.") && version.len() < 20, "{version}");
    }
}
