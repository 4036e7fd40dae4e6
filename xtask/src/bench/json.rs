//! The results for programs.

use serde_json::{Map, Value, json};

use super::figures::Cell;
use super::rows::Row;
use super::smp;

/// All rows: a figure that is not there is null, and `why` says why. With two cores' results, if they were asked for.
pub fn render(rows: &[Row], smp: Option<&[smp::Row]>) -> String {
    let rows: Vec<_> = rows.iter().map(row).collect();
    let mut all = json!({ "rows": rows });
    if let Some(smp) = smp {
        all["smp"] = smp::json::render(smp);
    }
    format!("{all:#}\n")
}

fn row(row: &Row) -> Value {
    let cells = [("floor", &row.floor), ("stub", &row.stub), ("ours", &row.ours), ("kvm", &row.kvm), ("xen", &row.xen)];
    let why: Map<_, _> = cells.iter().filter_map(|(name, cell)| Some(((*name).to_owned(), reason(cell)?))).collect();
    json!({
        "op": row.operation.name,
        "gic": row.gic,
        "floor": median(&row.floor),
        "stub": median(&row.stub),
        "ours": row.ours.figures(),
        "kvm": median(&row.kvm),
        "xen": median(&row.xen),
        "why": why,
    })
}

fn median(cell: &Cell) -> Option<u64> {
    cell.figures().map(|figures| figures.median)
}

fn reason(cell: &Cell) -> Option<Value> {
    match cell {
        Cell::Measured(_) => None,
        Cell::Missing(why) => Some(format!("not measured: {why}").into()),
        Cell::Inapplicable => Some("no such operation there".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows;

    #[test]
    fn each_cell_is_a_figure_or_null_with_its_reason() {
        let value: Value = serde_json::from_str(&render(&rows::sample(), None)).expect("JSON");
        let row = &value["rows"][0];
        assert_eq!(row["op"], "hvc_psci_version");
        assert_eq!(row["ours"], json!({"min": 110, "median": 114, "max": 130}));
        assert_eq!((&row["floor"], &row["xen"], &row["kvm"]), (&json!(1), &json!(475), &Value::Null));
        assert_eq!(row["why"]["kvm"], "not measured: no package qemu-user");
        assert_eq!(row["why"].as_object().map(Map::len), Some(2));
        assert_eq!(value["rows"][1]["ours"], Value::Null);
        assert_eq!(value.get("smp"), None);
        let both: Value = serde_json::from_str(&render(&[], Some(&smp::sample()))).expect("JSON");
        assert_eq!((both["rows"].as_array().map(Vec::len), &both["smp"][0]["load"]), (Some(0), &json!("switches")));
    }
}
