//! The results of two cores as people read them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::exits::{Exits, necessity};
use super::{Both, Row, TIMED_RUNS};
use crate::bench::counter::Executed;
use crate::bench::figures::Figures;
use crate::bench::table::{columns, cut, grouped};

/// The tables of all rows, one part for each version of the GIC.
pub fn render(rows: &[Row]) -> String {
    let mut text = String::new();
    for of_gic in rows.chunk_by(|a, b| a.gic == b.gic) {
        let gic = of_gic.first().map_or(0, |row| row.gic);
        let _ = writeln!(text, "\nGICv{gic}: Linux on two vCPUs of Tessera, and on two plain cores (cortex-a72)");
        text.push_str(&loads(of_gic));
        let _ = writeln!(text, "\nGICv{gic}: exits per second, by the guest's clock");
        text.push_str(&exits(of_gic));
        text.push_str(&reasons(of_gic));
    }
    let _ = writeln!(
        text,
        "\nInstructions: both cores', taking turns; sleep is not counted. Times: cores that run at once, {TIMED_RUNS} runs \
         each, middle\n(least to most); they are this host's, no two runs are alike, and no budget has them. Exits are of \
         runs of their own,\nwhich QEMU's log slows where cores run at once."
    );
    text
}

fn loads(rows: &[Row]) -> String {
    let headings = ["", "instructions: plain", "Tessera", "ratio", "at EL2", "ms: plain", "", "Tessera", "", "ratio"];
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    for row in rows {
        let mut line = vec![row.load.label.to_owned()];
        line.extend(match &row.counted {
            Ok(both) => counted(both),
            Err(why) => [not_measured(why), String::new(), String::new(), String::new()],
        });
        line.extend(match &row.timed {
            Ok(both) => timed(both).to_vec(),
            Err(why) => vec![not_measured(why)],
        });
        lines.push(line);
    }
    columns(&lines)
}

fn counted(both: &Both<Executed>) -> [String; 4] {
    let (plain, ours) = (both.plain.all, both.ours.all);
    let el2 = both.ours.el2 as f64 * 100.0 / ours.max(1) as f64;
    [grouped(plain), grouped(ours), format!("{:.3}", both.ratio(|of| of.all)), format!("{el2:.2} %")]
}

fn timed(both: &Both<Figures>) -> [String; 5] {
    let milliseconds = |microseconds: u64| grouped(microseconds / 1000);
    let spread = |of: Figures| format!("({} to {})", milliseconds(of.min), milliseconds(of.max));
    let (plain, ours) = (both.plain, both.ours);
    [
        milliseconds(plain.median),
        spread(plain),
        milliseconds(ours.median),
        spread(ours),
        format!("{:.2}", both.ratio(|of| of.median)),
    ]
}

fn not_measured(why: &str) -> String {
    format!("not measured: {}", cut(why))
}

/// All exits of a version of the GIC, a column for each load in each way.
fn all_exits(rows: &[Row]) -> Vec<(String, &Result<Exits, String>)> {
    let of_row = |row: &'_ Row| [format!("{}, turns", row.load.name), format!("{}, at once", row.load.name)];
    let columns = rows.iter().flat_map(|row| of_row(row).into_iter().zip([&row.exits_counted, &row.exits_parallel]));
    columns.collect()
}

fn exits(rows: &[Row]) -> String {
    let all = all_exits(rows);
    let line = |label: &str, cell: &dyn Fn(&Exits) -> String| {
        let cells = all.iter().map(|(_, exits)| exits.as_ref().map_or_else(|why| not_measured(why), cell));
        [label.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let headings = [String::new()].into_iter().chain(all.iter().map(|(name, _)| name.clone())).collect();
    let mut lines = vec![headings];
    for reason in by_frequency(&all) {
        lines.push(line(&reason, &|exits| format!("{:.0}", exits.per_second(&reason))));
    }
    lines.push(line("all", &|exits| {
        format!("{:.0}", exits.by_reason.keys().map(|reason| exits.per_second(reason)).sum::<f64>())
    }));
    columns(&lines)
}

/// The reasons that came up, the most frequent first.
fn by_frequency(all: &[(String, &Result<Exits, String>)]) -> Vec<String> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for exits in all.iter().filter_map(|(_, exits)| exits.as_ref().ok()) {
        exits.by_reason.iter().for_each(|(reason, count)| *counts.entry(reason).or_default() += count);
    }
    let mut reasons: Vec<_> = counts.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons.into_iter().map(|(reason, _)| reason.to_owned()).collect()
}

/// Below the tables: why exits have to be, and whole reasons why something is not measured.
fn reasons(rows: &[Row]) -> String {
    let mut text = "Why they have to be:\n".to_owned();
    for reason in by_frequency(&all_exits(rows)) {
        let why = necessity(&reason).unwrap_or("NOT KNOWN: this exit may be one too many");
        let _ = writeln!(text, "  {reason}: {why}");
    }
    let mut whys: Vec<&String> = Vec::new();
    for row in rows {
        whys.extend(row.counted.as_ref().err().into_iter().chain(row.timed.as_ref().err()));
        whys.extend([&row.exits_counted, &row.exits_parallel].into_iter().filter_map(|exits| exits.as_ref().err()));
    }
    whys.dedup();
    whys.into_iter().for_each(|why| {
        let _ = writeln!(text, "not measured: {why}");
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::smp;

    #[test]
    fn figures_stand_beside_one_another_and_what_failed_says_why() {
        let text = render(&smp::sample());
        let words = |label: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(label)).expect(label);
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            words("pipes and short"),
            "pipes and short processes 1,000,000 1,010,000 1.010 2.00 % 800 (700 to 1,000) 1,000 (900 to 1,200) 1.25"
        );
        assert!(words("fresh memory").contains("not measured: the guest did not come"), "{text}");
        assert!(words("virtual timer").starts_with("virtual timer 400 not measured: QEMU was killed"), "{text}");
        assert!(words("all").starts_with("all 402"), "{text}");
        assert!(words("UART: ").contains("NOT KNOWN"), "{text}");
    }
}
