//! The results as a chart: a group of bars for each operation, a bar for each hypervisor.

use std::fmt::Write;

use super::operation::{Kind, quoted};
use super::rows::Row;
use super::table::grouped;

/// Longer bars are broken and end in an arrow: a scale for the longest would hide all others.
const LONGEST: u64 = 2000;
/// Pixels: the chart's width, where bars begin and end, a bar's height, the space between groups, the head.
const WIDTH: u64 = 960;
const LEFT: u64 = 250;
const RIGHT: u64 = 880;
const BAR: u64 = 11;
const GAP: u64 = 12;
const HEAD: u64 = 80;

/// A hypervisor in the chart.
struct Series {
    name: &'static str,
    colour: &'static str,
    value: fn(&Row) -> Option<u64>,
}

/// Ours first; a series without any value is left out.
const SERIES: [Series; 5] = [
    Series { name: "Tessera", colour: "#0b7a75", value: |row| median(&row.ours) },
    Series { name: "Bao (quoted)", colour: "#d7b56d", value: |row| quoted(row.operation, row.gic)[0] },
    Series { name: "hvisor (quoted)", colour: "#b98b82", value: |row| quoted(row.operation, row.gic)[1] },
    Series { name: "Xen 4.17", colour: "#7d8ca3", value: |row| median(&row.xen) },
    Series { name: "KVM nVHE", colour: "#4a4e69", value: |row| median(&row.kvm) },
];

fn median(cell: &super::figures::Cell) -> Option<u64> {
    cell.figures().map(|figures| figures.median)
}

/// The chart of one version of the GIC's operations.
pub fn render(rows: &[Row], gic: u32) -> String {
    let is_operation = |row: &Row| !matches!(row.operation.kind, Kind::Whole | Kind::System);
    let is_bar = |row: &&Row| row.gic == gic && is_operation(row) && median(&row.ours).is_some();
    let (plain, rows): (Vec<_>, Vec<_>) = rows.iter().filter(is_bar).partition(|row| needs_nobody(row));
    let series: Vec<_> = SERIES.iter().filter(|series| rows.iter().any(|row| (series.value)(row).is_some())).collect();
    let mut body = String::new();
    let mut y = HEAD;
    for row in &rows {
        y = group(&mut body, row, &series, y);
    }
    let axis = axis(y);
    let height = y.saturating_add(48);
    body.push_str(&left_out(&plain, height.saturating_sub(10)));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}{axis}{body}</svg>\n",
        head(&series, gic)
    )
}

/// Whether the operation is one instruction everywhere: no hypervisor has anything to do with it.
fn needs_nobody(row: &Row) -> bool {
    SERIES.iter().filter_map(|series| (series.value)(row)).all(|value| value <= 1)
}

/// A line about the rows without bars.
fn left_out(rows: &[&Row], y: u64) -> String {
    let labels: Vec<_> = rows.iter().map(|row| escape(row.operation.label)).collect();
    match labels.is_empty() {
        true => String::new(),
        false => format!(
            "<text x=\"20\" y=\"{y}\" fill=\"#666666\">Not shown, one instruction with every hypervisor: {}.</text>\n",
            labels.join(", ")
        ),
    }
}

fn head(series: &[&Series], gic: u32) -> String {
    let mut text = format!(
        "<text x=\"20\" y=\"26\" font-size=\"16\" fill=\"#222222\">What an operation costs a guest</text>\n\
         <text x=\"20\" y=\"44\" fill=\"#666666\">Executed instructions, less is better; GICv{gic}, cortex-a72, counted by \
         QEMU</text>\n"
    );
    for (index, series) in (0..).zip(series) {
        let x = LEFT.saturating_add(130 * index);
        let _ = writeln!(text, "<rect x=\"{x}\" y=\"56\" width=\"11\" height=\"11\" fill=\"{}\"/>", series.colour);
        let _ = writeln!(text, "<text x=\"{}\" y=\"66\" fill=\"#222222\">{}</text>", x.saturating_add(16), series.name);
    }
    text
}

/// Lines and their numbers behind the bars.
fn axis(bottom: u64) -> String {
    let mut text = String::new();
    for value in (0..=LONGEST).step_by(250) {
        let x = place(value);
        let _ = writeln!(text, "<path d=\"M{x} {HEAD}V{bottom}\" stroke=\"#dddddd\"/>");
        let y = bottom.saturating_add(16);
        let _ = writeln!(
            text,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#666666\">{}</text>",
            grouped(value)
        );
    }
    text
}

