//! What a run gives: figures, or why there are none; and how the bench guest's lines are read.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The least, the middle and the most of many measurements, in instructions; all alike where there is one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The least.
    pub min: u64,
    /// The middle one.
    pub median: u64,
    /// The most.
    pub max: u64,
}

impl Figures {
    /// One measurement.
    pub const fn single(value: u64) -> Self {
        Self { min: value, median: value, max: value }
    }

    /// Of many measurements.
    pub fn of(mut all: Vec<u64>) -> Option<Self> {
        all.sort_unstable();
        Some(Self { min: *all.first()?, median: *all.get(all.len() / 2)?, max: *all.last()? })
    }
}

/// A cell of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Measured in this call.
    Measured(Figures),
    /// Not measured, and why.
    Missing(String),
    /// There is no such thing to measure.
    Inapplicable,
}

impl Cell {
    /// The figures, if there are any.
    pub fn figures(&self) -> Option<Figures> {
        match self {
            Self::Measured(figures) => Some(*figures),
            Self::Missing(_) | Self::Inapplicable => None,
        }
    }
}

impl From<Result<u64, String>> for Cell {
    fn from(result: Result<u64, String>) -> Self {
        result.map(Figures::single).into()
    }
}

impl From<Result<Figures, String>> for Cell {
    fn from(result: Result<Figures, String>) -> Self {
        match result {
            Ok(figures) => Self::Measured(figures),
            Err(why) => Self::Missing(why),
        }
    }
}

/// What one console said: cells by operation.
pub type Cells = BTreeMap<String, Cell>;

/// What precedes a line for programs.
const MARK: &str = "bench: ";

/// A line for programs.
#[derive(Deserialize)]
struct Line {
    op: String,
    gic: u32,
    missing: Option<String>,
    #[serde(flatten)]
    figures: Option<Figures>,
}

/// Why a console says nothing of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete(pub String);

impl fmt::Display for Incomplete {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The cells in a console's text, where lines may bear the guest's name (`[bench] `) and other things may stand.
///
/// # Errors
/// The guest did not get to its end, or speaks of another version of the GIC.
pub fn read(console: &str, gic: u32) -> Result<Cells, Incomplete> {
    let mut cells = Cells::new();
    let mut done = false;
    for text in console.lines().filter_map(marked) {
        done |= text == "done";
        if let Some(warning) = text.strip_prefix("warning: ") {
            return Err(Incomplete(warning.to_owned()));
        }
        let Ok(line) = serde_json::from_str::<Line>(text) else { continue };
        if line.gic != gic {
            return Err(Incomplete(format!("the guest found GICv{}, not {gic}", line.gic)));
        }
        let cell = match (line.figures, line.missing) {
            (Some(figures), None) => Cell::Measured(figures),
            (_, why) => Cell::Missing(why.unwrap_or_else(|| "the guest's line is incomplete".into())),
        };
        cells.insert(line.op, cell);
    }
    if done { Ok(cells) } else { Err(Incomplete(unfinished(console))) }
}

/// What follows the mark, of a line without or with the name of the guest that measures.
fn marked(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix("[bench] ").unwrap_or(line).strip_prefix(MARK)
}

/// Why the guest did not get to its end, as well as its last lines say.
fn unfinished(console: &str) -> String {
    let error = console.lines().find_map(|line| line.trim().strip_prefix("[tessera] error: "));
    let last = console.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match (error, last) {
        (Some(error), _) => error.to_owned(),
        (None, Some(last)) => format!("the guest stopped after `{last}`"),
        (None, None) => "the guest said nothing".to_owned(),
    }
}

/// The number after `name` in the line that begins with `start`: `first instruction at CNTPCT 12, ...`.
pub fn number_after(console: &str, start: &str, name: &str) -> Option<u64> {
    let line = console.lines().find_map(|line| line.split_once(start))?.1;
    let digits = line.split_once(name)?.1.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[tessera] 1 cores; EL2 keeps 584 KiB: image 512 KiB\r\n\
        [bench] bench: first instruction at CNTPCT 3710186, CNTVCT 3014\r\n\
        [bench] bench: {\"op\":\"spi\",\"gic\":3,\"min\":1,\"median\":2,\"max\":3,\"samples\":1024}\r\n\
        bench: {\"op\":\"eoi\",\"gic\":3,\"missing\":\"fault\"}\r\n\
        [neighbour] bench: {\"op\":\"spi\",\"gic\":3,\"min\":9,\"median\":9,\"max\":9,\"samples\":1024}\r\n\
        [bench] bench: done\r\n";

    #[test]
    fn lines_are_read_with_and_without_the_guests_name_and_a_neighbours_are_not() {
        let cells = read(GOOD, 3).expect("complete");
        assert_eq!(cells.get("spi"), Some(&Cell::Measured(Figures { min: 1, median: 2, max: 3 })));
        assert_eq!(cells.get("eoi"), Some(&Cell::Missing("fault".into())));
        assert_eq!(cells.len(), 2);
    }

    #[test]
    fn a_run_that_did_not_end_gives_no_figure() {
        let cut = GOOD.replace("[bench] bench: done", "[neighbour] bench: done");
        assert!(read(&cut, 3).expect_err("incomplete").0.contains("stopped after"));
        let refused = "[tessera] error: no driver\r\n[tessera] stopped\r\n";
        assert_eq!(read(refused, 2).expect_err("incomplete").0, "no driver");
        assert_eq!(read("", 2).expect_err("incomplete").0, "the guest said nothing");
    }

    #[test]
    fn figures_of_another_machine_are_refused() {
        assert!(read(GOOD, 2).is_err());
        let coarse = format!("bench: warning: the counter has 62500000 Hz\n{GOOD}");
        assert!(read(&coarse, 3).expect_err("coarse").0.contains("62500000"));
    }

    #[test]
    fn a_line_without_all_figures_is_missing() {
        let line = "bench: {\"op\":\"spi\",\"gic\":3,\"min\":1,\"max\":3}\nbench: done\n";
        assert!(matches!(read(line, 3).expect("complete").get("spi"), Some(Cell::Missing(_))));
    }

    #[test]
    fn numbers_are_found_in_other_lines() {
        assert_eq!(number_after(GOOD, "first instruction at", "CNTPCT"), Some(3_710_186));
        assert_eq!(number_after(GOOD, "EL2 keeps", ""), Some(584));
        assert_eq!(number_after(GOOD, "EL3 keeps", ""), None);
    }
}
