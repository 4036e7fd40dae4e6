//! The histogram people look at: how many ticks were late by how much, one panel for each scenario.

use std::fmt::Write;

use super::{BOUND, Row, quantiles};
use crate::bench::table::grouped;

const WIDTH: u64 = 760;
const LEFT: u64 = 40;
const RIGHT: u64 = 720;
const HEAD: u64 = 64;
/// One panel: its title, its bars, and what is left below.
const TITLE: u64 = 20;
const BARS: u64 = 80;
const PANEL: u64 = 124;
/// Classes by which ticks are counted: four for each doubling, from 2^[`FIRST`] instructions to 2^[`LAST`].
const FIRST: u32 = 6;
const LAST: u32 = 20;
const CLASSES: usize = 4 * (LAST - FIRST) as usize;

/// The chart of all scenarios.
pub fn render(rows: &[Row], gic: u32) -> String {
    let height = HEAD.saturating_add(PANEL.saturating_mul(rows.len() as u64)).saturating_add(20);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"26\" font-size=\"16\" fill=\"#222222\">How late a tick of one millisecond is</text>\n\
         <text x=\"20\" y=\"44\" fill=\"#666666\">Executed instructions from the deadline to the guest's vector; GICv{gic}, \
         cortex-a72, counted by QEMU; both scales are logarithmic</text>\n"
    );
    for (row, top) in rows.iter().zip((HEAD..).step_by(PANEL as usize)) {
        panel(&mut text, row, top);
    }
    text.push_str("</svg>\n");
    text
}

fn panel(text: &mut String, row: &Row, top: u64) {
    let late = row.late.as_deref().unwrap_or_default();
    let said = quantiles(late).map_or("not measured".to_owned(), |[_, median, _, most]| {
        format!("{} ticks, median {}, worst {}", grouped(late.len() as u64), grouped(median), grouped(most))
    });
    let title = top.saturating_add(12);
    let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"{title}\" fill=\"#222222\">{}: {said}</text>", row.label);
    let bottom = top.saturating_add(TITLE).saturating_add(BARS);
    axis(text, bottom);
    for (class, count) in classes(late).into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let (x, next) = (place_of_class(class), place_of_class(class.saturating_add(1)));
        let height = height_of(count);
        let (y, width) = (bottom.saturating_sub(height), next.saturating_sub(x).saturating_sub(1));
        let colour = if lower_edge(class) < BOUND as f64 { "#0b7a75" } else { "#c1443c" };
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"><title>{count}</title></rect>"
        );
    }
}

/// A line below the bars with powers of ten, and the bound.
fn axis(text: &mut String, bottom: u64) {
    let _ = writeln!(text, "<path d=\"M{LEFT} {bottom}H{RIGHT}\" stroke=\"#999999\"/>");
    let below = bottom.saturating_add(13);
    for value in [100, 1_000, 10_000, 100_000, 1_000_000] {
        let (x, label) = (place(value as f64), grouped(value));
        let _ = writeln!(text, "<text x=\"{x}\" y=\"{below}\" text-anchor=\"middle\" fill=\"#666666\">{label}</text>");
    }
    let (x, top) = (place(BOUND as f64), bottom.saturating_sub(BARS));
    let _ = writeln!(text, "<path d=\"M{x} {top}V{bottom}\" stroke=\"#c1443c\" stroke-dasharray=\"3 3\"/>");
}

/// Ticks by class; what lies outside counts as the outermost.
fn classes(late: &[u64]) -> Vec<u64> {
    let mut counts = vec![0_u64; CLASSES];
    for late in late {
        let class = (((*late).max(1) as f64).log2() - f64::from(FIRST)) * 4.0;
        let class = (class.max(0.0) as usize).min(CLASSES - 1);
        if let Some(count) = counts.get_mut(class) {
            *count = count.saturating_add(1);
        }
    }
    counts
}

fn lower_edge(class: usize) -> f64 {
    (class as f64 / 4.0 + f64::from(FIRST)).exp2()
}

fn place_of_class(class: usize) -> u64 {
    place(lower_edge(class))
}

/// Where a number of instructions lies.
fn place(late: f64) -> u64 {
    let share = (late.log2() - f64::from(FIRST)) / f64::from(LAST - FIRST);
    LEFT.saturating_add((share * RIGHT.saturating_sub(LEFT) as f64) as u64)
}

/// How high a bar is: one tick is seen, and ten thousand fill the panel.
fn height_of(count: u64) -> u64 {
    let share = ((count as f64).log10() + 0.5) / 4.5;
    ((share * BARS as f64) as u64).min(BARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_counted_by_doublings() {
        let counts = classes(&[1, 64, 70, 128, 1 << 40]);
        assert_eq!((counts[0], counts[4], counts[CLASSES - 1]), (3, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 5);
    }

    #[test]
    fn what_is_beyond_the_bound_is_seen_as_such() {
        let row = |late| Row { label: "alone", late };
        let good = render(&[row(Ok(vec![100, 200]))], 3);
        let bad = render(&[row(Ok(vec![100, 50_000]))], 3);
        assert!(!good.contains("fill=\"#c1443c\"") && bad.contains("fill=\"#c1443c\""), "{bad}");
        assert!(render(&[row(Err("why".into()))], 3).contains("alone: not measured"));
        assert_eq!(bad.matches('<').count(), bad.matches('>').count());
    }
}