/// The bars of one operation; where the next group begins.
fn group(text: &mut String, row: &Row, series: &[&Series], top: u64) -> u64 {
    let bars: Vec<_> = series.iter().filter_map(|series| Some((series, (series.value)(row)?))).collect();
    let mut y = top;
    let middle = top.saturating_add(BAR.saturating_mul(bars.len() as u64) / 2).saturating_add(4);
    let x = LEFT.saturating_sub(10);
    let label = escape(row.operation.label);
    let _ = writeln!(text, "<text x=\"{x}\" y=\"{middle}\" text-anchor=\"end\" fill=\"#222222\">{label}</text>");
    for (series, value) in bars {
        bar(text, series.colour, value, y);
        y = y.saturating_add(BAR);
    }
    y.saturating_add(GAP)
}

fn bar(text: &mut String, colour: &str, value: u64, y: u64) {
    let (end, height) = (place(value.min(LONGEST)), BAR.saturating_sub(1));
    let width = end.saturating_sub(LEFT).max(1);
    let _ = writeln!(text, "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"/>");
    let mut label = end.saturating_add(4);
    if value > LONGEST {
        let (tip, middle, low) = (end.saturating_add(8), y.saturating_add(height / 2), y.saturating_add(height));
        let _ = writeln!(text, "<path d=\"M{end} {y}L{tip} {middle}L{end} {low}Z\" fill=\"{colour}\"/>");
        let (high, left) = (y.saturating_sub(1), end.saturating_sub(24));
        let _ = writeln!(
            text,
            "<path d=\"M{left} {low}l6 -{h}M{} {low}l6 -{h}\" stroke=\"#ffffff\" stroke-width=\"2\"/>",
            left.saturating_add(5),
            h = low.saturating_sub(high)
        );
        label = tip.saturating_add(4);
    }
    let base = y.saturating_add(height.saturating_sub(1));
    let _ = writeln!(text, "<text x=\"{label}\" y=\"{base}\" fill=\"#222222\">{}</text>", grouped(value));
}

/// Where a value lies on the scale.
fn place(value: u64) -> u64 {
    let scale = RIGHT.saturating_sub(LEFT);
    LEFT.saturating_add(value.saturating_mul(scale) / LONGEST)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::{Cell, Figures};
    use crate::bench::rows;

    #[test]
    fn bars_are_as_long_as_their_values_and_longer_ones_are_cut() {
        assert_eq!((place(0), place(LONGEST), place(LONGEST / 2)), (LEFT, RIGHT, (LEFT + RIGHT) / 2));
        let mut rows = rows::sample();
        rows[0].kvm = Cell::Measured(Figures::single(8336));
        let chart = render(&rows, 3);
        let width = RIGHT - LEFT;
        assert!(chart.contains(&format!("width=\"{width}\" height=\"10\" fill=\"#4a4e69\"")), "{chart}");
        assert!(chart.contains(">8,336</text>") && chart.contains(&format!("M{RIGHT} ")));
        assert!(chart.contains(&format!("width=\"{}\" height=\"10\" fill=\"#0b7a75\"", place(114) - LEFT)));
    }

    #[test]
    fn what_is_not_measured_has_no_bar() {
        let chart = render(&rows::sample(), 3);
        assert!(!chart.contains("KVM") && !chart.contains("SPI") && chart.contains("hvisor (quoted)"));
        assert!(!render(&rows::sample(), 2).contains("HVC"));
    }

    #[test]
    fn what_costs_nobody_anything_is_named_below_without_bars() {
        let mut rows = rows::sample();
        rows[1].ours = Cell::Measured(Figures::single(1));
        rows[1].xen = Cell::Measured(Figures::single(1));
        let spi = |chart: &str| chart.contains("every hypervisor: SPI and back.");
        assert!(!spi(&render(&rows, 3)), "Bao's quoted figure is a bar");
        rows[1].operation = crate::bench::operation::find("eoi").expect("known");
        let chart = render(&rows, 3);
        assert!(
            chart.contains("every hypervisor: end of interrupt.") && !chart.contains(">end of interrupt<"),
            "{chart}"
        );
    }

    #[test]
    fn the_chart_is_well_formed() {
        let chart = render(&rows::sample(), 3);
        let opened = chart.matches('<').count();
        assert_eq!(opened, chart.matches('>').count());
        assert_eq!(chart.matches("<text").count(), chart.matches("</text>").count());
        assert_eq!(escape("a<b&c"), "a&lt;b&amp;c");
    }
}
