//! The table people read.

use std::fmt::Write;

use super::figures::Cell;
use super::operation::{Kind, quoted};
use super::rows::Row;

/// Longer reasons are cut in their cell; the whole follows below the table.
const LONGEST_REASON: usize = 28;

/// The table of all rows, one part for each version of the GIC.
pub fn render(rows: &[Row], peers: bool) -> String {
    let mut text = String::new();
    let mut gics: Vec<_> = rows.iter().map(|row| row.gic).collect();
    gics.dedup();
    for gic in gics {
        let rows: Vec<_> = rows.iter().filter(|row| row.gic == gic).collect();
        let lines: Vec<_> = [headings(peers)].into_iter().chain(rows.iter().map(|row| cells(row, peers))).collect();
        let _ = writeln!(text, "\nGICv{gic}, executed instructions (cortex-a72, QEMU -icount shift=0)");
        text.push_str(&columns(&lines));
        text.push_str(&reasons(&rows, peers));
    }
    text.push_str("\nBao and hvisor are quoted, not measured here.\n");
    text
}

fn headings(peers: bool) -> Vec<String> {
    let peers: &[&str] = if peers { &["KVM nVHE", "Xen 4.17"] } else { &[] };
    let all = ["", "floor", "stub", "ours: min", "median", "max"];
    let quoted = ["Bao*", "hvisor*"];
    all.iter().chain(peers).chain(&quoted).map(|heading| (*heading).to_owned()).collect()
}

fn cells(row: &Row, peers: bool) -> Vec<String> {
    let mut cells = vec![row.operation.label.to_owned(), median(&row.floor), median(&row.stub)];
    match row.ours {
        Cell::Measured(figures) if row.operation.kind == Kind::Whole => {
            cells.extend([String::new(), grouped(figures.median), String::new()]);
        }
        Cell::Measured(figures) => cells.extend([figures.min, figures.median, figures.max].map(grouped)),
        _ => cells.extend([median(&row.ours), String::new(), String::new()]),
    }
    if peers {
        cells.extend([median(&row.kvm), median(&row.xen)]);
    }
    let figure = |figure: Option<u64>| figure.map_or("-".to_owned(), grouped);
    cells.extend(quoted(row.operation, row.gic).map(figure));
    cells
}

fn median(cell: &Cell) -> String {
    match cell {
        Cell::Measured(figures) => grouped(figures.median),
        Cell::Missing(why) => format!("not measured: {}", cut(why)),
        Cell::Inapplicable => "-".to_owned(),
    }
}

/// A reason that fits into a cell.
pub fn cut(why: &str) -> String {
    if why.chars().count() <= LONGEST_REASON {
        return why.to_owned();
    }
    why.chars().take(LONGEST_REASON).chain("...".chars()).collect()
}

/// Digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len().saturating_sub(index)).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lines of equally many cells: the first column to the left, the others to the right.
pub fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("  {cell:>width$}"),
        });
        let padded: String = padded.collect();
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

/// Every reason why a cell is not measured, once.
fn reasons(rows: &[&Row], peers: bool) -> String {
    let mut text = String::new();
    let mut seen = Vec::new();
    for row in rows {
        let cells =
            [("floor", &row.floor), ("stub", &row.stub), ("ours", &row.ours), ("KVM", &row.kvm), ("Xen", &row.xen)];
        let shown = if peers { cells.len() } else { 3 };
        for (column, cell) in cells.into_iter().take(shown) {
            if let Cell::Missing(why) = cell
                && why.chars().count() > LONGEST_REASON
                && !seen.contains(&(column, why))
            {
                seen.push((column, why));
                let _ = writeln!(text, "{column} not measured: {why}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows;

    #[test]
    fn figures_stand_in_their_columns_and_reasons_in_their_cells() {
        let text = render(&rows::sample(), true);
        let words = |label: &str| {
            let line = text.lines().find(|line| line.starts_with(label)).expect(label);
            line.trim_start_matches(label).split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words("HVC PSCI_VERSION"), "1 - 110 114 130 not measured: no package qemu-user 475 193 155");
        assert!(words("SPI and back").contains("not measured: the guest stopped after `x` "), "{text}");
    }

    #[test]
    fn a_long_reason_is_cut_in_its_cell_and_whole_below() {
        let mut rows = rows::sample();
        let why = "the package linux-image-arm64 cannot be had";
        rows[0].kvm = Cell::Missing(why.into());
        let text = render(&rows, true);
        assert!(text.contains("not measured: the package linux-image-arm6..."), "{text}");
        assert!(text.contains(&format!("KVM not measured: {why}\n")));
        assert!(!render(&rows, false).contains("KVM"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
