//! The results of two cores for programs.

use serde_json::{Map, Value, json};

use super::Row;
use super::exits::Exits;
use crate::bench::figures::Figures;

/// All rows: what is not measured is null, and `why` says why.
pub fn render(rows: &[Row]) -> Value {
    rows.iter().map(row).collect()
}

fn row(row: &Row) -> Value {
    let counted = row.counted.as_ref().ok().map(|both| {
        let (plain, ours) = (both.plain.all, both.ours.all);
        json!({"plain": plain, "ours": ours, "el2": both.ours.el2, "ratio": both.ratio(|of| of.all)})
    });
    let timed = row.timed.as_ref().ok().map(|both| {
        let ratio = both.ratio(|of| of.median);
        json!({"plain": microseconds(both.plain), "ours": microseconds(both.ours), "ratio": ratio, "runs": super::TIMED_RUNS})
    });
    json!({
        "load": row.load.name,
        "gic": row.gic,
        "instructions": counted,
        "microseconds": timed,
        "exits_icount": row.exits_counted.as_ref().ok().map(exits),
        "exits_mttcg": row.exits_parallel.as_ref().ok().map(exits),
        "why": why(row),
    })
}

fn microseconds(figures: Figures) -> Value {
    json!({"min": figures.min, "median": figures.median, "max": figures.max})
}

/// Exits by reason, and how long they took to come together.
fn exits(exits: &Exits) -> Value {
    let rate = |reason: &String| (reason.clone(), exits.per_second(reason).into());
    let per_second: Map<String, Value> = exits.by_reason.keys().map(rate).collect();
    json!({"seconds": exits.seconds, "count": exits.by_reason, "per_second": per_second})
}

fn why(row: &Row) -> Value {
    let reasons = [
        ("instructions", row.counted.as_ref().err()),
        ("microseconds", row.timed.as_ref().err()),
        ("exits_icount", row.exits_counted.as_ref().err()),
        ("exits_mttcg", row.exits_parallel.as_ref().err()),
    ];
    let told = |(name, why): (&str, Option<&String>)| Some((name.to_owned(), format!("not measured: {}", why?).into()));
    Value::Object(reasons.into_iter().filter_map(told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::smp;

    #[test]
    fn each_figure_is_there_or_null_with_its_reason() {
        let rows = render(&smp::sample());
        assert_eq!(
            rows[0]["instructions"],
            json!({"plain": 1_000_000, "ours": 1_010_000, "el2": 20_200, "ratio": 1.01})
        );
        assert_eq!(rows[0]["microseconds"]["ours"]["median"], 1_000_000);
        assert_eq!(rows[0]["exits_icount"]["per_second"]["virtual timer"], 400.0);
        assert_eq!(rows[0]["exits_mttcg"], Value::Null);
        assert_eq!(rows[0]["why"], json!({"exits_mttcg": "not measured: QEMU was killed"}));
        assert_eq!((&rows[1]["microseconds"], rows[1]["why"].as_object().map(Map::len)), (&Value::Null, Some(4)));
    }
}
